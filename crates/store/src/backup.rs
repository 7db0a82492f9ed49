//! Backup while mail flows, and the way back.
//!
//! A backup is a folder of the same form as a store: it can be verified, restored and opened.
//! The index is copied first, then the segments: whatever the copied index names is then there.
//! Nothing durable in a segment is ever changed, so the next backup into the same folder copies
//! only what was added.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use crate::copying::{Pace, copy_range};
use crate::files::{Sort, name_of, read_name};
use crate::shared::Shared;
use crate::store::{INDEX, SEGMENTS, take_lock};
use crate::{Schema, Settings, Store, StoreError, Tell, lock};

/// Pages of the index copied and made durable at a time.
const PAGES: i32 = 64;
const PAGE: u64 = 4096;
/// Which large files were complete when they were copied.
const CLOSED: &str = "closed-files";

/// How far a long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub doing: &'static str,
    pub done: u64,
    pub total: u64,
}

/// What a backup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// Segment files in the backup.
    pub files: u64,
    /// Of these, written or added to now.
    pub copied: u64,
    /// Bytes written, the index included.
    pub bytes: u64,
    /// Files that are no longer in the store and were taken out.
    pub removed: u64,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub files: u64,
    pub bytes: u64,
}

/// What a rebuild made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    pub bodies: u64,
    pub rows: u64,
}

fn failed(e: io::Error) -> StoreError {
    StoreError::from_io("copying", &e)
}

/// Nothing is reclaimed while one of these lives: what a reader of all saw alive keeps its bytes.
pub(crate) struct Copying(Arc<Shared>);

impl Copying {
    pub(crate) fn begin(shared: &Arc<Shared>) -> Copying {
        shared.copying.fetch_add(1, Ordering::AcqRel);
        Copying(shared.clone())
    }
}
impl Drop for Copying {
    fn drop(&mut self) {
        self.0.copying.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Store {
    /// Copies the store into the folder `to` while it runs; again into the same folder copies
    /// what was added. The folder is a whole backup at every moment, also if this is killed.
    /// Waits for the disk: call it where that hurts nobody.
    pub fn backup(&self, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Backup, StoreError> {
        let dir = self.dir().ok_or_else(|| StoreError::rule("a store in memory has no backup"))?;
        let segments = to.join(SEGMENTS);
        fs::create_dir_all(&segments).map_err(failed)?;
        let _lock = take_lock(to)?;
        let shared = &self.0.shared;
        let _copying = Copying::begin(shared);
        let mut out = Backup::default();
        let fresh = to.join("index.new");
        let _ = fs::remove_file(&fresh);
        let mut pace = Pace::beside(shared);
        self.read_now(|conn| copy_index(conn, &fresh, &mut pace, progress))?;
        out.bytes += fs::metadata(&fresh).map_err(failed)?.len();
        let source = Source { dir: dir.join(SEGMENTS), shared };
        let names = copy_segments(&source, &segments, &mut pace, &mut out, progress)?;
        replace_index(to, &fresh)?;
        for entry in fs::read_dir(&segments).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if read_name(&name).is_some() && !names.contains_key(&name) {
                fs::remove_file(entry.path()).map_err(failed)?;
                out.removed += 1;
            }
        }
        Ok(out)
    }
}

/// Copies one state of the index, in steps.
fn copy_index(
    conn: &Connection,
    to: &Path,
    pace: &mut Pace<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    // A read fixes the state that is copied, whatever is committed meanwhile.
    conn.query_row("SELECT log_commit FROM store_state", [], |_| Ok(()))?;
    let mut target = Connection::open(to)?;
    // Half a copy is thrown away, so nothing of it need survive; its pages go to the disk step by step all the same.
    target.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")?;
    let file = File::open(to).map_err(failed)?;
    {
        let copy = rusqlite::backup::Backup::new(conn, &mut target)?;
        loop {
            pace.begin();
            let step = copy.step(PAGES)?;
            file.sync_data().map_err(failed)?;
            let at = copy.progress();
            let total = at.pagecount as u64;
            progress(Progress { doing: "copying the index", done: total - at.remaining as u64, total });
            if matches!(step, rusqlite::backup::StepResult::Done) {
                break;
            }
            pace.end(PAGES as u64 * PAGE);
        }
    }
    target.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))?;
    drop(target);
    file.sync_all().map_err(failed)
}

