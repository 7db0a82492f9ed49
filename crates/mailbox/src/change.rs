//! Changes of messages that are there: flags, copies, moves, expunges.

use rusqlite::params;
use store::{Batch, BodyId, StoreError};

use crate::append::{Pen, is_named, put_rows, take_uids};
use crate::flags::Keywords;
use crate::hub::What;
use crate::schema::GONE_ROWS_MAX;
use crate::{Flags, Folder, FolderId, Row, UidSet, flags, folder, thread, view};

/// How flags are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Add,
    Remove,
    Replace,
}

/// A change of flags.
#[derive(Clone, Debug)]
pub struct Mark {
    pub how: How,
    pub flags: Flags,
    pub keywords: Vec<String>,
    /// RFC 7162 §3.1.3: messages changed after this are left alone.
    pub unchanged_since: Option<u64>,
    /// Only these bits change (RFC 4314: the rights of who asks); [`Mark::ALL`] for the owner.
    pub allowed: Flags,
}

impl Mark {
    pub const ALL: Flags = Flags(u64::MAX >> 1);
}

/// What a change of flags did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// All messages of the set after the change.
    pub rows: Vec<MarkedRow>,
    /// Those left alone for `unchanged_since`.
    pub refused: UidSet,
    /// The MODSEQ of this change; nothing if no message changed.
    pub modseq: Option<u64>,
}

/// One message after a change of flags; `before` is the MODSEQ it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkedRow {
    pub uid: u32,
    pub flags: Flags,
    pub modseq: u64,
    pub before: u64,
}

/// What a copy or move did: the n-th of `from` became the n-th of `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub uidvalidity: u32,
    pub from: UidSet,
    pub to: UidSet,
}

const ROW: &str = "SELECT uid, body, flags, modseq, internal, saved, size, zone FROM mb_message
     WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid";

/// The rows of a set.
pub fn rows(conn: &rusqlite::Connection, folder: FolderId, set: &UidSet) -> Result<Vec<Row>, StoreError> {
    let mut read = conn.prepare_cached(ROW)?;
    let mut out = Vec::new();
    for &(a, b) in set.ranges() {
        let mut found = read.query(params![folder.0, a, b])?;
        while let Some(r) = found.next()? {
            out.push(view::row(r)?);
        }
    }
    Ok(out)
}

/// Changes flags of a set of messages, as one change.
pub fn mark(
    batch: &mut Batch<'_>,
    pen: &Pen,
    folder: &Folder,
    uids: &UidSet,
    what: &Mark,
) -> Result<Marked, StoreError> {
    let word = match what.how {
        // A keyword nobody ever used need not be learned to be removed.
        How::Remove => {
            let known = Keywords::of(batch.sql(), folder.account)?;
            what.keywords.iter().filter_map(|w| known.bit(w)).fold(Flags::NONE, Flags::with)
        }
        How::Add | How::Replace => flags::learn(batch, folder.account, &what.keywords)?,
    }
    .with(what.flags);
    let (word, keep) = (Flags(word.0 & what.allowed.0), Flags(!what.allowed.0 & Mark::ALL.0));
    let mut done = Marked::default();
    let mut changed = Vec::new();
    let (mut unseen, mut deleted) = (0i64, 0i64);
    let limit = what.unchanged_since.unwrap_or(u64::MAX);
    for row in rows(batch.sql(), folder.id, uids)? {
        let new = match what.how {
            How::Add => row.flags.with(word),
            How::Remove => row.flags.without(word),
            How::Replace => Flags(row.flags.0 & keep.0).with(word),
        };
        if row.modseq > limit {
            done.refused.push(row.uid);
        } else if new == row.flags {
            done.rows.push(MarkedRow {
                uid: row.uid,
                flags: row.flags,
                modseq: row.modseq,
                before: row.modseq,
            });
        } else {
            let had = |f: Flags| i64::from(row.flags.has(f));
            let has = |f: Flags| i64::from(new.has(f));
            unseen += had(Flags::SEEN) - has(Flags::SEEN);
            deleted += has(Flags::DELETED) - had(Flags::DELETED);
            done.rows.push(MarkedRow { uid: row.uid, flags: new, modseq: 0, before: row.modseq });
            changed.push((row.uid, new));
        }
    }
    if changed.is_empty() {
        return Ok(done);
    }
    let status = folder::count(batch, folder, 0, [0, unseen, deleted, 0])?;
    let modseq = status.modseq;
    for row in done.rows.iter_mut().filter(|r| r.modseq == 0) {
        row.modseq = modseq;
    }
    write_marks(batch, folder.id, uids, (what.how, word, keep), (modseq, limit))?;
    done.modseq = Some(modseq);
    pen.publish(batch, folder, status, What::Marked(changed));
    Ok(done)
}

