//! Connections that only read.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::{StoreError, lock};

/// Most connections kept for the next reader.
const IDLE_MAX: usize = 8;

pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Readers {
        Readers { path: path.to_owned(), idle: Mutex::default() }
    }
    fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.set_prepared_statement_cache_capacity(256);
        // Plans do not follow the values that are bound: else some statements are prepared anew each time.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // Pages are read through the system's memory, not kept once more here.
        conn.execute_batch(
            "PRAGMA busy_timeout=10000; PRAGMA query_only=ON; PRAGMA cache_size=-1024;
             PRAGMA mmap_size=1073741824; PRAGMA temp_store=MEMORY;",
        )?;
        Ok(conn)
    }
    /// Closes the connections that nobody uses.
    pub(crate) fn close(&self) {
        lock(&self.idle).clear();
    }
    /// Lets `f` see one state of all tables.
    pub(crate) fn read<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.connect()?,
        };
        conn.prepare_cached("BEGIN")?.execute([])?;
        let result = f(&conn);
        if conn.is_autocommit() || conn.prepare_cached("ROLLBACK")?.execute([]).is_ok() {
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_MAX {
                idle.push(conn);
            }
        }
        result
    }
}