/// Puts a new index in the old one's place.
fn replace_index(dir: &Path, fresh: &Path) -> Result<(), StoreError> {
    let index = dir.join(INDEX);
    for ending in ["sqlite-wal", "sqlite-shm"] {
        let _ = fs::remove_file(index.with_extension(ending));
    }
    fs::rename(fresh, &index).and_then(|()| File::open(dir)?.sync_all()).map_err(failed)
}

struct Source<'s> {
    dir: std::path::PathBuf,
    shared: &'s Arc<Shared>,
}

impl Source<'_> {
    /// All files with how much of each is durable, and whether it will grow no more.
    fn files(&self) -> Result<Vec<(String, Sort, u64, bool)>, StoreError> {
        let end = *lock(&self.shared.log_end);
        let mut out = Vec::new();
        for no in self.shared.files.all(Sort::Log) {
            if no > end.segment {
                continue;
            }
            let len = fs::metadata(self.dir.join(name_of(no, Sort::Log))).map_err(failed)?.len();
            let (len, closed) = if no == end.segment { (end.end, false) } else { (len, true) };
            out.push((name_of(no, Sort::Log), Sort::Log, len, closed));
        }
        // After the log: a large body is durable before the commit that names it.
        for no in self.shared.files.all(Sort::Large) {
            let closed = !self.shared.holds_segment(no);
            let len = fs::metadata(self.dir.join(name_of(no, Sort::Large))).map_err(failed)?.len();
            out.push((name_of(no, Sort::Large), Sort::Large, len, closed));
        }
        Ok(out)
    }
}

