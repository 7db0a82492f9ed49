//! What drafts, readers, the committer and the housekeeper share.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ballast::{Ballasts, Part, Slices};
use crate::disk::{self, Disk, Space};
use crate::files::Files;
use crate::large::Lease;
use crate::log::Position;
use crate::{BodyId, Intake, Settings, StoreError, lock};

/// The disk is asked for its space this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Five in a hundred of a large disk would be more than is ever needed.
const RESERVE_MAX: u64 = 8 << 30;

/// Most damaged bodies that are remembered.
const DAMAGED_MAX: usize = 1000;

/// Where a body lies: the payload, without its record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) start: u64,
    pub(crate) len: u64,
}

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Files,
    pub(crate) settings: Settings,
    pub(crate) cache: Cache,
    /// Bodies of commits that the index file does not hold yet.
    pub(crate) fresh: RwLock<BTreeMap<BodyId, Place>>,
    pub(crate) next_body: AtomicI64,
    /// Groups made durable since open, and how many of them the index file holds.
    pub(crate) done: AtomicU64,
    pub(crate) settled: AtomicU64,
    /// Where the log durably ends.
    pub(crate) log_end: Mutex<Position>,
    /// Bytes of drafts and sealed bodies that are not on the disk yet.
    pub(crate) flight: AtomicU64,
    /// Readers by body, and uncommitted large bodies by segment: not to be reclaimed.
    pins: Mutex<BTreeMap<BodyId, usize>>,
    unnamed: Mutex<BTreeMap<u64, usize>>,
    /// Bodies that no row names any more, to give their space back.
    pub(crate) dead: Mutex<Vec<(BodyId, Place)>>,
    /// What was found out of closed segments, so that they are not read again and again.
    pub(crate) surveyed: Mutex<BTreeMap<u64, crate::survey::Surveyed>>,
    /// Large files that a next draft may go on with.
    pub(crate) leases: Mutex<Vec<Lease>>,
    space: Mutex<Look>,
    /// The disk said it was full; held until a look shows room again.
    pub(crate) was_full: AtomicBool,
    /// Room set aside, given up so that deleting goes on when a disk is full.
    pub(crate) ballasts: Ballasts,
    /// The folder of the index, if it lies on another file system than the segments: its room is
    /// watched too.
    pub(crate) index_at: Option<PathBuf>,
    /// The index's write-ahead log has become long.
    pub(crate) wal_long: AtomicBool,
    /// What is wrong with the store, told once each; for logs and `doctor`.
    pub(crate) troubles: Mutex<VecDeque<String>>,
    /// Bodies that could not be read, and why; `None` once somebody was told.
    damaged: Mutex<BTreeMap<BodyId, Option<String>>>,
    /// Above zero, nothing is reclaimed: a backup copies.
    pub(crate) copying: AtomicU64,
    pub(crate) counts: Counts,
}

/// What the store has done since it was opened.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) settles: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) punched: AtomicU64,
    /// Bytes of deleted bodies.
    pub(crate) dead: AtomicU64,
    /// Bytes of bodies that lived when the segments were last looked over.
    pub(crate) live: AtomicU64,
}

