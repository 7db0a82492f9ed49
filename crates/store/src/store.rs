//! The store as the rest of the house sees it.

use std::future::Future;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::body::Body;
use crate::committer::{self, Job, Step};
use crate::segment::Bodies;
use crate::{Batch, BodyId, Draft, Intake, Schema, Sealed, Settings, StoreError, schema};

/// Bodies and rows of one host. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    way: Way,
    bodies: Arc<Bodies>,
}

enum Way {
    /// A committer thread and connections for readers.
    Disk { jobs: Mutex<Sender<Job>>, readers: Mutex<Vec<Connection>>, path: std::path::PathBuf },
    /// One connection, everything inline.
    Memory(Mutex<Connection>),
}

fn tune(conn: &Connection) -> Result<(), StoreError> {
    conn.set_prepared_statement_cache_capacity(512);
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;
         PRAGMA journal_size_limit=67108864; PRAGMA busy_timeout=10000; PRAGMA recursive_triggers=ON;",
    )?;
    Ok(())
}

impl Store {
    /// Opens or creates the store in `dir`, repairs what a crash left, and brings every room's
    /// tables to their newest step.
    pub fn open(dir: &Path, settings: Settings, schemas: &[Schema]) -> Result<Store, StoreError> {
        let _ = settings;
        std::fs::create_dir_all(dir).map_err(|e| StoreError::from_io("creating the store's folder", &e))?;
        let path = dir.join("index.sqlite");
        let conn = Connection::open(&path)?;
        tune(&conn)?;
        schema::migrate(&conn, schemas)?;
        let bodies = Arc::new(Bodies::open(dir).map_err(|e| StoreError::from_io("opening bodies", &e))?);
        let (jobs, waiting) = std::sync::mpsc::channel();
        let theirs = bodies.clone();
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer::run(&waiting, &conn, &theirs))
            .map_err(|e| StoreError::from_io("starting the committer", &e))?;
        let way = Way::Disk { jobs: Mutex::new(jobs), readers: Mutex::new(Vec::new()), path };
        Ok(Store(Arc::new(Inner { way, bodies })))
    }

    /// A store without files: commits and reads run inline, so virtual time stands still.
    pub fn in_memory(settings: Settings, schemas: &[Schema]) -> Result<Store, StoreError> {
        let _ = settings;
        let conn = Connection::open_in_memory()?;
        tune(&conn)?;
        schema::migrate(&conn, schemas)?;
        let bodies = Arc::new(Bodies::Memory(Mutex::new(Vec::new())));
        Ok(Store(Arc::new(Inner { way: Way::Memory(Mutex::new(conn)), bodies })))
    }

    /// Begins a body.
    pub fn draft(&self) -> Draft {
        Draft::new()
    }

    /// Makes `bodies` and what `f` writes durable, together with whatever else waits. Begins
    /// at once; dropping the future does not undo it. If `f` fails, nothing of it remains.
    pub fn commit<T, F>(
        &self,
        bodies: Vec<Sealed>,
        f: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let work = Box::new(move |batch: &mut Batch<'_>| match f(batch) {
            Ok(value) => Step { ok: true, tell: Box::new(move |r| drop(answer.send(r.map(|()| value)))) },
            Err(e) => Step { ok: false, tell: Box::new(move |_| drop(answer.send(Err(e)))) },
        });
        let job = Job { bodies, work };
        match &self.0.way {
            Way::Disk { jobs, .. } => drop(lock(jobs).send(job)),
            Way::Memory(conn) => committer::commit(vec![job], &lock(conn), &self.0.bodies),
        }
        async move { wait.await.unwrap_or(Err(StoreError::Closed)) }
    }

    /// Reads rows: everything acknowledged before the call is seen. One short look at a time:
    /// page long lists over several calls.
    pub fn read<T, F>(&self, f: F) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let store = self.clone();
        async move {
            if let Way::Memory(_) = store.0.way {
                return store.read_now(f);
            }
            tokio::task::spawn_blocking(move || store.read_now(f)).await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// As [`Store::read`], on this thread: for look-ups by key that take microseconds, and for
    /// code that is not async.
    pub fn read_now<T>(&self, f: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &self.0.way {
            Way::Memory(conn) => f(&lock(conn)),
            Way::Disk { readers, path, .. } => {
                let pooled = lock(readers).pop();
                let conn = match pooled {
                    Some(conn) => conn,
                    None => {
                        let conn = Connection::open(path)?;
                        tune(&conn)?;
                        conn.execute_batch("PRAGMA query_only=ON")?;
                        conn
                    }
                };
                conn.execute_batch("BEGIN")?;
                let result = f(&conn);
                conn.execute_batch("ROLLBACK")?;
                lock(readers).push(conn);
                result
            }
        }
    }

    /// A body to read.
    pub async fn body(&self, id: BodyId) -> Result<Body, StoreError> {
        let bodies = self.0.bodies.clone();
        self.read_now(move |conn| {
            conn.prepare_cached("SELECT start, len FROM body WHERE id = ?1")?
                .query_row([id.0], |r| {
                    Ok(Body {
                        id,
                        bodies,
                        start: r.get::<_, i64>(0)? as u64,
                        len: r.get::<_, i64>(1)? as u64,
                    })
                })
                .map_err(|e| match e {
                    rusqlite::Error::QueryReturnedNoRows => StoreError::Missing(id),
                    e => e.into(),
                })
        })
    }

    /// Whether new mail may come in. Cheap: looks at the disk once a second at most.
    pub fn intake(&self) -> Intake {
        Intake::Open
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: Schema = Schema {
        room: "notes",
        steps: &["CREATE TABLE note (id INTEGER PRIMARY KEY, says TEXT NOT NULL, body INTEGER) STRICT"],
    };

    fn both() -> Vec<(Store, Option<tempdir::Dir>)> {
        let dir = tempdir::Dir::new("both");
        let disk = Store::open(&dir.0, Settings::default(), &[NOTES]).expect("opens");
        vec![(Store::in_memory(Settings::default(), &[NOTES]).expect("opens"), None), (disk, Some(dir))]
    }

    mod tempdir {
        pub struct Dir(pub std::path::PathBuf);
        impl Dir {
            pub fn new(name: &str) -> Dir {
                let at = std::env::temp_dir().join(format!("postroad-store-{name}-{}", std::process::id()));
                let _ = std::fs::remove_dir_all(&at);
                Dir(at)
            }
        }
        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    #[tokio::test]
    async fn a_committed_body_reads_back_and_a_refused_batch_leaves_nothing() {
        for (store, _dir) in both() {
            let mut draft = store.draft();
            draft.write(b"hello ").await.expect("writes");
            draft.write(b"there").await.expect("writes");
            let sealed = draft.seal().await.expect("seals");
            let id = store
                .commit(vec![sealed], |batch| {
                    let id = batch.body(0);
                    batch.hold(id)?;
                    batch.sql().execute("INSERT INTO note (says, body) VALUES ('a', ?1)", [id])?;
                    Ok(id)
                })
                .await
                .expect("commits");
            assert_eq!(
                &store.body(id).await.expect("is there").all().await.expect("reads")[..],
                b"hello there"
            );
            let refused: Result<(), _> = store
                .commit(vec![], |batch| {
                    batch.sql().execute("INSERT INTO note (says) VALUES ('b')", [])?;
                    Err(StoreError::rule("no"))
                })
                .await;
            assert_eq!(refused, Err(StoreError::rule("no")));
            let count: i64 = store
                .read(|conn| Ok(conn.query_row("SELECT count(*) FROM note", [], |r| r.get(0))?))
                .await
                .expect("reads");
            assert_eq!(count, 1);
        }
    }
}
