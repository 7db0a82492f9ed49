//! The walls of the house, as far as a machine can see them.
//!
//! Each rule is a pure function from texts to faults, tested beside its code; [`run`] only
//! reads the tree. Begin with [`floors`].

mod banned;
mod docs;
mod floors;
mod lengths;

use std::path::{Path, PathBuf};

/// A broken rule: where, what, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: String,
    pub says: String,
}

impl Fault {
    pub fn new(at: impl Into<String>, says: impl Into<String>) -> Fault {
        Fault { at: at.into(), says: says.into() }
    }
}

/// A source file of one of our crates.
pub struct Source {
    /// The crate's name.
    pub room: String,
    /// Path from the root, for messages.
    pub path: String,
    pub text: String,
}

impl Source {
    /// A file of tests, included under `#[cfg(test)]`.
    pub fn is_test(&self) -> bool {
        let file = self.path.rsplit('/').next().unwrap_or("");
        ["tests.rs", "testsuite.rs", "cases.rs"].contains(&file) || file.ends_with("_tests.rs")
    }
}

pub fn run(root: &Path) -> bool {
    let sources = sources(root);
    let mut faults = floors::check(&floors::manifests(root));
    for source in &sources {
        faults.extend(lengths::check(source));
        faults.extend(banned::check(source));
    }
    faults.extend(docs::check(root, &sources));
    for fault in &faults {
        println!("tidy: {}: {}", fault.at, fault.says);
    }
    println!("tidy: {} files of {} rooms read, {} faults", sources.len(), rooms(&sources), faults.len());
    faults.is_empty()
}

fn rooms(sources: &[Source]) -> usize {
    let mut names: Vec<_> = sources.iter().map(|s| &s.room).collect();
    names.sort();
    names.dedup();
    names.len()
}

fn sources(root: &Path) -> Vec<Source> {
    let mut out = Vec::new();
    let mut crates: Vec<(String, PathBuf)> = vec![("xtask".into(), root.join("xtask"))];
    for entry in std::fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        crates.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    crates.sort();
    for (room, dir) in crates {
        for sub in ["src", "tests", "examples", "benches"] {
            walk(&dir.join(sub), &mut |path| {
                let Ok(text) = std::fs::read_to_string(path) else { return };
                let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
                out.push(Source { room: room.clone(), path, text });
            });
        }
    }
    out
}

fn walk(dir: &Path, found: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found(&path);
        }
    }
}
