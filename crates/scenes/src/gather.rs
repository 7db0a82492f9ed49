//! Transcripts, mailboxes, queue and ledger, read once the scene is over.

use std::collections::BTreeSet;

use message::Head;
use role_relay::bill::{Bill, Month};
use role_relay::customers;
use sim::Peer;
use stdx::Now;
use store::{Store, StoreError};
use words::AccountId;

use crate::Record;
use crate::client::Handed;
use crate::letters::{Letter, token};
use crate::names::Asked;
use crate::record::{Arrival, Contact, Notice, Refusal};
use crate::scene::Scene;

/// Facts, accounts, entries read at a time.
const PAGE: usize = 10_000;
/// Facts of one scene at most.
const FACTS_MAX: usize = 2_000_000;

/// What whoever played the scene knows at its end.
pub struct Played {
    pub begin: Now,
    pub end: Now,
    pub letters: Vec<Letter>,
    pub handed: Vec<Handed>,
    pub asked: Vec<Asked>,
    pub kills: u64,
    pub answers: Vec<(usize, String)>,
}

/// The record of a scene that is over, but for what only one kind of stage can tell.
pub async fn record(
    scene: &Scene,
    peers: &[Peer],
    store: &Store,
    played: Played,
) -> Result<Record, StoreError> {
    let (arrivals, refusals, contacts) = transcripts(scene, peers);
    let facts = facts(store).await?;
    let Played { begin, end, letters, handed, asked, kills, answers } = played;
    Ok(Record {
        begin,
        end,
        handed: complete(handed, &letters, end),
        letters,
        arrivals,
        refusals,
        contacts,
        notices: notices(store, &facts).await?,
        queued: queued(store).await?,
        facts,
        asked,
        reports: Vec::new(),
        bills: bills(store, end).await?,
        routes: routes(store, end).await?,
        kills,
        answers,
        memory_max: None,
        tasks: None,
    })
}

/// Letters that still had no answer at the end, but should have had one.
fn complete(mut handed: Vec<Handed>, letters: &[Letter], end: Now) -> Vec<Handed> {
    let known: BTreeSet<usize> = handed.iter().map(|h| h.letter).collect();
    let open = letters.iter().enumerate().filter(|(n, l)| l.at < end && !known.contains(n));
    handed.extend(open.map(|(letter, _)| Handed { letter, accepted: None, refused: None, tries: 0 }));
    handed.sort_by_key(|h| h.letter);
    handed
}

/// What the peers saw.
pub fn transcripts(scene: &Scene, peers: &[Peer]) -> (Vec<Arrival>, Vec<Refusal>, Vec<Contact>) {
    let (mut arrivals, mut refusals, mut contacts) = (Vec::new(), Vec::new(), Vec::new());
    for (n, peer) in peers.iter().enumerate() {
        let egress = |source| scene.egress_at(n, source).to_owned();
        for got in peer.got() {
            let token = token(&got.text).filter(|_| !got.sender.is_empty());
            for rcpt in &got.recipients {
                arrivals.push(Arrival {
                    at: got.at,
                    egress: egress(got.source),
                    peer: n,
                    sender: got.sender.clone(),
                    rcpt: rcpt.to_ascii_lowercase(),
                    token: token.clone(),
                });
            }
        }
        refusals.extend(peer.refused().into_iter().map(|r| Refusal {
            at: r.at,
            egress: egress(r.source),
            peer: n,
            stage: r.stage,
            sender: r.sender,
            rcpt: r.recipient.to_ascii_lowercase(),
            reply: r.reply,
        }));
        contacts.extend(peer.contacts().into_iter().map(|c| Contact {
            at: c.at,
            egress: egress(c.source),
            peer: n,
        }));
    }
    arrivals.sort_by_key(|a| a.at);
    refusals.sort_by_key(|r| r.at);
    contacts.sort_by_key(|c| c.at);
    (arrivals, refusals, contacts)
}

/// Recipients that are still in the queue.
pub async fn queued(store: &Store) -> Result<Vec<String>, StoreError> {
    let list = store.read(|conn| spool::list(conn, spool::SpoolId(0), None, 1_000_000)).await?;
    Ok(list
        .into_iter()
        .flat_map(|l| l.entry.rcpts)
        .map(|r| r.address.to_string().to_ascii_lowercase())
        .collect())
}

