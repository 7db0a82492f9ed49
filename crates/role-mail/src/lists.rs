//! Asks block lists about our own addresses and names.
//!
//! What it is: the task that carries [`route::board::Board`]'s questions to DNS and its findings
//! to [`route::learn_list`], the ledger and the operator. What it is not: a rule about what an
//! answer means, or anything a delivery ever waits for. Begin with [`watch`].

use drive::{First, Stop};
use route::board::{self, Change, Errand, Subject, Word};
use route::dnsbl::{Answer, LISTS_THE_WORLD, ListFacts};
use route::lists::CITED;
use route::{Alert, Event, EventKind, News};
use stdx::Span;
use tokio::task::JoinSet;
use world::DnsError;

use crate::Site;
use crate::send::landing;
use crate::send::outbound::egresses;

/// An answer takes at most so long; later it is none.
const ANSWER: Span = Span::secs(8);
/// Lists asked at the same time.
const ERRANDS_MAX: usize = 8;
/// The sender reads first what the last run knew.
const FIRST: Span = Span::secs(3);
/// Settings may bring a new list or address; they are looked at so often.
const LOOK: Span = Span::mins(1);

/// Watches until the server stops.
pub async fn watch(site: Site, stop: Stop) {
    let clock = site.world().clock.clone();
    if drive::until_stop(&stop, clock.sleep_until(site.now() + FIRST)).await.is_none() {
        return;
    }
    let (lists, subjects) = watched(&site);
    for list in &lists {
        let at = route::lists::said_at(&site.outbound().routes(), &list.zone);
        if let Some(at) = at {
            site.outbound().board().was_asked(&list.zone, &subjects, at);
        }
    }
    loop {
        let (lists, subjects) = watched(&site);
        let work = round(&site, &lists, &subjects, board::EVERY);
        if drive::until_stop(&stop, work).await.is_none() {
            return;
        }
        let now = site.now();
        let next = site.outbound().board().next(&lists, &subjects, now);
        let next = next.clamp(now + Span::secs(1), now + LOOK);
        if drive::until_stop(&stop, clock.sleep_until(next)).await.is_none() {
            return;
        }
    }
}

fn watched(site: &Site) -> (Vec<ListFacts>, Vec<Subject>) {
    let settings = site.settings();
    let mut lists = settings.lists.clone();
    // Who asks no lists at all asks none that others name either.
    if !lists.is_empty() {
        let cited = route::cited_zones(&site.outbound().routes(), &lists, site.now());
        lists.extend(cited);
    }
    (lists, board::subjects(&egresses(&settings)))
}

/// Asks what was not asked for `every`, and takes the answers.
pub async fn round(site: &Site, lists: &[ListFacts], subjects: &[Subject], every: Span) {
    let due = site.outbound().board().due(lists, subjects, every, site.now());
    let mut due = due.into_iter();
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < ERRANDS_MAX {
            let Some(errand) = due.next() else { break };
            asking.spawn(carry(site.clone(), errand));
        }
        match asking.join_next().await {
            Some(Ok((errand, proof, ours))) => take(site, &errand, proof, ours),
            Some(Err(why)) => tracing::error!(%why, "a question to a block list was cut short"),
            None => return,
        }
    }
}

/// The test points first; a list that does not prove itself alive is not asked further.
async fn carry(site: Site, errand: Errand) -> (Errand, [Answer; 2], Vec<Answer>) {
    let proof = match errand.proved.clone() {
        Some(proof) => proof,
        None => {
            let [must_be, must_not_be] = &errand.proof;
            [ask(&site, must_be).await, ask(&site, must_not_be).await]
        }
    };
    let alive = errand.is_proof(&proof);
    let mut ours = Vec::with_capacity(errand.asks.len());
    for (_, name) in &errand.asks {
        ours.push(match alive {
            true => ask(&site, name).await,
            false => Answer::Failed("not asked, since the list does not prove itself alive".to_owned()),
        });
    }
    (errand, proof, ours)
}

