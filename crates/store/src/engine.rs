//! Makes a group of batches durable: runs them, writes the log, syncs it once.
//!
//! The index file's transaction stays open over many groups; what it lacks after a crash is in
//! the log. It is ended ("settled") when a reader needs it, when it has grown, or when there is
//! nothing else to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, Authorization};

use crate::ballast::Part;
use crate::draft::Form;
use crate::log::{AppendError, Log, Position, Staged};
use crate::recover::{self, set_state};
use crate::rowlog::{self, RowLog};
use crate::shared::Shared;
use crate::{After, Batch, BodyId, Schema, Sealed, StoreError, lock, schema};

/// The transaction is settled once it holds this many changed rows.
const ROWS_MAX: u64 = 100_000;
/// Or this many bytes of log.
const LOG_MAX: u64 = 64 << 20;

const MOVED: &str = "UPDATE body SET segment = ?2, start = ?3 WHERE id = ?1";

/// One batch changes at most this much; more has to be cut into several commits.
const BATCH_MAX: usize = 64 << 20;
/// How long a connection waits for another that writes.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// After a failure to bring the index up, it is tried again this much later.
const RETRY: Duration = Duration::from_millis(500);

/// One batch that waits for the committer.
pub(crate) trait Job: Send {
    fn bodies(&mut self) -> &mut Vec<Sealed>;
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError>;
    fn tell(self: Box<Self>, end: Result<(), StoreError>);
}

pub(crate) struct Engine {
    conn: Connection,
    rows: Arc<Mutex<RowLog>>,
    log: Log,
    shared: Arc<Shared>,
    /// Whether a keeper's closure runs: it may not touch transactions.
    inside: Arc<AtomicBool>,
    position: Position,
    /// The index file lacks acknowledged commits and has to be brought up from the log first.
    behind: bool,
    retry: Option<Instant>,
    rows_open: u64,
    log_settled: u64,
    payload: Vec<u8>,
}

/// What was left of one batch after it ran.
struct Ran {
    job: Box<dyn Job>,
    after: Vec<After>,
    dropped: Vec<(BodyId, crate::shared::Place)>,
    /// Which of its bodies it holds.
    held: Vec<bool>,
    settle: bool,
}

/// Where the index keeps what it may have to take back within a transaction: pages of memory,
/// so no file on the disk is written for it. (In SQLite's own memory journal every statement
/// walks all of it, which makes large batches quadratic.)
const SCRATCH: &str = "/dev/shm";
/// With less room there than this (small containers), scratch goes where SQLite puts it by itself.
const SCRATCH_MIN: u64 = 256 << 20;

/// Settings of the process, once.
fn tune_process(conn: &Connection) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let room = rustix::fs::statvfs(SCRATCH).map_or(0, |s| s.f_bavail * s.f_frsize);
        if room >= SCRATCH_MIN {
            let _ = conn.execute_batch(&format!("PRAGMA temp_store_directory='{SCRATCH}'"));
        }
    });
}

/// Settings of every connection.
pub(crate) fn tune(conn: &Connection) -> Result<(), StoreError> {
    conn.set_prepared_statement_cache_capacity(512);
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The log makes commits durable; NORMAL keeps the index file whole over a power cut.
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;
         PRAGMA journal_size_limit=8388608; PRAGMA recursive_triggers=ON;",
    )?;
    conn.busy_timeout(BUSY_MAX)?;
    Ok(())
}