/// The same change as a few statements over ranges.
fn write_marks(
    batch: &Batch<'_>,
    folder: FolderId,
    uids: &UidSet,
    (how, word, keep): (How, Flags, Flags),
    (modseq, limit): (u64, u64),
) -> Result<(), StoreError> {
    let new = match how {
        How::Add => "flags | ?4",
        How::Remove => "flags & ~?4",
        How::Replace => "(flags & ?7) | ?4",
    };
    let sql = format!(
        "UPDATE mb_message SET flags = {new}, modseq = ?5
         WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 AND flags <> ({new}) AND modseq <= ?6 AND ?7 = ?7"
    );
    let mut write = batch.sql().prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    for &(a, b) in uids.ranges() {
        write.execute(params![folder.0, a, b, word.sql(), modseq as i64, limit, keep.sql()])?;
    }
    Ok(())
}

/// Copies messages into another folder, as one change. Bodies are shared, not copied.
pub fn copy(
    batch: &mut Batch<'_>,
    pen: &Pen,
    from: &Folder,
    to: &Folder,
    uids: &UidSet,
) -> Result<Copied, StoreError> {
    let found = rows(batch.sql(), from.id, uids)?;
    let bytes = found.iter().map(|r| u64::from(r.size)).sum();
    pen.check_quota(batch, to.account, (found.len() as u64, bytes))?;
    put_copies(batch, pen, (from, to), &found)
}

fn put_copies(
    batch: &mut Batch<'_>,
    pen: &Pen,
    (from, to): (&Folder, &Folder),
    found: &[Row],
) -> Result<Copied, StoreError> {
    let mut copied = Copied { uidvalidity: to.uidvalidity, ..Copied::default() };
    if found.is_empty() {
        return Ok(copied);
    }
    let mut new = found.to_vec();
    for row in &mut new {
        row.saved = pen.now.secs() as u32;
    }
    if from.account != to.account {
        translate(batch, from, to, &mut new)?;
    }
    let status = take_uids(batch, to, &mut new)?;
    put_rows(batch, to, &new)?;
    copied.from = UidSet::of(found.iter().map(|r| r.uid));
    copied.to = UidSet::of(new.iter().map(|r| r.uid));
    pen.publish(batch, to, status, What::Added(new));
    Ok(copied)
}

/// Gives rows that go to another account that account's keyword bits.
fn translate(batch: &mut Batch<'_>, from: &Folder, to: &Folder, rows: &mut [Row]) -> Result<(), StoreError> {
    if rows.iter().all(|r| r.flags.keywords() == 0) {
        return Ok(());
    }
    let theirs = Keywords::of(batch.sql(), from.account)?;
    let mut ours = Keywords::of(batch.sql(), to.account)?;
    for row in rows {
        let words: Vec<String> = theirs.words(row.flags).map(str::to_owned).collect();
        row.flags = row.flags.system().with(ours.learn(batch, to.account, &words)?);
    }
    Ok(())
}

/// Moves messages into another folder: copies and expunges in the same commit (RFC 6851).
pub fn move_to(
    batch: &mut Batch<'_>,
    pen: &Pen,
    from: &Folder,
    to: &Folder,
    uids: &UidSet,
) -> Result<Copied, StoreError> {
    let found = rows(batch.sql(), from.id, uids)?;
    if from.account != to.account {
        let bytes = found.iter().map(|r| u64::from(r.size)).sum();
        pen.check_quota(batch, to.account, (found.len() as u64, bytes))?;
    }
    let copied = put_copies(batch, pen, (from, to), &found)?;
    remove(batch, pen, from, &found)?;
    Ok(copied)
}

/// Expunges the messages that have \Deleted, only among `only` if given, as one change.
pub fn expunge(
    batch: &mut Batch<'_>,
    pen: &Pen,
    folder: &Folder,
    only: Option<&UidSet>,
) -> Result<UidSet, StoreError> {
    if crate::folder::status(batch.sql(), folder)?.deleted == 0 {
        return Ok(UidSet::new());
    }
    let all = UidSet::all();
    let mut found = rows(batch.sql(), folder.id, only.unwrap_or(&all))?;
    found.retain(|r| r.flags.has(Flags::DELETED));
    remove(batch, pen, folder, &found)
}

/// Removes messages whatever their flags (POP3's QUIT, REPLACE, purges), as one change.
pub fn purge(batch: &mut Batch<'_>, pen: &Pen, folder: &Folder, uids: &UidSet) -> Result<UidSet, StoreError> {
    let found = rows(batch.sql(), folder.id, uids)?;
    remove(batch, pen, folder, &found)
}

