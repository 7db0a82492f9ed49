//! Large bodies: streamed into a file of their own kind while they arrive, outside the committer.

use std::io::IoSlice;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::files::Sort;
use crate::record::{HEAD, Head, Kind};
use crate::shared::{Place, Shared};
use crate::{StoreError, lock};

/// Most idle files kept for a next draft.
const IDLE_MAX: usize = 32;

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
    len: u64,
    crc: crc32fast::Hasher,
}

impl Stream {
    /// Takes a file. May wait for the disk.
    pub(crate) fn begin(shared: Arc<Shared>) -> Result<Stream, StoreError> {
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
        Ok(Stream { shared, lease: Some(lease), len: 0, crc: crc32fast::Hasher::new() })
    }
    /// Appends. May wait for the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(lease) = &self.lease else { return Err(StoreError::Closed) };
        let at = lease.end + HEAD as u64 + self.len;
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
    /// Writes the head and makes the body durable. Waits for the disk.
    pub(crate) fn seal(&mut self) -> Result<(Place, u32), StoreError> {
        let Some(lease) = self.lease.take() else { return Err(StoreError::Closed) };
        let crc = std::mem::take(&mut self.crc).finalize();
        let head = Head { kind: Kind::Body, len: self.len, id: 0, time: self.shared.disk.now(), crc };
        let place = Place { segment: lease.segment, start: lease.end + HEAD as u64, len: self.len };
        let written =
            lease.file.write(&[IoSlice::new(&head.encode())], lease.end).and_then(|()| lease.file.sync());
        self.shared.counts.syncs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Err(e) = written {
            // After a failed sync the file is never trusted again: the lease ends here.
            self.shared.hold_segment(lease.segment, false);
            return Err(StoreError::from_io("making a large body durable", &e));
        }
        give_back(&self.shared, Lease { end: place.start + place.len, ..lease });
        Ok((place, crc))
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
