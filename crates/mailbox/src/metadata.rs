//! Annotations of folders and of the server (RFC 5464), within limits.
//!
//! The owner of an entry is 0 for `/shared/…` and the account for `/private/…`; the folder is 0
//! for entries of the server itself.

use rusqlite::{Connection, params};
use store::{Batch, StoreError};
use words::AccountId;

use crate::{FolderId, rule};

/// Longest value, in octets.
pub const VALUE_LEN_MAX: usize = 64 << 10;
/// Entries of one owner on one folder.
pub const ENTRIES_MAX: i64 = 100;

/// Whose entry, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct On {
    /// Nothing for shared entries.
    pub owner: Option<AccountId>,
    /// Nothing for entries of the server.
    pub folder: Option<FolderId>,
}

impl On {
    fn key(self) -> (i64, i64) {
        (self.owner.map_or(0, |a| a.0), self.folder.map_or(0, |f| f.0))
    }
}

/// All entries, names in lower case.
pub fn entries(conn: &Connection, on: On) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let (owner, folder) = on.key();
    let mut read =
        conn.prepare_cached("SELECT entry, value FROM mb_metadata WHERE owner = ?1 AND folder = ?2")?;
    let rows = read.query_map([owner, folder], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets an entry; nothing removes it.
pub fn set(batch: &mut Batch<'_>, on: On, entry: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
    let (owner, folder) = on.key();
    let entry = entry.to_lowercase();
    batch.settle();
    let sql = batch.sql();
    let Some(value) = value else {
        sql.prepare_cached("DELETE FROM mb_metadata WHERE owner = ?1 AND folder = ?2 AND entry = ?3")?
            .execute(params![owner, folder, entry])?;
        return Ok(());
    };
    if value.len() > VALUE_LEN_MAX || entry.len() > 1024 {
        return rule(format!("[METADATA MAXSIZE {VALUE_LEN_MAX}] the value is too long"));
    }
    let count: i64 = sql
        .prepare_cached("SELECT count(*) FROM mb_metadata WHERE owner = ?1 AND folder = ?2 AND entry <> ?3")?
        .query_row(params![owner, folder, entry], |r| r.get(0))?;
    if count >= ENTRIES_MAX {
        return rule("[METADATA TOOMANY] there are too many entries here already; remove some first");
    }
    sql.prepare_cached(
        "INSERT INTO mb_metadata (owner, folder, entry, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (owner, folder, entry) DO UPDATE SET value = ?4",
    )?
    .execute(params![owner, folder, entry, value])?;
    Ok(())
}
