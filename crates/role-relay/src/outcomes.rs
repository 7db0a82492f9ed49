//! What became of mail that a mail host of ours handed to this relay, for that host to know.
//!
//! What it is: each message of a mail host carries that host's own name and id in its topmost
//! Received field ([`whence`]); what the sender noted of it since the last telling becomes
//! [`link::Fact::Outcome`]s ([`due`]), a bounded batch at a time, and [`told`] moves the mark on.
//! What it is not: a telling itself; nothing is lost if one fails, and a batch may come twice.
//! Begin with [`due`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ledger::{Fact, FactId};
use message::Head;
use stdx::{Now, Span};
use store::rusqlite::{Connection, OptionalExtension};
use store::{Batch, StoreError};
use words::MessageId;

/// Outcomes in one batch, about; a message's recipients stay together.
pub const BATCH: usize = 300;
/// Rows of the ledger looked through for one batch.
const ROWS: usize = 2_000;
const ROUNDS: usize = 10;
/// A host that is told for the first time hears of so many rows back.
const BACK: i64 = 20_000;
/// The mail host notes our 250 first; younger outcomes wait for the next batch.
const RIPE: Span = Span::secs(2);
/// Longest reply passed on, in characters.
const REPLY_MAX: usize = 600;
/// Facts of one message in which its coming in is looked for.
const WALK_MAX: usize = 1_000;

/// Up to where each host was told.
pub(crate) const TABLE: &str = "
    CREATE TABLE relay_told (
        peer TEXT PRIMARY KEY,
        after INTEGER NOT NULL     -- the ledger's row
    ) STRICT, WITHOUT ROWID;
    ";

/// The host that wrote the topmost Received field, and its own id of the message.
pub fn whence(head: &Head<'_>) -> Option<(String, MessageId)> {
    let field = head.get("Received")?.text();
    let words: Vec<&str> = field.split_whitespace().collect();
    // RFC 5321 §4.4: "from" and its name come first, whatever that name is.
    let by = words.iter().skip(2).position(|w| *w == "by")? + 3;
    let id = words.iter().skip(by + 1).position(|w| *w == "id")? + by + 2;
    let id = words.get(id)?.trim_end_matches(';').parse().ok()?;
    Some(((*words.get(by)?).to_ascii_lowercase(), id))
}

/// What `peer` was not told yet, and the mark to move to once it was.
pub fn due(conn: &Connection, peer: &str, now: Now) -> Result<(Vec<link::Fact>, FactId), StoreError> {
    let mark: Option<i64> = conn
        .prepare_cached("SELECT after FROM relay_told WHERE peer = ?1")?
        .query_row([peer], |r| r.get(0))
        .optional()?;
    let mut mark = match mark {
        Some(mark) => FactId(mark),
        None => FactId((ledger::newest(conn)?.0 - BACK).max(0)),
    };
    let mut known: BTreeMap<MessageId, Option<MessageId>> = BTreeMap::new();
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        let facts = ledger::since(conn, mark, ROWS)?;
        let last = facts.len() < ROWS;
        for fact in facts {
            if out.len() >= BATCH || fact.at + RIPE > now {
                return Ok((out, mark));
            }
            mark = fact.id.unwrap_or(mark);
            let (Some(became), Some(message)) = (became(&fact), fact.message) else { continue };
            let id = match known.entry(message) {
                Entry::Occupied(held) => *held.get(),
                Entry::Vacant(place) => *place.insert(theirs(conn, message, peer)?),
            };
            if let Some(id) = id {
                out.extend(one_each(&fact, became, id));
            }
        }
        if last {
            break;
        }
    }
    Ok((out, mark))
}

/// `peer` has taken everything up to this mark.
pub fn told(batch: &mut Batch<'_>, peer: &str, mark: FactId) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached(
            "INSERT INTO relay_told VALUES (?1, ?2) ON CONFLICT (peer) DO UPDATE SET after = max(after, ?2)",
        )?
        .execute((peer, mark.0))?;
    Ok(())
}

fn became(fact: &Fact) -> Option<&'static str> {
    Some(match &*fact.kind {
        "send.delivered" => "delivered",
        "send.refused" | "send.bounced" => "refused",
        "send.deferred" => "deferred",
        "send.failed" | "send.expired" | "queue.dropped" => "failed",
        _ => return None,
    })
}

/// The id that `peer` knows this message by, if it came from there.
fn theirs(conn: &Connection, message: MessageId, peer: &str) -> Result<Option<MessageId>, StoreError> {
    let walk = ledger::of_message(conn, message, WALK_MAX)?;
    let came =
        walk.iter().find(|f| f.kind == "relay.accepted" && f.text("from_host").eq_ignore_ascii_case(peer));
    Ok(came.and_then(|f| f.text("from_message").parse().ok()))
}

fn one_each(fact: &Fact, became: &str, id: MessageId) -> Vec<link::Fact> {
    let said = [fact.text("said"), fact.text("reply")].into_iter().find(|t| !t.is_empty());
    let reply: String = said.unwrap_or(fact.text("says")).chars().take(REPLY_MAX).collect();
    let code = reply.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
    let one = |recipient: &String| link::Fact::Outcome {
        at: fact.at.ms(),
        message: id.to_string(),
        recipient: recipient.clone(),
        egress: fact.text("egress").to_owned(),
        mx: fact.text("host").to_owned(),
        code,
        reply: reply.clone(),
        became: became.to_owned(),
    };
    fact.about.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(received: &str, expected: Option<(&str, u64)>) {
        let text = format!("Received: {received}; Sun, 22 Nov 2026 20:00:00 +0000\r\nSubject: x\r\n\r\n");
        let expected = expected.map(|(host, id)| (host.to_owned(), MessageId(id)));
        assert_eq!(whence(&Head::parse(text.as_bytes())), expected, "{received}");
    }

    #[test]
    fn the_topmost_field_names_the_host_and_its_id() {
        let id = MessageId(0x1234_5678_9ABC);
        let with =
            |rest: &str| format!("from laptop ([127.0.0.1]) by MX.home.example with ESMTPSA{rest} id {id}");
        check(&with(""), Some(("mx.home.example", id.0)));
        check(&with("\r\n (TLSv1.3 AES)"), Some(("mx.home.example", id.0)));
        check(&format!("from by ([1.2.3.4]) by mx.a with ESMTP id {id} for <a@b>"), Some(("mx.a", id.0)));
        check("from x ([1.2.3.4]) by mx.a with ESMTP", None);
        check("from x ([1.2.3.4]) by mx.a with ESMTP id other/host-7", None);
        assert_eq!(whence(&Head::parse(b"Subject: x\r\n\r\n")), None);
    }
}
