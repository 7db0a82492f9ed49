//! Gives the space of deleted bodies back: holes where they lay, at once; and segments of which
//! less than half is still needed are written anew, in small steps between the commits. What is
//! needed are the bodies that live and the rows that are as this segment tells ([`crate::survey`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::body::check;
use crate::disk::read_exact;
use crate::files::Sort;
use crate::record::HEAD;
use crate::rowlog::{RowKey, RowKeys};
use crate::shared::{Place, Shared};
use crate::survey::{self, Part};
use crate::{BodyId, Store, StoreError, lock};

/// Only whole pages can be given back.
const PAGE: u64 = 4096;
/// Most bodies per round.
const ROUND_MAX: usize = 20_000;
/// One step of a rewrite: so much is written between two groups of commits.
const STEP_BYTES: u64 = 1 << 20;
const STEP_ROWS: usize = 500;
/// Keys of rows held at a time; one that comes again behind so many others is told once more.
const KEYS_MAX: usize = 50_000;
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

/// Bodies looked at in one read: no read lasts long enough to hold the write-ahead log up.
const LOOK: usize = 50_000;

/// Every body that is named now, in the order of their numbers. Those that are named meanwhile may be left
/// out, and those that go meanwhile may be told.
///
/// In small reads, added up here: SQLite would sort them all in memory to group them by segment.
fn each(store: &Store, mut take: impl FnMut(Place)) -> Result<(), StoreError> {
    // What was acknowledged before is seen from here on.
    store.read_now(|_| Ok(()))?;
    let mut last = 0i64;
    loop {
        let seen = store.glance(|conn| {
            let sql = "SELECT id, segment, start, len FROM body WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut some = conn.prepare_cached(sql)?;
            let mut rows = some.query((last, LOOK as i64))?;
            let mut seen = 0;
            while let Some(row) = rows.next()? {
                let of = |n: usize| row.get::<_, i64>(n).map(|value| value as u64);
                last = row.get(0)?;
                take(Place { segment: of(1)?, start: of(2)?, len: of(3)? });
                seen += 1;
            }
            Ok(seen)
        })?;
        if seen < LOOK {
            return Ok(());
        }
    }
}

/// Live bytes by segment.
fn live(store: &Store) -> Result<BTreeMap<u64, u64>, StoreError> {
    let mut live = BTreeMap::new();
    each(store, |place| *live.entry(place.segment).or_default() += place.len + HEAD as u64)?;
    Ok(live)
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
    let ends = ends(store)?;
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
fn ends(store: &Store) -> Result<BTreeMap<u64, u64>, StoreError> {
    let mut ends = BTreeMap::new();
    each(store, |place| {
        let end: &mut u64 = ends.entry(place.segment).or_default();
        *end = (*end).max(place.start + place.len);
    })?;
    Ok(ends)
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
    let live = live(store)?;
    shared.counts.live.store(live.values().sum(), Ordering::Relaxed);
    let live_in = |no: u64| live.get(&no).copied().unwrap_or(0);
    let mut gone = Vec::new();
    for no in larges {
        if live_in(no) == 0 && !held.contains(&no) && !shared.holds_segment(no) {
            gone.push(no);
        }
    }
    let oldest = logs.iter().min().copied();
    let mut told = BTreeSet::new();
    for no in logs.into_iter().filter(|no| *no < current) {
        let is_oldest = oldest == Some(no);
        if survey::pays(store, no, live_in(no), is_oldest)? && rewrite(store, no, is_oldest, &mut told)? {
            done.rewritten += 1;
            gone.push(no);
        }
    }
    lock(&shared.surveyed).retain(|no, _| !gone.contains(no));
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

pub(crate) fn failed(e: &std::io::Error) -> StoreError {
    StoreError::from_io("tidying the segments", e)
}

/// Writes what lives of a log segment into the newest one: its bodies, and the rows its commits
/// tell of as they are now. True if all of it could be moved.
///
/// A row that is gone is told to be gone, lest an older segment bring it back; there is none behind
/// the oldest. What was `told` a moment ago for another segment is not told again.
fn rewrite(store: &Store, no: u64, oldest: bool, told: &mut BTreeSet<RowKey>) -> Result<bool, StoreError> {
    let shared = &store.0.shared;
    let file = shared.files.get(no).map_err(|e| failed(&e))?;
    let mut bodies = Vec::new();
    let sound = survey::walk(&*file, &mut |part| {
        if let Part::Body(id, start, len) = part {
            bodies.push((id, start, len));
        }
        Ok(())
    })?;
    if !sound {
        return Ok(false);
    }
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
    let mut keys = RowKeys::default();
    let sound = survey::walk(&*file, &mut |part| {
        if let Part::Rows(ops) = part {
            keys.add(ops).ok_or_else(survey::unreadable)?;
        }
        if keys.keys.len() >= KEYS_MAX { restate(store, &mut keys, oldest, told) } else { Ok(()) }
    })?;
    restate(store, &mut keys, oldest, told)?;
    Ok(sound)
}

/// Tells these rows again, as they are now.
fn restate(
    store: &Store,
    keys: &mut RowKeys,
    oldest: bool,
    told: &mut BTreeSet<RowKey>,
) -> Result<(), StoreError> {
    let mut keys = std::mem::take(&mut keys.keys);
    keys.retain(|key| !told.contains(key));
    if told.len() + keys.len() > KEYS_MAX {
        told.clear();
    }
    // Rows that are gone were not told for the oldest segment, so nothing is known to be told then.
    if !oldest {
        told.extend(keys.iter().cloned());
    }
    let keys: Vec<RowKey> = keys.into_iter().collect();
    for some in keys.chunks(STEP_ROWS) {
        let some = some.to_vec();
        store.commit_now(move |batch| some.iter().try_for_each(|key| batch.restate(key, !oldest)))?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
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
