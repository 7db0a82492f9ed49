//! Gives the space of deleted bodies back: holes where they lay, at once; and segments of which
//! less than half lives are written anew, in small steps between the commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;

use crate::body::check;
use crate::disk::{DiskFile, read_exact};
use crate::files::Sort;
use crate::record::{HEAD, Head, Kind};
use crate::recover::read_commit;
use crate::rowlog::{RowKey, RowKeys};
use crate::shared::{Place, Shared};
use crate::{BodyId, Store, StoreError, lock};

/// Only whole pages can be given back.
const PAGE: u64 = 4096;
/// Most bodies per round.
const ROUND_MAX: usize = 20_000;
/// One step of a rewrite: so much is written between two groups of commits.
const STEP_BYTES: u64 = 1 << 20;
const STEP_ROWS: usize = 500;
/// Between the steps of a rewrite, so that mail goes first.
const PAUSE: Duration = Duration::from_millis(5);

/// What a tidying did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Segments written anew.
    pub rewritten: u64,
    /// Files that are gone.
    pub removed: u64,
    /// Bytes of files that are gone.
    pub bytes: u64,
}

/// Punches holes where deleted bodies lay. Their records' heads stay, so that the segment can
/// still be walked.
pub(crate) fn punch(shared: &Arc<Shared>) {
    if shared.copying.load(Ordering::Acquire) > 0 {
        return;
    }
    let mut dead = {
        let mut all = lock(&shared.dead);
        let count = all.len().min(ROUND_MAX);
        all.drain(..count).collect::<Vec<_>>()
    };
    dead.sort_unstable_by_key(|(_, place)| (place.segment, place.start));
    let mut later = Vec::new();
    for (id, place) in dead {
        if id.0 != 0 && shared.is_pinned(id) {
            later.push((id, place));
        } else {
            shared.counts.dead.fetch_add(place.len, Ordering::Relaxed);
            punch_one(shared, place);
        }
    }
    lock(&shared.dead).append(&mut later);
}

fn punch_one(shared: &Shared, place: Place) {
    let from = place.start.next_multiple_of(PAGE);
    let to = (place.start + place.len) / PAGE * PAGE;
    if to <= from {
        return;
    }
    let Ok(file) = shared.files.get(place.segment) else { return };
    // A backup that links to the file still needs what lies there.
    if file.names().unwrap_or(2) > 1 {
        return;
    }
    // Some file systems cannot; the space then comes back when the segment is rewritten.
    if file.punch(from, to - from).is_ok() {
        shared.counts.punched.fetch_add(to - from, Ordering::Relaxed);
    }
}