impl Engine {
    pub(crate) fn open(
        index: Option<&Path>,
        shared: Arc<Shared>,
        schemas: &[Schema],
    ) -> Result<Engine, StoreError> {
        let mut conn = match index {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        conn.execute_batch("PRAGMA page_size=4096")?;
        tune_process(&conn);
        tune(&conn)?;
        conn.execute_batch("PRAGMA cache_size=-16000")?;
        schema::begin(&conn, schemas)?;
        let found = catch_up(&conn, &shared, u64::MAX)?;
        mend(&shared, &conn, &found)?;
        if schema::migrate(&conn, schemas)? {
            checkpoint(&conn)?;
        }
        shared.next_body.store(found.body_max + 1, Ordering::Relaxed);
        *lock(&shared.log_end) = found.end;
        let rows = rowlog::listen(&conn)?;
        let log = Log::open(shared.clone(), found.end)?;
        let inside = Arc::new(AtomicBool::new(false));
        refuse_transactions(&mut conn, &inside)?;
        Ok(Engine {
            conn,
            rows,
            log,
            shared,
            inside,
            position: found.end,
            behind: false,
            retry: None,
            rows_open: 0,
            log_settled: 0,
            payload: Vec::new(),
        })
    }

    pub(crate) fn conn(&self) -> &Connection {
        &self.conn
    }

    fn exec(&self, sql: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Makes a group durable and tells everyone in it.
    pub(crate) fn group(&mut self, jobs: Vec<Box<dyn Job>>) {
        if let Err(e) = self.begin() {
            jobs.into_iter().for_each(|job| job.tell(Err(e.clone())));
            return;
        }
        let mut staged = self.log.stage();
        let mut ran = Vec::with_capacity(jobs.len());
        for job in jobs {
            ran.extend(self.one(job, &mut staged));
        }
        let result = self.write(&mut staged);
        match result {
            Ok(()) => self.finish(ran, &staged),
            Err(e) => {
                if matches!(e, StoreError::Full(_)) {
                    self.shared.ran_full();
                }
                self.undo();
                ran.into_iter().for_each(|r| r.job.tell(Err(e.clone())));
            }
        }
    }

    /// Sound index, sound segment, open transaction.
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.behind {
            self.recover()?;
        }
        if self.ready_log()? {
            lock(&self.rows).new_segment();
        }
        if self.conn.is_autocommit() {
            self.exec("BEGIN IMMEDIATE")?;
        }
        self.exec("SAVEPOINT a_group")
    }

    /// A new segment begins also on a full disk: what deletes has to go on, and intake is not asked here.
    fn ready_log(&mut self) -> Result<bool, StoreError> {
        let mut aside = None;
        loop {
            match self.log.ready(self.position.commit + 1) {
                Err(StoreError::Full(_))
                    if aside.get_or_insert_with(|| self.shared.room_aside(Part::Segments)).give() => {}
                result => return result,
            }
        }
    }

    fn undo(&mut self) {
        lock(&self.rows).clear();
        let undone = !self.conn.is_autocommit()
            && self.exec("ROLLBACK TO a_group").and_then(|()| self.exec("RELEASE a_group")).is_ok();
        if !undone {
            // The whole transaction is gone, with groups in it that were acknowledged.
            self.give_up_transaction();
        }
    }

    fn give_up_transaction(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        self.behind = true;
        self.rows_open = 0;
    }

    /// Plays what the index file lacks back from the log.
    fn recover(&mut self) -> Result<(), StoreError> {
        if self.retry.is_some_and(|at| at > Instant::now()) {
            return Err(StoreError::Full("the index could not be written a moment ago".to_owned()));
        }
        self.retry = Some(Instant::now() + RETRY);
        let found = catch_up(&self.conn, &self.shared, self.position.commit)?;
        self.retry = None;
        if found.end.commit != self.position.commit {
            return Err(StoreError::Broken(format!(
                "the log ends at commit {} and not at {}; stop the server and run `postroad verify`",
                found.end.commit, self.position.commit
            )));
        }
        self.behind = false;
        self.settled();
        Ok(())
    }

    fn one(&self, mut job: Box<dyn Job>, staged: &mut Staged) -> Option<Ran> {
        let mark = lock(&self.rows).mark();
        let staged_mark = staged.mark();
        let count = job.bodies().len() as i64;
        let first = self.shared.next_body.fetch_add(count, Ordering::Relaxed);
        let ids: Vec<BodyId> = (first..first + count).map(BodyId).collect();
        let mut batch = Batch::new(&self.conn, &ids, &self.rows);
        let result = self.exec("SAVEPOINT a_batch").and_then(|()| {
            self.inside.store(true, Ordering::Relaxed);
            let end = catch_unwind(AssertUnwindSafe(|| job.run(&mut batch)));
            self.inside.store(false, Ordering::Relaxed);
            end.unwrap_or_else(|_| {
                Err(StoreError::Broken("a fault in our own code stopped the commit".into()))
            })?;
            if lock(&self.rows).mark().0 - mark.0 > BATCH_MAX {
                return Err(StoreError::rule("one commit changes too much; cut it into several"));
            }
            self.name(job.bodies(), &batch, staged)?;
            self.exec("RELEASE a_batch")
        });
        let Batch { refs, after, dropped, settle, .. } = batch;
        match result {
            Ok(()) => Some(Ran { job, after, dropped, held: refs.iter().map(|r| *r > 0).collect(), settle }),
            Err(e) => {
                lock(&self.rows).back_to(mark);
                staged.back_to(staged_mark);
                if !self.conn.is_autocommit() {
                    let _ = self.exec("ROLLBACK TO a_batch").and_then(|()| self.exec("RELEASE a_batch"));
                }
                job.tell(Err(e));
                None
            }
        }
    }

    /// Enters the bodies that the batch holds.
    fn name(&self, bodies: &[Sealed], batch: &Batch<'_>, staged: &mut Staged) -> Result<(), StoreError> {
        let mut enter = self.conn.prepare_cached("INSERT OR FAIL INTO body VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let time = self.shared.disk.now();
        for ((body, id), refs) in bodies.iter().zip(batch.bodies).zip(&batch.refs) {
            if *refs == 0 {
                continue;
            }
            let place = match &body.form {
                Form::Small(bytes) => staged.small(*id, bytes.clone(), body.crc, time),
                Form::Large(place) => {
                    staged.large(*id, *place, body.crc);
                    *place
                }
                Form::Gone => return Err(StoreError::Closed),
            };
            enter.execute((id.0, place.segment as i64, place.start as i64, place.len as i64, refs))?;
        }
        if batch.moves.is_empty() {
            return Ok(());
        }
        let mut moved = self.conn.prepare_cached(MOVED)?;
        for (id, bytes, crc) in &batch.moves {
            let place = staged.small(*id, bytes.clone(), *crc, time);
            staged.news.pop();
            staged.news.push(false);
            moved.execute((id.0, place.segment as i64, place.start as i64))?;
        }
        Ok(())
    }

    fn write(&mut self, staged: &mut Staged) -> Result<(), StoreError> {
        if self.conn.is_autocommit() {
            return Err(StoreError::Broken("the index gave up its transaction".to_owned()));
        }
        if staged.is_empty() && lock(&self.rows).is_empty() {
            return self.exec("RELEASE a_group");
        }
        let commit = self.position.commit + 1;
        self.encode(staged);
        let position = match self.log.append(staged, commit, &self.payload) {
            Ok(position) => position,
            // Deleting and marking go on when new mail cannot: they have room set aside.
            Err(AppendError::Clean(StoreError::Full(why))) if staged.is_empty() => {
                self.append_in_room_aside(staged, commit, why)?
            }
            Err(AppendError::Clean(e)) => return Err(e),
            Err(AppendError::Doubt(e)) => {
                self.shared.trouble(format!("{e}; the segment is left behind and a new one begun"));
                // Who is told that it failed must not find it kept after a crash.
                self.again_elsewhere(staged, commit).inspect_err(|_| self.log.cut())?
            }
        };
        self.position = position;
        *lock(&self.shared.log_end) = position;
        self.exec("RELEASE a_group").inspect_err(|_| self.behind = true)
    }

    fn append_in_room_aside(
        &mut self,
        staged: &Staged,
        commit: u64,
        why: String,
    ) -> Result<Position, StoreError> {
        let mut last = why;
        let mut aside = self.shared.room_aside(Part::Segments);
        while aside.give() {
            self.log.ready(commit)?;
            match self.log.append(staged, commit, &self.payload) {
                Err(AppendError::Clean(StoreError::Full(why))) => last = why,
                result => return result.map_err(AppendError::into_error),
            }
        }
        Err(StoreError::Full(last))
    }

    fn encode(&mut self, staged: &Staged) {
        self.payload.clear();
        staged.encode(&mut self.payload);
        lock(&self.rows).encode(&mut self.payload);
    }

    /// The same group once more, into a new segment.
    fn again_elsewhere(&mut self, staged: &mut Staged, commit: u64) -> Result<Position, StoreError> {
        let old = self.log.segment();
        self.log.ready(commit)?;
        lock(&self.rows).new_segment();
        staged.rebase(&self.log);
        let mut moved = self.conn.prepare_cached(MOVED)?;
        for named in staged.named.iter().filter(|n| n.place.segment == self.log.segment()) {
            moved.execute((named.id.0, named.place.segment as i64, named.place.start as i64))?;
        }
        drop(moved);
        debug_assert_ne!(old, self.log.segment());
        self.encode(staged);
        self.log.append(staged, commit, &self.payload).map_err(AppendError::into_error)
    }

    /// The group is durable: show it, and tell.
    fn finish(&mut self, ran: Vec<Ran>, staged: &Staged) {
        let rows = {
            let mut rows = lock(&self.rows);
            let count = rows.rows;
            rows.written();
            count
        };
        self.rows_open += rows;
        let shared = self.shared.clone();
        {
            let mut fresh = shared.fresh.write().unwrap_or_else(|e| e.into_inner());
            fresh.extend(staged.named.iter().map(|n| (n.id, n.place)));
            for (id, _) in ran.iter().flat_map(|r| &r.dropped) {
                fresh.remove(id);
            }
        }
        shared.done.fetch_add(1, Ordering::Release);
        let small = staged.named.iter().filter(|n| n.place.segment == self.log.segment());
        for ((named, bytes), news) in small.zip(&staged.bodies).zip(&staged.news) {
            if *news {
                shared.cache.put(named.id, bytes.clone());
            }
        }
        shared.counts.groups.fetch_add(1, Ordering::Relaxed);
        shared.counts.commits.fetch_add(ran.len() as u64, Ordering::Relaxed);
        let settle = ran.iter().any(|r| r.settle);
        let big = shared.counts.log_bytes.load(Ordering::Relaxed) - self.log_settled > LOG_MAX;
        if settle || self.rows_open > ROWS_MAX || big {
            let _ = self.settle();
        }
        for mut r in ran {
            for (id, _) in &r.dropped {
                shared.cache.forget(*id);
            }
            lock(&shared.dead).append(&mut r.dropped);
            for (body, held) in r.job.bodies().iter_mut().zip(&r.held) {
                if *held {
                    body.committed();
                }
            }
            for f in r.after {
                if catch_unwind(AssertUnwindSafe(f)).is_err() {
                    shared.trouble("a fault in our own code stopped a notice after a commit".to_owned());
                }
            }
            r.job.tell(Ok(()));
        }
    }

    /// Puts all durable commits into the index file, for readers to see.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        if self.behind {
            return self.recover();
        }
        if self.conn.is_autocommit() {
            self.settled();
            return Ok(());
        }
        let next_body = self.shared.next_body.load(Ordering::Relaxed);
        let result = set_state(&self.conn, self.position, next_body).and_then(|()| self.exec("COMMIT"));
        if matches!(result, Err(StoreError::Full(_))) {
            self.give_up_transaction();
            return self.recover();
        }
        match result {
            Ok(()) => self.settled(),
            Err(e) => {
                self.shared.trouble(format!("the index file could not be written: {e}"));
                self.give_up_transaction();
                return Err(e);
            }
        }
        Ok(())
    }

