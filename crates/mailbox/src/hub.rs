//! The hub: what is hot of the folders, and word of every change.
//!
//! A keeper's commit leaves a [`Delta`]; once durable it is published here. For a folder that
//! somebody watches or has in memory, the hub keeps the last deltas, wakes the watchers and lets
//! the [`View`] follow. Nothing here is needed for correctness: who falls behind reads the store
//! again. All of it is bounded: deltas per folder by [`RING_ROWS_MAX`], views by bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stdx::{Now, Span};
use store::{Store, StoreError};
use tokio::sync::watch;
use words::AccountId;

use crate::digest::Digests;
use crate::text::Wants;
use crate::{Flags, Folder, FolderId, Row, Status, UidSet, View, folder, rule, view};

/// Deltas kept per folder.
pub const RING_MAX: usize = 256;
/// Rows and flag changes kept per folder in all its deltas.
pub const RING_ROWS_MAX: usize = 50_000;
/// The same for all folders together (some 30 MB); past it only the folder just changed keeps its deltas.
pub const RINGS_ROWS_MAX: usize = 400_000;
/// Memory for views, by default.
pub const VIEWS_BYTES_MAX: usize = 96 << 20;
/// A view nobody asked for this long is dropped.
pub const VIEW_IDLE: Span = Span::secs(60);

/// Tries to load a folder that changes by more than a ring meanwhile.
const LOADS_MAX: usize = 4;

/// One durable change of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    pub folder: FolderId,
    pub modseq: u64,
    /// The folder's counters after it.
    pub status: Status,
    /// The session that made it, as it numbered itself; 0 for deliveries.
    pub by: u64,
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// New messages, UIDs rising.
    Added(Vec<Row>),
    /// New flags.
    Marked(Vec<(u32, Flags)>),
    /// Expunged.
    Gone(UidSet),
    /// The folder was deleted.
    Closed,
}

impl What {
    fn weight(&self) -> usize {
        match self {
            What::Added(rows) => rows.len() * 3,
            What::Marked(marks) => marks.len(),
            What::Gone(uids) => uids.ranges().len(),
            What::Closed => 1,
        }
    }
}

/// See the module text. Clones share one hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    views_bytes_max: usize,
    digests: Digests,
    wants: Wants,
    accounts: Mutex<BTreeMap<AccountId, watch::Sender<u64>>>,
}

#[derive(Default)]
struct State {
    live: BTreeMap<FolderId, Live>,
    views_bytes: usize,
    /// What all rings hold, in rows.
    rings_rows: usize,
}

impl State {
    /// Lets go of old deltas when all folders together hold too many.
    fn trim_rings(&mut self, spare: FolderId) {
        if self.rings_rows > RINGS_ROWS_MAX {
            self.live.iter_mut().filter(|(id, _)| **id != spare).for_each(|(_, live)| live.forget());
            self.rings_rows = self.live.get(&spare).map_or(0, |live| live.weight);
        }
    }
}

struct Live {
    wake: watch::Sender<u64>,
    ring: VecDeque<Arc<Delta>>,
    weight: usize,
    /// The state first read after the folder went live: no delta above it was missed, but for
    /// those up to `lost`, which have left the ring.
    base: Option<u64>,
    lost: u64,
    view: Option<Arc<View>>,
    status: Option<Status>,
    used: Now,
    loading: Arc<tokio::sync::Mutex<()>>,
    /// The first UID no session was told of, if this hub knows better than the store.
    told: u32,
}

