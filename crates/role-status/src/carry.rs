//! Hands notices on: mail by a way out that is not in trouble, web-hooks, web push.
//!
//! A notice stays in its row until somebody took it; a failure waits longer each time, and after
//! twelve tries it is dropped. Begin with [`Board::carry`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use drive::{Roots, Stop};
use serde_json::json;
use stdx::{Now, Secret, Span};
use store::StoreError;
use web::push::{Subscription, Vapid, hook_signature};
use web::{Url, fetch};
use words::Address;

use crate::Board;
use crate::letter;
use crate::mail_out::{self, Letter};
use crate::subscribe::{Channel, Notice};

/// Notices taken at a time; all of one way go through one connection.
const TAKEN_MAX: usize = 50;
/// A look for new ones this often.
const LOOK_EVERY: Span = Span::secs(2);
/// A way that failed is the last choice for so long.
const SHY_FOR: Span = Span::mins(10);

/// How notices leave.
#[derive(Clone)]
pub struct Outgoing {
    /// Sender of mail.
    pub from: Address,
    /// The preferred first.
    pub ways: Vec<Way>,
    pub roots: Arc<Roots>,
    pub vapid: Option<Arc<Vapid>>,
}

/// A way out for mail.
#[derive(Clone)]
pub struct Way {
    pub name: String,
    pub helo: String,
    pub source: Option<IpAddr>,
    /// `None`: straight to the recipient's own host.
    pub relay: Option<Relay>,
    /// Where no relay says otherwise: 25.
    pub port: u16,
}

#[derive(Clone)]
pub struct Relay {
    pub host: String,
    pub port: u16,
    pub tls: RelayTls,
    pub login: Option<(String, Secret<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayTls {
    StartTls,
    Implicit,
    None,
}

/// Which ways failed lately.
#[derive(Default)]
pub(crate) struct Shy(Mutex<BTreeMap<String, Now>>);

impl Shy {
    fn is(&self, way: &str, now: Now) -> bool {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(way).is_some_and(|at| now.since(*at) < SHY_FOR)
    }
    fn set(&self, way: &str, failed: Option<Now>) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failed {
            Some(at) => map.insert(way.to_owned(), at),
            None => map.remove(way),
        };
    }
}

impl Board {
    /// Hands notices on until the server stops.
    pub async fn carry(self, stop: Stop) {
        loop {
            if let Err(e) = self.carry_once().await {
                tracing::error!(error = %e, "notices could not be read; the next look tries again");
            }
            let next = self.now() + LOOK_EVERY;
            if drive::until_stop(&stop, self.world().clock.sleep_until(next)).await.is_none() {
                return;
            }
        }
    }

    /// Hands on what is due now. Returns how many were taken by the other side.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn carry_once(&self) -> Result<usize, StoreError> {
        let Some(out) = self.settings().outgoing.clone() else { return Ok(0) };
        let (mail, others): (Vec<Notice>, Vec<Notice>) =
            self.take_notices(TAKEN_MAX).await?.into_iter().partition(|n| n.channel == Channel::Mail);
        let mut taken = 0;
        for notice in others {
            let sent = match self.hand_on(&out, &notice).await {
                Ok(()) => true,
                Err(why) => {
                    tracing::warn!(notice = notice.id, %why, "a notice was not taken");
                    false
                }
            };
            taken += usize::from(sent);
            self.notice_done(notice.id, sent).await?;
        }
        Ok(taken + self.carry_mail(&out, mail).await?)
    }

