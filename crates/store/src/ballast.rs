//! Room set aside on the store's disks, so that deleting goes on, and a start succeeds, when they are full.
//!
//! What it is: a file that only takes up room, one on each file system that the store lies on. It is given up in
//! slices, the smallest that helps first, for whoever filled the disk may take what is given before we use it. What it
//! is not: the reserve, below which new mail is refused; that is [`crate::Intake`]'s.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use crate::disk::space_at;
use crate::lock;

const NAME: &str = "ballast";
/// This much where there is plenty, a twentieth of a small disk.
const SIZE: u64 = 16 << 20;
/// The first slice that is given up; each further one for the same purpose is twice as large.
const SLICE: u64 = 256 << 10;
/// What was given is not taken back sooner than this.
const LEAVE: Duration = Duration::from_secs(5);

/// On which of the store's disks room is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Index,
    Segments,
}

/// The files that take up room; none for a store in memory.
#[derive(Default)]
pub(crate) struct Ballasts {
    index: Option<Ballast>,
    /// Only if the segments lie on a file system of their own.
    segments: Option<Ballast>,
}

impl Ballasts {
    pub(crate) fn new(index: &Path, segments: Option<&Path>) -> Ballasts {
        Ballasts { index: Some(Ballast::in_folder(index)), segments: segments.map(Ballast::in_folder) }
    }
    /// For one purpose on a full disk: slice after slice until it succeeds.
    pub(crate) fn slices(&self, part: Part) -> Slices<'_> {
        let from = match part {
            Part::Segments if self.segments.is_some() => self.segments.as_ref(),
            _ => self.index.as_ref(),
        };
        Slices { from, next: SLICE }
    }
    /// Takes room again where there is some: a quarter of what is free at most, or `all` of it.
    pub(crate) fn fill(&self, all: bool) -> io::Result<()> {
        self.index.iter().chain(&self.segments).try_for_each(|b| b.fill(all))
    }
}

pub(crate) struct Slices<'b> {
    from: Option<&'b Ballast>,
    next: u64,
}

impl Slices<'_> {
    /// Gives up the next slice. False if nothing is left.
    pub(crate) fn give(&mut self) -> bool {
        let given = self.from.is_some_and(|b| b.give(self.next));
        self.next *= 2;
        given
    }
}

struct Ballast {
    path: PathBuf,
    given: Mutex<Option<Instant>>,
}

impl Ballast {
    fn in_folder(dir: &Path) -> Ballast {
        Ballast { path: dir.join(NAME), given: Mutex::default() }
    }
    fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |m| m.len())
    }
    fn give(&self, some: u64) -> bool {
        let mut given = lock(&self.given);
        *given = Some(Instant::now());
        match self.len() {
            0 => false,
            len if len <= some => fs::remove_file(&self.path).is_ok(),
            len => File::options().write(true).open(&self.path).and_then(|f| f.set_len(len - some)).is_ok(),
        }
    }
    fn fill(&self, all: bool) -> io::Result<()> {
        let given = lock(&self.given);
        if !all && given.is_some_and(|at| at.elapsed() < LEAVE) {
            return Ok(());
        }
        let space = space_at(self.path.parent().unwrap_or(&self.path))?;
        let (free, have) = (space.free.get(), self.len());
        let want = SIZE.min(space.total.get() / 20).saturating_sub(have);
        let more = want.min(if all { free } else { free / 4 }) / 4096 * 4096;
        // Small steps only where the whole is small, or nothing else is to be had.
        if more == 0 || (!all && more < SLICE.min(want)) {
            return Ok(());
        }
        let file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        let taken = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, have + more);
        if taken.is_err() {
            file.set_len(have)?;
        }
        Ok(taken?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_in_slices_that_grow_and_is_taken_again() {
        let dir = std::env::temp_dir().join(format!("postroad-ballast-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("makes a folder");
        let all = Ballasts::new(&dir, None);
        let len = || fs::metadata(dir.join(NAME)).map_or(0, |m| m.len());
        all.fill(false).expect("takes room");
        assert_eq!(len(), SIZE);
        let mut slices = all.slices(Part::Segments);
        assert!(slices.give());
        assert_eq!(len(), SIZE - SLICE);
        assert!(slices.give());
        assert_eq!(len(), SIZE - 3 * SLICE);
        all.fill(false).expect("leaves it");
        assert_eq!(len(), SIZE - 3 * SLICE, "what was just given is not taken back");
        for _ in 0..5 {
            slices.give();
        }
        assert_eq!((slices.give(), len()), (false, 0), "nothing is left");
        all.fill(true).expect("takes room");
        assert_eq!(len(), SIZE);
        fs::remove_dir_all(&dir).expect("removes");
    }
}
