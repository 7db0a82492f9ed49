//! Summaries: ENVELOPE, BODY and BODYSTRUCTURE of a body, worked out once.
//!
//! A delivery offers the bytes it has in hand; a background step ([`tend`]) works the summaries
//! out and writes many in one commit. What was never offered is worked out when first asked for.
//! Recently used summaries stay in memory, bounded by [`CACHE_BYTES_MAX`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use message::Summary;
use rusqlite::params;
use stdx::{Now, Span};
use store::{BodyId, Store, StoreError};

use crate::Hub;
use crate::thread::{self, Says};

/// Summaries in memory, in two halves of which the older is dropped when the newer is full (some
/// 30,000 of them).
pub const CACHE_BYTES_MAX: usize = 16 << 20;
/// What a summary in memory takes beside its own octets: the table's entry and the allocation's own.
const ENTRY_BYTES: usize = 112;
/// Summaries that nobody asked for this long are dropped.
pub const CACHE_IDLE: Span = Span::secs(60);
/// Texts that wait in memory to be summarised; of more, only the number waits, and the text is read again.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Messages waiting to be summarised; in a flood, more are left to their first reader.
const QUEUE_MAX: usize = 4000;
/// Bodies longer than this are left to their first reader.
pub const OFFER_LEN_MAX: usize = 256 << 10;
/// Summaries worked out that wait to be written; of more, the first reader works them out again.
pub const READY_BYTES_MAX: usize = 8 << 20;
/// Summaries written in one commit.
const COMMIT_MAX: usize = 512;
/// Bodies are numbered as they come, so a page of a folder mostly is a run of numbers: where at most
/// every second number of the run is wanted, it is read as one range.
const SPARSE: i64 = 2;
/// Summaries worked out before others get their turn.
const TURN: usize = 32;

/// See the module text.
#[derive(Default)]
pub struct Digests(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(BodyId, Option<Bytes>)>,
    waiting_bytes: usize,
    /// Worked out, to be written.
    ready: Vec<(BodyId, Bytes, Says)>,
    ready_bytes: usize,
    young: Cache,
    old: Cache,
    young_bytes: usize,
    /// When the halves last changed places, or were found in use.
    turned: Now,
    used: bool,
}

type Cache = HashMap<i64, Bytes, Spread>;

/// Body numbers are ours and count up: no stranger chooses them, so one multiplication is hash enough.
#[derive(Clone, Copy, Default)]
struct Spread(u64);

