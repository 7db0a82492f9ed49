//! What this mail host or relay says of itself to those who watch it: that it lives, its disks, its
//! queue, its ways out, its backups, who lists them. Signed, every 30 seconds, whether or not anybody
//! answers; who does not answer for three minutes is spoken of to the others and in the ledger.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use link::{Fact, Parcel};
use role_mail::Site;
use role_relay::outcomes;
use route::board::Word;
use stdx::{Now, Span};
use store::StoreError;
use tokio::task::JoinHandle;
use web::{Ask, Url};

use crate::house::House;
use crate::orders::Backups;
use crate::{link_key, watch_post};

/// A watcher that hears nothing for three minutes speaks: five words may be lost.
const EVERY: Span = Span::secs(30);
const LIMIT: Span = Span::secs(20);
/// Entries of the queue that are looked through.
const WAITING_MAX: usize = 5000;
/// Destination groups told of.
const GROUPS_MAX: usize = 200;
/// That a watcher answers again is said for so long: a parcel may be lost.
const OVER_FOR: Span = Span::mins(5);
/// Before the name of a setting that holds since when a watcher is silent.
pub const SILENT: &str = "silent.";

/// A disk area: its name, and a folder on it.
pub type Area = (&'static str, PathBuf);

/// The areas this host writes to. Those on one disk are one area, by the name of the first: a full
/// disk is one alert.
pub fn areas(data: &std::path::Path, log: Option<&std::path::Path>) -> Vec<Area> {
    let log = log.and_then(|file| file.parent()).map(|f| ("log", f.to_owned()));
    let all = [Some(("store", data.to_owned())), log, Some(("tmp", std::env::temp_dir()))];
    let mut disks = BTreeSet::new();
    let mut own = |area: &Area| std::fs::metadata(&area.1).is_ok_and(|found| disks.insert(found.dev()));
    all.into_iter().flatten().filter(|area| own(area)).collect()
}

/// Batches of outcomes told in one round.
const BATCHES_MAX: usize = 10;
/// The sender reads first what the last run knew of routes.
const FIRST: Span = Span::secs(3);

/// Begins to tell every peer that has an address.
pub fn begin(config: &config::Config, house: &House) -> Result<JoinHandle<()>, String> {
    let mut peers = Vec::new();
    for peer in &config.peers {
        if let Some(url) = &peer.url {
            peers.push((peer.name.clone(), watch_post::folder_url(url)?));
        }
    }
    let key = link_key::load(&config.data)?;
    let teller = Teller {
        site: house.site.clone(),
        areas: areas(&config.data, config.log.file.as_deref()),
        name: config.host_name.clone(),
        key: Arc::new(key),
        relays: config.role == config::Role::Relay,
        serial: AtomicU64::new(0),
    };
    Ok(tokio::spawn(teller.run(peers)))
}

struct Teller {
    site: Site,
    areas: Vec<Area>,
    name: String,
    key: Arc<link::Key>,
    /// Mail hosts hear what became of their mail.
    relays: bool,
    serial: AtomicU64,
}

/// One that we tell, and when it last answered.
struct Watcher {
    name: String,
    url: Url,
    answered: Option<Now>,
    began: Now,
    /// Since when it is silent, once that was said.
    silent: Option<Now>,
    /// When its silence was over.
    back: Option<Now>,
}

impl Teller {
    async fn run(self, peers: Vec<(String, Url)>) {
        if let Err(why) = self.forget_silences().await {
            tracing::warn!("old notes of silent peers stay: {why}");
        }
        self.site.world().clock.sleep_until(self.site.now() + FIRST).await;
        let began = self.site.now();
        let watcher = |(name, url)| Watcher { name, url, answered: None, began, silent: None, back: None };
        let mut watchers: Vec<Watcher> = peers.into_iter().map(watcher).collect();
        while !watchers.is_empty() {
            let next = self.site.now() + EVERY;
            let mut facts = facts(&self.site, &self.areas).await;
            facts.extend(watchers.iter().filter_map(|w| alarm(w, self.site.now())));
            for watcher in &mut watchers {
                let answer = self.tell_all(&watcher.name, &watcher.url, facts.clone()).await;
                if let Err(why) = self.heard(watcher, answer).await {
                    tracing::error!("the store did not note how {} stands: {why}", watcher.name);
                }
            }
            self.site.world().clock.sleep_until(next).await;
        }
    }

    /// Who watches us must answer: three minutes of silence are noted, told to the others, and
    /// shown by `doctor`.
    async fn heard(&self, watcher: &mut Watcher, answer: Result<(), String>) -> Result<(), StoreError> {
        let (now, name) = (self.site.now(), watcher.name.clone());
        let Err(why) = answer else {
            watcher.answered = Some(now);
            let Some(since) = watcher.silent.take() else { return Ok(()) };
            watcher.back = Some(now);
            tracing::info!(peer = %name, "it answers again, after {}", now.since(since));
            let fact = ledger::Fact::new("peer.back", now).with("peer", name.clone());
            return self.note(fact.with("silent_s", now.since(since).as_secs()), &name, None).await;
        };
        let verdict = watch::alert::heartbeat(watcher.answered, watcher.began, now);
        if !verdict.decision || watcher.silent.is_some() {
            return Ok(());
        }
        let since = watcher.answered.unwrap_or(watcher.began);
        (watcher.silent, watcher.back) = (Some(since), None);
        tracing::warn!(peer = %name, "it does not take our facts, and may be dead: {why}");
        let fact = ledger::Fact::new("peer.silent", now).with("peer", name.clone()).with("why", why);
        self.note(fact.because(&verdict.reasons), &name, Some(since)).await
    }

    async fn note(&self, fact: ledger::Fact, name: &str, since: Option<Now>) -> Result<(), StoreError> {
        let (knob, since) = (format!("{SILENT}{name}"), since.map(|at| at.ms().to_string()));
        let noted = self.site.store().commit(Vec::new(), move |batch| {
            ledger::note(batch, &fact)?;
            directory::set_knob(batch, &knob, since.as_deref())
        });
        noted.await
    }

    /// After a start nobody is silent yet.
    async fn forget_silences(&self) -> Result<(), StoreError> {
        let old = self.site.store().read(|c| directory::knobs(c, SILENT)).await?;
        let forget = move |batch: &mut store::Batch<'_>| {
            old.iter().try_for_each(|(name, _)| directory::set_knob(batch, name, None))
        };
        self.site.store().commit(Vec::new(), forget).await
    }

    /// The state of things; from a relay also what became of mail, until nothing is left to tell.
    async fn tell_all(&self, name: &str, url: &Url, facts: Vec<Fact>) -> Result<(), String> {
        self.tell(url, facts).await?;
        for _ in 0..BATCHES_MAX {
            if !self.relays {
                break;
            }
            let (store, now) = (self.site.store(), self.site.now());
            let peer = name.to_owned();
            let due = store.read(move |conn| outcomes::due(conn, &peer, now)).await;
            let (facts, mark) = due.map_err(|e| e.to_string())?;
            let more = facts.len() >= outcomes::BATCH;
            if !facts.is_empty() {
                self.tell(url, facts).await?;
            }
            let peer = name.to_owned();
            let moved = store.commit(Vec::new(), move |batch| outcomes::told(batch, &peer, mark));
            moved.await.map_err(|e| e.to_string())?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    async fn tell(&self, url: &Url, facts: Vec<Fact>) -> Result<(), String> {
        let now = self.site.now();
        // The time as serial number needs no memory and never goes back; two within a millisecond
        // are told apart.
        let serial = now.ms().max(self.serial.load(Ordering::Relaxed) + 1);
        self.serial.store(serial, Ordering::Relaxed);
        let parcel = Parcel { from: self.name.clone(), serial, at: now, facts };
        let url = Url { path: format!("{}link", url.path), ..url.clone() };
        let ask = Ask::post(url, "application/octet-stream", link::seal(&parcel, &self.key));
        let ask = Ask { limit: LIMIT, ..ask };
        match web::fetch(self.site.world(), self.site.roots(), &ask).await {
            Ok(got) if got.is_success() => Ok(()),
            Ok(got) => Err(format!("HTTP {}: {}", got.status, got.text().trim())),
            Err(why) => Err(why.says),
        }
    }
}

/// What the others are told of a watcher that is silent, and that it is over.
fn alarm(watcher: &Watcher, now: Now) -> Option<Fact> {
    let (name, at) = (&watcher.name, now.ms());
    let cause = format!("silent.{name}");
    match (watcher.silent, watcher.back) {
        (Some(since), _) => {
            let says = format!("{name} has not answered since {}: it may not be watching", since.iso());
            Some(Fact::Alarm { at, cause, says, over: false })
        }
        (None, Some(back)) if now.since(back) < OVER_FOR => {
            Some(Fact::Alarm { at, cause, says: format!("{name} answers again"), over: true })
        }
        _ => None,
    }
}

/// All that is known now.
pub async fn facts(site: &Site, areas: &[Area]) -> Vec<Fact> {
    let now = site.now();
    let at = now.ms();
    let mut out = vec![Fact::Heartbeat { at, version: env!("CARGO_PKG_VERSION").into(), started: 0 }];
    for (area, folder) in areas {
        out.extend(fills(area, folder, at));
    }
    if let Ok(Backups { last: Some(made), tried, bytes, .. }) = Backups::read(site).await {
        out.push(Fact::Backup { at, made: made.ms(), bytes, restored: tried.map(Now::ms) });
    }
    let waiting =
        site.store().read(|conn| spool::list(conn, spool::SpoolId(i64::MIN), None, WAITING_MAX)).await;
    if let Ok(list) = waiting {
        // What a remote has put off waits for a reason of its own; what nobody has tried waits for us.
        let untried = list.iter().filter(|l| l.entry.rcpts.iter().any(|r| r.last.is_none() && !r.is_held()));
        let oldest_s = untried.map(|l| now.since(l.entry.at).as_secs()).max().unwrap_or(0);
        out.push(Fact::Queue { at, group: "all".into(), count: list.len() as u64, oldest_s });
    }
    out.extend(routes(site, now));
    out.extend(listings(site, now));
    out
}

/// Room on one disk, for octets and for files.
fn fills(area: &str, folder: &std::path::Path, at: u64) -> Vec<Fact> {
    let mut out = Vec::new();
    if let Ok((used, size)) = host::process::disk(folder) {
        out.push(Fact::Fill { at, area: area.to_owned(), used: used.get(), size: size.get() });
    }
    if let Ok(Some((used, size))) = host::process::inodes(folder) {
        out.push(Fact::Fill { at, area: format!("{area}{}", link::FILES), used, size });
    }
    out
}

/// Block lists that name an address or a name of ours, or have stopped to; neighbours are no news.
fn listings(site: &Site, now: Now) -> Vec<Fact> {
    let rows = site.outbound().board().rows(now);
    let told = rows.into_iter().filter(|r| r.counts && matches!(r.word, Word::Listed | Word::Clean));
    let fact = |row: route::board::Seen| Fact::Listing {
        at: row.at,
        listed: row.word == Word::Listed,
        list: row.zone,
        subject: row.subject,
        says: row.says,
    };
    told.map(fact).take(GROUPS_MAX).collect()
}

/// Each group of destinations with which something is the matter, and how each way to it stands.
fn routes(site: &Site, now: Now) -> Vec<Fact> {
    let rows = route::show::rows(&site.outbound().routes(), None, now);
    let mut groups: Vec<&str> = rows.iter().map(|r| r.group.as_str()).collect();
    groups.dedup();
    let mut out = Vec::new();
    for group in groups.into_iter().take(GROUPS_MAX) {
        for egress in &site.settings().egresses {
            let row = rows.iter().find(|r| r.group == group && r.egress == egress.name);
            let state = match row.map(|r| r.state.as_str()) {
                None | Some("open") => "open",
                Some("blocked") => "closed",
                Some(_) => "wary",
            };
            let evidence = row.map(|r| r.evidence.iter().map(|e| e.reply.clone()).take(3).collect());
            out.push(Fact::Route {
                at: now.ms(),
                egress: egress.name.clone(),
                group: group.to_owned(),
                state: state.to_owned(),
                since: row.and_then(|r| r.evidence.iter().map(|e| e.at).min()).unwrap_or(now.ms()),
                evidence: evidence.unwrap_or_default(),
            });
        }
    }
    out
}
