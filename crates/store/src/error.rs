//! What can go wrong in the store, in words that an operator can act on.

use std::fmt;

use stdx::Bytes;

use crate::BodyId;

/// Why the store did not do what was asked. Nothing is ever half done: after an error the
/// commit it belongs to has left no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The disk is full, or below the reserve. Passes by itself when space returns.
    Full(String),
    /// The disk or the index failed. What was acknowledged before is safe.
    Broken(String),
    /// A keeper's own refusal: over quota, no such folder, name taken. A plain sentence.
    Rule(String),
    /// This body's bytes do not match their checksum, or cannot be read. Others are unharmed.
    Damaged(BodyId, String),
    /// No body has this id (any more).
    Missing(BodyId),
    /// The store is closing.
    Closed,
}

impl StoreError {
    pub fn rule(says: impl Into<String>) -> StoreError {
        StoreError::Rule(says.into())
    }
    /// Sorts an operating system's error: no space is `Full`, all else `Broken`.
    pub(crate) fn from_io(doing: &str, error: &std::io::Error) -> StoreError {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let says = format!("{doing}: {error}");
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            StoreError::Full(says)
        } else {
            StoreError::Broken(says)
        }
    }
    /// Whether trying again later can help without anybody's hand.
    pub fn passes(&self) -> bool {
        matches!(self, StoreError::Full(_) | StoreError::Broken(_) | StoreError::Closed)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full(why) => {
                write!(
                    f,
                    "no space on the mail disk ({why}); free some or enlarge it, mail resumes by itself"
                )
            }
            StoreError::Broken(why) => write!(f, "the mail disk or its index failed ({why})"),
            StoreError::Rule(why) => f.write_str(why),
            StoreError::Damaged(id, why) => {
                write!(f, "body {} is damaged ({why}); run `postroad verify`, then restore it", id.0)
            }
            StoreError::Missing(id) => write!(f, "there is no body {}", id.0),
            StoreError::Closed => f.write_str("the store is closing"),
        }
    }
}
impl std::error::Error for StoreError {}

fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|e| e.extended_code)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full(error.to_string()),
            // The index's shared memory is a file beside it, and could not be made as long as it must be.
            Some(_) if extended(&error) == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
                StoreError::Full(error.to_string())
            }
            _ => StoreError::Broken(error.to_string()),
        }
    }
}

/// Whether new mail may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    Open,
    /// Below the reserve: answer `452 4.3.1` before the data; reading and deleting go on.
    Full {
        free: Bytes,
        reserve: Bytes,
    },
}
