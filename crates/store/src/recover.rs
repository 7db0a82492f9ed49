//! After a crash: what the log holds behind a point, and where it ends.
//!
//! Only the last group can be half there, for each is synced before the next is written. So a
//! broken record with a whole commit behind it is damage to what was acknowledged (it is told,
//! and what can be read is kept); one without is a torn tail and is cut.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use rusqlite::Connection;

use crate::disk::DiskFile;
use crate::files::Sort;
use crate::log::{Named, Position};
use crate::record::{HEAD, Head, Kind, Take, find_head, u64_at};
use crate::rowlog::Player;
use crate::shared::{Place, Shared};
use crate::{BodyId, Progress, StoreError};

/// What a scan is called to those who wait for it; it counts octets, a segment at a time.
const READING: &str = "reading the log";
/// Read at a time.
const WINDOW: usize = 1 << 20;
/// A commit record longer than this is none.
const COMMIT_MAX: u64 = 256 << 20;

/// One group as the log holds it.
pub(crate) struct Group {
    pub(crate) position: Position,
    /// The segment is another one than the last group's.
    pub(crate) new_segment: bool,
    pub(crate) named: Vec<Named>,
    pub(crate) ops: Vec<u8>,
}

/// What a scan found beside its groups.
#[derive(Default)]
pub(crate) struct Found {
    /// Behind the last whole group.
    pub(crate) end: Position,
    /// Highest body number seen.
    pub(crate) body_max: i64,
    pub(crate) damage: Vec<Damage>,
    /// Segment files that hold nothing and can go.
    pub(crate) empty: Vec<u64>,
}

/// Something in the log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Body { id: BodyId, segment: u64 },
    Record(String),
}

impl Damage {
    /// A deleted body whose space was given back is none.
    pub(crate) fn matters(&self, conn: &Connection) -> bool {
        let Damage::Body { id, segment } = self else { return true };
        let live = conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM body WHERE id = ?1 AND segment = ?2)")
            .and_then(|mut s| s.query_row((id.0, *segment as i64), |r| r.get(0)));
        live.unwrap_or(true)
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Body { id, segment } => write!(f, "segment {segment}: body {} is damaged", id.0),
            Damage::Record(says) => f.write_str(says),
        }
    }
}

/// A window that slides over a file.
struct Window {
    file: Arc<dyn DiskFile>,
    len: u64,
    start: u64,
    data: Vec<u8>,
}

impl Window {
    fn new(file: Arc<dyn DiskFile>, limit: Option<u64>) -> io::Result<Window> {
        let len = file.len()?.min(limit.unwrap_or(u64::MAX));
        Ok(Window { file, len, start: 0, data: Vec::new() })
    }
    /// Exactly `len` bytes at `at`, or nothing if the file ends before.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let inside = at >= self.start && at + len as u64 <= self.start + self.data.len() as u64;
        if !inside {
            let want = len.max(WINDOW).min((self.len - at) as usize);
            self.data.resize(want, 0);
            let n = self.file.read(&mut self.data, at)?;
            self.data.truncate(n);
            self.start = at;
            if n < len {
                return Ok(None);
            }
        }
        let from = (at - self.start) as usize;
        Ok(self.data.get(from..from + len))
    }
    /// The next place at or after `at` where a head stands.
    fn find(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        while at + HEAD as u64 <= self.len {
            let want = (WINDOW as u64).min(self.len - at) as usize;
            let Some(bytes) = self.get(at, want)? else { return Ok(None) };
            if let Some(n) = find_head(bytes, 0) {
                return Ok(Some(at + n as u64));
            }
            at += (want - HEAD + 1) as u64;
        }
        Ok(None)
    }
}

fn read_named(take: &mut Take<'_>) -> Option<Vec<Named>> {
    let count = take.number()?;
    let mut out = Vec::new();
    for _ in 0..count {
        let id = BodyId(take.number()? as i64);
        let place = Place { segment: take.number()?, start: take.number()?, len: take.number()? };
        out.push(Named { id, place, crc: u32::try_from(take.number()?).ok()? });
    }
    Some(out)
}

/// Reads a commit record's payload: its bodies, and its changes.
pub(crate) fn read_commit(payload: &[u8]) -> Option<(Vec<Named>, &[u8])> {
    let mut take = Take(payload);
    let named = read_named(&mut take)?;
    Some((named, take.0))
}

