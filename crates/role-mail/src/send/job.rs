//! One transaction to be made: some recipients of one message, one egress, one destination.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smtp::client::{Fate, Stage};
use spool::SpoolId;
use store::BodyId;
use tokio::sync::Notify;
use words::{AttemptId, Envelope};

use super::demand::{Barred, Wish};
use super::places::Place;

/// Recipients by their place in the flight.
#[derive(Clone, Debug)]
pub struct Job {
    pub entry: SpoolId,
    pub attempt: AttemptId,
    pub body: BodyId,
    pub slots: Vec<usize>,
    pub envelope: Envelope,
    /// On how many kept connections it met nobody any more.
    pub again: u8,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Landed {
    pub job: Job,
    pub host: Option<String>,
    pub told: Told,
    /// `TLSv1.3`, if it was spoken.
    pub tls: Option<String>,
    /// What the session was held to, and how it stood.
    pub policy: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Told {
    /// In the order of the job's slots.
    Fates(Vec<Fate>),
    /// Refused before a message could be offered.
    Refused { stage: Stage, reply: words::Reply },
    /// No conversation.
    NoAnswer(String),
    /// A policy forbids to say anything to its hosts as they are.
    Barred(Barred),
    /// Our own text could not be read, or we stop.
    NotTried,
}

/// Jobs for one egress and one set of hosts, and the connections that serve them.
pub struct Queue {
    pub egress: crate::Egress,
    pub place: Arc<Place>,
    /// What its messages ask of TLS.
    pub wish: Wish,
    inner: Mutex<Inner>,
    pub bell: Notify,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    lines: usize,
    idle: usize,
}

impl Queue {
    pub fn new(egress: crate::Egress, place: Arc<Place>, wish: Wish) -> Queue {
        Queue { egress, place, wish, inner: Mutex::default(), bell: Notify::new() }
    }
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Puts a job in; says whether another connection is wanted for it.
    pub fn push(&self, job: Job, lines_max: usize) -> bool {
        let mut inner = self.inner();
        inner.jobs.push_back(job);
        if inner.idle > 0 {
            drop(inner);
            self.bell.notify_one();
            return false;
        }
        if inner.lines >= lines_max {
            return false;
        }
        inner.lines += 1;
        true
    }
    pub fn put_first(&self, job: Job) {
        self.inner().jobs.push_front(job);
    }
    pub fn pop(&self) -> Option<Job> {
        self.inner().jobs.pop_front()
    }
    pub fn idle(&self, more: bool) {
        let mut inner = self.inner();
        inner.idle = if more { inner.idle + 1 } else { inner.idle.saturating_sub(1) };
    }
    /// A connection ends. False if there is work left: it must go on.
    pub fn leave(&self) -> bool {
        let mut inner = self.inner();
        if inner.jobs.is_empty() {
            inner.lines = inner.lines.saturating_sub(1);
            return true;
        }
        false
    }
    pub fn is_unused(&self) -> bool {
        let inner = self.inner();
        inner.jobs.is_empty() && inner.lines == 0
    }
}
