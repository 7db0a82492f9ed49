//! The bound: old chapters are torn out, in small steps.

use stdx::{Now, Span};
use store::{Batch, StoreError};

use crate::CHAPTER;
use crate::keys::PAGES;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: u64,
    pub age: Span,
    pub counter_age: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rows: 2_000_000, age: Span::days(30), counter_age: Span::days(400) }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    pub rows: u64,
    /// There is more to purge: come again soon.
    pub more: bool,
}

/// Takes away at most `step` rows of what is past the limits. Chapters go whole and oldest
/// first, so up to one chapter more than the limit is kept.
pub fn purge(batch: &mut Batch<'_>, limits: &Limits, now: Now, step: usize) -> Result<Purged, StoreError> {
    let conn = batch.sql();
    let step = step.clamp(1, 10_000) as i64;
    let oldest_hour = (now.ms().saturating_sub(limits.counter_age.as_ms()) / 3_600_000) as i64;
    let mut rows = conn
        .prepare_cached(
            "DELETE FROM counter WHERE (name, hour) IN
               (SELECT name, hour FROM counter WHERE hour < ?1 LIMIT ?2)",
        )?
        .execute((oldest_hour, step))? as i64;
    let ends: (Option<i64>, Option<i64>) = conn
        .prepare_cached("SELECT min(id), (SELECT max(id) FROM fact) FROM fact")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let (Some(first), Some(last)) = ends else { return Ok(Purged { rows: rows as u64, more: rows >= step }) };
    let chapter = first / CHAPTER;
    let end = (chapter + 1) * CHAPTER;
    // The chapter goes once its last fact is past a limit; the newest chapter never goes.
    let past_rows = last - end + 1 >= limits.rows as i64;
    let edge: Option<i64> = conn
        .prepare_cached("SELECT at FROM fact WHERE id < ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([end], |r| r.get(0))
        .map(Some)
        .or_else(|e| if e == store::rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(e) })?;
    let past_age = edge.is_some_and(|at| now.since(Now(at as u64)) > limits.age);
    if last < end || !(past_rows || past_age) {
        return Ok(Purged { rows: rows as u64, more: rows >= step });
    }
    let left = (step - rows).max(1);
    // At most a chapter's few pages of keys: they count as nothing.
    conn.prepare_cached("DELETE FROM fact_page_unlogged WHERE page < ?1")?
        .execute([(chapter + 1) * PAGES])?;
    rows += conn
        .prepare_cached("DELETE FROM fact WHERE id IN (SELECT id FROM fact WHERE id < ?1 LIMIT ?2)")?
        .execute((end, left))? as i64;
    Ok(Purged { rows: rows as u64, more: true })
}
