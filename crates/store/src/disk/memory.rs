//! A disk in memory whose power can be cut: what was not synced is gone, or torn.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use stdx::{Bytes, Dice, Now};

use super::{Disk, DiskFile, Space};
use crate::lock;

const PAGE: usize = 4096;

#[derive(Clone, Default)]
struct Content {
    /// As a running program sees it.
    seen: Vec<u8>,
    /// As it would be found after a power cut.
    kept: Vec<u8>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    /// Names that survive a power cut.
    kept_names: BTreeMap<String, Arc<Mutex<Content>>>,
    now: Now,
    /// Operations until the power goes, counted down; `None` is never.
    until_cut: Option<u64>,
    done: u64,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

/// How a power cut treats what was written and not synced.
#[derive(Clone, Debug)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Page by page, as the dice fall.
    Torn(Dice),
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }
    /// Another disk with the same content, durable or not.
    pub fn fork(&self) -> Memory {
        let state = lock(&self.0);
        let copy = |files: &BTreeMap<String, Arc<Mutex<Content>>>| {
            files.iter().map(|(n, f)| (n.clone(), Arc::new(Mutex::new(lock(f).clone())))).collect()
        };
        let files: BTreeMap<_, _> = copy(&state.files);
        let mut kept_names: BTreeMap<_, _> = copy(&state.kept_names);
        for (name, kept) in &mut kept_names {
            if let Some(file) = files.get(name) {
                *kept = file.clone();
            }
        }
        Memory(Arc::new(Mutex::new(State { files, kept_names, now: state.now, until_cut: None, done: 0 })))
    }
    /// The time files are stamped with.
    pub fn set_now(&self, now: Now) {
        lock(&self.0).now = now;
    }
    /// The power goes before the `n`th writing operation from now: it and all later ones fail.
    pub fn cut_after(&self, n: u64) {
        lock(&self.0).until_cut = Some(n);
    }
    /// Writing operations so far.
    pub fn operations(&self) -> u64 {
        lock(&self.0).done
    }
    /// The power was cut and is back: unsynced writes are lost.
    pub fn power_cut(&self) {
        self.power_cut_with(Unsynced::Lost);
    }
    /// As [`Memory::power_cut`], saying what becomes of unsynced writes.
    pub fn power_cut_with(&self, mut unsynced: Unsynced) {
        let mut state = lock(&self.0);
        state.until_cut = None;
        let names = match unsynced {
            Unsynced::Kept => state.files.clone(),
            _ => state.kept_names.clone(),
        };
        state.files = BTreeMap::new();
        for (name, file) in names {
            let mut content = lock(&file).clone();
            content.settle(&mut unsynced);
            state.files.insert(name, Arc::new(Mutex::new(content)));
        }
        state.kept_names = state.files.clone();
    }
    /// All bytes of a file, as a running program sees them.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.0).files.get(name).map(|f| lock(f).seen.clone())
    }
    /// Changes the bytes of a file behind the store's back (bit rot, a lost page), durably.
    pub fn damage(&self, name: &str, f: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = lock(&self.0).files.get(name) {
            let mut content = lock(file);
            f(&mut content.seen);
            content.kept = content.seen.clone();
        }
    }
    fn step(&self) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.done += 1;
        match &mut state.until_cut {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Content {
    fn settle(&mut self, unsynced: &mut Unsynced) {
        match unsynced {
            Unsynced::Lost => self.seen = self.kept.clone(),
            Unsynced::Kept => {}
            Unsynced::Torn(dice) => {
                // A length may be kept without its bytes: those then read as zeros.
                let len = if dice.chance(0.7) { self.seen.len() } else { self.kept.len() };
                let mut out = vec![0; len];
                for page in (0..len).step_by(PAGE) {
                    let from = if dice.chance(0.5) { &self.seen } else { &self.kept };
                    let end = (page + PAGE).min(len).min(from.len());
                    if page < end {
                        out[page..end].copy_from_slice(&from[page..end]);
                    }
                }
                self.seen = out;
            }
        }
        self.kept = self.seen.clone();
    }
}

impl Disk for Memory {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let found = lock(&self.0).files.get(name).cloned();
        let content = match found {
            Some(content) => content,
            None if create => {
                self.step()?;
                let fresh = Arc::new(Mutex::new(Content::default()));
                lock(&self.0).files.insert(name.to_owned(), fresh.clone());
                fresh
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), content }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).files.keys().cloned().collect())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        lock(&self.0).files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn sync_names(&self) -> io::Result<()> {
        self.step()?;
        let mut state = lock(&self.0);
        state.kept_names = state.files.clone();
        Ok(())
    }
    fn space(&self) -> io::Result<Space> {
        Ok(Space { free: Bytes::gib(1024), total: Bytes::gib(1024) })
    }
    fn now(&self) -> Now {
        lock(&self.0).now
    }
    fn instant(&self) -> bool {
        true
    }
}

struct MemoryFile {
    disk: Memory,
    content: Arc<Mutex<Content>>,
}

impl DiskFile for MemoryFile {
    fn write(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.disk.step()?;
        let mut content = lock(&self.content);
        let mut at = at as usize;
        for part in parts {
            if content.seen.len() < at + part.len() {
                content.seen.resize(at + part.len(), 0);
            }
            content.seen[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.step()?;
        let mut content = lock(&self.content);
        // Appending is the common case and must not copy the whole file.
        let Content { seen, kept } = &mut *content;
        if kept.len() <= seen.len() && kept.last_chunk::<64>() == last_of(seen, kept.len()) {
            kept.extend_from_slice(&seen[kept.len()..]);
        }
        if kept != seen {
            kept.clone_from(seen);
        }
        Ok(())
    }
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let from = (at as usize).min(content.seen.len());
        let n = into.len().min(content.seen.len() - from);
        into[..n].copy_from_slice(&content.seen[from..from + n]);
        Ok(n)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.step()?;
        lock(&self.content).seen.resize(len as usize, 0);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.content).seen.len() as u64)
    }
    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        self.disk.step()?;
        let mut content = lock(&self.content);
        let end = ((at + len) as usize).min(content.seen.len());
        if (at as usize) < end {
            content.seen[at as usize..end].fill(0);
        }
        Ok(())
    }
}

fn last_of(seen: &[u8], end: usize) -> Option<&[u8; 64]> {
    seen[..end].last_chunk::<64>()
}
