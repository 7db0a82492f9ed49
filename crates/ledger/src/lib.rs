//! Facts, append-only, bounded: attempts, replies, logins, counters.
//!
//! What it is: what happened, when, to which session, message and attempt, about which
//! addresses, decided for which reasons. It feeds `why`, the judges and the status pages.
//! What it is not: the truth about any message (mailbox and spool hold that); nothing breaks if
//! old facts are purged, and they are, by age and number.
//! Begin with [`Fact`] and [`note`].
//!
//! # How it is found again
//!
//! One may ask by message, session, attempt, Message-ID header and each address. An index over such
//! random keys, kept up with every fact, would cost more than the facts. So a run of [`CHAPTER`] facts
//! gets its keys at once, when it is full and in the background ([`tend`]); a question looks once into
//! every chapter, and reads a chapter that has no keys yet.

mod fact;
mod keys;
mod purge;

pub use fact::{Fact, FactId};
pub use keys::tend;
pub use purge::{Limits, Purged, purge};

use std::fmt::Write as _;

use stdx::Now;
use store::rusqlite::{Connection, Row};
use store::{Batch, Schema, StoreError};
use words::{Address, AttemptId, MessageId, SessionId};

use keys::Key;

/// Facts per chapter of the index.
pub const CHAPTER: i64 = 4096;
/// Most facts an answer holds.
pub const ANSWER_MAX: usize = 10_000;

/// The tables of this room.
pub const SCHEMA: Schema = Schema {
    room: "ledger",
    steps: &[
        "
    CREATE TABLE fact (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,       -- ms since 1970
        kind TEXT NOT NULL,
        session INTEGER,
        message INTEGER,
        attempt INTEGER,
        header TEXT,               -- Message-ID as the message writes it
        about TEXT NOT NULL,       -- address keys, one a line
        detail TEXT NOT NULL       -- JSON object
    ) STRICT;
    CREATE TABLE fact_key (
        chapter INTEGER NOT NULL,
        key INTEGER NOT NULL,
        fact INTEGER NOT NULL,
        PRIMARY KEY (chapter, key, fact)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE counter (
        name TEXT NOT NULL,
        hour INTEGER NOT NULL,     -- hours since 1970
        n INTEGER NOT NULL,
        PRIMARY KEY (name, hour)
    ) STRICT, WITHOUT ROWID;
    ",
        keys::TABLE,
    ],
};

/// Enters a fact; true once the batch is durable.
pub fn note(batch: &mut Batch<'_>, fact: &Fact) -> Result<FactId, StoreError> {
    let conn = batch.sql();
    let mut about = String::new();
    for address in &fact.about {
        if !about.is_empty() {
            about.push('\n');
        }
        let _ = write!(about, "{address}");
    }
    conn.prepare_cached(
        "INSERT OR FAIL INTO fact (at, kind, session, message, attempt, header, about, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute((
        fact.at.ms() as i64,
        &*fact.kind,
        fact.session.map(|i| i.0 as i64),
        fact.message.map(|i| i.0 as i64),
        fact.attempt.map(|i| i.0 as i64),
        fact.header.as_deref(),
        &about,
        fact.detail_text(),
    ))?;
    Ok(FactId(conn.last_insert_rowid()))
}

const COLUMNS: &str = "id, at, kind, session, message, attempt, header, about, detail";

fn read(row: &Row<'_>) -> Result<Fact, store::rusqlite::Error> {
    let id = |n: Option<i64>| n.map(|n| n as u64);
    let about: String = row.get(7)?;
    let detail: String = row.get(8)?;
    Ok(Fact {
        id: Some(FactId(row.get(0)?)),
        at: Now(row.get::<_, i64>(1)? as u64),
        kind: row.get::<_, String>(2)?.into(),
        session: id(row.get(3)?).map(SessionId),
        message: id(row.get(4)?).map(MessageId),
        attempt: id(row.get(5)?).map(AttemptId),
        header: row.get(6)?,
        about: about.lines().map(str::to_owned).collect(),
        detail: serde_json::from_str(&detail).unwrap_or_default(),
    })
}

