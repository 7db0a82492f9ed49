//! The store as the rest of the house sees it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::ballast::{Ballasts, Part};
use crate::body::Body;
use crate::committer::{self, Queue};
use crate::disk::{self, Disk};
use crate::engine::{Engine, Job};
use crate::readers::Readers;
use crate::reclaim::Tidied;
use crate::shared::{Place, Shared};
use crate::upkeep::Upkeep;
use crate::{Batch, BodyId, Draft, Intake, Schema, Sealed, Settings, StoreError};

/// The index file's name in the store's folder.
pub(crate) const INDEX: &str = "index.sqlite";
/// The segments' folder in the store's folder.
pub(crate) const SEGMENTS: &str = "segments";
const LOCK: &str = "lock";

/// Bodies and rows of one host. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store(
    pub(crate) Arc<Inner>,
    #[expect(dead_code, reason = "it is there to be dropped")] Option<Arc<Alive>>,
);

/// Held by every clone in the house's hands; the store's own threads have none. When the last
/// is gone the store is closed, and its folder free, before `drop` returns.
struct Alive(Arc<Inner>);

pub(crate) struct Inner {
    way: Way,
    pub(crate) shared: Arc<Shared>,
    schemas: Vec<Schema>,
}

enum Way {
    /// A committer thread, a housekeeper thread, and connections for readers.
    Threads {
        queue: Arc<Queue>,
        readers: Arc<Readers>,
        threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
        upkeep: Arc<Upkeep>,
        dir: PathBuf,
        lock: Mutex<Option<std::fs::File>>,
    },
    /// One connection, everything inline.
    Inline { engine: Box<Mutex<Engine>>, memory: Option<disk::Memory> },
}

/// A typed batch on its way through the committer.
struct Typed<T, F> {
    bodies: Vec<Sealed>,
    f: Option<F>,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Typed<T, F>
where
    T: Send,
    F: FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send,
{
    fn bodies(&mut self) -> &mut Vec<Sealed> {
        &mut self.bodies
    }
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let f = self.f.take().ok_or(StoreError::Closed)?;
        self.value = Some(f(batch)?);
        Ok(())
    }
    fn tell(self: Box<Self>, end: Result<(), StoreError>) {
        let Typed { answer, value, bodies, .. } = *self;
        drop(bodies);
        let _ = answer.send(end.and_then(|()| value.ok_or(StoreError::Closed)));
    }
}

impl Store {
    /// Opens or creates the store in `dir`, brings the index up from the log after a crash, and
    /// every room's tables to their newest step.
    pub fn open(dir: &Path, settings: Settings, schemas: &[Schema]) -> Result<Store, StoreError> {
        let making = |e: std::io::Error| StoreError::from_io("making the store's folder", &e);
        std::fs::create_dir_all(dir).map_err(making)?;
        let disk = disk::Real::new(&dir.join(SEGMENTS)).map_err(making)?;
        Store::open_on(Arc::new(disk), dir, settings, schemas)
    }

