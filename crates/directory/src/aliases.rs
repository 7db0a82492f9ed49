//! Aliases: an address of ours whose mail goes to one or many others, here or elsewhere.
//!
//! An alias may stand on an address that is also an account's: then its targets replace the
//! mailbox, and the address itself among the targets keeps a copy there.

use store::rusqlite::Connection;
use store::{Batch, StoreError};
use words::Address;

use crate::domains::{domain, unknown};
use crate::{moved, read_address};

/// Most targets of one alias.
pub const TARGETS_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// `info@example.org`.
    pub key: String,
    pub target: Address,
}

/// Sends mail for `from` to `to` (too).
pub fn add_alias(batch: &mut Batch<'_>, from: &Address, to: &Address) -> Result<(), StoreError> {
    let conn = batch.sql();
    let ours = domain(conn, from.domain())?.ok_or_else(|| unknown(from.domain()))?;
    if let Some(of) = ours.alias_of {
        return Err(StoreError::rule(format!(
            "{} is another name of {of}; add the alias there",
            from.domain()
        )));
    }
    if targets_of(conn, from)?.len() >= TARGETS_MAX {
        return Err(StoreError::rule(format!(
            "{from} already has {TARGETS_MAX} targets, the most there can be"
        )));
    }
    let rows = conn
        .prepare_cached("INSERT INTO alias VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((from.key(), to.to_string()))?;
    if rows == 0 {
        return Err(StoreError::rule(format!("{from} already goes to {to}")));
    }
    moved(batch)
}

/// Sends mail for `from` no longer to `to`; `None` ends the whole alias.
pub fn remove_alias(batch: &mut Batch<'_>, from: &Address, to: Option<&Address>) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("DELETE FROM alias WHERE key = ?1 AND (?2 IS NULL OR target = ?2)")?
        .execute((from.key(), to.map(|a| a.to_string())))?;
    if rows == 0 {
        return Err(StoreError::rule(match to {
            Some(to) => format!("{from} does not go to {to}"),
            None => format!("there is no alias {from}"),
        }));
    }
    moved(batch)
}

/// Where an alias goes; empty if there is none.
pub fn targets_of(conn: &Connection, from: &Address) -> Result<Vec<Address>, StoreError> {
    let mut list = conn.prepare_cached("SELECT target FROM alias WHERE key = ?1 ORDER BY target")?;
    let texts = list.query_map([from.key()], |r| r.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    texts.iter().map(|t| read_address(t)).collect()
}

/// Up to `limit` rows of all aliases after (`key`, `target`) in order.
pub fn aliases(conn: &Connection, after: (&str, &str), limit: usize) -> Result<Vec<Alias>, StoreError> {
    let mut list = conn.prepare_cached(
        "SELECT key, target FROM alias WHERE (key, target) > (?1, ?2) ORDER BY key, target LIMIT ?3",
    )?;
    let rows = list
        .query_map((after.0, after.1, limit as i64), |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|(key, target)| Ok(Alias { key, target: read_address(&target)? })).collect()
}
