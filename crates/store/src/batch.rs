//! What one commit writes.

use std::sync::Mutex;

use bytes::Bytes;
use rusqlite::Connection;

use crate::rowlog::{RowKey, RowLog, restate};
use crate::shared::Place;
use crate::{BodyId, StoreError};

/// Runs after the commit is durable.
pub type After = Box<dyn FnOnce() + Send>;

/// What one commit writes: rows through [`Batch::sql`], references to bodies, and what is to
/// happen once it is durable. It is kept whole or not at all.
///
/// Rows are written with plain statements: no transaction or savepoint is begun or ended here,
/// and no table is made. If a statement that writes many rows fails, its error must be returned. Hot
/// statements of one row say `OR FAIL`: then SQLite keeps no journal for each of them, and the
/// batch as a whole is still undone if the error is returned.
pub struct Batch<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) bodies: &'a [BodyId],
    /// References to the bodies that came with the batch.
    pub(crate) refs: Vec<i64>,
    pub(crate) after: Vec<After>,
    /// Bodies whose count this batch took to zero.
    pub(crate) dropped: Vec<(BodyId, Place)>,
    pub(crate) settle: bool,
    /// Bodies that are written once more, elsewhere.
    pub(crate) moves: Vec<(BodyId, Bytes, u32)>,
    rows: &'a Mutex<RowLog>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(conn: &'a Connection, bodies: &'a [BodyId], rows: &'a Mutex<RowLog>) -> Batch<'a> {
        let refs = vec![0; bodies.len()];
        let (after, dropped, moves) = (Vec::new(), Vec::new(), Vec::new());
        Batch { conn, bodies, refs, after, dropped, settle: false, moves, rows }
    }
    /// Writes the row of this key into the log once more, as it is now.
    pub(crate) fn restate(&self, key: &RowKey, tell_gone: bool) -> Result<(), StoreError> {
        restate(self.conn, self.rows, key, tell_gone)
    }
    /// The index. Write with `prepare_cached`.
    pub fn sql(&self) -> &Connection {
        self.conn
    }
    /// The id of the `n`th body given to `commit`. It has no references yet: hold it, or it is
    /// garbage at the end of the commit.
    pub fn body(&self, n: usize) -> BodyId {
        self.bodies[n]
    }
    /// How many bodies came with this commit.
    pub fn bodies(&self) -> usize {
        self.bodies.len()
    }
    fn own(&mut self, id: BodyId) -> Option<&mut i64> {
        let n = self.bodies.iter().position(|b| *b == id)?;
        self.refs.get_mut(n)
    }
    /// One more row names this body.
    pub fn hold(&mut self, id: BodyId) -> Result<(), StoreError> {
        if let Some(refs) = self.own(id) {
            *refs += 1;
            return Ok(());
        }
        let rows = self
            .conn
            .prepare_cached("UPDATE OR FAIL body SET refs = refs + 1 WHERE id = ?1")?
            .execute([id.0])?;
        if rows == 1 { Ok(()) } else { Err(StoreError::Missing(id)) }
    }
    /// One row less names this body; the last one gives its space back in the background.
    pub fn release(&mut self, id: BodyId) -> Result<(), StoreError> {
        if let Some(refs) = self.own(id) {
            if *refs == 0 {
                return Err(StoreError::Missing(id));
            }
            *refs -= 1;
            return Ok(());
        }
        let found = self
            .conn
            .prepare_cached("SELECT refs, segment, start, len FROM body WHERE id = ?1")?
            .query_row([id.0], |r| {
                let n = |at| r.get::<_, i64>(at).map(|n| n as u64);
                Ok((r.get::<_, i64>(0)?, Place { segment: n(1)?, start: n(2)?, len: n(3)? }))
            });
        let (refs, place) = match found {
            Err(rusqlite::Error::QueryReturnedNoRows) => return Err(StoreError::Missing(id)),
            found => found?,
        };
        if refs > 1 {
            self.conn
                .prepare_cached("UPDATE OR FAIL body SET refs = refs - 1 WHERE id = ?1")?
                .execute([id.0])?;
        } else {
            self.conn.prepare_cached("DELETE FROM body WHERE id = ?1")?.execute([id.0])?;
            self.dropped.push((id, place));
        }
        Ok(())
    }
    /// Runs once the commit is durable (notices to sessions), before its future resolves and in
    /// the order of the commits. Must be quick and must not wait.
    pub fn after(&mut self, f: After) {
        self.after.push(f);
    }
    /// Puts this commit into the index file at once, so that [`crate::Store::glance`] sees it
    /// too. For rows that change rarely and are looked up all the time.
    pub fn settle(&mut self) {
        self.settle = true;
    }
}
