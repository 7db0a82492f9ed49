//! Maildir and its sub-folders (Maildir++: `.Sent`, `.Archive.2024`).

use std::path::Path;
use std::time::UNIX_EPOCH;

use stdx::Now;

use crate::found::{Flags, Found, MESSAGE_BYTES_MAX, ReadError, sorted, with_crlf};

pub fn is_maildir(dir: &Path) -> bool {
    dir.join("cur").is_dir() && dir.join("new").is_dir()
}

/// The folder itself, then its sub-folders.
pub fn read(dir: &Path, take: &mut dyn FnMut(Result<Found, ReadError>)) {
    folder(dir, "", take);
    for entry in sorted(dir).unwrap_or_default() {
        let name = entry.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(name) = name.strip_prefix('.')
            && is_maildir(&entry)
        {
            folder(&entry, &name.replace('.', "/"), take);
        }
    }
}

fn folder(dir: &Path, name: &str, take: &mut dyn FnMut(Result<Found, ReadError>)) {
    for sub in ["cur", "new"] {
        for path in sorted(&dir.join(sub)).unwrap_or_default() {
            take(message(&path, name).map_err(|why| ReadError { place: path.clone(), why }));
        }
    }
}

fn message(path: &Path, folder: &str) -> std::io::Result<Found> {
    let facts = std::fs::metadata(path)?;
    if facts.len() > MESSAGE_BYTES_MAX {
        let why = format!("{} bytes are more than {MESSAGE_BYTES_MAX}", facts.len());
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let received = facts.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    Ok(Found {
        folder: folder.to_owned(),
        flags: flags(&name),
        received: received.map(|d| Now(d.as_millis() as u64)),
        bytes: with_crlf(&std::fs::read(path)?),
        place: path.display().to_string(),
    })
}

/// `1700000000.M1P2.host:2,FRS`: letters behind `:2,` (`;2,` where a colon cannot stand).
fn flags(name: &str) -> Flags {
    let letters = name.rsplit_once(":2,").or_else(|| name.rsplit_once(";2,")).map_or("", |(_, l)| l);
    let has = |c: char| letters.contains(c);
    Flags { seen: has('S'), answered: has('R'), flagged: has('F'), deleted: has('T'), draft: has('D') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_give_the_flags() {
        let f = flags("1.M1.host:2,FRS");
        assert!(f.seen && f.answered && f.flagged && !f.deleted && !f.draft);
        assert_eq!(flags("1.M1.host"), Flags::default());
    }

    #[test]
    fn a_tree_is_read_with_its_folders() {
        let dir = std::env::temp_dir().join(format!("postroad-maildir-{}", std::process::id()));
        for sub in ["cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".A.b/cur", ".A.b/new"] {
            std::fs::create_dir_all(dir.join(sub)).expect("a temporary directory");
        }
        std::fs::write(dir.join("cur/1:2,S"), "a\n").expect("writable");
        std::fs::write(dir.join(".A.b/new/2"), [0, 255, b'\n']).expect("writable");
        let mut got = Vec::new();
        read(&dir, &mut |f| got.push(f.expect("readable")));
        std::fs::remove_dir_all(&dir).expect("removable");
        assert_eq!(got.iter().map(|f| f.folder.as_str()).collect::<Vec<_>>(), ["", "A/b"]);
        assert_eq!(got[1].bytes, [0, 255, b'\r', b'\n']);
        assert!(got[0].flags.seen);
    }
}
