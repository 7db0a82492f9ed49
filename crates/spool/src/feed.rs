//! Fresh entries, handed to the sender in memory once they are durable.
//!
//! The row of a fed entry is leased to this run from the start, so nothing but a restart makes it
//! due again. When the feed is full, entries simply become due and are claimed from the index.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::Entry;

/// Entries that wait in memory at most.
pub const FEED_MAX: usize = 5_000;

/// Cheap to clone: one end for whoever accepts mail, one for the sender.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    run: i64,
    queue: Mutex<VecDeque<Entry>>,
    bell: Notify,
}

impl Feed {
    /// `run`: a random number, another one for each start of the process.
    pub fn new(run: u64) -> Feed {
        let run = (run & (u64::MAX >> 1)).max(1) as i64;
        Feed(Arc::new(Inner { run, queue: Mutex::default(), bell: Notify::new() }))
    }
    /// The lease of this run; never 0.
    pub fn run(&self) -> i64 {
        self.0.run
    }
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn has_room(&self) -> bool {
        self.queue().len() < FEED_MAX
    }
    pub(crate) fn push(&self, entry: Entry) {
        self.queue().push_back(entry);
        self.0.bell.notify_one();
    }
    /// Says that something became due by another way (an order, a full feed).
    pub fn ring(&self) {
        self.0.bell.notify_one();
    }
    /// What waits, up to `max`.
    pub fn take(&self, max: usize) -> Vec<Entry> {
        let mut queue = self.queue();
        let n = queue.len().min(max);
        queue.drain(..n).collect()
    }
    /// Returns when [`Feed::take`] or a claim may find something.
    pub async fn rung(&self) {
        self.0.bell.notified().await;
    }
}
