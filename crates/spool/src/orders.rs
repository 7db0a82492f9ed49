//! The operator's view and orders: list, hold, release, retry, drop.

use stdx::Now;
use store::rusqlite::{Connection, OptionalExtension, params};
use store::{Batch, StoreError};
use words::MessageId;

use crate::entry::{Entry, SpoolId, State};
use crate::rows::{columns, finish, write};

/// What is to happen with an entry whose try is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Hold(String),
    Drop,
}

impl Order {
    pub(crate) fn read(text: &str) -> Order {
        match text.strip_prefix("hold ") {
            Some(why) => Order::Hold(why.to_owned()),
            None => Order::Drop,
        }
    }
    fn write(&self) -> String {
        match self {
            Order::Hold(why) => format!("hold {why}"),
            Order::Drop => "drop".to_owned(),
        }
    }
}

/// An entry as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub entry: Entry,
    pub due: Option<Now>,
    /// A try is under way.
    pub sending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub entries: u64,
    pub sending: u64,
    pub later: u64,
    pub held: u64,
}

pub fn counts(conn: &Connection) -> Result<Counts, StoreError> {
    let sql = "SELECT count(*), total(lease <> 0), total(due IS NOT NULL), total(lease = 0 AND due IS NULL) FROM spool";
    Ok(conn.prepare_cached(sql)?.query_row([], |r| {
        let n = |at| r.get::<_, f64>(at).map(|n| n as u64);
        Ok(Counts { entries: r.get::<_, i64>(0)? as u64, sending: n(1)?, later: n(2)?, held: n(3)? })
    })?)
}

const LIST: &str = "SELECT id, message, body, at, entry, due, lease FROM spool";

fn listed(
    row: &store::rusqlite::Row<'_>,
) -> store::rusqlite::Result<(crate::entry::Columns, String, Option<i64>, i64)> {
    let (columns, text) = columns(row)?;
    Ok((columns, text, row.get(5)?, row.get(6)?))
}

fn read(
    (columns, text, due, lease): (crate::entry::Columns, String, Option<i64>, i64),
) -> Result<Listed, StoreError> {
    let mut entry = Entry::read(&columns, &text)?;
    if lease != 0 {
        for rcpt in entry.rcpts.iter_mut().filter(|r| !r.is_held()) {
            rcpt.state = State::Sending;
        }
    }
    Ok(Listed { entry, due: due.map(|d| Now(d as u64)), sending: lease != 0 })
}

/// Entries after `after`, oldest first; `about` must be found in an address or a reason.
pub fn list(
    conn: &Connection,
    after: SpoolId,
    about: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, StoreError> {
    let mut found = conn.prepare_cached(&format!(
        "{LIST} WHERE id > ?1 AND (?2 IS NULL OR instr(lower(entry), ?2) > 0) ORDER BY id LIMIT ?3"
    ))?;
    let about = about.map(str::to_ascii_lowercase);
    let rows = found.query_map(params![after.0, about, limit as i64], listed)?;
    rows.map(|row| read(row?)).collect()
}

/// The entries of one message.
pub fn show(conn: &Connection, message: MessageId) -> Result<Vec<Listed>, StoreError> {
    let mut found = conn.prepare_cached(&format!("{LIST} WHERE message = ?1 ORDER BY id"))?;
    let rows = found.query_map([message.0 as i64], listed)?;
    rows.map(|row| read(row?)).collect()
}

/// One entry inside a commit.
fn one(batch: &Batch<'_>, id: SpoolId) -> Result<Listed, StoreError> {
    let row =
        batch.sql().prepare_cached(&format!("{LIST} WHERE id = ?1"))?.query_row([id.0], listed).optional()?;
    read(row.ok_or_else(|| StoreError::rule("there is no such message in the queue any more"))?)
}

fn order(batch: &Batch<'_>, id: SpoolId, order: &Order) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("INSERT INTO spool_order VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET what = ?2")?
        .execute(params![id.0, order.write()])?;
    Ok(())
}

/// Holds an entry; true at once, false when the try under way has ended.
pub fn hold(batch: &mut Batch<'_>, id: SpoolId, why: &str) -> Result<bool, StoreError> {
    let mut listed = one(batch, id)?;
    if listed.sending {
        order(batch, id, &Order::Hold(why.to_owned()))?;
        return Ok(false);
    }
    for rcpt in &mut listed.entry.rcpts {
        rcpt.state = State::Held(why.to_owned());
    }
    write(batch, &listed.entry, false)?;
    Ok(true)
}

/// Lets held recipients go; they are due now.
pub fn release(batch: &mut Batch<'_>, id: SpoolId, now: Now) -> Result<usize, StoreError> {
    let mut listed = one(batch, id)?;
    batch
        .sql()
        .prepare_cached("DELETE FROM spool_order WHERE id = ?1 AND what <> 'drop'")?
        .execute([id.0])?;
    let mut n = 0;
    for rcpt in listed.entry.rcpts.iter_mut().filter(|r| r.is_held()) {
        (rcpt.state, rcpt.due, n) = (State::Waiting, now, n + 1);
    }
    if !listed.sending {
        write(batch, &listed.entry, false)?;
    }
    Ok(n)
}

/// Makes an entry due now; held recipients stay held. Says whether anything changed.
pub fn retry(batch: &mut Batch<'_>, id: SpoolId, now: Now) -> Result<bool, StoreError> {
    let mut listed = one(batch, id)?;
    if listed.sending || listed.entry.due().is_none() {
        return Ok(false);
    }
    for rcpt in &mut listed.entry.rcpts {
        rcpt.due = now;
        rcpt.tried.clear();
    }
    write(batch, &listed.entry, false)?;
    Ok(true)
}

/// Drops an entry by order, without a notice; the entry comes back if it was dropped at once, and
/// `None` if that waits for the try under way. The caller writes the ledger.
pub fn drop_all(batch: &mut Batch<'_>, id: SpoolId) -> Result<Option<Entry>, StoreError> {
    let listed = one(batch, id)?;
    if listed.sending {
        order(batch, id, &Order::Drop)?;
        return Ok(None);
    }
    finish(batch, &listed.entry)?;
    Ok(Some(listed.entry))
}
