//! Where bodies lie. First version: one growing file, or memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

pub(crate) enum Bodies {
    File { file: File, end: Mutex<u64> },
    Memory(Mutex<Vec<u8>>),
}

impl Bodies {
    pub(crate) fn open(dir: &std::path::Path) -> io::Result<Bodies> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(dir.join("bodies-1"))?;
        let end = Mutex::new(file.metadata()?.len());
        Ok(Bodies::File { file, end })
    }
    /// Appends, returns where it starts.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        match self {
            Bodies::File { file, end } => {
                let mut end = end.lock().unwrap_or_else(|e| e.into_inner());
                file.write_all_at(bytes, *end)?;
                let at = *end;
                *end += bytes.len() as u64;
                Ok(at)
            }
            Bodies::Memory(all) => {
                let mut all = all.lock().unwrap_or_else(|e| e.into_inner());
                all.extend_from_slice(bytes);
                Ok((all.len() - bytes.len()) as u64)
            }
        }
    }
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Bodies::File { file, .. } => file.sync_data(),
            Bodies::Memory(_) => Ok(()),
        }
    }
    pub(crate) fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        match self {
            Bodies::File { file, .. } => {
                let mut out = vec![0; len];
                file.read_exact_at(&mut out, at)?;
                Ok(out)
            }
            Bodies::Memory(all) => {
                let all = all.lock().unwrap_or_else(|e| e.into_inner());
                Ok(all.get(at as usize..at as usize + len).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
            }
        }
    }
}