/// The first record of a log segment: (segment, segment before, where that one ends).
pub(crate) fn read_opening(file: &dyn DiskFile) -> Option<(u64, u64, u64)> {
    let mut bytes = vec![0; HEAD + 32];
    let n = file.read(&mut bytes, 0).ok()?;
    let head = Head::decode(&bytes)?;
    let payload = &bytes[HEAD..];
    let whole = n == HEAD + 32 && head.kind == Kind::Segment && head.len == 32;
    (whole && crc32fast::hash(payload) == head.crc)
        .then(|| (u64_at(payload, 0), u64_at(payload, 8), u64_at(payload, 16)))
}

/// Where one segment's scan is.
struct Scan<'s> {
    shared: &'s Shared,
    found: Found,
    /// Complete records of the group that is being read.
    whole: BTreeSet<(u64, u32)>,
    /// Bad records since the last commit, those of the last group, and that group if bodies of
    /// it are missing.
    bad: Vec<Damage>,
    doubtful: Vec<Damage>,
    held: Option<Group>,
    new_segment: bool,
    upto: u64,
}

/// Goes through the log behind `from` and hands every whole group up to commit `upto` to
/// `visit`, in order.
pub(crate) fn scan(
    shared: &Shared,
    from: Position,
    upto: u64,
    visit: &mut dyn FnMut(Group) -> Result<(), StoreError>,
) -> Result<Found, StoreError> {
    let logs: Vec<u64> = shared.files.all(Sort::Log).into_iter().filter(|no| *no >= from.segment).collect();
    let mut scan = Scan {
        shared,
        found: Found { end: from, ..Found::default() },
        whole: BTreeSet::new(),
        bad: Vec::new(),
        doubtful: Vec::new(),
        held: None,
        new_segment: true,
        upto,
    };
    let total = logs.iter().map(|no| shared.files.get(*no).and_then(|f| f.len()).unwrap_or(0)).sum();
    let mut done = 0;
    for (n, no) in logs.iter().enumerate() {
        shared.settings.tell.tell(Progress { doing: READING, done, total });
        let limit = logs.get(n + 1).and_then(|next| {
            let file = shared.files.get(*next).ok()?;
            let (own, before, end) = read_opening(&*file)?;
            (own == *next && before == *no).then_some(end)
        });
        let at = if *no == from.segment { from.end } else { 0 };
        scan.segment(*no, at, limit, visit).map_err(|e| match e {
            Failed::Io(e) => StoreError::from_io("reading the log", &e),
            Failed::Store(e) => e,
        })?;
        done += shared.files.get(*no).and_then(|f| f.len()).unwrap_or(0);
    }
    shared.settings.tell.tell(Progress { doing: READING, done: total, total });
    // What is still doubtful has nothing behind it: it was never acknowledged.
    Ok(scan.found)
}

enum Failed {
    Io(io::Error),
    Store(StoreError),
}
impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Failed {
        Failed::Io(e)
    }
}
impl From<StoreError> for Failed {
    fn from(e: StoreError) -> Failed {
        Failed::Store(e)
    }
}