impl Live {
    fn new(now: Now) -> Live {
        Live {
            wake: watch::Sender::new(0),
            ring: VecDeque::new(),
            weight: 0,
            base: None,
            lost: 0,
            view: None,
            status: None,
            used: now,
            loading: Arc::default(),
            told: 0,
        }
    }
    fn push(&mut self, delta: Arc<Delta>) {
        self.weight += delta.what.weight();
        self.ring.push_back(delta);
        while self.ring.len() > RING_MAX || (self.weight > RING_ROWS_MAX && self.ring.len() > 1) {
            let Some(old) = self.ring.pop_front() else { break };
            self.weight -= old.what.weight();
            self.lost = self.lost.max(old.modseq);
        }
    }
    /// Lets go of all deltas. A follower that is up to date needs none; one that is not reads again.
    fn forget(&mut self) {
        if let Some(last) = self.ring.back() {
            self.lost = self.lost.max(last.modseq);
            self.ring = VecDeque::new();
            self.weight = 0;
        }
    }
    /// The deltas above `modseq`, or nothing if some are no longer here.
    fn since(&self, modseq: u64) -> Option<impl Iterator<Item = &Arc<Delta>>> {
        self.base
            .is_some_and(|base| modseq >= base.max(self.lost))
            .then(|| self.ring.iter().filter(move |d| d.modseq > modseq))
    }
    /// The view brought up to date, if there is one and the ring reaches back to it.
    fn fresh(&mut self) -> Option<Arc<View>> {
        let at = self.view.as_ref()?.modseq;
        let news: Vec<Arc<Delta>> = self.since(at)?.cloned().collect();
        let view = self.view.as_mut()?;
        if !news.is_empty() {
            let owned = Arc::make_mut(view);
            news.iter().for_each(|delta| owned.apply(delta));
        }
        Some(view.clone())
    }
}

impl Default for Hub {
    fn default() -> Hub {
        Hub::new(VIEWS_BYTES_MAX)
    }
}

