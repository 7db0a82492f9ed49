//! The segment files: their numbers, names and open ends.
//!
//! `00000001.log` holds small bodies and commits, written by the committer alone.
//! `00000002.big` holds large bodies, written by the one draft that leases it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile};
use crate::lock;

/// Most files kept open.
const OPEN_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Log,
    Large,
}

pub(crate) fn name_of(no: u64, sort: Sort) -> String {
    match sort {
        Sort::Log => format!("{no:08}.log"),
        Sort::Large => format!("{no:08}.big"),
    }
}

pub(crate) fn read_name(name: &str) -> Option<(u64, Sort)> {
    let (no, ending) = name.split_once('.')?;
    let sort = match ending {
        "log" => Sort::Log,
        "big" => Sort::Large,
        _ => return None,
    };
    let no = no.parse().ok()?;
    (name_of(no, sort) == name).then_some((no, sort))
}

pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    /// Files below this number were there before.
    first: u64,
    state: Mutex<State>,
}

struct State {
    sorts: BTreeMap<u64, Sort>,
    open: BTreeMap<u64, (Arc<dyn DiskFile>, u64)>,
    looks: u64,
    next: u64,
}

impl Files {
    pub(crate) fn open(disk: Arc<dyn Disk>) -> io::Result<Files> {
        let sorts: BTreeMap<u64, Sort> = disk.list()?.iter().filter_map(|n| read_name(n)).collect();
        let next = sorts.last_key_value().map_or(1, |(no, _)| no + 1);
        Ok(Files {
            disk,
            first: next,
            state: Mutex::new(State { sorts, open: BTreeMap::new(), looks: 0, next }),
        })
    }
    /// Makes a file whose name survives a power cut.
    pub(crate) fn create(&self, sort: Sort) -> io::Result<(u64, Arc<dyn DiskFile>)> {
        let no = {
            let mut state = lock(&self.state);
            state.next += 1;
            state.next - 1
        };
        let name = name_of(no, sort);
        let file = self.disk.open(&name, true)?;
        if let Err(e) = self.disk.sync_names() {
            let _ = self.disk.remove(&name);
            return Err(e);
        }
        let mut state = lock(&self.state);
        state.sorts.insert(no, sort);
        state.open.insert(no, (file.clone(), u64::MAX));
        Ok((no, file))
    }
    pub(crate) fn get(&self, no: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = lock(&self.state);
        state.looks += 1;
        let looks = state.looks;
        if let Some((file, last)) = state.open.get_mut(&no) {
            *last = looks;
            return Ok(file.clone());
        }
        let sort = *state.sorts.get(&no).ok_or(io::ErrorKind::NotFound)?;
        let file = self.disk.open(&name_of(no, sort), false)?;
        if state.open.len() >= OPEN_MAX {
            let oldest = state.open.iter().min_by_key(|(_, (_, last))| *last).map(|(no, _)| *no);
            oldest.and_then(|no| state.open.remove(&no));
        }
        state.open.insert(no, (file.clone(), looks));
        Ok(file)
    }
    pub(crate) fn remove(&self, no: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.open.remove(&no);
        match state.sorts.remove(&no) {
            Some(sort) => self.disk.remove(&name_of(no, sort)),
            None => Ok(()),
        }
    }
    /// Whether the file was made by an earlier life of the store.
    pub(crate) fn is_inherited(&self, no: u64) -> bool {
        no < self.first
    }
    /// Numbers of all files of a sort, ascending.
    pub(crate) fn all(&self, sort: Sort) -> Vec<u64> {
        lock(&self.state).sorts.iter().filter(|(_, s)| **s == sort).map(|(no, _)| *no).collect()
    }
}
