//! Settings that change at run time, by name; the roles know what they mean. And the number
//! that moves with every change.

use store::rusqlite::Connection;
use store::{Batch, StoreError};

use crate::{maybe, moved};

/// Longest name and value.
const NAME_MAX: usize = 200;
const VALUE_MAX: usize = 64 << 10;

/// A setting's value, if it was ever set.
pub fn knob(conn: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    maybe(conn.prepare_cached("SELECT value FROM knob WHERE name = ?1")?.query_row([name], |r| r.get(0)))
}

/// All settings whose names begin with `prefix`.
pub fn knobs(conn: &Connection, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
    let mut list = conn.prepare_cached(
        "SELECT name, value FROM knob WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
    )?;
    let rows = list.query_map([prefix], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets or (with `None`) forgets a setting.
pub fn set_knob(batch: &mut Batch<'_>, name: &str, value: Option<&str>) -> Result<(), StoreError> {
    if name.is_empty() || name.len() > NAME_MAX || value.is_some_and(|v| v.len() > VALUE_MAX) {
        return Err(StoreError::rule(format!(
            "a setting's name has 1 to {NAME_MAX} octets and its value at most {VALUE_MAX}"
        )));
    }
    let conn = batch.sql();
    match value {
        Some(value) => conn
            .prepare_cached("INSERT INTO knob VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
            .execute((name, value))?,
        None => conn.prepare_cached("DELETE FROM knob WHERE name = ?1")?.execute([name])?,
    };
    moved(batch)
}

/// Moves with every change in this room: what was read at one version holds while it stands.
pub fn version(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.prepare_cached("SELECT n FROM directory_version WHERE one = 1")?.query_row([], |r| r.get(0))?)
}
