//! Copies long files beside the mail: past the system's memory, and no faster than mail can bear.
//!
//! What it is: the pieces that a backup and a restore are made of. A piece is written past the page cache where the
//! file system can, so that no heap of unwritten pages stands in the way of the commits' own syncs. What it is not: it
//! knows nothing of segments or indexes.
//! Begin with [`copy_range`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, OFlags};

use crate::shared::Shared;

/// Copied at a time.
const PIECE: usize = 128 << 10;
/// What is written past the page cache begins and ends at a multiple of this.
const BLOCK: usize = 4096;
/// Octets a second while mail flows; also the least, for what has begun must end.
const RATE: u64 = 16 << 20;
/// Mail flows if something was committed within this time.
const FLOWS: Duration = Duration::from_secs(1);
/// After a piece that took long, the disk is left alone for as long, but for no more than this.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// How fast to go on.
pub(crate) struct Pace<'s> {
    /// Nothing if no mail can come meanwhile.
    beside: Option<&'s Shared>,
    groups: u64,
    mail_at: Option<Instant>,
    begun: Instant,
}

impl Pace<'_> {
    pub(crate) fn beside(shared: &Shared) -> Pace<'_> {
        let groups = shared.counts.groups.load(Ordering::Relaxed);
        Pace { beside: Some(shared), groups, mail_at: Some(Instant::now()), begun: Instant::now() }
    }
    pub(crate) fn alone() -> Pace<'static> {
        Pace { beside: None, groups: 0, mail_at: None, begun: Instant::now() }
    }
    /// A piece begins.
    pub(crate) fn begin(&mut self) {
        self.begun = Instant::now();
    }
    /// A piece is done: waits as long as mail wants.
    pub(crate) fn end(&mut self, octets: u64) {
        let Some(shared) = self.beside else { return };
        let groups = shared.counts.groups.load(Ordering::Relaxed);
        if groups != self.groups {
            (self.groups, self.mail_at) = (groups, Some(Instant::now()));
        }
        let flows = self.mail_at.is_some_and(|at| at.elapsed() < FLOWS);
        std::thread::sleep(pause(flows, octets, self.begun.elapsed()));
    }
}

fn pause(mail_flows: bool, octets: u64, took: Duration) -> Duration {
    let least = took.min(PAUSE_MAX);
    if !mail_flows {
        return least;
    }
    let share = Duration::from_micros(octets.saturating_mul(1_000_000) / RATE);
    least.max(share.saturating_sub(took)).min(Duration::from_secs(1))
}

/// A piece of memory that begins at a multiple of [`BLOCK`].
struct Buffer {
    all: Vec<u8>,
    from: usize,
}

impl Buffer {
    fn new() -> Buffer {
        let all = vec![0; PIECE + BLOCK];
        let from = all.as_ptr().align_offset(BLOCK);
        // Where that cannot be told, the kernel refuses the write and the page cache is used.
        Buffer { from: if from < BLOCK { from } else { 0 }, all }
    }
    fn piece(&mut self) -> &mut [u8] {
        &mut self.all[self.from..self.from + PIECE]
    }
}

/// A file that is written past the page cache if the file system can.
struct Target {
    file: File,
    direct: bool,
}

impl Target {
    fn open(path: &Path) -> io::Result<Target> {
        let open = |flags: OFlags| {
            let flags = flags.bits() as i32;
            OpenOptions::new().create(true).truncate(false).write(true).custom_flags(flags).open(path)
        };
        match open(OFlags::DIRECT) {
            Ok(file) => Ok(Target { file, direct: true }),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                Ok(Target { file: open(OFlags::empty())?, direct: false })
            }
            Err(e) => Err(e),
        }
    }
    /// Writes `len` octets of `bytes`, which has room up to a whole block.
    fn write(&mut self, path: &Path, bytes: &[u8], len: usize, at: u64) -> io::Result<()> {
        if self.direct {
            match self.file.write_all_at(&bytes[..len.next_multiple_of(BLOCK)], at) {
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    *self = Target { file: OpenOptions::new().write(true).open(path)?, direct: false };
                }
                result => return result,
            }
        }
        self.file.write_all_at(&bytes[..len], at)?;
        self.file.sync_data()?;
        // Nobody reads it soon, and what mail reads should stay in memory. A system that does not listen is no fault.
        let _ = rustix::fs::fadvise(&self.file, at, std::num::NonZeroU64::new(len as u64), Advice::DontNeed);
        Ok(())
    }
}

/// Makes `to` hold the first `end` octets of `from`; those before `begin` it has already. `each` hears of every piece.
pub(crate) fn copy_range(
    (from, to): (&Path, &Path),
    (begin, end): (u64, u64),
    pace: &mut Pace<'_>,
    each: &mut dyn FnMut(u64),
) -> io::Result<u64> {
    let source = File::open(from)?;
    let mut target = Target::open(to)?;
    target.file.set_len(begin)?;
    let mut buffer = Buffer::new();
    let piece = buffer.piece();
    // The first block is written again as it is, so that it can be written whole.
    let mut at = begin / BLOCK as u64 * BLOCK as u64;
    while at < end {
        pace.begin();
        let len = (PIECE as u64).min(end - at) as usize;
        source.read_exact_at(&mut piece[..len], at)?;
        target.write(to, piece, len, at)?;
        at += len as u64;
        each(len as u64);
        if at < end {
            pace.end(len as u64);
        }
    }
    // A last block that was written whole ends where the file should.
    target.file.set_len(end)?;
    target.file.sync_all()?;
    Ok(end - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_sets_the_pace_and_the_copy_still_ends() {
        let ms = Duration::from_millis;
        for (flows, octets, took, want) in [
            (false, 512 << 10, ms(1), ms(1)),
            (false, 512 << 10, ms(900), ms(200)),
            (true, 32 << 20, ms(0), ms(1000)),
            (true, 512 << 10, ms(1), ms(30)),
            (true, 512 << 10, ms(50), ms(50)),
            (true, 512 << 10, ms(900), ms(200)),
        ] {
            let found = pause(flows, octets, took);
            assert!(found.abs_diff(want) < ms(1), "{flows} {octets} {took:?}: {found:?}");
        }
    }

    #[test]
    fn any_range_arrives_as_it_is() {
        let dir = std::env::temp_dir().join(format!("postroad-copying-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("makes a folder");
        let (from, to) = (dir.join("from"), dir.join("to"));
        let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&from, &bytes).expect("writes");
        for (begin, end) in [(0, 1), (1, 4096), (4096, 5000), (5000, 600_001), (600_001, 2_000_000)] {
            let (mut pace, mut told) = (Pace::alone(), 0);
            let n = copy_range((&from, &to), (begin, end), &mut pace, &mut |n| told += n).expect("copies");
            assert_eq!(n, end - begin);
            assert!(told >= n);
            assert!(std::fs::read(&to).expect("reads") == bytes[..end as usize], "up to {end}");
        }
        // Shorter than it was, and a source that ends too soon.
        copy_range((&from, &to), (10, 10), &mut Pace::alone(), &mut |_| ()).expect("cuts");
        assert_eq!(std::fs::read(&to).expect("reads").len(), 10);
        assert!(copy_range((&from, &to), (0, 2_000_001), &mut Pace::alone(), &mut |_| ()).is_err());
        std::fs::remove_dir_all(&dir).expect("removes");
    }
}
