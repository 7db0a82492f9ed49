//! Facts that a relay of ours sends back: how its ways stand, who lists it, what became of mail.
//!
//! What it is: parcels over `link`, opened with the peer's key and taken once each; what they say
//! becomes facts of the egress that leads through that peer (its relay's host is the peer's name).
//! What it is not: an order. A peer through whom nothing leaves is heard and changes nothing.
//! Begin with [`take`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ledger::Fact;
use link::{OpenError, Parcel};
use route::afar::{Afar, Word};
use route::board::{Change, Told};
use route::{Event, EventKind, News};
use stdx::Now;
use store::rusqlite::Connection;
use store::{Batch, Schema, StoreError};
use words::{Address, MessageId};

use crate::send::landing;
use crate::send::outbound::judging;
use crate::{Settings, Site, lists};

/// Groups that a sender names at most; with so many there may be more.
const GROUPS_MAX: usize = 200;
/// Of one kind in a parcel; more is not looked at.
const KIND_MAX: usize = 2_000;
/// Facts of one message that are looked through.
const WALK_MAX: usize = 1_000;
/// Names in a fact: a DNS name's length.
const NAME_MAX: usize = 255;

/// Who was heard, up to which number.
pub const SCHEMA: Schema = Schema {
    room: "peers",
    steps: &["
    CREATE TABLE link_peer (
        name TEXT PRIMARY KEY,
        last INTEGER NOT NULL,     -- the number of the last parcel taken
        heard INTEGER NOT NULL     -- ms since 1970
    ) STRICT, WITHOUT ROWID;
    "],
};

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Facts(usize),
    /// It had come before; nothing changed.
    Again,
    Refused(OpenError),
}

/// Opens a parcel and takes its facts.
///
/// # Errors
/// Trouble with the store.
pub async fn take(site: &Site, bytes: Vec<u8>) -> Result<Taken, StoreError> {
    let (now, settings) = (site.now(), site.settings());
    let mut peers = settings.peers.clone();
    let last = site.store().read(last).await?;
    for peer in &mut peers {
        peer.last = last.get(&peer.name).copied().unwrap_or(0);
    }
    let parcel = match link::open(&bytes, &peers, now) {
        Ok(parcel) => parcel,
        Err(OpenError::Again { .. }) => return Ok(Taken::Again),
        Err(why) => {
            tracing::warn!(%why, "a parcel is not taken");
            return Ok(Taken::Refused(why));
        }
    };
    let count = parcel.facts.len();
    let egress = egress_of(&settings, &parcel.from);
    let ends = egress.as_deref().map_or(Vec::new(), |egress| outcomes(&parcel, egress, now));
    let (from, serial) = (parcel.from.clone(), parcel.serial as i64);
    let fresh = site.store().commit(Vec::new(), move |batch| {
        // Asked again inside the commit: two copies may be on their way at once.
        let n = batch.sql().execute(
            "INSERT INTO link_peer VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET last = ?2, heard = ?3 WHERE last < ?2",
            (&from, serial, now.ms() as i64),
        )?;
        if n > 0 {
            note(batch, &ends)?;
        }
        Ok(n > 0)
    });
    if !fresh.await? {
        return Ok(Taken::Again);
    }
    if let Some(egress) = egress {
        learn(site, &settings, (&parcel, &egress), now).await?;
    }
    Ok(Taken::Facts(count))
}

fn last(conn: &Connection) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut query = conn.prepare_cached("SELECT name, last FROM link_peer")?;
    let rows = query.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The egress of ours that leads through this host.
fn egress_of(settings: &Settings, peer: &str) -> Option<String> {
    let through = |e: &&crate::Egress| e.relay.as_ref().is_some_and(|r| r.host.eq_ignore_ascii_case(peer));
    settings.egresses.iter().find(through).map(|e| e.name.clone())
}

/// What it says of routes and lists, into what routes have learned, with an audit line each.
async fn learn(
    site: &Site,
    settings: &Settings,
    (parcel, egress): (&Parcel, &str),
    now: Now,
) -> Result<(), StoreError> {
    let mut events = Vec::new();
    let lives = parcel.facts.iter().any(|f| matches!(f, link::Fact::Heartbeat { .. }));
    let groups = groups(parcel);
    if lives || !groups.is_empty() {
        let whole = lives && groups.len() < GROUPS_MAX;
        let word = Word { egress, by: &parcel.from, groups: &groups, whole };
        events.extend(route::learn_afar(&mut site.outbound().routes(), &word, &judging(settings), now));
    }
    let (changes, more) = listings(site, settings, (parcel, egress), now);
    events.extend(more);
    let changed = !(events.is_empty() && changes.is_empty());
    let alerts: Vec<route::Alert> = events.iter().filter_map(|e| closed(e, egress)).collect();
    lists::announce(site, &changes, events);
    alerts.iter().for_each(|alert| landing::alert(site, alert));
    if !changed {
        return Ok(());
    }
    let rows = site.outbound().routes().take_changes();
    site.store().commit(Vec::new(), move |batch| spool::save_routes(batch, &rows)).await
}

