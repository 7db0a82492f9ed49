//! The site as it is served now: files in memory, and on disk for a second copy.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use statuspage::{File, Snapshot};

/// What readers get. Replaced as a whole, so that nobody sees half a change.
#[derive(Default)]
pub struct Files(RwLock<Arc<Served>>);

#[derive(Default)]
pub struct Served {
    pub files: BTreeMap<String, Ready>,
    pub snapshot: Snapshot,
}

/// How much is rendered anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    /// [`statuspage::files::live`]; the rest stays as it was.
    Live,
}

/// A file with its entity tag.
#[derive(Clone)]
pub struct Ready {
    pub kind: &'static str,
    /// Shared: readers make no copy.
    pub bytes: Arc<[u8]>,
    pub tag: String,
}

impl Files {
    pub fn now(&self) -> Arc<Served> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the snapshot alone.
    pub(crate) fn set_rows(&self, snapshot: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Served { files: BTreeMap::new(), snapshot });
    }

    /// Renders and replaces. Trouble with the folder is reported, never fatal: memory serves on.
    pub fn set(&self, snapshot: Snapshot, reach: Reach, folder: Option<&Path>) {
        let before = self.now();
        let whole = reach == Reach::All || before.files.is_empty();
        let rendered = if whole { statuspage::render(&snapshot) } else { statuspage::files::live(&snapshot) };
        if let Some(folder) = folder {
            write_changed(folder, &rendered, &before, whole);
        }
        let mut files = if whole { BTreeMap::new() } else { before.files.clone() };
        for f in rendered {
            let ready = match before.files.get(&f.path) {
                Some(old) if *old.bytes == *f.bytes => old.clone(),
                _ => Ready { kind: f.kind, tag: tag(&f.bytes), bytes: f.bytes.into() },
            };
            files.insert(f.path, ready);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Served { files, snapshot });
    }
}

pub(crate) fn write_all(folder: &Path, served: &Served) -> std::io::Result<usize> {
    for (path, file) in &served.files {
        replace(&folder.join(path), &file.bytes)?;
    }
    Ok(served.files.len())
}

/// FNV-1a, printed: enough to tell two versions of a page apart.
fn tag(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3));
    format!("\"{hash:016x}\"")
}

fn write_changed(folder: &Path, rendered: &[File], before: &Served, whole: bool) {
    for file in rendered {
        let path = folder.join(&file.path);
        let same = match before.files.get(&file.path) {
            Some(old) => *old.bytes == *file.bytes && path.exists(),
            // After a start we know nothing of what lies there.
            None => std::fs::read(&path).is_ok_and(|there| there == file.bytes),
        };
        if same {
            continue;
        }
        if let Err(e) = replace(&path, &file.bytes) {
            tracing::warn!(path = %path.display(), error = %e, "cannot write a page for the second copy");
            return;
        }
    }
    if !whole {
        return;
    }
    for gone in before.files.keys().filter(|p| !rendered.iter().any(|f| f.path == **p)) {
        if let Err(e) = std::fs::remove_file(folder.join(gone)) {
            tracing::debug!(path = %gone, error = %e, "an old page was gone already");
        }
    }
}

/// Written beside, then renamed: a reader sees the old page or the new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, path)
}