impl BuildHasher for Spread {
    type Hasher = Spread;
    fn build_hasher(&self) -> Spread {
        Spread(0)
    }
}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_i64(i64::from(b));
        }
    }
    fn write_i64(&mut self, n: i64) {
        // The golden ratio in 64 bits; the table reads the upper bits and the lower ones.
        let mixed = (self.0 ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

impl State {
    fn get(&mut self, body: BodyId) -> Option<Bytes> {
        self.used = true;
        if let Some(found) = self.young.get(&body.0) {
            return Some(found.clone());
        }
        let found = self.old.remove(&body.0)?;
        self.put(body, found.clone());
        Some(found)
    }
    fn put(&mut self, body: BodyId, bytes: Bytes) {
        self.young_bytes += bytes.len() + ENTRY_BYTES;
        self.young.insert(body.0, bytes);
        if self.young_bytes > CACHE_BYTES_MAX / 2 {
            self.turn();
        }
    }
    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.young_bytes = 0;
    }
}

impl Digests {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Hands in a body that was just made durable, to be summarised soon. Never waits.
    pub fn offer(&self, body: BodyId, bytes: Bytes) {
        let mut state = self.state();
        if bytes.len() > OFFER_LEN_MAX || state.waiting.len() >= QUEUE_MAX {
            return;
        }
        let held = (state.waiting_bytes + bytes.len() <= QUEUE_BYTES_MAX).then_some(bytes);
        state.waiting_bytes += held.as_ref().map_or(0, Bytes::len);
        state.waiting.push_back((body, held));
    }
    /// Hands in a summary that was worked out before its body's commit. New mail is what is asked
    /// for next, so it is kept at hand too.
    pub fn ready(&self, body: BodyId, summary: Bytes, says: Says) {
        let mut state = self.state();
        state.put(body, summary.clone());
        if state.ready_bytes + summary.len() + ENTRY_BYTES <= READY_BYTES_MAX {
            state.ready_bytes += summary.len() + ENTRY_BYTES;
            state.ready.push((body, summary, says));
        }
    }
    /// Drops what nobody asked for lately. Call it every few seconds.
    pub fn sweep(&self, now: Now) {
        let mut state = self.state();
        if std::mem::take(&mut state.used) {
            state.turned = now;
        } else if now.since(state.turned) >= CACHE_IDLE {
            state.turned = now;
            state.turn();
        }
    }
    /// Drops what is in memory.
    pub fn shrink(&self) {
        let mut state = self.state();
        (state.young, state.old, state.young_bytes) = (Cache::default(), Cache::default(), 0);
    }
}

/// Works out and writes the summaries that wait. Call it a few times a second.
pub async fn tend(store: &Store, hub: &Hub) -> Result<(), StoreError> {
    loop {
        let turn: Vec<(BodyId, Option<Bytes>)> = {
            let mut state = hub.digests().state();
            let n = state.waiting.len().min(TURN);
            let turn: Vec<_> = state.waiting.drain(..n).collect();
            state.waiting_bytes -= turn.iter().flat_map(|t| &t.1).map(Bytes::len).sum::<usize>();
            turn
        };
        let last = turn.is_empty();
        for (body, bytes) in turn {
            match bytes {
                Some(bytes) => {
                    let (summary, says) = packed(&bytes);
                    hub.digests().ready(body, summary, says);
                }
                None => drop(work_out(store, hub, body).await?),
            }
        }
        let ready = hub.digests().state().ready.len();
        if last || ready >= COMMIT_MAX {
            write(store, hub).await?;
        }
        if last && ready <= COMMIT_MAX {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

/// A message's summary as it is kept, in no more memory than it needs, and what it says of its thread.
pub fn packed(message: &[u8]) -> (Bytes, Says) {
    let summary = Summary::of(message);
    (Bytes::from(summary.to_bytes().into_boxed_slice()), Says::of(&summary.keys))
}

async fn write(store: &Store, hub: &Hub) -> Result<(), StoreError> {
    let ready: Vec<(BodyId, Bytes, Says)> = {
        let mut state = hub.digests().state();
        let n = state.ready.len().min(COMMIT_MAX);
        let ready: Vec<_> = state.ready.drain(..n).collect();
        state.ready_bytes -= ready.iter().map(|r| r.1.len() + ENTRY_BYTES).sum::<usize>();
        ready
    };
    if ready.is_empty() {
        return Ok(());
    }
    let put = move |batch: &mut store::Batch<'_>| {
        // Only for bodies that still live: an expunge may have come first.
        let mut put = batch.sql().prepare_cached(
            "INSERT OR IGNORE INTO mb_summary (body, bytes)
             SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM mb_message WHERE body = ?1)",
        )?;
        for (body, bytes, says) in &ready {
            put.execute(params![body.0, &bytes[..]])?;
            thread::enter(batch, *body, *says)?;
        }
        Ok(())
    };
    store.commit(Vec::new(), put).await
}

/// Summaries of these bodies, in their order; nothing for one that is gone or damaged.
pub async fn summaries(
    store: &Store,
    hub: &Hub,
    bodies: &[BodyId],
) -> Result<Vec<Option<Bytes>>, StoreError> {
    let mut out: Vec<Option<Bytes>> = {
        let mut state = hub.digests().state();
        bodies.iter().map(|&body| state.get(body)).collect()
    };
    if out.iter().all(Option::is_some) {
        return Ok(out);
    }
    let missing: Vec<(usize, BodyId)> =
        bodies.iter().enumerate().filter(|(n, _)| out[*n].is_none()).map(|(n, b)| (n, *b)).collect();
    // One that was written a moment ago may not be seen yet: then it is worked out again.
    let stored = store.glance(|conn| stored(conn, missing))?;
    for (n, body, found) in stored {
        out[n] = match found {
            Some(summary) => {
                hub.digests().state().put(body, summary.clone());
                Some(summary)
            }
            None => work_out(store, hub, body).await?,
        };
    }
    Ok(out)
}

/// The Message-ID of a text, in angle brackets, without reading it; nothing if its summary was never needed.
///
/// # Errors
/// Trouble with the store.
pub fn message_id(conn: &rusqlite::Connection, body: BodyId) -> Result<Option<String>, StoreError> {
    let mut read = conn.prepare_cached("SELECT bytes FROM mb_summary WHERE body = ?1")?;
    let mut rows = read.query([body.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let summary = row.get_ref(0)?.as_blob().ok().and_then(Summary::from_bytes);
    Ok(summary.and_then(|s| s.keys.message_id).map(|id| format!("<{id}>")))
}

type Found = Vec<(usize, BodyId, Option<Bytes>)>;

fn stored(conn: &rusqlite::Connection, wanted: Vec<(usize, BodyId)>) -> Result<Found, StoreError> {
    let whole = |bytes: &[u8]| {
        // One written by another version is worked out anew.
        Summary::packed_envelope(bytes).is_some().then(|| Bytes::copy_from_slice(bytes))
    };
    let low = wanted.iter().map(|w| w.1.0).min().unwrap_or(0);
    let high = wanted.iter().map(|w| w.1.0).max().unwrap_or(0);
    if (high - low) / SPARSE < wanted.len() as i64 {
        let mut read =
            conn.prepare_cached("SELECT body, bytes FROM mb_summary WHERE body BETWEEN ?1 AND ?2")?;
        let mut rows = read.query([low, high])?;
        let mut found = BTreeMap::new();
        while let Some(r) = rows.next()? {
            found.insert(r.get::<_, i64>(0)?, r.get_ref(1)?.as_blob().ok().and_then(whole));
        }
        let of = |(n, body): (usize, BodyId)| (n, body, found.get(&body.0).cloned().flatten());
        return Ok(wanted.into_iter().map(of).collect());
    }
    let mut read = conn.prepare_cached("SELECT bytes FROM mb_summary WHERE body = ?1")?;
    let mut out = Vec::with_capacity(wanted.len());
    for (n, body) in wanted {
        let mut rows = read.query([body.0])?;
        let bytes = match rows.next()? {
            Some(r) => r.get_ref(0)?.as_blob().ok().and_then(whole),
            None => None,
        };
        out.push((n, body, bytes));
    }
    Ok(out)
}

async fn work_out(store: &Store, hub: &Hub, body: BodyId) -> Result<Option<Bytes>, StoreError> {
    let bytes = match store.body(body).await {
        Ok(body) => body.all().await,
        Err(e) => Err(e),
    };
    match bytes {
        Ok(bytes) => {
            let (summary, says) = packed(&bytes);
            hub.digests().ready(body, summary.clone(), says);
            Ok(Some(summary))
        }
        Err(StoreError::Missing(_) | StoreError::Damaged(..)) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_nobody_asks_for_are_gone_after_two_minutes_and_used_ones_stay() {
        let digests = Digests::default();
        let (summary, says) = packed(b"Subject: one\r\n\r\none\r\n");
        digests.ready(BodyId(1), summary, says);
        let mut now = Now::from_secs(1_000_000);
        let there = |digests: &Digests| digests.state().get(BodyId(1)).is_some();
        for _ in 0..10 {
            digests.sweep(now);
            assert!(there(&digests));
            now += CACHE_IDLE;
        }
        for _ in 0..3 {
            digests.sweep(now);
            now += CACHE_IDLE;
        }
        assert!(!there(&digests));
        assert_eq!(digests.state().ready.len(), 1, "it is still to be written");
    }
}
