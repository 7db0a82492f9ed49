//! The housekeeper: moves the index's write-ahead log into the index, gives space back.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::engine::tune;
use crate::shared::Shared;
use crate::store::INDEX;
use crate::{Store, StoreError, lock, reclaim};

/// How often it looks around.
const ROUND: Duration = Duration::from_secs(1);
/// The write-ahead log is emptied past this size,
const WAL_MAX: u64 = 24 << 20;
/// by the committer itself, between two groups, if it gets this far because readers never pause,
const WAL_LONG: u64 = 192 << 20;
/// past this much log since the last time (that much is replayed after a power cut),
const LOG_MAX: u64 = 96 << 20;
/// and after this time in any case.
const EVERY: Duration = Duration::from_secs(120);
/// Segments are looked over for rewriting after this many deleted bytes (or this part of what lives, if that
/// is more: the look costs a read of every body's row), after this many of rows that
/// were told again (every change of a row makes its older telling worthless), or this long after open.
const DEAD_STEP: u64 = 64 << 20;
const DEAD_PART: u64 = 64;
const LOG_STEP: u64 = 1 << 30;
const FIRST_TIDY: Duration = Duration::from_secs(300);

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
    /// Waits for the next round; false if there is none.
    fn wait(&self) -> bool {
        let closing = lock(&self.closing);
        if *closing {
            return false;
        }
        let (closing, _) = self.wake.wait_timeout(closing, ROUND).unwrap_or_else(|e| e.into_inner());
        !*closing
    }
    /// The thread's whole life.
    pub(crate) fn run(&self, store: &Store) {
        let mut checkpoints = Checkpoints::default();
        let begun = Instant::now();
        let (mut dead, mut log, mut first, mut swept) = (0, 0, true, false);
        while self.wait() {
            let shared = store.0.shared.clone();
            if !swept {
                swept = true;
                if let Err(e) = reclaim::sweep(store) {
                    shared
                        .trouble(format!("what a crash left of large messages could not be taken away: {e}"));
                }
            }
            if let Some(dir) = store.dir()
                && let Err(e) = checkpoints.round(&dir.join(INDEX), &shared)
            {
                shared.trouble(format!("the index could not be tidied: {e}"));
            }
            // No room for ballast is no trouble of its own.
            let _ = shared.ballasts.fill(false);
            reclaim::punch(&shared);
            let now = shared.counts.dead.load(Ordering::Relaxed);
            let written = shared.counts.log_bytes.load(Ordering::Relaxed);
            let step = DEAD_STEP.max(shared.counts.live.load(Ordering::Relaxed) / DEAD_PART);
            let due = now - dead > step || written - log > LOG_STEP;
            if due || (first && begun.elapsed() > FIRST_TIDY) {
                (dead, log, first) = (now, written, false);
                if let Err(e) = store.tidy() {
                    shared.trouble(format!("the segments could not be tidied: {e}"));
                }
            }
        }
    }
}

struct Checkpoints {
    conn: Option<Connection>,
    log_bytes: u64,
    settles: u64,
    at: Instant,
}

impl Default for Checkpoints {
    fn default() -> Checkpoints {
        Checkpoints { conn: None, log_bytes: 0, settles: 0, at: Instant::now() }
    }
}

impl Checkpoints {
    fn round(&mut self, index: &Path, shared: &Shared) -> Result<(), StoreError> {
        let settles = shared.counts.settles.load(Ordering::Relaxed);
        if settles == self.settles {
            return Ok(());
        }
        let wal = std::fs::metadata(index.with_extension("sqlite-wal")).map_or(0, |m| m.len());
        let log_bytes = shared.counts.log_bytes.load(Ordering::Relaxed);
        if wal > WAL_LONG {
            shared.wal_long.store(true, Ordering::Relaxed);
        }
        if wal < WAL_MAX && log_bytes - self.log_bytes < LOG_MAX && self.at.elapsed() < EVERY {
            return Ok(());
        }
        let conn = match &self.conn {
            Some(conn) => conn,
            None => {
                let conn = Connection::open(index)?;
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
