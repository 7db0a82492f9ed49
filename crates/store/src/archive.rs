//! A backup, to read single things from while the host runs.
//!
//! What it is: the rows as they were when the backup was made, and the bodies they name. Nothing in
//! it is changed, but for a note of when it was last read. What it is not: a store; to bring all of
//! it back see [`crate::restore`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};
use stdx::Now;

use crate::body::check_file;
use crate::disk::{Real, read_exact};
use crate::record::{HEAD, Head};
use crate::shared::{Place, Shared};
use crate::store::{INDEX, SEGMENTS, take_lock};
use crate::{BodyId, Settings, StoreError};

/// In a backup's folder: when something was last brought back from it.
const TRIED: &str = "last-restored";

/// A backup that is being read. Nobody adds to it meanwhile.
pub struct Archive {
    dir: PathBuf,
    conn: Connection,
    shared: Arc<Shared>,
    _lock: fs::File,
}

impl Archive {
    pub fn open(dir: &Path) -> Result<Archive, StoreError> {
        let index = dir.join(INDEX);
        if !index.exists() {
            return Err(StoreError::rule(format!("{} holds no backup (no {INDEX} there)", dir.display())));
        }
        let lock = take_lock(dir)?;
        let disk =
            Real::new(&dir.join(SEGMENTS)).map_err(|e| StoreError::from_io("opening the backup", &e))?;
        let shared = Arc::new(Shared::new(Arc::new(disk), Settings::default())?);
        let conn = Connection::open_with_flags(&index, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Archive { dir: dir.to_owned(), conn, shared, _lock: lock })
    }
    /// The rows.
    pub fn sql(&self) -> &Connection {
        &self.conn
    }
    /// A body's length and checksum, without reading it.
    pub fn mark(&self, id: BodyId) -> Result<(u64, u32), StoreError> {
        let (place, file) = self.place(id)?;
        let head = read_exact(&*file, place.start - HEAD as u64, HEAD)
            .map_err(|e| StoreError::Damaged(id, e.to_string()))?;
        let head = Head::decode(&head)
            .ok_or_else(|| StoreError::Damaged(id, "its record's head cannot be read".to_owned()))?;
        Ok((place.len, head.crc))
    }
    /// Reads a body in pieces of at most `piece` octets, once all of it was compared with its
    /// checksum.
    pub fn body(
        &self,
        id: BodyId,
        piece: usize,
        each: &mut dyn FnMut(Bytes) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (place, file) = self.place(id)?;
        check_file(id, place, &*file)?;
        let mut at = 0;
        while at < place.len {
            let some = (place.len - at).min(piece as u64) as usize;
            let bytes = read_exact(&*file, place.start + at, some)
                .map_err(|e| StoreError::Damaged(id, e.to_string()))?;
            each(Bytes::from(bytes))?;
            at += some as u64;
        }
        Ok(())
    }
    fn place(&self, id: BodyId) -> Result<(Place, Arc<dyn crate::disk::DiskFile>), StoreError> {
        let found = self
            .conn
            .prepare_cached("SELECT segment, start, len FROM body WHERE id = ?1")?
            .query_row([id.0], |r| {
                let n = |at| r.get::<_, i64>(at).map(|n| n as u64);
                Ok(Place { segment: n(0)?, start: n(1)?, len: n(2)? })
            });
        let place = match found {
            Err(rusqlite::Error::QueryReturnedNoRows) => return Err(StoreError::Missing(id)),
            found => found?,
        };
        let file =
            self.shared.files.get(place.segment).map_err(|e| StoreError::Damaged(id, e.to_string()))?;
        Ok((place, file))
    }
    /// Leaves a note that something was brought back.
    pub fn note_tried(&self) {
        note_tried(&self.dir);
    }
}

/// A folder that cannot be written is no reason to fail a restore.
pub(crate) fn note_tried(dir: &Path) {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let _ = fs::write(dir.join(TRIED), format!("{ms}\n"));
}

/// When something was last brought back from the backup in this folder.
pub fn last_restored(dir: &Path) -> Option<Now> {
    fs::read_to_string(dir.join(TRIED)).ok()?.trim().parse().ok().map(Now)
}
