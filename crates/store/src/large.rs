//! Large bodies: streamed into a file of their own kind while they arrive, outside the committer.
//!
//! What stands at the top of a message is often known only when its end has come (who signed it,
//! whether the signature holds). So a stream may leave room before its first octet; the record's
//! head and what goes on top are written right in front of the body at the end.

use std::io::IoSlice;
use std::sync::Arc;

use crate::disk::{DiskFile, read_exact};
use crate::files::Sort;
use crate::record::{HEAD, Head, Kind};
use crate::shared::{Place, Shared};
use crate::{StoreError, lock};

/// Most idle files kept for a next draft.
const IDLE_MAX: usize = 32;
/// A body that has to be moved is moved in pieces of this size.
const COPIED_AT_ONCE: u64 = 256 << 10;

/// The right to append to one large file.
pub(crate) struct Lease {
    pub(crate) segment: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
}

/// A large body on its way to the disk.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    /// `None` once sealed or given up.
    lease: Option<Lease>,
    /// Octets left free between the record's head and the body.
    room: u64,
    len: u64,
    crc: crc32fast::Hasher,
}

impl Stream {
    /// Takes a file, and leaves `room` octets before the body. May wait for the disk.
    pub(crate) fn begin(shared: Arc<Shared>, room: u64) -> Result<Stream, StoreError> {
        let idle = lock(&shared.leases).pop();
        let lease = match idle {
            Some(lease) => lease,
            None => {
                let (segment, file) = shared
                    .files
                    .create(Sort::Large)
                    .map_err(|e| StoreError::from_io("making a file for large bodies", &e))?;
                Lease { segment, file, end: 0 }
            }
        };
        // From here until the body is named or given up, the file is not tidied away.
        shared.hold_segment(lease.segment, true);
        Ok(Stream { shared, lease: Some(lease), room, len: 0, crc: crc32fast::Hasher::new() })
    }
    /// Appends. May wait for the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(lease) = &self.lease else { return Err(StoreError::Closed) };
        let at = lease.end + HEAD as u64 + self.room + self.len;
        if let Err(e) = lease.file.write(&[IoSlice::new(bytes)], at) {
            let error = StoreError::from_io("writing a large body", &e);
            if matches!(error, StoreError::Full(_)) {
                self.shared.ran_full();
            }
            return Err(error);
        }
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
    /// Puts `front` before the body, writes the head and makes all of it durable. What does not fit
    /// into the room left is copied to where it does. Waits for the disk.
    pub(crate) fn seal(mut self, front: &[u8]) -> Result<(Place, u32), StoreError> {
        if front.len() as u64 > self.room {
            return self.elsewhere(front)?.seal(&[]);
        }
        let Some(lease) = self.lease.take() else { return Err(StoreError::Closed) };
        let mut crc = crc32fast::Hasher::new();
        crc.update(front);
        crc.combine(&self.crc);
        let crc = crc.finalize();
        let len = self.len + front.len() as u64;
        let start = lease.end + HEAD as u64 + self.room - front.len() as u64;
        let head = Head { kind: Kind::Body, len, id: 0, time: self.shared.disk.now(), crc };
        let place = Place { segment: lease.segment, start, len };
        let head = head.encode();
        let parts = [IoSlice::new(&head), IoSlice::new(front)];
        let written = lease.file.write(&parts, start - HEAD as u64).and_then(|()| lease.file.sync());
        self.shared.counts.syncs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Err(e) = written {
            // After a failed sync the file is never trusted again: the lease ends here.
            self.shared.hold_segment(lease.segment, false);
            let error = StoreError::from_io("making a large body durable", &e);
            if matches!(error, StoreError::Full(_)) {
                self.shared.ran_full();
            }
            return Err(error);
        }
        give_back(&self.shared, Lease { end: place.start + place.len, ..lease });
        Ok((place, crc))
    }
    /// The same body in another place, behind `front`.
    fn elsewhere(&self, front: &[u8]) -> Result<Stream, StoreError> {
        let Some(lease) = &self.lease else { return Err(StoreError::Closed) };
        let mut other = Stream::begin(self.shared.clone(), 0)?;
        other.write(front)?;
        let from = lease.end + HEAD as u64 + self.room;
        let mut at = 0;
        while at < self.len {
            let some = (self.len - at).min(COPIED_AT_ONCE) as usize;
            let bytes = read_exact(&*lease.file, from + at, some)
                .map_err(|e| StoreError::from_io("reading a large body back", &e))?;
            other.write(&bytes)?;
            at += some as u64;
        }
        Ok(other)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.shared.hold_segment(lease.segment, false);
            if lease.file.truncate(lease.end).is_ok() {
                give_back(&self.shared, lease);
            }
        }
    }
}

fn give_back(shared: &Shared, lease: Lease) {
    let mut leases = lock(&shared.leases);
    if lease.end < shared.settings.segment_max.get() && leases.len() < IDLE_MAX {
        leases.push(lease);
    }
}
