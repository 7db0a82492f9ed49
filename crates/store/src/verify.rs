//! Looks whether everything is there: every checksum, every reference.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::backup::Copying;
use crate::body::check_file;
use crate::disk::Real;
use crate::log::Position;
use crate::recover::{scan, state};
use crate::shared::{Place, Shared};
use crate::store::{INDEX, SEGMENTS, take_lock};
use crate::{BodyId, Progress, Settings, Store, StoreError};

/// Bodies looked at between two reports of progress.
const PAGE: usize = 1000;
/// Most faults of one kind that are listed.
const LIST_MAX: usize = 1000;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub bodies: u64,
    pub bytes: u64,
    /// Bodies that do not match their checksum or cannot be read, and why.
    pub damaged: Vec<(BodyId, String)>,
    /// Bodies whose count of references is wrong: (body, counted in the store, found).
    pub miscounted: Vec<(BodyId, i64, i64)>,
    /// What the index's own check says, if anything.
    pub index: Vec<String>,
    /// Records of the log that cannot be read. They matter when the index has to be rebuilt.
    pub log: Vec<String>,
    /// Commits that the log holds.
    pub commits: u64,
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.miscounted.is_empty() && self.index.is_empty() && self.log.is_empty()
    }
}

/// Verifies a store that is not in use, or a backup. `holders` are queries that give
/// `(body, count)` for everything that holds bodies.
pub fn verify(
    dir: &Path,
    holders: &[&str],
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, StoreError> {
    let _lock = take_lock(dir)?;
    let disk = Real::new(&dir.join(SEGMENTS)).map_err(|e| StoreError::from_io("opening the segments", &e))?;
    let shared = Arc::new(Shared::new(Arc::new(disk), Settings::default())?);
    let conn = Connection::open_with_flags(dir.join(INDEX), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    run(&conn, &shared, holders, progress)
}

impl Store {
    /// Verifies the store while it runs. Waits for the disk: call it where that hurts nobody.
    pub fn verify(
        &self,
        holders: &[&str],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Verified, StoreError> {
        let shared = self.0.shared.clone();
        // What is deleted from now on still counts in the state that is looked at.
        let _whole = Copying::begin(&shared);
        self.read_now(|conn| run(conn, &shared, holders, progress))
    }
}

fn run(
    conn: &Connection,
    shared: &Arc<Shared>,
    holders: &[&str],
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, StoreError> {
    let mut out = Verified::default();
    progress(Progress { doing: "checking the index", done: 0, total: 1 });
    let mut check = conn.prepare("PRAGMA integrity_check(100)")?;
    out.index = check
        .query_map([], |r| r.get::<_, String>(0))?
        .filter(|row| !matches!(row, Ok(says) if says == "ok"))
        .collect::<Result<_, _>>()?;
    bodies(conn, shared, &mut out, progress)?;
    counts(conn, holders, &mut out)?;
    let (end, _) = state(conn)?;
    let found = scan(shared, Position::default(), end.commit, &mut |group| {
        if group.new_segment {
            let (done, total) = (group.position.segment, end.segment);
            progress(Progress { doing: "reading the log", done, total });
        }
        out.commits += 1;
        Ok(())
    })?;
    for damage in found.damage {
        if damage.matters(conn) && out.log.len() < LIST_MAX {
            out.log.push(damage.to_string());
        }
    }
    if found.end.commit < end.commit {
        out.log.push(format!("the log ends at commit {}, the index at {}", found.end.commit, end.commit));
    }
    Ok(out)
}

fn bodies(
    conn: &Connection,
    shared: &Shared,
    out: &mut Verified,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let total: i64 = conn.query_row("SELECT count(*) FROM body", [], |r| r.get(0))?;
    let mut page =
        conn.prepare("SELECT id, segment, start, len FROM body WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut after = i64::MIN;
    loop {
        progress(Progress { doing: "reading bodies", done: out.bodies, total: total as u64 });
        let rows: Vec<(i64, Place)> = page
            .query_map((after, PAGE as i64), |r| {
                let n = |at| r.get::<_, i64>(at).map(|n| n as u64);
                Ok((r.get(0)?, Place { segment: n(1)?, start: n(2)?, len: n(3)? }))
            })?
            .collect::<Result<_, _>>()?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.0;
        for (id, place) in rows {
            let id = BodyId(id);
            let found = shared
                .files
                .get(place.segment)
                .map_err(|e| StoreError::Damaged(id, e.to_string()))
                .and_then(|file| check_file(id, place, &*file));
            out.bodies += 1;
            out.bytes += place.len;
            let found = found.inspect_err(|e| shared.met(e));
            if let Err(StoreError::Damaged(id, why)) = found
                && out.damaged.len() < LIST_MAX
            {
                out.damaged.push((id, why));
            }
        }
    }
}

fn counts(conn: &Connection, holders: &[&str], out: &mut Verified) -> Result<(), StoreError> {
    if holders.is_empty() {
        return Ok(());
    }
    let mut held: BTreeMap<i64, i64> = BTreeMap::new();
    for sql in holders {
        let mut all = conn.prepare(sql)?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            *held.entry(row.get(0)?).or_insert(0) += row.get::<_, i64>(1)?;
        }
    }
    let mut all = conn.prepare("SELECT id, refs FROM body ORDER BY id")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let (id, refs): (i64, i64) = (row.get(0)?, row.get(1)?);
        let found = held.remove(&id).unwrap_or(0);
        if found != refs && out.miscounted.len() < LIST_MAX {
            out.miscounted.push((BodyId(id), refs, found));
        }
    }
    // Bodies that a row names and the store does not have.
    for (id, found) in held.into_iter().take(LIST_MAX) {
        out.miscounted.push((BodyId(id), 0, found));
    }
    Ok(())
}