impl Scan<'_> {
    fn segment(
        &mut self,
        no: u64,
        mut at: u64,
        limit: Option<u64>,
        visit: &mut dyn FnMut(Group) -> Result<(), StoreError>,
    ) -> Result<(), Failed> {
        let file = self.shared.files.get(no)?;
        if at == 0 {
            self.new_segment = true;
            match read_opening(&*file) {
                Some((own, ..)) if own == no => {}
                // Made, but its first record never reached the disk: nothing was written behind.
                _ if file.len()? <= (HEAD + 32) as u64 => {
                    self.found.empty.push(no);
                    return Ok(());
                }
                _ => self.bad.push(Damage::Record(format!("segment {no}: its first record cannot be read"))),
            }
            if self.found.end.segment < no {
                self.found.end = Position { segment: no, end: (HEAD + 32) as u64, ..self.found.end };
            }
        }
        let mut window = Window::new(file, limit)?;
        while at < window.len {
            at = match self.record(&mut window, no, at, visit)? {
                Some(next) => next,
                None => {
                    self.bad.push(Damage::Record(format!(
                        "segment {no}, octet {at}: no record can be read here"
                    )));
                    match window.find(at + 1)? {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
        }
        Ok(())
    }

    /// Reads the record at `at`; where the next one begins, or nothing if this is none.
    fn record(
        &mut self,
        window: &mut Window,
        no: u64,
        at: u64,
        visit: &mut dyn FnMut(Group) -> Result<(), StoreError>,
    ) -> Result<Option<u64>, Failed> {
        let Some(head) = window.get(at, HEAD)?.and_then(Head::decode) else { return Ok(None) };
        let next = at + HEAD as u64 + head.len;
        if next > window.len || (head.kind == Kind::Commit && head.len > COMMIT_MAX) {
            return Ok(None);
        }
        let Some(payload) = window.get(at + HEAD as u64, head.len as usize)? else { return Ok(None) };
        let good = crc32fast::hash(payload) == head.crc;
        match head.kind {
            Kind::Segment => {}
            Kind::Body => {
                self.found.body_max = self.found.body_max.max(head.id as i64);
                if good {
                    self.whole.insert((head.id, head.crc));
                }
            }
            Kind::Commit => {
                let parts = if good { read_commit(payload) } else { None };
                match parts {
                    Some((named, ops)) => {
                        let position = Position { commit: head.id, segment: no, end: next };
                        let group = Group { position, new_segment: false, named, ops: ops.to_vec() };
                        self.group(group, visit)?;
                    }
                    None => {
                        let says = format!("segment {no}, octet {at}: commit {} is damaged", head.id);
                        self.bad.push(Damage::Record(says));
                    }
                }
            }
        }
        Ok(Some(next))
    }

    fn group(
        &mut self,
        mut group: Group,
        visit: &mut dyn FnMut(Group) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // A further commit: the group before had been synced, so what was bad in it is damage.
        // What is bad in this one may be a torn tail.
        self.found.damage.append(&mut self.doubtful);
        self.doubtful.append(&mut self.bad);
        if let Some(held) = self.held.take() {
            self.give(held, visit)?;
        }
        let whole = std::mem::take(&mut self.whole);
        let here = group.position.segment;
        let missing: Vec<BodyId> = group
            .named
            .iter()
            .filter(|n| n.place.segment == here && !whole.contains(&(n.id.0 as u64, n.crc)))
            .map(|n| n.id)
            .collect();
        // Not twice, and nothing that was given up and may still stand behind the sound end.
        if group.position.commit <= self.found.end.commit || group.position.commit > self.upto {
            return Ok(());
        }
        group.new_segment = std::mem::take(&mut self.new_segment);
        if missing.is_empty() {
            return self.give(group, visit);
        }
        for id in missing {
            self.doubtful.push(Damage::Body { id, segment: here });
        }
        self.held = Some(group);
        Ok(())
    }

    fn give(
        &mut self,
        group: Group,
        visit: &mut dyn FnMut(Group) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.found.end = group.position;
        for named in &group.named {
            self.found.body_max = self.found.body_max.max(named.id.0);
        }
        visit(group)
    }
}

/// Brings the index file up to commit `upto` of the log, in one transaction.
pub(crate) fn catch_up(conn: &Connection, shared: &Shared, upto: u64) -> Result<Found, StoreError> {
    use rusqlite::config::DbConfig;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    let result = play(conn, shared, upto);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    if result.is_err() && !conn.is_autocommit() {
        let _ = conn.execute_batch("ROLLBACK");
    }
    result
}

fn play(conn: &Connection, shared: &Shared, upto: u64) -> Result<Found, StoreError> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let (from, next_body) = state(conn)?;
    let mut found = {
        let mut player = Player::new(conn)?;
        scan(shared, from, upto, &mut |group| {
            if group.new_segment {
                player.new_segment();
            }
            player.play(&group.ops)
        })?
    };
    found.body_max = found.body_max.max(next_body - 1);
    if found.end == from && found.body_max == next_body - 1 {
        // Nothing was missing, so nothing is written: a start needs no room.
        conn.execute_batch("ROLLBACK")?;
        return Ok(found);
    }
    set_state(conn, found.end, found.body_max + 1)?;
    conn.execute_batch("COMMIT")?;
    Ok(found)
}

/// How far the index file is, and the next body's number.
pub(crate) fn state(conn: &Connection) -> Result<(Position, i64), StoreError> {
    let mut get =
        conn.prepare_cached("SELECT log_commit, segment, log_end, next_body FROM store_state WHERE one = 1")?;
    Ok(get.query_row([], |r| {
        let n = |at| r.get::<_, i64>(at).map(|n| n as u64);
        Ok((Position { commit: n(0)?, segment: n(1)?, end: n(2)? }, r.get(3)?))
    })?)
}

pub(crate) fn set_state(conn: &Connection, at: Position, next_body: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE store_state SET log_commit = ?1, segment = ?2, log_end = ?3, next_body = ?4 WHERE one = 1",
    )?
    .execute((at.commit as i64, at.segment as i64, at.end as i64, next_body))?;
    Ok(())
}
