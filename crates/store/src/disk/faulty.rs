//! A disk that fails on purpose.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use stdx::Now;

use super::{Disk, DiskFile, Space};
use crate::lock;

/// What is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Writes that would grow a file fail for want of space (and write a part of it first).
    WriteFull,
    /// Writes fail.
    Write,
    /// The next sync fails; what it was to keep is not kept, and a later sync says `Ok` all the
    /// same, as Linux does.
    SyncOnce,
    /// Every sync fails.
    Sync,
    /// Reads fail.
    Read,
    /// New files cannot be made.
    Create,
}

/// Passes all on to another disk, but for the fault that is set.
pub struct Faulty {
    under: Arc<dyn Disk>,
    state: Arc<State>,
}

struct State {
    fault: Mutex<Fault>,
    space: Mutex<Option<Space>>,
    hits: AtomicU64,
}

impl State {
    fn hit(&self, when: &[Fault]) -> Option<Fault> {
        let mut fault = lock(&self.fault);
        if !when.contains(&fault) {
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        let hit = *fault;
        if hit == Fault::SyncOnce {
            *fault = Fault::None;
        }
        Some(hit)
    }
}

impl Faulty {
    pub fn new(under: Arc<dyn Disk>) -> Faulty {
        let state =
            State { fault: Mutex::new(Fault::None), space: Mutex::new(None), hits: AtomicU64::new(0) };
        Faulty { under, state: Arc::new(state) }
    }
    pub fn set(&self, fault: Fault) {
        *lock(&self.state.fault) = fault;
    }
    /// Pretends this much space.
    pub fn set_space(&self, space: Option<Space>) {
        *lock(&self.state.space) = space;
    }
    /// How often a fault was met.
    pub fn hits(&self) -> u64 {
        self.state.hits.load(Ordering::Relaxed)
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}
fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}

impl Disk for Faulty {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        if create && self.state.hit(&[Fault::Create]).is_some() {
            return Err(eio());
        }
        Ok(Arc::new(FaultyFile { under: self.under.open(name, create)?, state: self.state.clone() }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.under.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.under.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.under.sync_names()
    }
    fn space(&self) -> io::Result<Space> {
        let pretended = *lock(&self.state.space);
        pretended.map_or_else(|| self.under.space(), Ok)
    }
    fn now(&self) -> Now {
        self.under.now()
    }
    fn instant(&self) -> bool {
        self.under.instant()
    }
}

struct FaultyFile {
    under: Arc<dyn DiskFile>,
    state: Arc<State>,
}

impl DiskFile for FaultyFile {
    fn write(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        match self.state.hit(&[Fault::WriteFull, Fault::Write]) {
            Some(Fault::WriteFull) => {
                if let Some(first) = parts.first() {
                    self.under.write(&[IoSlice::new(&first[..first.len() / 2])], at)?;
                }
                Err(enospc())
            }
            Some(_) => Err(eio()),
            None => self.under.write(parts, at),
        }
    }
    fn sync(&self) -> io::Result<()> {
        match self.state.hit(&[Fault::SyncOnce, Fault::Sync]) {
            Some(_) => Err(eio()),
            None => self.under.sync(),
        }
    }
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        match self.state.hit(&[Fault::Read]) {
            Some(_) => Err(eio()),
            None => self.under.read(into, at),
        }
    }
    fn read_cached(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        match self.state.hit(&[Fault::Read]) {
            Some(_) => Err(eio()),
            None => self.under.read_cached(into, at),
        }
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.under.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.under.len()
    }
    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        self.under.punch(at, len)
    }
    fn names(&self) -> io::Result<u64> {
        self.under.names()
    }
}