impl Hub {
    pub fn new(views_bytes_max: usize) -> Hub {
        Hub(Arc::new(Inner {
            state: Mutex::default(),
            views_bytes_max,
            digests: Digests::default(),
            wants: Wants::default(),
            accounts: Mutex::default(),
        }))
    }
    /// Summaries on their way into the store.
    pub fn digests(&self) -> &Digests {
        &self.0.digests
    }
    /// Accounts whose text index is behind.
    pub fn wants(&self) -> &Wants {
        &self.0.wants
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a durable change. Called by the keeper's commits, in their order.
    pub fn publish(&self, account: AccountId, delta: Delta) {
        let closed = delta.what == What::Closed;
        if let What::Added(rows) = &delta.what {
            self.0.wants.added(account, rows.len());
        }
        let mut state = self.state();
        if let Some(live) = state.live.get_mut(&delta.folder) {
            let modseq = delta.modseq;
            if closed {
                live.view = None;
            }
            live.status = (!closed).then_some(delta.status);
            let (folder, before) = (delta.folder, live.weight);
            live.push(Arc::new(delta));
            let after = live.weight;
            live.wake.send_modify(|at| *at = (*at).max(modseq));
            state.rings_rows = state.rings_rows + after - before;
            state.trim_rings(folder);
        }
        drop(state);
        self.stir(account);
    }
    /// Wakes those who watch an account as a whole: something in it changed.
    pub fn stir(&self, account: AccountId) {
        let mut accounts = self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = accounts.get(&account) {
            if wake.receiver_count() == 0 {
                accounts.remove(&account);
            } else {
                wake.send_modify(|n| *n += 1);
            }
        }
    }
    /// Wakes whenever anything in the account changes; the value only counts.
    pub fn watch_account(&self, account: AccountId) -> watch::Receiver<u64> {
        let mut accounts = self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(account).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Follows a folder from the view it returns on.
    pub async fn follow(
        &self,
        store: &Store,
        folder: &Folder,
        now: Now,
    ) -> Result<(Feed, Arc<View>), StoreError> {
        let wake = self.state().live.entry(folder.id).or_insert_with(|| Live::new(now)).wake.subscribe();
        let view = self.view(store, folder, now).await?;
        let feed = Feed { hub: self.clone(), folder: folder.id, at: view.modseq, wake };
        Ok((feed, view))
    }

    /// The counters of a folder as of now, from memory while the folder is live.
    pub fn status(&self, store: &Store, folder: &Folder, now: Now) -> Result<Status, StoreError> {
        {
            let mut state = self.state();
            let live = state.live.entry(folder.id).or_insert_with(|| Live::new(now));
            live.used = now;
            if let Some(status) = live.status {
                return Ok(status);
            }
        }
        let read = store.read_now(|conn| folder::status(conn, folder))?;
        let mut state = self.state();
        let Some(live) = state.live.get_mut(&folder.id) else { return Ok(read) };
        // A change published meanwhile is newer than what was read, or the same.
        Ok(*live.status.get_or_insert(read))
    }

    /// The folder as of now: everything committed before this call is in it.
    pub async fn view(&self, store: &Store, folder: &Folder, now: Now) -> Result<Arc<View>, StoreError> {
        let loading = {
            let mut state = self.state();
            let live = state.live.entry(folder.id).or_insert_with(|| Live::new(now));
            live.used = now;
            if let Some(view) = live.fresh() {
                return Ok(view);
            }
            live.loading.clone()
        };
        let _alone = loading.lock().await;
        if let Some(view) = self.state().live.get_mut(&folder.id).and_then(Live::fresh) {
            return Ok(view);
        }
        for _ in 0..LOADS_MAX {
            let view = load(store, folder).await?;
            if let Some(view) = self.keep(folder.id, view, now)? {
                return Ok(view);
            }
        }
        rule("[INUSE] the folder changes faster than it can be read; try again")
    }

    fn keep(&self, folder: FolderId, mut view: View, now: Now) -> Result<Option<Arc<View>>, StoreError> {
        let mut state = self.state();
        let live = state.live.entry(folder).or_insert_with(|| Live::new(now));
        // The folder was registered before it was read, so every later delta is in the ring.
        if view.modseq < live.lost {
            return Ok(None);
        }
        live.base = Some(live.base.map_or(view.modseq, |base| base.min(view.modseq)));
        let news: Vec<Arc<Delta>> = live.ring.iter().filter(|d| d.modseq > view.modseq).cloned().collect();
        if news.iter().any(|d| d.what == What::Closed) {
            return rule("[NONEXISTENT] the folder was deleted");
        }
        news.iter().for_each(|delta| view.apply(delta));
        let view = Arc::new(view);
        live.view = Some(view.clone());
        self.trim(&mut state, folder);
        Ok(Some(view))
    }

    /// A session is being told of all UIDs below `upto`: which was the first that nobody was told
    /// of? `stored` is what [`crate::folder::told`] says; 0 if it was not asked.
    pub fn tell(&self, folder: FolderId, stored: u32, upto: u32) -> u32 {
        let mut state = self.state();
        let Some(live) = state.live.get_mut(&folder) else { return stored.max(1).max(upto) };
        let first = live.told.max(stored);
        live.told = first.max(upto);
        first
    }
    /// The first UID nobody was told of, as far as this hub knows.
    pub fn told(&self, folder: FolderId) -> u32 {
        self.state().live.get(&folder).map_or(0, |live| live.told)
    }

    /// Drops the views unused longest until the rest fits; `spare` stays.
    fn trim(&self, state: &mut State, spare: FolderId) {
        let mut held: Vec<(Now, FolderId, usize)> = Vec::new();
        for (&id, live) in &state.live {
            if let Some(view) = &live.view {
                held.push((live.used, id, view.weight()));
            }
        }
        state.views_bytes = held.iter().map(|h| h.2).sum();
        held.sort_unstable();
        for (_, id, weight) in held {
            if state.views_bytes <= self.0.views_bytes_max {
                break;
            }
            if id != spare
                && let Some(live) = state.live.get_mut(&id)
            {
                live.view = None;
                state.views_bytes -= weight;
            }
        }
    }

    /// Drops views that nobody asked for lately, and folders nobody follows. Call it every few
    /// seconds.
    pub fn sweep(&self, now: Now) {
        let mut state = self.state();
        state.live.retain(|_, live| {
            if now.since(live.used) >= VIEW_IDLE {
                live.view = None;
                if live.wake.receiver_count() == 0 && Arc::strong_count(&live.loading) == 1 {
                    return false;
                }
                live.forget();
            }
            true
        });
        state.rings_rows = state.live.values().map(|live| live.weight).sum();
        drop(state);
        self.digests().sweep(now);
    }
    /// How many folders are live and how many bytes their views take (for the panel and tests).
    pub fn weight(&self) -> (usize, usize) {
        let state = self.state();
        let bytes = state.live.values().filter_map(|l| l.view.as_ref()).map(|v| v.weight()).sum();
        (state.live.len(), bytes)
    }
}

async fn load(store: &Store, folder: &Folder) -> Result<View, StoreError> {
    let asked = folder.clone();
    let mut view = store.read(move |conn| view::begin(conn, &asked)).await?;
    let mut full = view.len().is_multiple_of(view::PAGE_ROWS) && !view.is_empty();
    let id = folder.id;
    while full {
        (view, full) = store
            .read(move |conn| {
                let done = view::page(conn, id, &mut view)?;
                Ok((view, !done))
            })
            .await?;
    }
    Ok(view)
}

/// A session's ear on a folder.
pub struct Feed {
    hub: Hub,
    folder: FolderId,
    at: u64,
    wake: watch::Receiver<u64>,
}

/// What a follower hears.
#[derive(Clone, Debug)]
pub enum News {
    /// Changes in their order; none of them above what was heard before is missing.
    Deltas(Vec<Arc<Delta>>),
    /// Too much happened: take a new view and compare.
    Behind,
}

impl Feed {
    pub fn folder(&self) -> FolderId {
        self.folder
    }
    /// The MODSEQ up to which this follower has heard.
    pub fn at(&self) -> u64 {
        self.at
    }
    /// Waits until there is something to hear. Can be dropped at any time.
    pub async fn changed(&mut self) {
        loop {
            if *self.wake.borrow_and_update() > self.at {
                return;
            }
            if self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
    /// Whether there is something to hear, without waiting.
    pub fn ready(&self) -> bool {
        *self.wake.borrow() > self.at
    }
    /// The newest MODSEQ published since the folder was followed; 0 if none was.
    pub fn newest(&self) -> u64 {
        *self.wake.borrow()
    }
    /// What there is to hear. After [`News::Behind`], call [`Feed::caught_up`] with the MODSEQ of
    /// the view that was taken.
    pub fn hear(&mut self) -> News {
        self.hear_since(self.at)
    }
    /// What happened after `since`, which may lie before what was heard.
    pub fn hear_since(&mut self, since: u64) -> News {
        let state = self.hub.state();
        let Some(deltas) = state.live.get(&self.folder).and_then(|live| live.since(since)) else {
            return News::Behind;
        };
        let news: Vec<Arc<Delta>> = deltas.cloned().collect();
        if let Some(last) = news.last() {
            self.at = self.at.max(last.modseq);
        }
        News::Deltas(news)
    }
    pub fn caught_up(&mut self, modseq: u64) {
        self.at = self.at.max(modseq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rings_together_are_bounded_and_who_falls_behind_is_told_so() {
        let hub = Hub::default();
        let now = Now::from_secs(1_000_000);
        let row = Row {
            body: store::BodyId(1),
            modseq: 7,
            flags: Flags::default(),
            internal: 0,
            uid: 1,
            size: 1,
            saved: 0,
            zone: 0,
        };
        let folders = (RINGS_ROWS_MAX / RING_ROWS_MAX) as i64 + 4;
        for n in 1..=folders {
            let (folder, status) = (FolderId(n), Status::default());
            let live = Live { base: Some(1), ..Live::new(now) };
            hub.state().live.insert(folder, live);
            let what = What::Added(vec![row; RING_ROWS_MAX / 3]);
            hub.publish(AccountId(1), Delta { folder, modseq: 7, status, by: 0, what });
            let held: usize = hub.state().live.values().map(|live| live.weight).sum();
            assert_eq!(held, hub.state().rings_rows);
            assert!(held <= RINGS_ROWS_MAX + RING_ROWS_MAX, "{held} rows in {n} rings");
        }
        let state = hub.state();
        assert!(state.live[&FolderId(1)].since(6).is_none(), "the delta is gone, so one has to read again");
        assert!(state.live[&FolderId(1)].since(7).is_some(), "who has heard it misses nothing");
        assert_eq!(state.live[&FolderId(folders)].since(6).map(Iterator::count), Some(1));
    }
}
