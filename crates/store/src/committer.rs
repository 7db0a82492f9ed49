//! The one writer's thread: takes what waits, and lets groups form.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::engine::{Engine, Job};
use crate::{StoreError, lock};

/// Most commits, and most bytes of bodies, made durable together.
const GROUP_MAX: usize = 256;
const GROUP_BYTES_MAX: u64 = 16 << 20;
/// Longest wait for a group to form, and only while groups do form.
const LINGER_MAX: Duration = Duration::from_millis(2);
/// With nothing to do for this long, the index file is brought up to date.
const IDLE: Duration = Duration::from_millis(250);
/// Under load it is brought up to date this often at least.
const SETTLE_EVERY: Duration = Duration::from_secs(3);

/// Runs on the committer's thread once the index file holds all that is durable.
type Settled = Box<dyn FnOnce(Result<&Engine, StoreError>) + Send>;

/// What waits for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    settles: Vec<Settled>,
    /// The committer sleeps until this many jobs wait.
    want: usize,
    closing: bool,
}

/// What the committer does next.
struct Round {
    jobs: Vec<Box<dyn Job>>,
    settles: Vec<Settled>,
    idle: bool,
    closing: bool,
}

impl Queue {
    pub(crate) fn push(&self, job: Box<dyn Job>) {
        let mut state = lock(&self.state);
        if state.closing {
            drop(state);
            return job.tell(Err(StoreError::Closed));
        }
        state.jobs.push_back(job);
        if state.jobs.len() >= state.want {
            self.more.notify_one();
        }
    }
    /// Asks for the index file to hold all that is durable.
    pub(crate) fn settle(&self, answer: Settled) {
        let mut state = lock(&self.state);
        if state.closing {
            drop(state);
            return answer(Err(StoreError::Closed));
        }
        state.settles.push(answer);
        self.more.notify_one();
    }
    pub(crate) fn close(&self) {
        lock(&self.state).closing = true;
        self.more.notify_all();
    }

    fn wait<'q>(
        &'q self,
        state: std::sync::MutexGuard<'q, State>,
        long: Duration,
    ) -> std::sync::MutexGuard<'q, State> {
        self.more.wait_timeout(state, long).unwrap_or_else(|e| e.into_inner()).0
    }

    fn take(&self, pace: &mut Pace, open: bool) -> Round {
        let mut state = lock(&self.state);
        let begun = Instant::now();
        state.want = 1;
        while state.jobs.is_empty() && state.settles.is_empty() && !state.closing {
            let left = if open { IDLE.saturating_sub(begun.elapsed()) } else { Duration::from_secs(3600) };
            if left.is_zero() {
                return Round { jobs: Vec::new(), settles: Vec::new(), idle: true, closing: false };
            }
            state = self.wait(state, left);
        }
        let target = pace.target();
        let begun = Instant::now();
        while !state.jobs.is_empty()
            && state.jobs.len() < target
            && state.settles.is_empty()
            && !state.closing
        {
            let left = LINGER_MAX.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            state.want = target;
            state = self.wait(state, left);
        }
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while jobs.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Some(mut job) = state.jobs.pop_front() else { break };
            bytes += job.bodies().iter().map(|b| b.small().map_or(0, |s| s.len() as u64)).sum::<u64>();
            jobs.push(job);
        }
        pace.saw(jobs.len());
        let settles = std::mem::take(&mut state.settles);
        Round { jobs, settles, idle: false, closing: state.closing }
    }
}

/// Whether it pays to wait for more.
#[derive(Default)]
struct Pace {
    mean: f32,
    peak: f32,
}

impl Pace {
    /// How many to wait for. One while commits come alone: then nobody ever waits.
    fn target(&self) -> usize {
        if self.mean < 1.5 { 1 } else { ((self.peak * 0.9) as usize).clamp(1, GROUP_MAX) }
    }
    fn saw(&mut self, count: usize) {
        if count > 0 {
            let count = count as f32;
            self.mean += (count - self.mean) * 0.2;
            self.peak = (self.peak * 0.95).max(count);
        }
    }
}

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the committer's thread (a batch's closure or what runs after it).
pub(crate) fn is_here() -> bool {
    HERE.get()
}

/// The committer thread's whole life. Should a fault of our own stop it, whoever waits is told.
pub(crate) fn run(queue: &Arc<Queue>, engine: &mut Engine) {
    HERE.set(true);
    let end = catch_unwind(AssertUnwindSafe(|| rounds(queue, engine)));
    if end.is_err() {
        engine
            .shared()
            .trouble("a fault in our own code stopped the committer; start the server again".into());
    }
    let (jobs, settles) = {
        let mut state = lock(&queue.state);
        state.closing = true;
        (std::mem::take(&mut state.jobs), std::mem::take(&mut state.settles))
    };
    jobs.into_iter().for_each(|job| job.tell(Err(StoreError::Closed)));
    settles.into_iter().for_each(|answer| answer(Err(StoreError::Closed)));
}

fn rounds(queue: &Arc<Queue>, engine: &mut Engine) {
    let mut pace = Pace::default();
    let mut settled = Instant::now();
    loop {
        let round = queue.take(&mut pace, engine.is_open());
        if !round.jobs.is_empty() {
            engine.group(round.jobs);
        }
        let due = settled.elapsed() > SETTLE_EVERY;
        if !round.settles.is_empty() || round.idle || round.closing || due {
            let result = engine.settle();
            settled = Instant::now();
            for answer in round.settles {
                answer(result.clone().map(|()| &*engine));
            }
            engine.tidy_index();
            if round.idle && result.is_err() {
                // The disk is full or broken: do not spin.
                std::thread::sleep(IDLE);
            }
        }
        if round.closing && lock(&queue.state).jobs.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_is_never_made_to_wait_and_many_are_awaited() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            assert_eq!(pace.target(), 1);
            pace.saw(1);
        }
        for _ in 0..10 {
            pace.saw(20);
        }
        assert_eq!(pace.target(), 18);
        for _ in 0..60 {
            pace.saw(1);
        }
        assert_eq!(pace.target(), 1);
    }
}