/// Live bytes by segment.
fn live(conn: &Connection) -> Result<BTreeMap<u64, u64>, StoreError> {
    let mut all = conn.prepare("SELECT segment, sum(len) + count(*) * ?1 FROM body GROUP BY segment")?;
    let rows =
        all.query_map([HEAD as i64], |r| Ok((r.get::<_, i64>(0)? as u64, r.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes away what an earlier life left of large bodies that never became whole: files that hold
/// nothing any more, and the ends of others.
pub(crate) fn sweep(store: &Store) -> Result<Tidied, StoreError> {
    let shared = store.0.shared.clone();
    let mut done = Tidied::default();
    let inherited = |no: &u64| shared.files.is_inherited(*no);
    let larges: Vec<u64> = shared.files.all(Sort::Large).into_iter().filter(inherited).collect();
    if larges.is_empty() || shared.copying.load(Ordering::Acquire) > 0 {
        return Ok(done);
    }
    let ends = store.read_now(ends)?;
    for no in larges {
        let file = shared.files.get(no).map_err(|e| failed(&e))?;
        let (len, names) = (file.len().map_err(|e| failed(&e))?, file.names().unwrap_or(2));
        let end = ends.get(&no).copied().unwrap_or(0);
        // A backup that links to the file may name what we do not name any more.
        if len <= end || names > 1 || shared.holds_segment(no) {
            continue;
        }
        done.bytes += len - end;
        if end == 0 {
            shared.files.remove(no).map_err(|e| failed(&e))?;
            done.removed += 1;
        } else {
            file.truncate(end).map_err(|e| failed(&e))?;
        }
    }
    Ok(done)
}

/// Where the last live body of each segment ends.
fn ends(conn: &Connection) -> Result<BTreeMap<u64, u64>, StoreError> {
    let mut all = conn.prepare("SELECT segment, max(start + len) FROM body GROUP BY segment")?;
    let rows = all.query_map([], |r| Ok((r.get::<_, i64>(0)? as u64, r.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn tidy(store: &Store) -> Result<Tidied, StoreError> {
    let shared = store.0.shared.clone();
    punch(&shared);
    let mut done = sweep(store)?;
    // Which files there are is asked first: a body sealed later lies in a newer one, or in one
    // that is held.
    let (logs, larges) = (shared.files.all(Sort::Log), shared.files.all(Sort::Large));
    let held: Vec<u64> = larges.iter().copied().filter(|no| shared.holds_segment(*no)).collect();
    let current = lock(&shared.log_end).segment;
    let live = store.read_now(live)?;
    let live_in = |no: u64| live.get(&no).copied().unwrap_or(0);
    let mut gone = Vec::new();
    for no in larges {
        if live_in(no) == 0 && !held.contains(&no) && !shared.holds_segment(no) {
            gone.push(no);
        }
    }
    for no in logs.into_iter().filter(|no| *no < current) {
        let len = shared.files.get(no).and_then(|f| f.len()).map_err(|e| failed(&e))?;
        if live_in(no) * 2 < len && rewrite(store, no)? {
            done.rewritten += 1;
            gone.push(no);
        }
    }
    if gone.is_empty() || shared.copying.load(Ordering::Acquire) > 0 {
        return Ok(done);
    }
    // The index file has to stand on its own before log that it may need is taken away.
    store.settle_now()?;
    if !store.checkpoint_now()? {
        return Ok(done);
    }
    for no in gone {
        let len = shared.files.get(no).and_then(|f| f.len()).unwrap_or(0);
        shared.files.remove(no).map_err(|e| failed(&e))?;
        done.removed += 1;
        done.bytes += len;
    }
    shared.disk.sync_names().map_err(|e| failed(&e))?;
    Ok(done)
}

fn failed(e: &std::io::Error) -> StoreError {
    StoreError::from_io("tidying the segments", e)
}

/// Writes what lives of a log segment into the newest one: its bodies, and the rows its commits
/// tell of as they are now. True if all of it could be moved.
fn rewrite(store: &Store, no: u64) -> Result<bool, StoreError> {
    let shared = &store.0.shared;
    let file = shared.files.get(no).map_err(|e| failed(&e))?;
    let Some((bodies, keys)) = survey(&*file) else {
        shared.trouble(format!("segment {no} is damaged and stays; run `postroad verify`"));
        return Ok(false);
    };
    let mut all_moved = true;
    let mut step: Vec<(BodyId, Place)> = Vec::new();
    let mut bytes = 0;
    for (id, start, len) in bodies {
        step.push((id, Place { segment: no, start, len }));
        bytes += len;
        if bytes >= STEP_BYTES {
            all_moved &= move_bodies(store, std::mem::take(&mut step))?;
            bytes = 0;
        }
    }
    all_moved &= move_bodies(store, step)?;
    if !all_moved {
        return Ok(false);
    }
    let keys: Vec<RowKey> = keys.keys.into_iter().collect();
    for some in keys.chunks(STEP_ROWS) {
        let some = some.to_vec();
        store.commit_now(move |batch| some.iter().try_for_each(|key| batch.restate(key)))?;
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

type Survey = (Vec<(BodyId, u64, u64)>, RowKeys);

/// All bodies of a segment, and the keys of all rows its commits tell of.
fn survey(file: &dyn DiskFile) -> Option<Survey> {
    let end = file.len().ok()?;
    let (mut bodies, mut keys) = (Vec::new(), RowKeys::default());
    let mut at = 0;
    while at < end {
        let head = Head::decode(&read_exact(file, at, HEAD).ok()?)?;
        let start = at + HEAD as u64;
        match head.kind {
            Kind::Segment => {}
            Kind::Body => bodies.push((BodyId(head.id as i64), start, head.len)),
            Kind::Commit => {
                let payload = read_exact(file, start, head.len as usize).ok()?;
                if crc32fast::hash(&payload) != head.crc {
                    return None;
                }
                keys.add(read_commit(&payload)?.1)?;
            }
        }
        at = start + head.len;
    }
    Some((bodies, keys))
}

/// Moves those of the bodies that still live here. False if one cannot be read.
fn move_bodies(store: &Store, step: Vec<(BodyId, Place)>) -> Result<bool, StoreError> {
    if step.is_empty() {
        return Ok(true);
    }
    std::thread::sleep(PAUSE);
    let shared = store.0.shared.clone();
    store.commit_now(move |batch| {
        let mut whole = true;
        for (id, place) in step {
            let here = batch
                .sql()
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM body WHERE id = ?1 AND segment = ?2 AND start = ?3)",
                )?
                .query_row((id.0, place.segment as i64, place.start as i64), |r| r.get::<_, bool>(0))?;
            if !here {
                continue;
            }
            let record = shared
                .files
                .get(place.segment)
                .and_then(|f| read_exact(&*f, place.start - HEAD as u64, place.len as usize + HEAD));
            match record {
                Ok(record) if check(id, place, &record).is_ok() => {
                    let bytes = Bytes::from(record).slice(HEAD..);
                    let crc = crc32fast::hash(&bytes);
                    batch.moves.push((id, bytes, crc));
                }
                _ => {
                    shared.trouble(format!("body {} is damaged; run `postroad verify`", id.0));
                    whole = false;
                }
            }
        }
        Ok(whole)
    })
}