/// The newest `limit` facts under a key, oldest of them first.
fn under(conn: &Connection, key: &Key<'_>, limit: usize) -> Result<Vec<Fact>, StoreError> {
    let limit = limit.min(ANSWER_MAX);
    let ends: (Option<i64>, Option<i64>) = conn
        .prepare_cached("SELECT min(id), (SELECT max(id) FROM fact) FROM fact")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let (Some(first), Some(last)) = ends else { return Ok(Vec::new()) };
    let mut look = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM fact WHERE id = ?1"))?;
    let mut found = Vec::new();
    for chapter in (first / CHAPTER..=last / CHAPTER).rev() {
        for id in keys::newest_first(conn, chapter, key)? {
            let mut rows = look.query([id])?;
            if let Some(row) = rows.next()? {
                found.extend(Some(read(row)?).filter(|fact| key.fits(fact)));
            }
            if found.len() >= limit {
                break;
            }
        }
        if found.len() >= limit {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// A message's whole walk, in the order it happened: its own facts, and those of the sessions
/// they name that belong to no other message.
pub fn walk(conn: &Connection, id: MessageId) -> Result<Vec<Fact>, StoreError> {
    let mut facts = under(conn, &Key::Message(id), ANSWER_MAX)?;
    let mut sessions: Vec<SessionId> = facts.iter().filter_map(|f| f.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    for session in sessions {
        let beside = under(conn, &Key::Session(session), ANSWER_MAX)?;
        facts.extend(beside.into_iter().filter(|f| f.message.is_none()));
    }
    facts.sort_by_key(|f| f.id);
    Ok(facts)
}

/// The newest `limit` facts of one message, oldest of them first.
pub fn of_message(conn: &Connection, id: MessageId, limit: usize) -> Result<Vec<Fact>, StoreError> {
    under(conn, &Key::Message(id), limit)
}

/// The newest `limit` facts of one session, oldest of them first.
pub fn of_session(conn: &Connection, id: SessionId, limit: usize) -> Result<Vec<Fact>, StoreError> {
    under(conn, &Key::Session(id), limit)
}

/// The facts of one attempt.
pub fn of_attempt(conn: &Connection, id: AttemptId, limit: usize) -> Result<Vec<Fact>, StoreError> {
    under(conn, &Key::Attempt(id), limit)
}

/// The newest `limit` facts about an address, oldest of them first.
pub fn about(conn: &Connection, address: &Address, limit: usize) -> Result<Vec<Fact>, StoreError> {
    under(conn, &Key::About(&address.key()), limit)
}

/// Facts of messages that carry this Message-ID header, with or without angle brackets.
pub fn by_header(conn: &Connection, header: &str, limit: usize) -> Result<Vec<Fact>, StoreError> {
    under(conn, &Key::Header(header), limit)
}

/// Up to `limit` facts after `after`, in order: for whoever follows the ledger.
pub fn since(conn: &Connection, after: FactId, limit: usize) -> Result<Vec<Fact>, StoreError> {
    let mut list =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM fact WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let rows = list.query_map((after.0, limit.min(ANSWER_MAX) as i64), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest `limit` facts of these kinds, oldest of them first, among the newest `among` of all.
pub fn of_kinds(
    conn: &Connection,
    kinds: [&str; 2],
    (limit, among): (usize, i64),
) -> Result<Vec<Fact>, StoreError> {
    let oldest = newest(conn)?.0 - among;
    let mut list = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM fact WHERE id > ?1 AND kind IN (?2, ?3) ORDER BY id DESC LIMIT ?4"
    ))?;
    let rows = list.query_map((oldest, kinds[0], kinds[1], limit as i64), read)?;
    let mut found: Vec<Fact> = rows.collect::<Result<_, _>>()?;
    found.reverse();
    Ok(found)
}

/// The newest fact's id, 0 if there is none.
pub fn newest(conn: &Connection) -> Result<FactId, StoreError> {
    let id: Option<i64> = conn.prepare_cached("SELECT max(id) FROM fact")?.query_row([], |r| r.get(0))?;
    Ok(FactId(id.unwrap_or(0)))
}

/// Adds to an hourly counter.
pub fn count(batch: &mut Batch<'_>, name: &str, now: Now, n: i64) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached(
            "INSERT OR FAIL INTO counter VALUES (?1, ?2, ?3) ON CONFLICT (name, hour) DO UPDATE SET n = n + ?3",
        )?
        .execute((name, hour(now), n))?;
    Ok(())
}

/// A counter's sum over `[from, to)`, by whole hours.
pub fn counted(conn: &Connection, name: &str, from: Now, to: Now) -> Result<i64, StoreError> {
    let mut sum = conn.prepare_cached(
        "SELECT coalesce(sum(n), 0) FROM counter WHERE name = ?1 AND hour >= ?2 AND hour < ?3",
    )?;
    let end = (to.ms() as i64 + 3_599_999) / 3_600_000;
    Ok(sum.query_row((name, hour(from), end), |r| r.get(0))?)
}

/// Sums of all counters whose names begin with `prefix`, over `[from, to)`, by name.
pub fn counters(
    conn: &Connection,
    prefix: &str,
    from: Now,
    to: Now,
) -> Result<Vec<(String, i64)>, StoreError> {
    let mut list = conn.prepare_cached(
        "SELECT name, sum(n) FROM counter
         WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 AND hour >= ?2 AND hour < ?3
         GROUP BY name ORDER BY name",
    )?;
    let end = (to.ms() as i64 + 3_599_999) / 3_600_000;
    let rows = list.query_map((prefix, hour(from), end), |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn hour(now: Now) -> i64 {
    (now.ms() / 3_600_000) as i64
}

#[cfg(test)]
mod tests;
