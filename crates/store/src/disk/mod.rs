//! The few things the segments need of a disk, as a trait: the real one, one in memory whose
//! power can be cut, and one that fails on purpose. Which it is, is said at open; the store has
//! no test mode.

mod faulty;
mod memory;
mod real;

use std::io::{self, IoSlice};
use std::sync::Arc;

use stdx::{Bytes, Now};

pub use faulty::{Fault, Faulty};
pub use memory::{Memory, Unsynced};
pub use real::Real;
pub(crate) use real::{apart, space_at};

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free: Bytes,
    pub total: Bytes,
}

/// One folder of segments.
pub trait Disk: Send + Sync {
    /// Opens a file, making it if `create`.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the folder itself durable: names made and removed.
    fn sync_names(&self) -> io::Result<()>;
    fn space(&self) -> io::Result<Space>;
    fn now(&self) -> Now;
    /// Whether every operation returns at once, so that nothing need run on another thread.
    fn instant(&self) -> bool {
        false
    }
}

/// One file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Writes all of `parts` one after the other from `at`, or fails having written some.
    fn write(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<()>;
    /// What was written survives a power cut once this returns `Ok`.
    fn sync(&self) -> io::Result<()>;
    /// Fills `into` from `at`; fewer bytes only at the end of the file.
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// As `read`, but only if it need not wait for the disk; `None` if it had to.
    fn read_cached(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.read(into, at).map(Some)
    }
    fn truncate(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// What it takes on the disk: its length without the holes.
    fn used(&self) -> io::Result<u64> {
        self.len()
    }
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Gives the space of a range back; it then reads as zeros.
    fn punch(&self, at: u64, len: u64) -> io::Result<()>;
    /// How many names the file has: more than one if a backup links to it.
    fn names(&self) -> io::Result<u64> {
        Ok(1)
    }
}

/// Reads exactly `len` bytes.
pub(crate) fn read_exact(file: &dyn DiskFile, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; len];
    let n = file.read(&mut out, at)?;
    if n < len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends inside a record"));
    }
    Ok(out)
}
