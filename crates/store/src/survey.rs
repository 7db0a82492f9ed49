//! How much of a log segment is still needed: is it worth being written anew?
//!
//! What it is: the bodies that live are known from the index. Of the rows that a segment's commits tell
//! of, some are told again by later segments or are gone; how many, a sample of their keys says. What
//! it is not: exact; a segment that is written anew for too little gain is looked at again a day later
//! at the earliest. Begin with [`pays`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::disk::{DiskFile, read_exact};
use crate::reclaim::failed;
use crate::record::{HEAD, Head, Kind};
use crate::recover::read_commit;
use crate::rowlog::{self, RowKey, RowKeys};
use crate::{BodyId, Store, StoreError, lock};

/// Keys looked up to judge one segment.
const SAMPLE: usize = 1024;
/// What a row that is gone takes in the log, about.
const GONE_LEN: u64 = 24;
/// A segment is judged anew after this time.
const AGAIN: Duration = Duration::from_secs(86_400);

/// What was found out of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surveyed {
    /// Bytes its rows would take if told again.
    rows: u64,
    at: Instant,
}

/// A part of a log segment.
pub(crate) enum Part<'a> {
    /// A body: where it starts behind its head, and its length.
    Body(BodyId, u64, u64),
    /// What one commit did to the rows.
    Rows(&'a [u8]),
}

/// Whether writing a segment anew gives back at least half of what it takes on the disk. `live` is
/// what its living bodies take; nothing older is left if it is the `oldest`.
pub(crate) fn pays(store: &Store, no: u64, live: u64, oldest: bool) -> Result<bool, StoreError> {
    let shared = &store.0.shared;
    let file = shared.files.get(no).map_err(|e| failed(&e))?;
    let used = file.used().map_err(|e| failed(&e))?;
    if live * 2 >= used {
        return Ok(false);
    }
    let known = lock(&shared.surveyed).get(&no).copied().filter(|k| k.at.elapsed() < AGAIN);
    let known = match known {
        Some(known) => known,
        None => {
            let Some(rows) = rows_needed(store, &*file, oldest)? else {
                shared.trouble(format!("segment {no} is damaged and stays; run `postroad verify`"));
                return Ok(false);
            };
            let new = Surveyed { rows, at: Instant::now() };
            lock(&shared.surveyed).insert(no, new);
            new
        }
    };
    Ok((live + known.rows) * 2 < used)
}

/// Goes over all parts of a segment in their order. False if it is damaged.
pub(crate) fn walk(
    file: &dyn DiskFile,
    visit: &mut dyn FnMut(Part<'_>) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let end = file.len().map_err(|e| failed(&e))?;
    let mut at = 0;
    while at < end {
        let Some(head) = read_exact(file, at, HEAD).ok().and_then(|head| Head::decode(&head)) else {
            return Ok(false);
        };
        let start = at + HEAD as u64;
        match head.kind {
            Kind::Segment => {}
            Kind::Body => visit(Part::Body(BodyId(head.id as i64), start, head.len))?,
            Kind::Commit => {
                let Ok(payload) = read_exact(file, start, head.len as usize) else { return Ok(false) };
                if crc32fast::hash(&payload) != head.crc {
                    return Ok(false);
                }
                let Some((_, ops)) = read_commit(&payload) else { return Ok(false) };
                visit(Part::Rows(ops))?;
            }
        }
        at = start + head.len;
    }
    Ok(true)
}

/// A commit that cannot be read, though its checksum is right.
pub(crate) fn unreadable() -> StoreError {
    StoreError::Broken("a commit in the log cannot be read; run `postroad verify`".to_owned())
}

/// Keys taken by their hash, so that one that comes often is taken once.
#[derive(Default)]
struct Sample {
    keys: BTreeSet<RowKey>,
    /// One of `1 << rare` keys is taken.
    rare: u32,
}

impl Sample {
    fn wants(&self, key: &RowKey) -> bool {
        key.hash().trailing_zeros() >= self.rare
    }
    fn take(&mut self, key: RowKey) {
        if self.wants(&key) {
            self.keys.insert(key);
        }
        while self.keys.len() > SAMPLE {
            self.rare += 1;
            let rare = self.rare;
            self.keys.retain(|key| key.hash().trailing_zeros() >= rare);
        }
    }
}

/// Bytes that the rows of a segment would take if told again, about; nothing if it is damaged.
fn rows_needed(store: &Store, file: &dyn DiskFile, oldest: bool) -> Result<Option<u64>, StoreError> {
    let (mut keys, mut sample) = (RowKeys::default(), Sample::default());
    let (mut told, mut bytes) = (0u64, 0u64);
    let sound = walk(file, &mut |part| {
        if let Part::Rows(ops) = part {
            told += keys.add(ops).ok_or_else(unreadable)?;
            bytes += ops.len() as u64;
            std::mem::take(&mut keys.keys).into_iter().for_each(|key| sample.take(key));
        }
        Ok(())
    })?;
    if !sound {
        return Ok(None);
    }
    let taken = sample.keys.len() as u64;
    let there = store.read_now(move |conn| {
        let tables = rowlog::tables(conn)?;
        sample.keys.iter().try_fold(0u64, |n, key| Ok(n + u64::from(rowlog::is_there(conn, &tables, key)?)))
    })?;
    let each = bytes / told.max(1);
    let gone = if oldest { 0 } else { (taken - there) * GONE_LEN };
    Ok(Some((there * each + gone) << sample.rare))
}
