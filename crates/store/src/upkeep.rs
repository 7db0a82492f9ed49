//! The housekeeper: moves the index's write-ahead log into the index, gives space back.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::committer::Queue;
use crate::engine::tune;
use crate::readers::Readers;
use crate::shared::Shared;
use crate::{StoreError, lock, reclaim};

/// How often it looks around.
const ROUND: Duration = Duration::from_secs(1);
/// The write-ahead log is emptied past this size,
const WAL_MAX: u64 = 24 << 20;
/// past this much log since the last time (that much is replayed after a power cut),
const LOG_MAX: u64 = 96 << 20;
/// and after this time in any case.
const EVERY: Duration = Duration::from_secs(120);

/// Lets the housekeeper stop.
#[derive(Default)]
pub(crate) struct Upkeep {
    closing: Mutex<bool>,
    wake: Condvar,
}

impl Upkeep {
    pub(crate) fn close(&self) {
        *lock(&self.closing) = true;
        self.wake.notify_all();
    }
    /// The thread's whole life.
    pub(crate) fn run(&self, index: &Path, shared: &Arc<Shared>, readers: &Readers, queue: &Arc<Queue>) {
        let mut checkpoints = Checkpoints::new(index);
        loop {
            {
                let closing = lock(&self.closing);
                if *closing {
                    return;
                }
                let (closing, _) = self.wake.wait_timeout(closing, ROUND).unwrap_or_else(|e| e.into_inner());
                if *closing {
                    return;
                }
            }
            if let Err(e) = checkpoints.round(shared) {
                shared.trouble(format!("the index could not be tidied: {e}"));
            }
            reclaim::punch(shared);
            let _ = (readers, queue);
        }
    }
}

struct Checkpoints<'p> {
    index: &'p Path,
    conn: Option<Connection>,
    log_bytes: u64,
    settles: u64,
    at: Instant,
}

impl<'p> Checkpoints<'p> {
    fn new(index: &'p Path) -> Checkpoints<'p> {
        Checkpoints { index, conn: None, log_bytes: 0, settles: 0, at: Instant::now() }
    }
    fn round(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let settles = shared.counts.settles.load(Ordering::Relaxed);
        if settles == self.settles {
            return Ok(());
        }
        let wal = self.index.with_extension("sqlite-wal");
        let wal = std::fs::metadata(wal).map_or(0, |m| m.len());
        let log_bytes = shared.counts.log_bytes.load(Ordering::Relaxed);
        if wal < WAL_MAX && log_bytes - self.log_bytes < LOG_MAX && self.at.elapsed() < EVERY {
            return Ok(());
        }
        let conn = match &self.conn {
            Some(conn) => conn,
            None => {
                let conn = Connection::open(self.index)?;
                tune(&conn)?;
                self.conn.insert(conn)
            }
        };
        // Waits for nobody; what a reader holds back is moved the next time.
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        (self.settles, self.log_bytes, self.at) = (settles, log_bytes, Instant::now());
        Ok(())
    }
}
