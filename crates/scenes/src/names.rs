//! The DNS of a scene: its records, its block lists with their moods, and its silences.
//!
//! What it is: a [`Dns`] over [`Zones`] that also keeps who asked for what, so that questions
//! can be counted. `dnsd` serves the same on a socket.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use sim::Zones;
use stdx::{Now, Span};
use world::dns::Found;
use world::{Answer, Clock, Dns, DnsError, Later, Mx, Tlsa};

use crate::scene::{Broken, List, Manner, Scene};

/// Questions kept; the oldest go first.
const ASKED_MAX: usize = 500_000;
/// How long a stub resolver waits for a name server that says nothing.
const PATIENCE: Span = Span::secs(8);
const TTL_S: u32 = 60;

/// One question about a block list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub at: Now,
    pub zone: String,
    pub name: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

struct Inner {
    zones: Zones,
    lists: Vec<List>,
    silent: Vec<(Now, Now)>,
    begin: Now,
    clock: Arc<dyn Clock>,
    asked: Mutex<VecDeque<Asked>>,
}

/// What a block list says of a name.
enum Said {
    Listed(Ipv4Addr, String),
    NotListed,
    Nothing,
}

impl Names {
    pub fn new(scene: &Scene, zones: Zones, begin: Now, clock: Arc<dyn Clock>) -> Names {
        let faults = scene.faults.iter().filter(|f| f.what == Broken::Dns);
        let silent = faults.map(|f| (begin + f.at, begin + f.at + f.lasts)).collect();
        let lists = scene.lists.clone();
        Names(Arc::new(Inner { zones, lists, silent, begin, clock, asked: Mutex::default() }))
    }

    pub fn zones(&self) -> &Zones {
        &self.0.zones
    }

    /// Questions about block lists so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether nobody answers now, or not about this name.
    pub fn deaf(&self, name: &str) -> bool {
        let now = self.0.clock.now();
        self.0.silent.iter().any(|(from, until)| now >= *from && now < *until)
            || self.list(name).is_some_and(|(list, _)| list.manner == Manner::Mute)
    }

    /// Keeps a question that is not answered.
    pub fn note(&self, name: &str) {
        self.about(name);
    }

    fn list<'a>(&'a self, name: &'a str) -> Option<(&'a List, &'a str)> {
        let name = name.trim_end_matches('.');
        self.0.lists.iter().find_map(|list| {
            let head = name.strip_suffix(list.zone.as_str())?;
            Some((list, head.strip_suffix('.').unwrap_or(head)))
        })
    }

    fn about(&self, name: &str) -> Option<Said> {
        let lower = name.to_ascii_lowercase();
        let (list, head) = self.list(&lower)?;
        let now = self.0.clock.now();
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= ASKED_MAX {
            asked.pop_front();
        }
        asked.push_back(Asked { at: now, zone: list.zone.clone(), name: head.to_owned() });
        drop(asked);
        Some(said(list, head, now.since(self.0.begin)))
    }

    async fn patience(&self) -> DnsError {
        let clock = &self.0.clock;
        clock.sleep_until(clock.now() + PATIENCE).await;
        DnsError::Failed("no name server answers".into())
    }
}

fn said(list: &List, head: &str, at: Span) -> Said {
    match (list.manner, list.answer) {
        (Manner::Dead | Manner::Refusing, Some(code)) => return Said::Listed(code, String::new()),
        (Manner::Mute, _) => return Said::Nothing,
        _ => {}
    }
    let meant = reversed(head).map_or_else(|| head.to_owned(), |ip| ip.to_string());
    // RFC 5782 §5: 127.0.0.2 is listed, 127.0.0.1 is not.
    if meant == "127.0.0.2" {
        return Said::Listed(Ipv4Addr::new(127, 0, 0, 2), "test entry".into());
    }
    let holds = |e: &&crate::scene::Listed| {
        e.what.eq_ignore_ascii_case(&meant) && e.begin.is_none_or(|b| at >= b) && e.end.is_none_or(|e| at < e)
    };
    match list.entries.iter().find(holds) {
        Some(entry) => Said::Listed(entry.code, entry.text.clone()),
        None => Said::NotListed,
    }
}

/// `36.0.1.127` is 127.1.0.36.
fn reversed(head: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u8> = head.split('.').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    match parts.as_slice() {
        [d, c, b, a] => Some(Ipv4Addr::new(*a, *b, *c, *d)),
        _ => None,
    }
}

fn answer<T>(records: Vec<T>) -> Found<T> {
    if records.is_empty() {
        Err(DnsError::NoData)
    } else {
        Ok(Answer { records, authentic: false, ttl_s: TTL_S })
    }
}

macro_rules! plain {
    ($($ask:ident: $kind:ty),*) => { $(
        fn $ask<'a>(&'a self, name: &'a str) -> Later<'a, Found<$kind>> {
            Box::pin(async move {
                if self.deaf(name) {
                    return Err(self.patience().await);
                }
                Dns::$ask(&self.0.zones, name).await
            })
        }
    )* };
}

impl Dns for Names {
    plain!(mx: Mx, ip: IpAddr, ipv6: Ipv6Addr, tlsa: Tlsa, ns: String, cname: String, caa: String, soa_serial: u32);

    fn ipv4<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv4Addr>> {
        Box::pin(async move {
            let said = self.about(name);
            if self.deaf(name) {
                return Err(self.patience().await);
            }
            match said {
                None => Dns::ipv4(&self.0.zones, name).await,
                Some(Said::Listed(code, _)) => answer(vec![code]),
                Some(Said::NotListed) => Err(DnsError::NoName),
                Some(Said::Nothing) => Err(self.patience().await),
            }
        })
    }

    fn txt<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Box::pin(async move {
            if self.deaf(name) {
                return Err(self.patience().await);
            }
            match self.list(&name.to_ascii_lowercase()) {
                None => Dns::txt(&self.0.zones, name).await,
                Some((list, head)) => match said(list, head, self.0.clock.now().since(self.0.begin)) {
                    Said::Listed(_, text) if !text.is_empty() => answer(vec![text]),
                    Said::Listed(..) => Err(DnsError::NoData),
                    Said::NotListed | Said::Nothing => Err(DnsError::NoName),
                },
            }
        })
    }

    fn ptr(&self, ip: IpAddr) -> Later<'_, Found<String>> {
        Box::pin(async move {
            if self.deaf("") {
                return Err(self.patience().await);
            }
            Dns::ptr(&self.0.zones, ip).await
        })
    }
}
