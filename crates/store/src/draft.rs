//! A body while it arrives, and once it is whole.

use std::sync::Arc;

use bytes::Bytes;

use crate::body::read_part;
use crate::large::Stream;
use crate::shared::{Flight, Place, Shared};
use crate::{BodyId, StoreError, lock};

/// A large body goes to the disk in pieces of this size.
const PIECE: usize = 128 << 10;

/// A body while it arrives. Dropping it leaves nothing behind.
pub struct Draft {
    shared: Arc<Shared>,
    held: Vec<u8>,
    len: u64,
    /// Octets left free before the body, for what is put on top at the end.
    room: u64,
    /// More than this waiting in memory goes to the disk.
    held_max: usize,
    stream: Option<Box<Stream>>,
    flight: Flight,
}

/// A whole body, not yet named by any row. Dropping it leaves nothing behind.
pub struct Sealed {
    pub(crate) shared: Arc<Shared>,
    pub(crate) form: Form,
    len: u64,
    pub(crate) crc: u32,
    _flight: Flight,
}

pub(crate) enum Form {
    Small(Bytes),
    Large(Place),
    /// Handed to the committer.
    Gone,
}

impl Draft {
    pub(crate) fn new(shared: Arc<Shared>) -> Draft {
        let flight = Flight::new(shared.clone());
        let held_max = shared.settings.small_max.get() as usize;
        Draft { shared, held: Vec::new(), len: 0, room: 0, held_max, stream: None, flight }
    }
    /// A body that is known to be large, with room before it.
    pub(crate) fn behind(shared: Arc<Shared>, room: u64) -> Draft {
        let held_max = PIECE.min(shared.settings.small_max.get() as usize);
        Draft { room, held_max, ..Draft::new(shared) }
    }
    /// Adds bytes; waits while the disk is behind.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.len += bytes.len() as u64;
        self.held.extend_from_slice(bytes);
        if self.held.len() > self.held_max {
            self.spill().await?;
            self.held_max = self.held_max.min(PIECE);
        }
        self.flight.set(self.held.len() as u64);
        Ok(())
    }
    /// As [`Draft::write`], without a copy if nothing was written before.
    pub async fn write_whole(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        if self.len > 0 || bytes.len() > self.held_max {
            return self.write(&bytes).await;
        }
        self.len = bytes.len() as u64;
        self.held = bytes;
        self.flight.set(self.len);
        Ok(())
    }
    async fn spill(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let (stream, room) = (self.stream.take(), self.room);
        let mut held = std::mem::take(&mut self.held);
        let (stream, held) = off_thread(self.shared.disk.instant(), move || {
            let mut stream = match stream {
                Some(stream) => stream,
                None => Box::new(Stream::begin(shared, room)?),
            };
            stream.write(&held)?;
            held.clear();
            held.shrink_to(PIECE * 2);
            Ok((stream, held))
        })
        .await?;
        (self.stream, self.held) = (Some(stream), held);
        Ok(())
    }
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// No more bytes will come. A large body is durable after this, a small one after its commit.
    pub async fn seal(self) -> Result<Sealed, StoreError> {
        self.seal_under(Vec::new()).await
    }
    /// As [`Draft::seal`], with `front` before everything that was written.
    pub async fn seal_under(mut self, mut front: Vec<u8>) -> Result<Sealed, StoreError> {
        self.len += front.len() as u64;
        let rest = std::mem::take(&mut self.held);
        let small = self.stream.is_none() && self.len <= self.shared.settings.small_max.get();
        let (form, crc) = if small {
            let held = if front.is_empty() {
                rest
            } else {
                front.extend_from_slice(&rest);
                front
            };
            let crc = crc32fast::hash(&held);
            (Form::Small(Bytes::from(held)), crc)
        } else {
            let (shared, stream) = (self.shared.clone(), self.stream.take());
            let (place, crc) = off_thread(self.shared.disk.instant(), move || {
                let mut stream = match stream {
                    Some(stream) => stream,
                    None => Box::new(Stream::begin(shared, front.len() as u64)?),
                };
                stream.write(&rest)?;
                stream.seal(&front)
            })
            .await?;
            self.flight.set(0);
            (Form::Large(place), crc)
        };
        Ok(Sealed { shared: self.shared, form, len: self.len, crc, _flight: self.flight })
    }
}

/// Runs what may wait for the disk where waiting hurts nobody.
pub(crate) async fn off_thread<T: Send + 'static>(
    instant: bool,
    f: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if instant {
        return f();
    }
    tokio::task::spawn_blocking(f).await.unwrap_or(Err(StoreError::Closed))
}

impl Sealed {
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The bytes, if the body is small enough to be in memory.
    pub fn small(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Small(bytes) => Some(bytes),
            _ => None,
        }
    }
    /// As [`Sealed::small`], shared instead of lent.
    pub fn bytes(&self) -> Option<Bytes> {
        match &self.form {
            Form::Small(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
    /// Up to `len` bytes from `offset`, wherever they lie; fewer at the end.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let offset = offset.min(self.len);
        let len = (len as u64).min(self.len - offset) as usize;
        match &self.form {
            Form::Small(bytes) => Ok(bytes.slice(offset as usize..offset as usize + len)),
            Form::Large(place) => read_part(&self.shared, BodyId(0), *place, offset, len).await,
            Form::Gone => Err(StoreError::Closed),
        }
    }
    /// Its row is durable: the body is no longer ours to give up.
    pub(crate) fn committed(&mut self) {
        if let Form::Large(place) = std::mem::replace(&mut self.form, Form::Gone) {
            self.shared.hold_segment(place.segment, false);
        }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if let Form::Large(place) = std::mem::replace(&mut self.form, Form::Gone) {
            lock(&self.shared.dead).push((BodyId(0), place));
            self.shared.hold_segment(place.segment, false);
        }
    }
}
