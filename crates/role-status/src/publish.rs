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

/// A file with its entity tag.
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

    /// Renders and replaces. Trouble with the folder is reported, never fatal: memory serves on.
    pub fn set(&self, snapshot: Snapshot, folder: Option<&Path>) {
        let rendered = statuspage::render(&snapshot);
        let before = self.now();
        if let Some(folder) = folder {
            write_changed(folder, &rendered, &before);
        }
        let files = rendered
            .into_iter()
            .map(|f| (f.path, Ready { kind: f.kind, tag: tag(&f.bytes), bytes: f.bytes.into() }))
            .collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Served { files, snapshot });
    }
}

/// FNV-1a, printed: enough to tell two versions of a page apart.
fn tag(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3));
    format!("\"{hash:016x}\"")
}

fn write_changed(folder: &Path, rendered: &[File], before: &Served) {
    for file in rendered {
        let same = before.files.get(&file.path).is_some_and(|b| *b.bytes == *file.bytes);
        let path = folder.join(&file.path);
        if same && path.exists() {
            continue;
        }
        if let Err(e) = replace(&path, &file.bytes) {
            tracing::warn!(path = %path.display(), error = %e, "cannot write a page for the second copy");
            return;
        }
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