/// The bills of the month, as the relay writes them.
pub async fn bills(store: &Store, now: Now) -> Result<Vec<Bill>, StoreError> {
    let month = Month::of(now);
    let of = move |conn: &store::rusqlite::Connection| {
        let mut out = Vec::new();
        for customer in customers::all(conn)? {
            let used = customers::used(conn, &customer.name, month.hours())?;
            out.extend(role_relay::bill::bill(&customer, month, used));
        }
        Ok(out)
    };
    store.read(of).await
}

/// The whole ledger.
pub async fn facts(store: &Store) -> Result<Vec<ledger::Fact>, StoreError> {
    let mut all: Vec<ledger::Fact> = Vec::new();
    while all.len() < FACTS_MAX {
        let after = all.last().and_then(|f| f.id).unwrap_or(ledger::FactId(0));
        let page = store.read(move |conn| ledger::since(conn, after, PAGE)).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    Ok(all)
}

/// What routes had learned at the end.
pub async fn routes(store: &Store, now: Now) -> Result<Vec<route::show::Row>, StoreError> {
    let rows = store.read(spool::routes).await?;
    let mut groups: Vec<String> =
        rows.iter().filter_map(|(k, _)| k.strip_prefix("g/")).map(str::to_owned).collect();
    groups.dedup();
    let (state, _) = route::State::restore(rows);
    Ok(groups.iter().flat_map(|g| route::show::rows(&state, Some(g), now)).collect())
}

/// Every notice in the mailboxes of our people.
///
/// `facts` know to the millisecond when each was written; its own date only to the second.
pub async fn notices(store: &Store, facts: &[ledger::Fact]) -> Result<Vec<Notice>, StoreError> {
    let accounts = store.read(|conn| directory::accounts(conn, AccountId(0), PAGE)).await?;
    let mut all = Vec::new();
    for account in accounts {
        let id = account.id;
        let rows = store
            .read(move |conn| {
                let Some(folder) = mailbox::folder::find(conn, id, "INBOX")? else { return Ok(Vec::new()) };
                let view = mailbox::view::begin(conn, &folder)?;
                Ok(view.rows().iter().map(|r| r.body).collect::<Vec<_>>())
            })
            .await?;
        for body in rows {
            let bytes = store.body(body).await?.all().await?;
            all.extend(notice(&bytes, &account.login));
        }
    }
    let written: std::collections::BTreeMap<&str, Now> =
        facts.iter().filter(|f| f.kind == "send.notice").map(|f| (f.text("notice"), f.at)).collect();
    for notice in &mut all {
        notice.at = written.get(notice.id.as_str()).copied().unwrap_or(notice.at);
    }
    all.sort_by_key(|n: &Notice| n.at);
    Ok(all)
}

fn notice(bytes: &[u8], to: &str) -> Option<Notice> {
    let head = Head::parse(bytes);
    let text = String::from_utf8_lossy(bytes).into_owned();
    if !head.text("Content-Type")?.to_ascii_lowercase().contains("report") {
        return None;
    }
    let mut notice = Notice {
        at: date(&head.text("Date")?)?,
        id: head.text("Message-ID")?.trim_start_matches('<').split(".notice").next().unwrap_or("").to_owned(),
        to: to.to_owned(),
        token: token(bytes),
        failed: Vec::new(),
        delayed: Vec::new(),
        text: String::new(),
    };
    let mut rcpt = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Final-Recipient:") {
            rcpt = name.rsplit(';').next().unwrap_or("").trim().to_ascii_lowercase();
        }
        match line.strip_prefix("Action:").map(str::trim) {
            Some("failed") => notice.failed.push(rcpt.clone()),
            Some("delayed") => notice.delayed.push(rcpt.clone()),
            _ => {}
        }
    }
    notice.text = text;
    Some(notice)
}

/// `Sun, 22 Nov 2026 14:48:06 +0000`, as our host writes it.
fn date(text: &str) -> Option<Now> {
    message::date::parse(text.trim().as_bytes()).map(message::date::Date::now)
}
