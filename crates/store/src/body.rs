//! A body to read.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskFile, read_exact};
use crate::draft::off_thread;
use crate::record::{HEAD, Head, Kind};
use crate::shared::{Pin, Place, Shared};
use crate::{BodyId, StoreError};

/// Up to this size a body that the system has in memory is read without changing threads.
const INLINE_MAX: usize = 256 << 10;
/// A body is verified in pieces of this size.
const CHECKED_AT_ONCE: u64 = 1 << 20;
const UNLIKE: &str = "its bytes do not match their checksum";

/// A stored body, readable for as long as this value lives, also if it is deleted meanwhile.
#[derive(Clone)]
pub struct Body {
    pub(crate) id: BodyId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: Place,
    pub(crate) held: Option<Bytes>,
    pub(crate) _pin: Arc<Pin>,
}

impl Body {
    pub fn id(&self) -> BodyId {
        self.id
    }
    pub fn len(&self) -> u64 {
        self.place.len
    }
    pub fn is_empty(&self) -> bool {
        self.place.len == 0
    }
    /// Up to `len` bytes from `offset`; fewer only at the end of the body.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let offset = offset.min(self.place.len);
        let len = (len as u64).min(self.place.len - offset) as usize;
        if let Some(held) = &self.held {
            return Ok(held.slice(offset as usize..offset as usize + len));
        }
        if len as u64 == self.place.len && len <= INLINE_MAX {
            return self.all().await;
        }
        read_part(&self.shared, self.id, self.place, offset, len).await
    }
    /// Its length and checksum, from its head alone; not of one that is known to be damaged.
    pub(crate) fn mark(&self) -> Result<(u64, u32), StoreError> {
        if self.shared.is_damaged(self.id) {
            return Err(StoreError::Damaged(self.id, "it could not be read lately".to_owned()));
        }
        if let Some(held) = &self.held {
            return Ok((held.len() as u64, crc32fast::hash(held)));
        }
        let at = self.place.start - HEAD as u64;
        let head = self.shared.files.get(self.place.segment).and_then(|f| read_exact(&*f, at, HEAD));
        let head = head.map_err(|e| damaged(self.id, &e));
        let crc = head.and_then(|head| check_head(self.id, self.place, &head));
        Ok((self.place.len, crc.inspect_err(|e| self.shared.met(e))?))
    }
    /// The whole body, compared with its checksum.
    pub async fn all(&self) -> Result<Bytes, StoreError> {
        match &self.held {
            Some(held) => Ok(held.clone()),
            None => self.read_all().await.inspect_err(|e| self.shared.met(e)),
        }
    }
    /// Whether all of it can be read and matches its checksum; a body of any size, in pieces.
    pub async fn check(&self) -> Result<(), StoreError> {
        let (shared, id, place) = (self.shared.clone(), self.id, self.place);
        if self.held.is_some() {
            return Ok(());
        }
        let found = off_thread(shared.disk.instant(), move || {
            let file = shared.files.get(place.segment).map_err(|e| damaged(id, &e))?;
            check_file(id, place, &*file)
        });
        let found = found.await.inspect_err(|e| self.shared.met(e));
        found.inspect(|()| self.shared.is_well(id))
    }
    async fn read_all(&self) -> Result<Bytes, StoreError> {
        let (shared, id, place) = (self.shared.clone(), self.id, self.place);
        let whole = place.len as usize + HEAD;
        let record = match quick(&shared, place.segment, place.start - HEAD as u64, whole) {
            Some(record) => record,
            None => {
                off_thread(shared.disk.instant(), move || {
                    let file = shared.files.get(place.segment).map_err(|e| damaged(id, &e))?;
                    read_exact(&*file, place.start - HEAD as u64, whole).map_err(|e| damaged(id, &e))
                })
                .await?
            }
        };
        check(id, place, &record)?;
        Ok(Bytes::from(record).slice(HEAD..))
    }
}

fn damaged(id: BodyId, e: &std::io::Error) -> StoreError {
    StoreError::Damaged(id, e.to_string())
}

/// Compares a body's record (head and payload) with what the index says of it.
pub(crate) fn check(id: BodyId, place: Place, record: &[u8]) -> Result<(), StoreError> {
    let crc = check_head(id, place, record)?;
    if crc32fast::hash(&record[HEAD..]) != crc {
        return Err(StoreError::Damaged(id, UNLIKE.to_owned()));
    }
    Ok(())
}

/// As [`check`], reading the record in pieces.
pub(crate) fn check_file(id: BodyId, place: Place, file: &dyn DiskFile) -> Result<(), StoreError> {
    let read = |at, len| read_exact(file, at, len).map_err(|e| damaged(id, &e));
    let crc = check_head(id, place, &read(place.start - HEAD as u64, HEAD)?)?;
    let mut found = crc32fast::Hasher::new();
    let mut at = 0;
    while at < place.len {
        let some = (place.len - at).min(CHECKED_AT_ONCE) as usize;
        found.update(&read(place.start + at, some)?);
        at += some as u64;
    }
    if found.finalize() != crc {
        return Err(StoreError::Damaged(id, UNLIKE.to_owned()));
    }
    Ok(())
}

/// The checksum that the record's head names, if the head is the right one.
fn check_head(id: BodyId, place: Place, record: &[u8]) -> Result<u32, StoreError> {
    let wrong = |why: &str| StoreError::Damaged(id, why.to_owned());
    let head = Head::decode(record).ok_or_else(|| wrong("its record's head cannot be read"))?;
    if head.kind != Kind::Body || head.len != place.len {
        return Err(wrong("another record lies in its place"));
    }
    // Large bodies are written before they have a number.
    if head.id != 0 && id.0 != 0 && head.id != id.0 as u64 {
        return Err(wrong("another body lies in its place"));
    }
    Ok(head.crc)
}

/// Reads what needs no waiting; `None` if it has to be read elsewhere.
fn quick(shared: &Shared, segment: u64, at: u64, len: usize) -> Option<Vec<u8>> {
    if len > INLINE_MAX + HEAD {
        return None;
    }
    let file = shared.files.get(segment).ok()?;
    let mut out = vec![0; len];
    matches!(file.read_cached(&mut out, at), Ok(Some(n)) if n == len).then_some(out)
}

pub(crate) async fn read_part(
    shared: &Arc<Shared>,
    id: BodyId,
    place: Place,
    offset: u64,
    len: usize,
) -> Result<Bytes, StoreError> {
    if let Some(out) = quick(shared, place.segment, place.start + offset, len) {
        return Ok(Bytes::from(out));
    }
    let theirs = shared.clone();
    let read = off_thread(shared.disk.instant(), move || {
        let file = theirs.files.get(place.segment).map_err(|e| damaged(id, &e))?;
        read_exact(&*file, place.start + offset, len).map(Bytes::from).map_err(|e| damaged(id, &e))
    });
    read.await.inspect_err(|e| shared.met(e))
}
