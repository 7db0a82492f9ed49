//! The one writer: takes what waits, makes it durable together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;

use crate::segment::Bodies;
use crate::{After, Batch, BodyId, Sealed, StoreError};

/// Most commits made durable together.
const GROUP_MAX: usize = 256;

/// Runs a batch's closure; returns what to tell its waiter.
pub(crate) type Work = Box<dyn FnOnce(&mut Batch<'_>) -> Result<Finish, StoreError> + Send>;
/// Tells the waiter how it ended.
pub(crate) type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
pub(crate) type Refuse = Box<dyn FnOnce(StoreError) + Send>;

pub(crate) struct Job {
    pub(crate) bodies: Vec<Sealed>,
    pub(crate) work: Box<dyn FnOnce(&mut Batch<'_>) -> Step + Send>,
}

/// A batch's result before it is durable.
pub(crate) struct Step {
    pub(crate) ok: bool,
    pub(crate) tell: Finish,
}

pub(crate) fn run(jobs: &Receiver<Job>, conn: &Connection, bodies: &Bodies) {
    loop {
        let first = match jobs.recv_timeout(Duration::from_secs(60)) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut group = vec![first];
        while group.len() < GROUP_MAX {
            match jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        commit(group, conn, bodies);
    }
}

/// Makes one group durable and tells everyone in it.
pub(crate) fn commit(group: Vec<Job>, conn: &Connection, bodies: &Bodies) {
    let mut finished: Vec<Finish> = Vec::new();
    let mut after: Vec<After> = Vec::new();
    let result = write(group, conn, bodies, (&mut finished, &mut after));
    if result.is_err() && !conn.is_autocommit() {
        let _ = conn.execute_batch("ROLLBACK");
    }
    for tell in finished {
        tell(result.clone());
    }
    if result.is_ok() {
        for f in after {
            f();
        }
    }
}

fn write(
    group: Vec<Job>,
    conn: &Connection,
    bodies: &Bodies,
    (finished, after): (&mut Vec<Finish>, &mut Vec<After>),
) -> Result<(), StoreError> {
    let io = |e: std::io::Error| StoreError::from_io("writing bodies", &e);
    let mut placed = Vec::new();
    for job in &group {
        let mut here = Vec::new();
        for body in &job.bodies {
            here.push(bodies.append(&body.held).map(|at| (at, body.len())));
        }
        placed.push(here);
    }
    let synced = if group.iter().any(|j| !j.bodies.is_empty()) { bodies.sync() } else { Ok(()) };
    let begun = synced.map_err(io).and_then(|()| Ok(conn.execute_batch("BEGIN IMMEDIATE")?));
    for (job, here) in group.into_iter().zip(placed) {
        let ids = begun.clone().and_then(|()| {
            conn.execute_batch("SAVEPOINT one")?;
            here.into_iter().map(|at| name_body(conn, at.map_err(io)?)).collect::<Result<Vec<BodyId>, _>>()
        });
        let failed = ids.as_ref().err().cloned();
        let ids = ids.unwrap_or_default();
        let mut batch = Batch { conn, bodies: &ids, after: Vec::new(), dropped: Vec::new() };
        if let Some(error) = failed {
            refuse(job.work, &mut batch, error);
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| (job.work)(&mut batch))) {
            Ok(step) if step.ok => {
                conn.execute_batch("RELEASE one")?;
                after.append(&mut batch.after);
                finished.push(step.tell);
            }
            Ok(step) => {
                conn.execute_batch("ROLLBACK TO one; RELEASE one")?;
                (step.tell)(Ok(()));
            }
            Err(_) => conn.execute_batch("ROLLBACK TO one; RELEASE one")?,
        }
    }
    begun?;
    conn.execute_batch("COMMIT")?;
    Ok(())
}

/// Dropping the work drops its answer's sender; the waiter then sees `Closed`.
fn refuse(work: Box<dyn FnOnce(&mut Batch<'_>) -> Step + Send>, _: &mut Batch<'_>, _: StoreError) {
    drop(work);
}

fn name_body(conn: &Connection, (start, len): (u64, u64)) -> Result<BodyId, StoreError> {
    conn.prepare_cached("INSERT INTO body (segment, start, len, refs) VALUES (1, ?1, ?2, 0)")?
        .execute((start as i64, len as i64))?;
    Ok(BodyId(conn.last_insert_rowid()))
}