    fn settled(&mut self) {
        self.rows_open = 0;
        self.log_settled = self.shared.counts.log_bytes.load(Ordering::Relaxed);
        // A replay begins here, so the names of tables are told again behind this point.
        lock(&self.rows).new_segment();
        self.shared.settled.store(self.shared.done.load(Ordering::Acquire), Ordering::Release);
        self.shared.counts.settles.fetch_add(1, Ordering::Relaxed);
        self.shared.fresh.write().unwrap_or_else(|e| e.into_inner()).clear();
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Empties the index's write-ahead log between two groups, if readers kept the housekeeper
    /// from it for long.
    pub(crate) fn tidy_index(&self) {
        if !self.shared.wal_long.swap(false, Ordering::Relaxed) {
            return;
        }
        // Mail waits here: a reader in the way (a backup copies the index for minutes) is not waited for.
        let done = self.conn.busy_timeout(Duration::ZERO).map_err(StoreError::from);
        let done = done.and_then(|()| checkpoint(&self.conn));
        if let Err(e) = self.conn.busy_timeout(BUSY_MAX).map_err(StoreError::from).and(done) {
            self.shared.trouble(format!("the index's write-ahead log grows: {e}"));
        }
    }

    /// Whether anything waits to be settled.
    pub(crate) fn is_open(&self) -> bool {
        !self.conn.is_autocommit() || self.behind
    }
}

/// Moves what the write-ahead log of the index holds into the index itself. False if a reader was in the way.
pub(crate) fn checkpoint(conn: &Connection) -> Result<bool, StoreError> {
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    Ok(busy == 0)
}

/// What is acknowledged goes into the index also on a full disk: into the room that its write-ahead log has already,
/// then into what is set aside.
fn catch_up(conn: &Connection, shared: &Shared, upto: u64) -> Result<recover::Found, StoreError> {
    let first = recover::catch_up(conn, shared, upto);
    if !matches!(first, Err(StoreError::Full(_))) {
        return first;
    }
    let mut aside = shared.room_aside(Part::Index);
    loop {
        // Once all of it is in the index, the write-ahead log begins again from its front and needs no more room.
        let _ = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        match recover::catch_up(conn, shared, upto) {
            Err(StoreError::Full(_)) if aside.give() => {}
            result => return result,
        }
    }
}

/// Cuts the torn tail, so that the next record stands right behind the last whole group.
fn mend(shared: &Shared, conn: &Connection, found: &recover::Found) -> Result<(), StoreError> {
    let io = |e: std::io::Error| StoreError::from_io("cutting the log's torn end", &e);
    for no in &found.empty {
        shared.files.remove(*no).map_err(io)?;
    }
    if found.end.segment > 0 {
        let file = shared.files.get(found.end.segment).map_err(io)?;
        if file.len().map_err(io)? > found.end.end {
            file.truncate(found.end.end).map_err(io)?;
        }
        // What a killed process left in the system's memory has to be durable before more follows.
        file.sync().map_err(io)?;
    }
    for damage in &found.damage {
        if damage.matters(conn) {
            shared.trouble(format!("damage found in what was acknowledged: {damage}"));
        }
    }
    Ok(())
}

fn refuse_transactions(conn: &mut Connection, inside: &Arc<AtomicBool>) -> Result<(), StoreError> {
    let inside = inside.clone();
    conn.authorizer(Some(move |ctx: rusqlite::hooks::AuthContext<'_>| {
        let refused = matches!(
            ctx.action,
            AuthAction::Transaction { .. }
                | AuthAction::Savepoint { .. }
                | AuthAction::Attach { .. }
                | AuthAction::CreateTable { .. }
                | AuthAction::DropTable { .. }
                | AuthAction::AlterTable { .. }
                | AuthAction::CreateTrigger { .. }
                | AuthAction::CreateTempTable { .. }
        );
        if refused && inside.load(Ordering::Relaxed) { Authorization::Deny } else { Authorization::Allow }
    }))?;
    Ok(())
}