/// The operator hears of a way that closed.
fn closed(event: &Event, egress: &str) -> Option<route::Alert> {
    let about = event.kind == EventKind::GroupBlocked;
    about.then(|| route::Alert { key: format!("afar:{egress}:{}", event.says), says: event.says.clone() })
}

/// Each group with the relay's own ways taken together: it is closed if every one of them is.
fn groups(parcel: &Parcel) -> Vec<Afar> {
    let mut by_name: BTreeMap<&str, (bool, Vec<String>)> = BTreeMap::new();
    for fact in &parcel.facts {
        let link::Fact::Route { group, state, evidence, .. } = fact else { continue };
        if group.len() > NAME_MAX || by_name.len() >= KIND_MAX {
            continue;
        }
        let (closed, replies) = by_name.entry(group).or_insert((true, Vec::new()));
        *closed &= state == "closed";
        replies.extend(evidence.iter().take(3).cloned());
    }
    let all = by_name.into_iter();
    all.map(|(group, (closed, replies))| Afar { group: group.to_owned(), closed, replies }).collect()
}

fn listings(
    site: &Site,
    settings: &Settings,
    (parcel, egress): (&Parcel, &str),
    now: Now,
) -> (Vec<Change>, Vec<Event>) {
    let (mut changes, mut events) = (Vec::new(), Vec::new());
    for fact in parcel.facts.iter().take(KIND_MAX) {
        let link::Fact::Listing { list, subject, listed, says, .. } = fact else { continue };
        if list.len() > NAME_MAX || subject.len() > NAME_MAX {
            continue;
        }
        let says: String = says.chars().take(600).collect();
        let known = settings.lists.iter().find(|l| l.zone == *list);
        let told =
            Told { zone: list, subject, listed: *listed, says: &says, egress, by: &parcel.from, list: known };
        let (change, word) = {
            let mut board = site.outbound().board();
            (board.take_told(&told, now), board.word_on(list, egress))
        };
        // Lists of names have no word on a route.
        let news = match word {
            Some(route::board::Word::Listed) => News::Listed,
            Some(route::board::Word::Clean) => News::Clean,
            _ => continue,
        };
        let learned = route::learn_list(&mut site.outbound().routes(), list, egress, news, now);
        events.extend(learned.into_iter().filter(|e| e.kind == EventKind::ListCleared && change.is_none()));
        changes.extend(change);
    }
    (changes, events)
}

/// What became of one recipient of a message that was handed over.
struct End {
    egress: String,
    fact: Fact,
}

fn outcomes(parcel: &Parcel, egress: &str, now: Now) -> Vec<End> {
    let one = |fact: &link::Fact| {
        let link::Fact::Outcome { at, message, recipient, egress: way, mx, reply, became, .. } = fact else {
            return None;
        };
        let kind = match became.as_str() {
            "delivered" => "relay.delivered",
            "refused" => "relay.refused",
            "deferred" => "relay.deferred",
            "failed" => "relay.failed",
            _ => return None,
        };
        let message: MessageId = message.parse().ok()?;
        let recipient = Address::parse(recipient).ok()?;
        // Its clock may run ahead of ours.
        let fact = Fact::new(kind, Now(*at).min(now)).message(message).about(&recipient);
        let fact = fact.with("relay", parcel.from.clone()).with("egress", way.clone());
        let fact = fact.with("host", mx.clone()).with("said", reply.clone());
        Some(End { egress: egress.to_owned(), fact })
    };
    parcel.facts.iter().filter_map(one).take(KIND_MAX).collect()
}

/// Enters them behind the message's own facts: only of what was handed to that relay, and once.
fn note(batch: &mut Batch<'_>, ends: &[End]) -> Result<(), StoreError> {
    let mut walks: BTreeMap<MessageId, Vec<Fact>> = BTreeMap::new();
    for End { egress, fact } in ends {
        let Some(id) = fact.message else { continue };
        let walk = match walks.entry(id) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(ledger::of_message(batch.sql(), id, WALK_MAX)?),
        };
        let handed = walk.iter().any(|f| {
            f.kind == "send.delivered"
                && f.text("egress") == egress
                && f.about.iter().any(|a| fact.about.contains(a))
        });
        let again = walk.iter().any(|f| {
            f.kind == fact.kind && f.at == fact.at && f.about == fact.about && f.detail == fact.detail
        });
        if handed && !again {
            ledger::note(batch, fact)?;
            walk.push(fact.clone());
        }
    }
    Ok(())
}
