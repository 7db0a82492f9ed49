//! What one commit writes.

use rusqlite::Connection;

use crate::{BodyId, StoreError};

/// Runs after the commit is durable.
pub type After = Box<dyn FnOnce() + Send>;

/// What one commit writes: rows through [`Batch::sql`], references to bodies, and what is to
/// happen once it is durable. It is kept whole or not at all.
pub struct Batch<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) bodies: &'a [BodyId],
    pub(crate) after: Vec<After>,
    /// Bodies whose count this batch took to zero.
    pub(crate) dropped: Vec<BodyId>,
}

impl Batch<'_> {
    /// The index. Write with `prepare_cached`; never begin or end a transaction here.
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
    /// One more row names this body.
    pub fn hold(&mut self, id: BodyId) -> Result<(), StoreError> {
        let rows =
            self.conn.prepare_cached("UPDATE body SET refs = refs + 1 WHERE id = ?1")?.execute([id.0])?;
        if rows == 1 { Ok(()) } else { Err(StoreError::Missing(id)) }
    }
    /// One row less names this body; the last one gives its space back in the background.
    pub fn release(&mut self, id: BodyId) -> Result<(), StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("UPDATE body SET refs = refs - 1 WHERE id = ?1 AND refs > 0 RETURNING refs")?;
        let left: Option<i64> = statement.query_row([id.0], |r| r.get(0)).map(Some).or_else(|e| match e {
            rusqlite::Error::QueryReturnedNoRows => Ok(None),
            e => Err(e),
        })?;
        match left {
            None => return Err(StoreError::Missing(id)),
            Some(0) => self.dropped.push(id),
            Some(_) => {}
        }
        Ok(())
    }
    /// Runs once the commit is durable (notices to sessions). Must be quick and must not wait.
    pub fn after(&mut self, f: After) {
        self.after.push(f);
    }
}