async fn ask(site: &Site, name: &str) -> Answer {
    let world = site.world();
    let asked = world.dns.ipv4(name);
    match drive::first(asked, world.clock.sleep_until(site.now() + ANSWER)).await {
        First::A(Ok(answer)) => Answer::Records(answer.records),
        First::A(Err(DnsError::NoName | DnsError::NoData)) => Answer::NoName,
        First::A(Err(DnsError::Failed(why))) => Answer::Failed(why),
        First::B(()) => Answer::Failed(format!("no answer within {ANSWER}")),
    }
}

fn take(site: &Site, errand: &Errand, proof: [Answer; 2], ours: Vec<Answer>) {
    let now = site.now();
    let (changes, words) = {
        let mut board = site.outbound().board();
        let changes = board.take(errand, proof, ours, now);
        let zone = &errand.list.zone;
        let mut words: Vec<(String, News)> = Vec::new();
        for egress in errand.asks.iter().flat_map(|(s, _)| &s.egresses) {
            if let Some(news) = board.news_on(zone, egress).filter(|_| !errand.list.of_domains) {
                words.push((egress.clone(), news));
            }
        }
        (changes, words)
    };
    let mut events: Vec<Event> = Vec::new();
    for (egress, news) in words {
        let mut routes = site.outbound().routes();
        let learned = route::learn_list(&mut routes, &errand.list.zone, &egress, news, now);
        // That it is listed is told below with the address; here, what it did to routes.
        events.extend(learned.into_iter().filter(|e| e.kind == EventKind::ListCleared));
    }
    announce(site, &changes, events);
}

/// Tells the record and the operator what changed.
pub(crate) fn announce(site: &Site, changes: &[Change], more: Vec<Event>) {
    let mut events: Vec<Event> = changes.iter().filter_map(event).collect();
    events.extend(more);
    landing::audit(site, &events, None);
    // Of a list that only a refusal cited, the refusal told already.
    for change in changes.iter().filter(|c| c.seen.word == Word::Listed && c.seen.list != CITED) {
        let seen = &change.seen;
        let says = format!(
            "{} lists {} ({}): {}; to be taken off: {}",
            seen.zone,
            seen.subject,
            seen.egresses.join(", "),
            seen.says,
            seen.delist
        );
        landing::alert(site, &Alert { key: format!("listed:{}:{}", seen.zone, seen.subject), says });
    }
}

/// The audit line for a change of mind.
fn event(change: &Change) -> Option<Event> {
    let seen = &change.seen;
    let (zone, subject) = (&seen.zone, &seen.subject);
    // What a refusal cites need not be a list that anybody may ask.
    if seen.list == CITED && seen.word == Word::Unusable && seen.rule != LISTS_THE_WORLD {
        return None;
    }
    let (kind, says) = match (seen.word, change.before) {
        (Word::Listed, _) if !change.of_address => (
            EventKind::NameListed,
            format!("{zone} lists the name {subject}: {}; no other address helps", seen.says),
        ),
        (Word::Listed, _) => (
            EventKind::Listed,
            format!("{zone} lists {subject}: {}; only destinations that have cited it are moved", seen.says),
        ),
        (Word::Neighbours, _) => (
            EventKind::Neighbours,
            format!(
                "neighbours, not you: {zone} names the network of {subject} ({}); nothing is moved",
                seen.says
            ),
        ),
        (Word::Unusable, _) => (
            EventKind::ListUnusable,
            format!("{zone} makes no usable statement about {subject}: {}", seen.says),
        ),
        (Word::Clean, Some(Word::Unusable)) => {
            (EventKind::ListUsable, format!("{zone} answers again: {subject} is not listed"))
        }
        (Word::Clean, Some(Word::Listed)) => {
            (EventKind::ListCleared, format!("{zone} no longer lists {subject}"))
        }
        (Word::Clean, Some(Word::Neighbours)) => {
            (EventKind::ListCleared, format!("{zone} no longer names the network of {subject}"))
        }
        (Word::Clean, _) => return None,
    };
    let proof = format!("{} ({}; {})", seen.says, seen.rule, seen.egresses.join(", "));
    Some(Event::new(kind, says).because([proof]).undo("nothing to undo: routes follow replies"))
}
