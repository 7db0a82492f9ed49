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

/// Which tables a program knows, in a word: `mailbox=1,spool=2`. Two programs with the same word can
/// open each other's index.
pub fn steps(schemas: &[Schema]) -> String {
    let all = std::iter::once(&OWN).chain(schemas);
    all.map(|s| format!("{}={}", s.room, s.steps.len())).collect::<Vec<_>>().join(",")
}

/// The store's own tables.
pub(crate) const OWN: Schema = Schema {
    room: "store",
    steps: &["CREATE TABLE body (
                id INTEGER PRIMARY KEY,
                segment INTEGER NOT NULL,
                start INTEGER NOT NULL,    -- of the payload, behind its record's head
                len INTEGER NOT NULL,
                refs INTEGER NOT NULL
              ) STRICT;
              CREATE TABLE store_state (   -- how far into the log this file is
                one INTEGER PRIMARY KEY,
                log_commit INTEGER NOT NULL,
                segment INTEGER NOT NULL,
                log_end INTEGER NOT NULL,
                next_body INTEGER NOT NULL
              ) STRICT;
              INSERT INTO store_state VALUES (1, 0, 0, 0, 1);"],
};

/// Makes the tables of an index file that has none yet, so that the log can be played into it.
/// One that has tables is first brought up from the log, then migrated.
pub(crate) fn begin(conn: &Connection, schemas: &[Schema]) -> Result<(), StoreError> {
    let made: bool =
        conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'store_state')", [], |r| {
            r.get(0)
        })?;
    if !made {
        migrate(conn, schemas)?;
    }
    Ok(())
}

/// Brings every room's tables to their newest step. True if there was something to do.
pub(crate) fn migrate(conn: &Connection, schemas: &[Schema]) -> Result<bool, StoreError> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS store_step (room TEXT PRIMARY KEY, step INTEGER NOT NULL) STRICT;",
    )?;
    let mut moved = false;
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
            moved = true;
            let result = conn
                .execute_batch(&format!("BEGIN IMMEDIATE; {step}"))
                .and_then(|()| {
                    conn.execute(
                        "INSERT INTO store_step VALUES (?1, ?2) ON CONFLICT (room) DO UPDATE SET step = ?2",
                        (schema.room, at as i64 + 1),
                    )
                })
                .and_then(|_| conn.execute_batch("COMMIT"));
            if let Err(e) = result {
                let _ = conn.execute_batch("ROLLBACK");
                return Err(StoreError::Broken(format!("step {} of room \"{}\": {e}", at + 1, schema.room)));
            }
        }
    }
    Ok(moved)
}
