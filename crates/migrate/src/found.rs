//! A message found on disk, and the one way to read any of the formats.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use stdx::Now;

/// The system flags that both formats know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub seen: bool,
    pub answered: bool,
    pub flagged: bool,
    pub deleted: bool,
    pub draft: bool,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Folder name with `/` between levels; empty for the top (INBOX).
    pub folder: String,
    pub flags: Flags,
    /// When it was received, as far as the source knows.
    pub received: Option<Now>,
    /// With CRLF at each line's end, as mail is stored and served.
    pub bytes: Vec<u8>,
    /// Where it was, for reports: `inbox.mbox, message 12`.
    pub place: String,
}

/// Why something on disk could not be read. The reading goes on behind it.
#[derive(Debug)]
pub struct ReadError {
    pub place: PathBuf,
    pub why: io::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place.display(), self.why)
    }
}
impl std::error::Error for ReadError {}

/// Largest message taken from disk. A larger one is an error for that message alone.
pub const MESSAGE_BYTES_MAX: u64 = 512 << 20;

/// Hands over every message below `path`: a Maildir (with its Maildir++ sub-folders), an mbox
/// file, or a directory of either, searched through. Order is the same each time.
pub fn read(path: &Path, take: &mut dyn FnMut(Result<Found, ReadError>)) {
    if path.is_file() {
        return mbox::read_or_single(path, "", take);
    }
    if maildir::is_maildir(path) {
        return maildir::read(path, take);
    }
    let entries = match sorted(path) {
        Ok(entries) => entries,
        Err(why) => return take(Err(ReadError { place: path.to_path_buf(), why })),
    };
    for entry in entries {
        let name = entry.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut below = |found: Result<Found, ReadError>| {
            take(found.map(|mut f| {
                f.folder = join(name.trim_end_matches(".mbox"), &f.folder);
                f
            }));
        };
        if entry.is_dir() {
            read(&entry, &mut below);
        } else if entry.is_file() {
            // Single messages in a directory belong to the directory's own folder.
            if mbox::looks_like_mbox(&entry) { read(&entry, &mut below) } else { read(&entry, take) }
        }
    }
}

fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (_, true) => a.to_owned(),
        (true, false) => b.to_owned(),
        (false, false) => format!("{a}/{b}"),
    }
}

/// The entries of a directory by name.
pub(crate) fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}

/// Each bare LF becomes CRLF; every other byte stays as it is.
pub fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 40);
    let mut before = 0;
    for &b in bytes {
        if b == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(b);
        before = b;
    }
    out
}

use crate::{maildir, mbox};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_line_feeds_change() {
        assert_eq!(with_crlf(b"a\nb\r\nc\rd\n\n"), b"a\r\nb\r\nc\rd\r\n\r\n");
        assert_eq!(with_crlf(b""), b"");
    }

    #[test]
    fn folders_join_with_a_slash() {
        assert_eq!((join("a", "b"), join("a", ""), join("", "b")), ("a/b".into(), "a".into(), "b".into()));
    }
}