    /// As [`Store::open`], with the segments on a disk of the caller's choice.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: Settings,
        schemas: &[Schema],
    ) -> Result<Store, StoreError> {
        let locked = take_lock(dir)?;
        let mut shared = Shared::new(disk, settings)?;
        let segments = dir.join(SEGMENTS);
        let apart = disk::apart(dir, &segments);
        shared.index_at = apart.then(|| dir.to_owned());
        shared.ballasts = Ballasts::new(dir, apart.then_some(segments.as_path()));
        let shared = Arc::new(shared);
        let path = dir.join(INDEX);
        let mut engine = open_engine(&path, &shared, schemas)?;
        let _ = shared.ballasts.fill(false);
        let queue = Arc::new(Queue::default());
        let readers = Arc::new(Readers::new(&path));
        let upkeep = Arc::new(Upkeep::default());
        let starting = |e: std::io::Error| StoreError::from_io("starting the store's threads", &e);
        let jobs = queue.clone();
        let committer = std::thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || committer::run(&jobs, &mut engine))
            .map_err(starting)?;
        let theirs = upkeep.clone();
        let way = Way::Threads {
            queue,
            readers,
            threads: Mutex::new(vec![committer]),
            upkeep,
            dir: dir.to_owned(),
            lock: Mutex::new(Some(locked)),
        };
        let store = Store::alive(Inner { way, shared, schemas: schemas.to_vec() });
        let inner = store.0.clone();
        let housekeeper = std::thread::Builder::new()
            .name("store-upkeep".into())
            .spawn(move || theirs.run(&Store(inner, None)))
            .map_err(starting)?;
        if let Way::Threads { threads, .. } = &store.0.way {
            lock(threads).push(housekeeper);
        }
        Ok(store)
    }

    /// A store without files: commits and reads run inline, so virtual time stands still.
    pub fn in_memory(settings: Settings, schemas: &[Schema]) -> Result<Store, StoreError> {
        Store::in_memory_on(disk::Memory::new(), settings, schemas)
    }

    /// As [`Store::in_memory`], over segments that are already there: the index is made from
    /// them.
    pub fn in_memory_on(
        memory: disk::Memory,
        settings: Settings,
        schemas: &[Schema],
    ) -> Result<Store, StoreError> {
        Store::inline(Arc::new(memory.clone()), Some(memory), settings, schemas)
    }

    /// The index in memory, made from whatever segments are on `disk`; everything inline.
    pub fn inline_on(
        disk: Arc<dyn Disk>,
        settings: Settings,
        schemas: &[Schema],
    ) -> Result<Store, StoreError> {
        Store::inline(disk, None, settings, schemas)
    }

    fn inline(
        disk: Arc<dyn Disk>,
        memory: Option<disk::Memory>,
        settings: Settings,
        schemas: &[Schema],
    ) -> Result<Store, StoreError> {
        let shared = Arc::new(Shared::new(disk, settings)?);
        let engine = Box::new(Mutex::new(Engine::open(None, shared.clone(), schemas)?));
        let way = Way::Inline { engine, memory };
        Ok(Store::alive(Inner { way, shared, schemas: schemas.to_vec() }))
    }

    fn alive(inner: Inner) -> Store {
        let inner = Arc::new(inner);
        Store(inner.clone(), Some(Arc::new(Alive(inner))))
    }

    /// Cuts the power of a store in memory and opens it again: what was not durable is gone.
    /// This value and its clones must not be used any more.
    pub fn power_cut(&self) -> Result<Store, StoreError> {
        match &self.0.way {
            Way::Inline { memory: Some(memory), .. } => {
                memory.power_cut();
                Store::in_memory_on(memory.clone(), self.0.shared.settings.clone(), &self.0.schemas)
            }
            _ => Err(StoreError::Broken("only a store in memory can be cut off".to_owned())),
        }
    }

    /// Begins a body.
    pub fn draft(&self) -> Draft {
        Draft::new(self.0.shared.clone())
    }

    /// Begins a body that is known to be large and whose first octets are known last: it goes to
    /// the disk as it comes, behind `room` octets for [`Draft::seal_under`].
    pub fn draft_behind(&self, room: u64) -> Draft {
        Draft::behind(self.0.shared.clone(), room)
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
        let job: Box<dyn Job> = Box::new(Typed { bodies, f: Some(f), value: None, answer });
        match &self.0.way {
            Way::Threads { queue, .. } => queue.push(job),
            Way::Inline { engine, .. } => lock(engine).group(vec![job]),
        }
        async move { wait.await.unwrap_or(Err(StoreError::Closed)) }
    }

    /// As [`Store::commit`] without bodies, for the store's own threads.
    pub(crate) fn commit_now<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Typed { bodies: Vec::new(), f: Some(f), value: None, answer });
        match &self.0.way {
            Way::Threads { queue, .. } => queue.push(job),
            Way::Inline { engine, .. } => lock(engine).group(vec![job]),
        }
        wait.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Brings the index file up to date.
    pub(crate) fn settle_now(&self) -> Result<(), StoreError> {
        self.read_now(|_| Ok(()))
    }

    /// Moves all of the index's write-ahead log into the index file. False if a reader was in
    /// the way.
    pub(crate) fn checkpoint_now(&self) -> Result<bool, StoreError> {
        let Way::Threads { queue, .. } = &self.0.way else { return Ok(true) };
        let (answer, wait) = std::sync::mpsc::sync_channel(1);
        queue.settle(Box::new(move |settled| {
            let done = settled.and_then(|engine| crate::engine::checkpoint(engine.conn()));
            let _ = answer.send(done);
        }));
        wait.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Whether a reader of the index file would miss something acknowledged.
    fn unsettled(&self) -> Option<&Arc<Queue>> {
        let Way::Threads { queue, .. } = &self.0.way else { return None };
        if committer::is_here() {
            // The committer cannot wait for itself.
            return None;
        }
        let shared = &self.0.shared;
        (shared.settled.load(Ordering::Acquire) < shared.done.load(Ordering::Acquire)).then_some(queue)
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
            if let Way::Inline { .. } = store.0.way {
                return store.glance(f);
            }
            if let Some(queue) = store.unsettled() {
                let (answer, wait) = oneshot::channel();
                queue.settle(Box::new(move |settled| drop(answer.send(settled.map(|_| ())))));
                wait.await.unwrap_or(Err(StoreError::Closed))?;
            }
            tokio::task::spawn_blocking(move || store.glance(f)).await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// As [`Store::read`] for code that is not async, on this thread. May wait for the disk.
    pub fn read_now<T>(&self, f: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(queue) = self.unsettled() {
            let (answer, wait) = std::sync::mpsc::sync_channel(1);
            queue.settle(Box::new(move |settled| drop(answer.send(settled.map(|_| ())))));
            wait.recv().unwrap_or(Err(StoreError::Closed))?;
        }
        self.glance(f)
    }

    /// Looks rows up by key, on this thread, without waiting: may miss what was committed in the
    /// last seconds, except by batches that asked to [`Batch::settle`].
    pub fn glance<T>(&self, f: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &self.0.way {
            Way::Inline { engine, .. } => f(lock(engine).conn()),
            Way::Threads { readers, .. } => readers.read(f),
        }
    }

    /// A body to read.
    pub async fn body(&self, id: BodyId) -> Result<Body, StoreError> {
        self.bodies(&[id])?.pop().flatten().ok_or(StoreError::Missing(id))
    }

    /// Many bodies to read, in the order asked; `None` for one that is not there.
    pub fn bodies(&self, ids: &[BodyId]) -> Result<Vec<Option<Body>>, StoreError> {
        let shared = &self.0.shared;
        let mut out: Vec<Option<Body>> = Vec::with_capacity(ids.len());
        let mut open = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            // Pinned first, so that it cannot be reclaimed between here and there.
            let pin = Arc::new(shared.pin(*id));
            let held = shared.cache.get(*id);
            let place = held.as_ref().map(|h| Place { segment: 0, start: 0, len: h.len() as u64 });
            let place =
                place.or_else(|| shared.fresh.read().unwrap_or_else(|e| e.into_inner()).get(id).copied());
            if place.is_none() {
                open.push(n);
            }
            let place = place.unwrap_or(Place { segment: 0, start: 0, len: 0 });
            out.push(Some(Body { id: *id, shared: shared.clone(), place, held, _pin: pin }));
        }
        if !open.is_empty() {
            self.glance(|conn| find(conn, &open, &mut out))?;
        }
        Ok(out)
    }

    /// Whether new mail may come in. Cheap: looks at the disk once a second at most.
    pub fn intake(&self) -> Intake {
        self.0.shared.intake()
    }

    /// Room on the disk, as of a second ago at most; nothing if the disk does not say.
    pub fn space(&self) -> Option<disk::Space> {
        self.0.shared.intake();
        self.0.shared.space()
    }

    /// Whether new mail will be refused soon, or is: the disk's reserve is near.
    pub fn is_tight(&self) -> bool {
        self.0.shared.is_tight()
    }

    /// A body's length and checksum, without reading it.
    pub fn mark(&self, id: BodyId) -> Result<(u64, u32), StoreError> {
        let body = self.bodies(&[id])?.pop().flatten().ok_or(StoreError::Missing(id))?;
        body.mark()
    }

    /// One of [`Store::take_damaged`] could not be told: it is handed out again.
    pub fn tell_again(&self, id: BodyId, why: String) {
        self.0.shared.tell_again(id, why);
    }

    /// Whether a body is still kept, by the rows that `conn` sees.
    pub fn keeps(conn: &Connection, id: BodyId) -> Result<bool, StoreError> {
        let mut look = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM body WHERE id = ?1)")?;
        Ok(look.query_row([id.0], |r| r.get(0))?)
    }

    /// Bodies met since the last call that cannot be read, and why; each is told once.
    pub fn take_damaged(&self, most: usize) -> Vec<(BodyId, String)> {
        self.0.shared.take_damaged(most)
    }

    /// What is wrong with the store since the last call, in words for the operator.
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.0.shared.troubles).drain(..).collect()
    }

    /// What it has done since it was opened.
    pub fn figures(&self) -> Figures {
        let counts = &self.0.shared.counts;
        let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        Figures {
            commits: get(&counts.commits),
            groups: get(&counts.groups),
            syncs: get(&counts.syncs),
            settles: get(&counts.settles),
            log_bytes: get(&counts.log_bytes),
            reclaimed: get(&counts.punched),
        }
    }

    /// Gives the space of deleted bodies back now, and rewrites segments that are mostly dead.
    /// Runs by itself in the background; waits for the disk, so call it where that hurts nobody.
    pub fn tidy(&self) -> Result<Tidied, StoreError> {
        crate::reclaim::tidy(self)
    }

    /// Closes the store for all its clones: what waits is done first, what comes later is refused,
    /// and the folder is free for another process. Waits for the disk.
    pub fn close(&self) {
        self.0.close();
    }

    /// The store's folder, if it has one.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match &self.0.way {
            Way::Threads { dir, .. } => Some(dir),
            Way::Inline { .. } => None,
        }
    }
}

