//! What this mail host or relay says of itself to those who watch it: that it lives, its disks, its
//! queue, its ways out, who lists them. Signed, every 30 seconds, whether or not anybody answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use link::{Fact, Parcel};
use role_mail::Site;
use route::board::Word;
use stdx::{Now, Span};
use tokio::task::JoinHandle;
use web::{Ask, Url};

use crate::house::House;
use crate::{link_key, watch_post};

/// A watcher that hears nothing for three minutes speaks: five words may be lost.
const EVERY: Span = Span::secs(30);
const LIMIT: Span = Span::secs(20);
/// Entries of the queue that are looked through.
const WAITING_MAX: usize = 5000;
/// Destination groups told of.
const GROUPS_MAX: usize = 200;

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
        data: config.data.clone(),
        name: config.host_name.clone(),
        key: Arc::new(key),
    };
    Ok(tokio::spawn(teller.run(peers)))
}

struct Teller {
    site: Site,
    data: PathBuf,
    name: String,
    key: Arc<link::Key>,
}

impl Teller {
    async fn run(self, peers: Vec<(String, Url)>) {
        // Who has not answered for how long: said once, and once more when it is over.
        let mut silent: Vec<(String, Option<Now>)> = peers.iter().map(|(n, _)| (n.clone(), None)).collect();
        while !peers.is_empty() {
            let next = self.site.now() + EVERY;
            let facts = facts(&self.site, &self.data).await;
            for ((name, url), (_, since)) in peers.iter().zip(&mut silent) {
                let now = self.site.now();
                match (self.tell(url, facts.clone()).await, *since) {
                    (Ok(()), Some(began)) => {
                        tracing::info!(peer = %name, "it answers again, after {}", now.since(began));
                        *since = None;
                    }
                    (Ok(()), None) => {}
                    (Err(why), None) => {
                        tracing::warn!(peer = %name, "it does not take our facts, and may be dead: {why}");
                        *since = Some(now);
                    }
                    (Err(_), Some(_)) => {}
                }
            }
            self.site.world().clock.sleep_until(next).await;
        }
    }

    async fn tell(&self, url: &Url, facts: Vec<Fact>) -> Result<(), String> {
        let now = self.site.now();
        // The time as serial number needs no memory and never goes back.
        let parcel = Parcel { from: self.name.clone(), serial: now.ms(), at: now, facts };
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

/// All that is known now.
pub async fn facts(site: &Site, data: &Path) -> Vec<Fact> {
    let now = site.now();
    let at = now.ms();
    let mut out = vec![Fact::Heartbeat { at, version: env!("CARGO_PKG_VERSION").into(), started: 0 }];
    if let Ok((used, size)) = host::process::disk(data) {
        out.push(Fact::Fill { at, area: "store".into(), used: used.get(), size: size.get() });
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
                since: now.ms(),
                evidence: evidence.unwrap_or_default(),
            });
        }
    }
    out
}
