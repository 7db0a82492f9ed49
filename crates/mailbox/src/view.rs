//! A folder in memory: its rows in UID order, 48 bytes each.
//!
//! A view is loaded once and then follows by deltas, which may be applied again or late without
//! harm. It is shared by all sessions that look at the folder; see [`crate::Hub::view`].

use rusqlite::Connection;
use store::{BodyId, StoreError};
use words::AccountId;

use crate::hub::{Delta, What};
use crate::{Flags, Folder, FolderId, UidSet};

/// Rows read in one read transaction.
pub const PAGE_ROWS: usize = 20_000;

/// One message in one folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub body: BodyId,
    pub modseq: u64,
    pub flags: Flags,
    /// INTERNALDATE, seconds since 1970 in UTC, and minutes east of it as it was given.
    pub internal: i64,
    pub uid: u32,
    /// In octets.
    pub size: u32,
    /// SAVEDATE (RFC 8514), seconds.
    pub saved: u32,
    pub zone: i16,
}

/// The rows of a folder as of one MODSEQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub folder: FolderId,
    pub account: AccountId,
    pub uidvalidity: u32,
    /// All deltas up to this one are in.
    pub modseq: u64,
    pub uidnext: u32,
    rows: Vec<Row>,
}

impl View {
    /// Reads all of a folder at once, from a connection that nobody else waits for.
    pub fn whole(conn: &Connection, folder: &Folder) -> Result<View, StoreError> {
        let mut view = begin(conn, folder)?;
        while !view.is_empty() && view.len().is_multiple_of(PAGE_ROWS) {
            if page(conn, folder.id, &mut view)? {
                break;
            }
        }
        Ok(view)
    }
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// The place of a UID among the rows.
    pub fn at(&self, uid: u32) -> Option<usize> {
        self.rows.binary_search_by_key(&uid, |r| r.uid).ok()
    }
    pub fn row(&self, uid: u32) -> Option<&Row> {
        self.at(uid).map(|at| &self.rows[at])
    }
    /// The rows from a UID on.
    pub fn from(&self, uid: u32) -> &[Row] {
        &self.rows[self.rows.partition_point(|r| r.uid < uid)..]
    }
    /// The rows of a set, in order.
    pub fn within<'a>(&'a self, set: &'a UidSet) -> impl Iterator<Item = &'a Row> {
        set.ranges().iter().flat_map(|&(a, b)| {
            let from = self.from(a);
            &from[..from.partition_point(|r| r.uid <= b)]
        })
    }
    /// How much memory it takes.
    pub fn weight(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + 128
    }
    /// Brings a change in. Applying one twice changes nothing.
    pub fn apply(&mut self, delta: &Delta) {
        match &delta.what {
            What::Added(rows) => self.add(rows),
            What::Marked(marks) => {
                for &(uid, flags) in marks {
                    if let Some(at) = self.at(uid)
                        && self.rows[at].modseq < delta.modseq
                    {
                        (self.rows[at].flags, self.rows[at].modseq) = (flags, delta.modseq);
                    }
                }
            }
            What::Gone(uids) => {
                let (lo, hi) = match (uids.ranges().first(), uids.ranges().last()) {
                    (Some(first), Some(last)) => (first.0, last.1),
                    _ => return,
                };
                self.rows.retain(|r| r.uid < lo || r.uid > hi || !uids.contains(r.uid));
            }
            What::Closed => return,
        }
        self.modseq = self.modseq.max(delta.modseq);
    }
    fn add(&mut self, rows: &[Row]) {
        for row in rows {
            // UIDs only rise, so what is below uidnext is here already or gone again.
            if row.uid >= self.uidnext {
                self.rows.push(*row);
                self.uidnext = row.uid + 1;
            }
        }
    }
}

/// Reads the start of a view: counters and the first page, in one snapshot.
pub fn begin(conn: &Connection, folder: &Folder) -> Result<View, StoreError> {
    let status = crate::folder::status(conn, folder)?;
    let mut view = View {
        folder: folder.id,
        account: folder.account,
        uidvalidity: status.uidvalidity,
        modseq: status.modseq,
        uidnext: 1,
        rows: Vec::with_capacity(status.present as usize),
    };
    if page(conn, folder.id, &mut view)? {
        view.uidnext = status.uidnext;
    }
    Ok(view)
}

/// Reads the next page behind what the view has; true when there is no more. Rows that were
/// changed since [`begin`] come in newer than the view says, which deltas tolerate.
pub fn page(conn: &Connection, folder: FolderId, view: &mut View) -> Result<bool, StoreError> {
    let mut read = conn.prepare_cached(
        "SELECT uid, body, flags, modseq, internal, saved, size, zone FROM mb_message
         WHERE folder = ?1 AND uid > ?2 ORDER BY uid LIMIT ?3",
    )?;
    let after = view.rows.last().map_or(0, |r| r.uid);
    let mut rows = read.query(rusqlite::params![folder.0, after, PAGE_ROWS as i64])?;
    let mut n = 0;
    while let Some(r) = rows.next()? {
        view.rows.push(row(r)?);
        n += 1;
    }
    let last = view.rows.last().map_or(0, |r| r.uid);
    view.uidnext = view.uidnext.max(last.saturating_add(1));
    Ok(n < PAGE_ROWS)
}

/// Reads a row selected as `uid, body, flags, modseq, internal, saved, size, zone`.
pub(crate) fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        uid: r.get(0)?,
        body: BodyId(r.get(1)?),
        flags: Flags::from_sql(r.get(2)?),
        modseq: r.get::<_, i64>(3)? as u64,
        internal: r.get(4)?,
        saved: r.get(5)?,
        size: r.get(6)?,
        zone: r.get(7)?,
    })
}