fn copy_segments(
    source: &Source<'_>,
    to: &Path,
    pace: &mut Pace<'_>,
    out: &mut Backup,
    progress: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, u64>, StoreError> {
    let files = source.files()?;
    let known = fs::read_to_string(to.join(CLOSED)).unwrap_or_default();
    let known: BTreeMap<&str, &str> = known.lines().filter_map(|l| l.split_once(' ')).collect();
    let plan = |(name, sort, len, _): &(String, Sort, u64, bool)| {
        let have = fs::metadata(to.join(name)).map_or(0, |m| m.len());
        let complete = known.get(name.as_str()).is_some_and(|n| *n == len.to_string());
        // What is durable in the log stays as it is; of a large file only a complete one does.
        let begin = match sort {
            Sort::Log => have.min(*len),
            Sort::Large if complete && have == *len => *len,
            Sort::Large => 0,
        };
        (begin, have)
    };
    // What is there already takes no time: it is not counted in what is to come.
    let total: u64 = files.iter().map(|f| f.2 - plan(f).0).sum();
    let (mut done, mut closed_now) = (0, String::new());
    let mut names = BTreeMap::new();
    for entry in files {
        let (begin, have) = plan(&entry);
        let (name, _, len, closed) = entry;
        if begin < len || have > len {
            let (from, target) = (source.dir.join(&name), to.join(&name));
            let told = &mut |n: u64| {
                done += n;
                progress(Progress { doing: "copying segments", done: done.min(total), total });
            };
            out.bytes += copy_range((&from, &target), (begin, len), pace, told).map_err(failed)?;
            out.copied += 1;
        }
        out.files += 1;
        if closed {
            closed_now.push_str(&format!("{name} {len}\n"));
        }
        names.insert(name, len);
    }
    File::create(to.join(CLOSED))
        .and_then(|mut f| f.write_all(closed_now.as_bytes()).and_then(|()| f.sync_all()))
        .and_then(|()| File::open(to)?.sync_all())
        .map_err(failed)?;
    Ok(names)
}

/// Copies a whole file while no host runs.
fn copy_alone(from: &Path, to: &Path, len: u64, each: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
    copy_range((from, to), (0, len), &mut Pace::alone(), each).map_err(failed)
}

/// Makes the folder `to` (new or empty) the store that `from` is a backup of.
pub fn restore(from: &Path, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Restored, StoreError> {
    let _lock = take_lock(from)?;
    if !from.join(INDEX).exists() {
        return Err(StoreError::rule(format!("{} holds no backup (no {INDEX} there)", from.display())));
    }
    let in_use = fs::read_dir(to).is_ok_and(|mut all| all.next().is_some());
    if in_use {
        return Err(StoreError::rule(format!(
            "{} is not empty; give a new folder, or move the old one away first",
            to.display()
        )));
    }
    let segments = to.join(SEGMENTS);
    fs::create_dir_all(&segments).map_err(failed)?;
    let mut out = Restored::default();
    let mut files = Vec::new();
    for entry in fs::read_dir(from.join(SEGMENTS)).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if read_name(&name).is_some() {
            files.push(name);
        }
    }
    files.sort_unstable();
    let size = |name: &String| fs::metadata(from.join(SEGMENTS).join(name)).map_or(0, |m| m.len());
    let total = files.iter().map(size).sum();
    for name in files {
        let source = from.join(SEGMENTS).join(&name);
        let len = fs::metadata(&source).map_err(failed)?.len();
        let mut done = out.bytes;
        let told = &mut |n: u64| {
            done += n;
            progress(Progress { doing: "restoring segments", done, total });
        };
        out.bytes += copy_alone(&source, &segments.join(&name), len, told)?;
        out.files += 1;
    }
    File::open(&segments).and_then(|f| f.sync_all()).map_err(failed)?;
    // The index last: without it the folder is no store yet.
    let fresh = to.join("index.new");
    let len = fs::metadata(from.join(INDEX)).map_err(failed)?.len();
    out.bytes += copy_alone(&from.join(INDEX), &fresh, len, &mut |_| ())?;
    replace_index(to, &fresh)?;
    crate::archive::note_tried(from);
    Ok(out)
}

/// The index as it is before a program with other tables opens it.
const BEFORE: &str = "index.before";

/// Keeps a copy of the index of a store that is closed, so that [`put_index_back`] can undo what a
/// newer program does to its tables.
pub fn keep_index(dir: &Path) -> Result<(), StoreError> {
    let _lock = take_lock(dir)?;
    let conn = Connection::open(dir.join(INDEX))?;
    crate::engine::checkpoint(&conn)?;
    drop(conn);
    let len = fs::metadata(dir.join(INDEX)).map_err(failed)?.len();
    copy_alone(&dir.join(INDEX), &dir.join(BEFORE), len, &mut |_| ()).map(drop)
}

/// Puts the kept copy in the index's place; what was committed since is in the log and is played into
/// it at the next open. False if there is none.
pub fn put_index_back(dir: &Path) -> Result<bool, StoreError> {
    let _lock = take_lock(dir)?;
    if !dir.join(BEFORE).exists() {
        return Ok(false);
    }
    replace_index(dir, &dir.join(BEFORE))?;
    Ok(true)
}

/// The new program serves: the copy is not needed any more.
pub fn forget_index(dir: &Path) {
    let _ = fs::remove_file(dir.join(BEFORE));
}

/// Keeps an index under another name.
pub(crate) fn put_index_aside(index: &Path) -> Result<(), StoreError> {
    for ending in ["sqlite-wal", "sqlite-shm", "sqlite"] {
        let path = index.with_extension(ending);
        if path.exists() {
            let old = path.with_file_name(format!("index.{ending}.old"));
            fs::rename(&path, old).map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes the index of a store that is not in use anew, from its segments alone. The old one is
/// kept beside it as `index.sqlite.old`.
pub fn rebuild(dir: &Path, schemas: &[Schema], tell: Tell) -> Result<Rebuilt, StoreError> {
    {
        let _lock = take_lock(dir)?;
        put_index_aside(&dir.join(INDEX))?;
    }
    let store = Store::open(dir, Settings { tell, ..Settings::default() }, schemas)?;
    store.checkpoint_now()?;
    let rows = AtomicU64::new(0);
    let bodies = store.read_now(|conn| {
        for table in crate::rowlog::tables(conn)? {
            let count: i64 = conn.query_row(&table.count_sql(), [], |r| r.get(0))?;
            rows.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(conn.query_row("SELECT count(*) FROM body", [], |r| r.get::<_, i64>(0))? as u64)
    })?;
    Ok(Rebuilt { bodies, rows: rows.into_inner() })
}
