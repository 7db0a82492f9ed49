//! The log: the segment the committer writes.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::files::Sort;
use crate::record::{HEAD, Head, Kind, put_number};
use crate::shared::{Place, Shared};
use crate::{BodyId, StoreError};

/// A point in the log: behind the commit of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) commit: u64,
    pub(crate) segment: u64,
    pub(crate) end: u64,
}

pub(crate) struct Log {
    shared: Arc<Shared>,
    segment: u64,
    file: Option<Arc<dyn DiskFile>>,
    /// What is durable ends here; the next record begins here.
    end: u64,
    /// False once a write could not be taken back or a sync failed: the file is not touched again.
    sound: bool,
}

/// A body that a commit names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: BodyId,
    pub(crate) place: Place,
    pub(crate) crc: u32,
}

/// Bodies of a group on their way into the log.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) heads: Vec<[u8; HEAD]>,
    pub(crate) bodies: Vec<Bytes>,
    /// Which of them were just delivered, and will be read soon.
    pub(crate) news: Vec<bool>,
    /// All bodies named: those above, and large ones that lie elsewhere.
    pub(crate) named: Vec<Named>,
    size: u64,
    segment: u64,
    base: u64,
}

pub(crate) enum AppendError {
    /// Nothing of it remains.
    Clean(StoreError),
    /// The sync failed: it may or may not be there; a new segment will say that it is not.
    Doubt(StoreError),
}

impl AppendError {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            AppendError::Clean(e) | AppendError::Doubt(e) => e,
        }
    }
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
    pub(crate) fn mark(&self) -> (usize, usize, u64) {
        (self.named.len(), self.bodies.len(), self.size)
    }
    pub(crate) fn back_to(&mut self, (named, bodies, size): (usize, usize, u64)) {
        self.named.truncate(named);
        self.bodies.truncate(bodies);
        self.heads.truncate(bodies);
        self.news.truncate(bodies);
        self.size = size;
    }
    pub(crate) fn small(&mut self, id: BodyId, bytes: Bytes, crc: u32, time: stdx::Now) -> Place {
        let len = bytes.len() as u64;
        let place = Place { segment: self.segment, start: self.base + self.size + HEAD as u64, len };
        self.heads.push(Head { kind: Kind::Body, len, id: id.0 as u64, time, crc }.encode());
        self.bodies.push(bytes);
        self.news.push(true);
        self.size += HEAD as u64 + len;
        self.named.push(Named { id, place, crc });
        place
    }
    pub(crate) fn large(&mut self, id: BodyId, place: Place, crc: u32) {
        self.named.push(Named { id, place, crc });
    }
    /// Everything moves to where the log now ends.
    pub(crate) fn rebase(&mut self, log: &Log) {
        for named in self.named.iter_mut().filter(|n| n.place.segment == self.segment) {
            named.place.segment = log.segment;
            named.place.start = named.place.start - self.base + log.end;
        }
        (self.segment, self.base) = (log.segment, log.end);
    }
    /// The list of bodies at the front of a commit record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.named.len() as u64);
        for n in &self.named {
            for part in [n.id.0 as u64, n.place.segment, n.place.start, n.place.len, u64::from(n.crc)] {
                put_number(out, part);
            }
        }
    }
}

impl Log {
    /// Goes on behind `position`, or (at segment 0) begins anew.
    pub(crate) fn open(shared: Arc<Shared>, position: Position) -> Result<Log, StoreError> {
        let file = match position.segment {
            0 => None,
            no => Some(shared.files.get(no).map_err(|e| StoreError::from_io("opening the log", &e))?),
        };
        Ok(Log { shared, segment: position.segment, sound: file.is_some(), file, end: position.end })
    }
    pub(crate) fn stage(&self) -> Staged {
        Staged { segment: self.segment, base: self.end, ..Staged::default() }
    }
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }
    /// Makes sure that there is a sound segment with room. True if it is a new one.
    pub(crate) fn ready(&mut self, next_commit: u64) -> Result<bool, StoreError> {
        if self.sound && self.end < self.shared.settings.segment_max.get() {
            return Ok(false);
        }
        let failed = |e: std::io::Error| StoreError::from_io("beginning a new segment", &e);
        let (no, file) = self.shared.files.create(Sort::Log).map_err(failed)?;
        let mut payload = Vec::with_capacity(32);
        for part in [no, self.segment, self.end, next_commit] {
            payload.extend_from_slice(&part.to_le_bytes());
        }
        let head = Head::new(Kind::Segment, no, self.shared.disk.now(), &payload).encode();
        let written =
            file.write(&[IoSlice::new(&head), IoSlice::new(&payload)], 0).and_then(|()| file.sync());
        if let Err(e) = written {
            let _ = self.shared.files.remove(no);
            return Err(failed(e));
        }
        if let (false, Some(old)) = (self.sound, &self.file) {
            let _ = old.truncate(self.end);
        }
        (self.segment, self.file, self.sound) = (no, Some(file), true);
        self.end = (HEAD + payload.len()) as u64;
        Ok(true)
    }
    /// Cuts off what a group that was refused may have left behind the durable end, so that a process killed
    /// next does not find it. Where the disk fails at this too, the next segment's first record says it.
    pub(crate) fn cut(&self) {
        if let (false, Some(file)) = (self.sound, &self.file) {
            let _ = file.truncate(self.end);
        }
    }
    /// Writes a group and makes it durable. Returns where the log then ends.
    pub(crate) fn append(
        &mut self,
        staged: &Staged,
        commit: u64,
        payload: &[u8],
    ) -> Result<Position, AppendError> {
        let Some(file) = &self.file else { return Err(AppendError::Clean(StoreError::Closed)) };
        let head = Head::new(Kind::Commit, commit, self.shared.disk.now(), payload).encode();
        let mut parts = Vec::with_capacity(staged.heads.len() * 2 + 2);
        for (head, body) in staged.heads.iter().zip(&staged.bodies) {
            parts.push(IoSlice::new(head));
            parts.push(IoSlice::new(body));
        }
        parts.push(IoSlice::new(&head));
        parts.push(IoSlice::new(payload));
        let size = staged.size + (HEAD + payload.len()) as u64;
        if let Err(e) = file.write(&parts, self.end) {
            // What was written of it must not be found later.
            self.sound = file.truncate(self.end).is_ok();
            return Err(AppendError::Clean(StoreError::from_io("writing to the log", &e)));
        }
        self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = file.sync() {
            self.sound = false;
            return Err(AppendError::Doubt(StoreError::from_io("making the log durable", &e)));
        }
        self.shared.counts.log_bytes.fetch_add(size, Ordering::Relaxed);
        self.end += size;
        Ok(Position { commit, segment: self.segment, end: self.end })
    }
}