struct Look {
    at: Option<Instant>,
    /// Where the segments lie.
    space: Space,
    /// Where the index lies, if that is a file system of its own.
    index: Option<Space>,
    /// What the log had taken by then: what came since is used up, though nobody has looked yet.
    log_bytes: u64,
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, settings: Settings) -> Result<Shared, StoreError> {
        let files =
            Files::open(disk.clone()).map_err(|e| StoreError::from_io("reading the segments' folder", &e))?;
        Ok(Shared {
            cache: Cache::new(settings.cache.get() as usize),
            files,
            disk,
            settings,
            fresh: RwLock::default(),
            next_body: AtomicI64::new(1),
            done: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            log_end: Mutex::default(),
            flight: AtomicU64::new(0),
            pins: Mutex::default(),
            unnamed: Mutex::default(),
            dead: Mutex::default(),
            surveyed: Mutex::default(),
            leases: Mutex::default(),
            space: Mutex::new(Look {
                at: None,
                space: Space { free: stdx::Bytes(0), total: stdx::Bytes(0) },
                index: None,
                log_bytes: 0,
            }),
            was_full: AtomicBool::new(false),
            ballasts: Ballasts::default(),
            index_at: None,
            wal_long: AtomicBool::new(false),
            troubles: Mutex::default(),
            damaged: Mutex::default(),
            copying: AtomicU64::new(0),
            counts: Counts::default(),
        })
    }

    /// The disk guard's answer.
    pub(crate) fn intake(&self) -> Intake {
        let mut look = lock(&self.space);
        if look.at.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
            && let Ok(space) = self.disk.space()
        {
            look.space = space;
            look.index = self.index_at.as_deref().and_then(|dir| disk::space_at(dir).ok());
            look.log_bytes = self.counts.log_bytes.load(Ordering::Relaxed);
            look.at = Some(Instant::now());
        }
        let since = self.counts.log_bytes.load(Ordering::Relaxed).saturating_sub(look.log_bytes);
        let promised = self.flight.load(Ordering::Relaxed).saturating_add(since);
        // Rows are small beside bodies: what is promised counts where the bodies go.
        let segments =
            Space { free: stdx::Bytes(look.space.free.get().saturating_sub(promised)), ..look.space };
        for Space { free, total } in std::iter::once(segments).chain(look.index) {
            let reserve = self.reserve(total);
            if free < reserve {
                return Intake::Full { free, reserve };
            }
        }
        self.was_full.store(false, Ordering::Relaxed);
        Intake::Open
    }
    fn reserve(&self, total: stdx::Bytes) -> stdx::Bytes {
        self.settings.reserve.unwrap_or_else(|| {
            // On a small disk the reserve must not be all there is.
            stdx::Bytes((64 << 20).max((total.get() / 20).min(RESERVE_MAX)).min(total.get() / 4))
        })
    }
    /// Whether the reserve is near: what can be made again should go before mail is refused.
    pub(crate) fn is_tight(&self) -> bool {
        matches!(self.intake(), Intake::Full { .. })
            || self.space().is_some_and(|space| {
                let reserve = self.reserve(space.total).get();
                space.free.get() < reserve + reserve / 4
            })
    }
    /// What the last look at the disk found; of two file systems, the one with the smaller share free.
    pub(crate) fn space(&self) -> Option<Space> {
        let look = lock(&self.space);
        look.at?;
        let share = |s: &Space| s.free.get().saturating_mul(1000) / s.total.get().max(1);
        std::iter::once(look.space).chain(look.index).min_by_key(share)
    }
    /// A write found no room: look again at the next question.
    pub(crate) fn ran_full(&self) {
        self.was_full.store(true, Ordering::Relaxed);
        lock(&self.space).at = None;
    }

    /// A write found no room: what is set aside there, slice by slice.
    pub(crate) fn room_aside(&self, part: Part) -> Slices<'_> {
        self.ran_full();
        self.ballasts.slices(part)
    }

    pub(crate) fn trouble(&self, says: String) {
        let mut all = lock(&self.troubles);
        if all.back() != Some(&says) {
            if all.len() >= 100 {
                all.pop_front();
            }
            all.push_back(says);
        }
    }

    /// Remembers a body that could not be read.
    pub(crate) fn met(&self, error: &StoreError) {
        let StoreError::Damaged(id, why) = error else { return };
        let mut all = lock(&self.damaged);
        if all.len() < DAMAGED_MAX {
            all.entry(*id).or_insert_with(|| Some(why.clone()));
        }
    }
    /// Nobody could be told.
    pub(crate) fn tell_again(&self, id: BodyId, why: String) {
        lock(&self.damaged).insert(id, Some(why));
    }
    pub(crate) fn is_damaged(&self, id: BodyId) -> bool {
        lock(&self.damaged).contains_key(&id)
    }
    /// It could be read after all.
    pub(crate) fn is_well(&self, id: BodyId) {
        lock(&self.damaged).remove(&id);
    }
    /// Those of which nobody was told yet.
    pub(crate) fn take_damaged(&self, most: usize) -> Vec<(BodyId, String)> {
        let mut all = lock(&self.damaged);
        let fresh = all.iter_mut().filter_map(|(id, why)| Some((*id, why.take()?)));
        fresh.take(most).collect()
    }

    pub(crate) fn pin(self: &Arc<Shared>, id: BodyId) -> Pin {
        *lock(&self.pins).entry(id).or_insert(0) += 1;
        Pin { shared: self.clone(), id }
    }
    pub(crate) fn is_pinned(&self, id: BodyId) -> bool {
        lock(&self.pins).contains_key(&id)
    }
    /// Says that a sealed, uncommitted body lies in this segment.
    pub(crate) fn hold_segment(&self, segment: u64, more: bool) {
        let mut all = lock(&self.unnamed);
        let count = all.entry(segment).or_insert(0);
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            all.remove(&segment);
        }
    }
    pub(crate) fn holds_segment(&self, segment: u64) -> bool {
        lock(&self.unnamed).contains_key(&segment) || lock(&self.leases).iter().any(|l| l.segment == segment)
    }
}

/// Keeps a body's space from being reclaimed while someone reads it.
pub(crate) struct Pin {
    shared: Arc<Shared>,
    id: BodyId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.shared.pins);
        if let Some(count) = pins.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.id);
            }
        }
    }
}

/// Counts bytes that will need room on the disk.
pub(crate) struct Flight {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Flight {
    pub(crate) fn new(shared: Arc<Shared>) -> Flight {
        Flight { shared, bytes: 0 }
    }
    pub(crate) fn set(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            self.shared.flight.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.shared.flight.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bodies just delivered, which are read soon. First in, first out.
pub(crate) struct Cache {
    max: usize,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    bodies: BTreeMap<BodyId, Bytes>,
    order: VecDeque<BodyId>,
    bytes: usize,
}

impl Cache {
    fn new(max: usize) -> Cache {
        Cache { max, state: Mutex::default() }
    }
    pub(crate) fn put(&self, id: BodyId, body: Bytes) {
        if body.len() > self.max / 4 {
            return;
        }
        let mut state = lock(&self.state);
        state.bytes += body.len();
        if let Some(old) = state.bodies.insert(id, body) {
            state.bytes -= old.len();
        } else {
            state.order.push_back(id);
        }
        while state.bytes > self.max {
            let Some(oldest) = state.order.pop_front() else { break };
            if let Some(old) = state.bodies.remove(&oldest) {
                state.bytes -= old.len();
            }
        }
    }
    pub(crate) fn get(&self, id: BodyId) -> Option<Bytes> {
        lock(&self.state).bodies.get(&id).cloned()
    }
    pub(crate) fn forget(&self, id: BodyId) {
        let mut state = lock(&self.state);
        if let Some(old) = state.bodies.remove(&id) {
            state.bytes -= old.len();
            if state.order.len() > 64 + 2 * state.bodies.len() {
                let CacheState { bodies, order, .. } = &mut *state;
                order.retain(|id| bodies.contains_key(id));
            }
        }
    }
}
