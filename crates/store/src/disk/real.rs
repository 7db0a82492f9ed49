//! The machine's disk.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};
use stdx::{Bytes, Now};

use super::{Disk, DiskFile, Space};

/// Most parts one write call takes (IOV_MAX).
const PARTS_MAX: usize = 1024;

/// A folder on the machine's disk.
pub struct Real {
    dir: PathBuf,
}

impl Real {
    /// Opens the folder, making it if it is not there.
    pub fn new(dir: &Path) -> io::Result<Real> {
        std::fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Real { dir: dir.to_owned() })
    }
}

impl Disk for Real {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        let file = File::options().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
    fn space(&self) -> io::Result<Space> {
        space_at(&self.dir)
    }
    fn now(&self) -> Now {
        Now(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
    }
}

/// The room of the file system a folder lies on.
pub(crate) fn space_at(dir: &Path) -> io::Result<Space> {
    let s = rustix::fs::statvfs(dir)?;
    Ok(Space { free: Bytes(s.f_bavail * s.f_frsize), total: Bytes(s.f_blocks * s.f_frsize) })
}

/// Whether two folders lie on different file systems. False if one of them is not there.
pub(crate) fn apart(one: &Path, other: &Path) -> bool {
    let device = |dir: &Path| rustix::fs::stat(dir).ok().map(|s| s.st_dev);
    device(one).zip(device(other)).is_some_and(|(one, other)| one != other)
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write(&self, parts: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
        for some in parts.chunks(PARTS_MAX) {
            let whole: usize = some.iter().map(|p| p.len()).sum();
            let mut done = match rustix::io::pwritev(&self.0, some, at) {
                Err(Errno::INTR) => 0,
                result => result?,
            };
            if done < whole {
                // A short write is rare (a nearly full disk): finish part by part.
                for part in some {
                    let skip = done.min(part.len());
                    done -= skip;
                    self.0.write_all_at(&part[skip..], at + skip as u64)?;
                    at += part.len() as u64;
                }
            } else {
                at += whole as u64;
            }
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.0.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
    fn read_cached(&self, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let want = into.len();
        match rustix::io::preadv2(&self.0, &mut [IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT) {
            Ok(n) if n == want => Ok(Some(n)),
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn used(&self) -> io::Result<u64> {
        // In units of 512 octets, whatever the file system's own block is.
        Ok(self.0.metadata()?.blocks() * 512)
    }
    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len)?)
    }
    fn names(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.nlink())
    }
}
