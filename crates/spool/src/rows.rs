//! Writing and claiming entries. Everything here runs inside a role's commit.

use stdx::Now;
use store::rusqlite::{Connection, OptionalExtension, params};
use store::{Batch, BodyId, StoreError};
use words::MessageId;

use crate::Feed;
use crate::entry::{Columns, Entry, New, SpoolId, State};
use crate::orders::Order;

/// Takes an accepted message in; the sender hears of it as soon as the commit is durable.
pub fn add(batch: &mut Batch<'_>, feed: &Feed, new: &New) -> Result<SpoolId, StoreError> {
    let mut entry = Entry::of(new, SpoolId(0));
    let fed = feed.has_room();
    let (due, lease) = if fed { (None, feed.run()) } else { (Some(new.at.0 as i64), 0) };
    entry.id = insert(batch, &entry, due, lease)?;
    let (id, feed) = (entry.id, feed.clone());
    batch.after(Box::new(move || if fed { feed.push(entry) } else { feed.ring() }));
    Ok(id)
}

/// Takes a message in without sending it: held until it is released.
pub fn add_held(batch: &mut Batch<'_>, new: &New, why: &str) -> Result<SpoolId, StoreError> {
    let mut entry = Entry::of(new, SpoolId(0));
    for rcpt in &mut entry.rcpts {
        rcpt.state = State::Held(why.to_owned());
    }
    insert(batch, &entry, None, 0)
}

fn insert(batch: &mut Batch<'_>, entry: &Entry, due: Option<i64>, lease: i64) -> Result<SpoolId, StoreError> {
    if entry.rcpts.is_empty() {
        return Err(StoreError::rule("a message without recipients cannot be sent"));
    }
    batch.hold(entry.body)?;
    let text = entry.write()?;
    let sql = batch.sql();
    sql.prepare_cached(
        "INSERT OR FAIL INTO spool (message, body, at, due, lease, entry) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![entry.message.0 as i64, entry.body, entry.at.0 as i64, due, lease, text])?;
    Ok(SpoolId(sql.last_insert_rowid()))
}

pub(crate) fn columns(row: &store::rusqlite::Row<'_>) -> store::rusqlite::Result<(Columns, String)> {
    Ok((Columns { id: row.get(0)?, message: row.get(1)?, body: row.get(2)?, at: row.get(3)? }, row.get(4)?))
}

/// Leases up to `limit` entries that are due, the longest due first.
pub fn claim(batch: &mut Batch<'_>, feed: &Feed, now: Now, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let sql = batch.sql();
    let mut found = sql.prepare_cached(
        "SELECT id, message, body, at, entry FROM spool WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT ?2",
    )?;
    let rows = found.query_map(params![now.0 as i64, limit as i64], columns)?;
    let mut out = Vec::new();
    for row in rows {
        let (columns, text) = row?;
        out.push(Entry::read(&columns, &text)?);
    }
    let mut lease = sql.prepare_cached("UPDATE OR FAIL spool SET due = NULL, lease = ?2 WHERE id = ?1")?;
    for entry in &out {
        lease.execute(params![entry.id.0, feed.run()])?;
    }
    Ok(out)
}

/// When the next entry is due.
pub fn next_due(conn: &Connection) -> Result<Option<Now>, StoreError> {
    let due: Option<i64> = conn
        .prepare_cached("SELECT min(due) FROM spool WHERE due IS NOT NULL")?
        .query_row([], |r| r.get(0))?;
    Ok(due.map(|d| Now(d as u64)))
}

/// Ends the leases of earlier runs: what they were sending is due now. Says how many.
pub fn recover(batch: &mut Batch<'_>, feed: &Feed, now: Now) -> Result<usize, StoreError> {
    let n = batch
        .sql()
        .prepare_cached("UPDATE spool SET due = ?1, lease = 0 WHERE lease <> 0 AND lease <> ?2")?
        .execute(params![now.0 as i64, feed.run()])?;
    Ok(n)
}

fn order_for(batch: &Batch<'_>, id: SpoolId) -> Result<Option<Order>, StoreError> {
    let what: Option<String> = batch
        .sql()
        .prepare_cached("DELETE FROM spool_order WHERE id = ?1 RETURNING what")?
        .query_row([id.0], |r| r.get(0))
        .optional()?;
    Ok(what.map(|w| Order::read(&w)))
}

/// Gives a leased entry back with what was learned about its recipients. An order given meanwhile
/// is carried out: the answer says which.
pub fn put_back(batch: &mut Batch<'_>, entry: &Entry) -> Result<Option<Order>, StoreError> {
    let order = order_for(batch, entry.id)?;
    match &order {
        Some(Order::Drop) => {
            finish(batch, entry)?;
            return Ok(order);
        }
        Some(Order::Hold(why)) => {
            let mut held = entry.clone();
            for rcpt in &mut held.rcpts {
                rcpt.state = State::Held(why.clone());
            }
            write(batch, &held, false)?;
        }
        None => write(batch, entry, false)?,
    }
    Ok(order)
}

/// Notes progress while the lease goes on (some recipients have ended).
pub fn progress(batch: &mut Batch<'_>, entry: &Entry) -> Result<(), StoreError> {
    write(batch, entry, true)
}

pub(crate) fn write(batch: &mut Batch<'_>, entry: &Entry, leased: bool) -> Result<(), StoreError> {
    let text = entry.write()?;
    let due = entry.due().filter(|_| !leased).map(|d| d.0 as i64);
    let sql = if leased {
        "UPDATE OR FAIL spool SET entry = ?2 WHERE id = ?1 AND ?3 IS NULL"
    } else {
        "UPDATE OR FAIL spool SET entry = ?2, due = ?3, lease = 0 WHERE id = ?1"
    };
    batch.sql().prepare_cached(sql)?.execute(params![entry.id.0, text, due])?;
    Ok(())
}

/// Every recipient has its end: the entry leaves the spool.
pub fn finish(batch: &mut Batch<'_>, entry: &Entry) -> Result<(), StoreError> {
    let gone = batch.sql().prepare_cached("DELETE FROM spool WHERE id = ?1")?.execute([entry.id.0])?;
    if gone == 1 {
        batch.release(entry.body)?;
    }
    Ok(())
}

/// Stores changed rows of what routes have learned.
pub fn save_routes(batch: &mut Batch<'_>, rows: &[(String, Option<String>)]) -> Result<(), StoreError> {
    for (key, row) in rows {
        match row {
            Some(row) => batch
                .sql()
                .prepare_cached(
                    "INSERT INTO route_state VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET row = ?2",
                )?
                .execute(params![key, row])?,
            None => batch.sql().prepare_cached("DELETE FROM route_state WHERE key = ?1")?.execute([key])?,
        };
    }
    Ok(())
}

/// All rows of what routes have learned.
pub fn routes(conn: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let mut found = conn.prepare_cached("SELECT key, row FROM route_state ORDER BY key")?;
    let rows = found.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The message of an entry that holds this body. Looks through the whole queue: for what happens rarely.
pub fn of_body(conn: &Connection, body: BodyId) -> Result<Option<MessageId>, StoreError> {
    let mut find = conn.prepare_cached("SELECT message FROM spool WHERE body = ?1 LIMIT 1")?;
    let mut rows = find.query([body.0])?;
    Ok(rows.next()?.map(|r| r.get::<_, i64>(0)).transpose()?.map(|id| MessageId(id as u64)))
}
