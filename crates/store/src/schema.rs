//! Tables: each room brings its own, in numbered steps that run once and in order.

use rusqlite::Connection;

use crate::StoreError;

/// A room's tables. Step `n` is migration `n`: a text of SQL statements. Never change a step
/// that was released; add one.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    pub room: &'static str,
    pub steps: &'static [&'static str],
}

/// The store's own tables.
pub(crate) const OWN: Schema = Schema {
    room: "store",
    steps: &["CREATE TABLE body (
                id INTEGER PRIMARY KEY,
                segment INTEGER NOT NULL,
                start INTEGER NOT NULL,
                len INTEGER NOT NULL,
                refs INTEGER NOT NULL
              ) STRICT;
              CREATE INDEX body_segment ON body(segment);"],
};

/// Brings every room's tables to their newest step.
pub(crate) fn migrate(conn: &Connection, schemas: &[Schema]) -> Result<(), StoreError> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS store_step (room TEXT PRIMARY KEY, step INTEGER NOT NULL) STRICT;",
    )?;
    for schema in std::iter::once(&OWN).chain(schemas) {
        let done: i64 = conn
            .query_row("SELECT step FROM store_step WHERE room = ?1", [schema.room], |r| r.get(0))
            .or_else(|e| if e == rusqlite::Error::QueryReturnedNoRows { Ok(0) } else { Err(e) })?;
        if done as usize > schema.steps.len() {
            return Err(StoreError::Broken(format!(
                "the tables of \"{}\" were written by a newer version (step {done}, this one knows {}); \
                 start the newer version again, or restore the backup made before the upgrade",
                schema.room,
                schema.steps.len()
            )));
        }
        for (at, step) in schema.steps.iter().enumerate().skip(done as usize) {
            conn.execute_batch(&format!("BEGIN IMMEDIATE; {step}"))
                .and_then(|()| {
                    conn.execute(
                        "INSERT INTO store_step VALUES (?1, ?2) ON CONFLICT (room) DO UPDATE SET step = ?2",
                        (schema.room, at as i64 + 1),
                    )
                })
                .and_then(|_| conn.execute_batch("COMMIT"))
                .map_err(|e| {
                    StoreError::Broken(format!("step {} of room \"{}\": {e}", at + 1, schema.room))
                })?;
        }
    }
    Ok(())
}