    async fn carry_mail(&self, out: &Outgoing, mail: Vec<Notice>) -> Result<usize, StoreError> {
        let site = self.settings().site.clone();
        let mut letters: Vec<Letter> = Vec::new();
        for notice in &mail {
            match Address::parse(&notice.address) {
                Ok(to) => {
                    let text = letter::write(&site, &out.from, notice, &self.token(), self.now());
                    letters.push(Letter { id: notice.id, from: out.from.clone(), to, text });
                }
                Err(_) => self.notice_done(notice.id, false).await?,
            }
        }
        let mut taken = 0;
        for way in self.ways_in_order(out).await? {
            if letters.is_empty() {
                break;
            }
            let told = mail_out::send(self.world(), &out.roots, &way, &letters).await;
            let (ok, failed): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, why)| why.is_none());
            self.shy()
                .set(&way.name, if ok.is_empty() && !failed.is_empty() { Some(self.now()) } else { None });
            for (id, why) in &failed {
                tracing::warn!(notice = id, way = %way.name, why = why.as_deref().unwrap_or(""), "a notice did not leave by this way");
            }
            for (id, _) in &ok {
                self.notice_done(*id, true).await?;
            }
            taken += ok.len();
            letters.retain(|l| !ok.iter().any(|(id, _)| *id == l.id));
        }
        for letter in letters {
            self.notice_done(letter.id, false).await?;
        }
        Ok(taken)
    }

    /// Those in trouble last: what failed here lately, or what the mail host says of a way of the
    /// same name.
    async fn ways_in_order(&self, out: &Outgoing) -> Result<Vec<Way>, StoreError> {
        let now = self.now();
        let troubled: Vec<String> = self
            .store()
            .read(move |conn| {
                let mut query = conn.prepare_cached(
                    "SELECT DISTINCT point FROM probe WHERE probe LIKE 'route.%' AND look != 'good' AND at >= ?1",
                )?;
                let rows = query.query_map([(now - Span::mins(5)).ms() as i64], |r| r.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        let mut ways = out.ways.clone();
        ways.sort_by_key(|w| self.shy().is(&w.name, now) || troubled.contains(&w.name));
        Ok(ways)
    }

    async fn hand_on(&self, out: &Outgoing, notice: &Notice) -> Result<(), String> {
        let now = self.now();
        let body = json!({
            "subject": notice.subject, "text": notice.text, "site": self.settings().site.url,
            "at": now.iso(), "leave": notice.leave,
        })
        .to_string();
        let mut ask = match notice.channel {
            Channel::Push => {
                let to = Subscription::parse(&notice.address)?;
                let vapid = out.vapid.as_ref().ok_or("this site has no key for web push")?;
                let text: String = body.chars().take(1200).collect();
                let text = if text == body { text } else { json!({ "subject": notice.subject }).to_string() };
                web::push::ask(&to, vapid, text.as_bytes(), now).ok_or("the subscription's key is none")?
            }
            _ => {
                fetch::Ask::post(Url::parse(&notice.address)?, "application/json", body.clone().into_bytes())
                    .header("X-Postroad-Signature", &hook_signature(&notice.secret, body.as_bytes(), now))
            }
        };
        if notice.channel != Channel::OwnHook {
            ask.at = Some(self.public_address(&ask.url.host).await?);
        }
        let got = fetch::fetch(self.world(), &out.roots, &ask).await.map_err(|e| e.to_string())?;
        if got.is_success() { Ok(()) } else { Err(format!("it answered {}", got.status)) }
    }

    /// A stranger's address must lead out of our own networks.
    async fn public_address(&self, host: &str) -> Result<IpAddr, String> {
        let ips = match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => self.world().dns.ip(host).await.map_err(|e| format!("{host}: {e:?}"))?.records,
        };
        ips.into_iter().find(is_public).ok_or_else(|| format!("{host} has no public address"))
    }
}

fn is_public(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                || shared)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(&IpAddr::V4(ip)),
            None => {
                let first = ip.segments()[0];
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || first & 0xFE00 == 0xFC00
                    || first & 0xFFC0 == 0xFE80)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_lead_us_into_our_own_networks() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(&inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["192.0.2.1", "2001:db8::1", "100.128.0.1"] {
            assert!(is_public(&outside.parse().expect("an address")), "{outside}");
        }
    }
}