/// Counters since open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub commits: u64,
    pub groups: u64,
    /// Times something was made durable in the segments.
    pub syncs: u64,
    /// Times the index file was brought up to date.
    pub settles: u64,
    pub log_bytes: u64,
    /// Bytes of deleted bodies given back.
    pub reclaimed: u64,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Inner {
    /// Ends what runs, brings the index up to date and frees the folder. Once done, nothing happens.
    fn close(&self) {
        match &self.way {
            Way::Threads { queue, threads, upkeep, readers, lock: held, .. } => {
                upkeep.close();
                queue.close();
                let here = std::thread::current().id();
                for thread in lock(threads).drain(..) {
                    if thread.thread().id() != here {
                        let _ = thread.join();
                    }
                }
                // The index's own files beside it go with its last connection: if room is short, what that gives
                // back is kept for the next start.
                readers.close();
                let _ = self.shared.ballasts.fill(true);
                lock(held).take();
            }
            Way::Inline { engine, .. } => {
                let _ = lock(engine).settle();
            }
        }
    }
}

fn find(conn: &Connection, open: &[usize], out: &mut [Option<Body>]) -> Result<(), StoreError> {
    let mut look = conn.prepare_cached("SELECT segment, start, len FROM body WHERE id = ?1")?;
    for n in open {
        let Some(body) = &mut out[*n] else { continue };
        let found = look.query_row([body.id.0], |r| {
            let n = |at| r.get::<_, i64>(at).map(|n| n as u64);
            Ok(Place { segment: n(0)?, start: n(1)?, len: n(2)? })
        });
        match found {
            Ok(place) => body.place = place,
            Err(rusqlite::Error::QueryReturnedNoRows) => out[*n] = None,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Opens the index; one that is no database any more is put aside and made anew from the log.
fn open_engine(path: &Path, shared: &Arc<Shared>, schemas: &[Schema]) -> Result<Engine, StoreError> {
    let mut aside = None;
    let rotten = loop {
        match Engine::open(Some(path), shared.clone(), schemas) {
            Err(StoreError::Broken(why)) if why.contains("malformed") || why.contains("not a database") => {
                break why;
            }
            // What is acknowledged has to come into the index, also on a disk that somebody filled.
            Err(StoreError::Full(_))
                if aside.get_or_insert_with(|| shared.room_aside(Part::Index)).give() => {}
            opened => return opened,
        }
    };
    crate::backup::put_index_aside(path)?;
    shared.trouble(format!(
        "the index was damaged ({why}) and has been made anew from the log; the old one is kept as \
         index.sqlite.old; run `postroad verify`",
        why = rotten
    ));
    Engine::open(Some(path), shared.clone(), schemas)
}

/// Two processes must not write one store.
pub(crate) fn take_lock(dir: &Path) -> Result<std::fs::File, StoreError> {
    use rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK))
        .map_err(|e| StoreError::from_io("opening the store's lock", &e))?;
    rustix::fs::flock(&file, NonBlockingLockExclusive).map_err(|_| {
        StoreError::Broken(format!(
            "another process uses the store in {}; stop it first, or give this one another folder",
            dir.display()
        ))
    })?;
    Ok(file)
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests;