fn remove(batch: &mut Batch<'_>, pen: &Pen, folder: &Folder, found: &[Row]) -> Result<UidSet, StoreError> {
    let gone = UidSet::of(found.iter().map(|r| r.uid));
    if found.is_empty() {
        return Ok(gone);
    }
    let unseen = found.iter().filter(|r| !r.flags.has(Flags::SEEN)).count() as i64;
    let deleted = found.iter().filter(|r| r.flags.has(Flags::DELETED)).count() as i64;
    let bytes: i64 = found.iter().map(|r| i64::from(r.size)).sum();
    let status = folder::count(batch, folder, 0, [-(found.len() as i64), -unseen, -deleted, -bytes])?;
    delete_rows(batch, folder.id, &gone)?;
    let_go(batch, found.iter().map(|r| r.body))?;
    note_gone(batch, folder.id, status.modseq, &gone)?;
    pen.publish(batch, folder, status, What::Gone(gone.clone()));
    Ok(gone)
}

/// Deletes all rows of a set without a delta or counters: for a folder that goes itself.
pub(crate) fn drop_rows(batch: &mut Batch<'_>, folder: FolderId, set: &UidSet) -> Result<(), StoreError> {
    let found = rows(batch.sql(), folder, set)?;
    delete_rows(batch, folder, set)?;
    let_go(batch, found.iter().map(|r| r.body))
}

fn delete_rows(batch: &Batch<'_>, folder: FolderId, set: &UidSet) -> Result<(), StoreError> {
    let mut delete =
        batch.sql().prepare_cached("DELETE FROM mb_message WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3")?;
    for &(a, b) in set.ranges() {
        delete.execute(params![folder.0, a, b])?;
    }
    Ok(())
}

/// Lets bodies go that no row names any more.
fn let_go(batch: &mut Batch<'_>, bodies: impl Iterator<Item = BodyId>) -> Result<(), StoreError> {
    let mut bodies: Vec<BodyId> = bodies.collect();
    bodies.sort_unstable();
    bodies.dedup();
    for body in bodies {
        if !is_named(batch, body)? {
            batch.release(body)?;
            batch.sql().prepare_cached("DELETE FROM mb_summary WHERE body = ?1")?.execute([body.0])?;
            thread::forget(batch, body)?;
        }
    }
    Ok(())
}

/// Remembers expunged UIDs for QRESYNC, and forgets the oldest beyond the limit.
fn note_gone(batch: &Batch<'_>, folder: FolderId, modseq: u64, gone: &UidSet) -> Result<(), StoreError> {
    let sql = batch.sql();
    sql.prepare_cached("INSERT INTO mb_gone (folder, modseq, uids) VALUES (?1, ?2, ?3)")?
        .execute(params![folder.0, modseq as i64, gone.to_bytes()])?;
    if !modseq.is_multiple_of(64) {
        return Ok(());
    }
    let oldest: Option<i64> = sql
        .prepare_cached(
            "SELECT modseq FROM mb_gone WHERE folder = ?1 ORDER BY modseq DESC LIMIT 1 OFFSET ?2",
        )?
        .query_map(params![folder.0, GONE_ROWS_MAX], |r| r.get(0))?
        .next()
        .transpose()?;
    if let Some(oldest) = oldest {
        sql.prepare_cached("DELETE FROM mb_gone WHERE folder = ?1 AND modseq <= ?2")?
            .execute(params![folder.0, oldest])?;
        sql.prepare_cached("UPDATE mb_folder SET gone_floor = ?2 WHERE id = ?1")?
            .execute(params![folder.0, oldest])?;
    }
    Ok(())
}

/// UIDs expunged after `since`, or nothing if the record does not reach back so far: then all
/// UIDs that do not exist count (RFC 7162 §3.2.6).
pub fn gone_since(
    conn: &rusqlite::Connection,
    folder: FolderId,
    since: u64,
) -> Result<Option<UidSet>, StoreError> {
    let floor: i64 = conn
        .prepare_cached("SELECT gone_floor FROM mb_folder WHERE id = ?1")?
        .query_row([folder.0], |r| r.get(0))?;
    if (since as i64) < floor {
        return Ok(None);
    }
    let mut read = conn.prepare_cached("SELECT uids FROM mb_gone WHERE folder = ?1 AND modseq > ?2")?;
    let mut found = read.query(params![folder.0, since as i64])?;
    let mut ranges = Vec::new();
    while let Some(r) = found.next()? {
        ranges.extend_from_slice(UidSet::from_bytes(r.get_ref(0)?.as_blob().unwrap_or(&[])).ranges());
    }
    Ok(Some(UidSet::of_ranges(ranges)))
}
