//! Passwords checked on blocking threads, with a bounded queue and a short memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sasl::password::{self, Cost, Fit};
use stdx::{Now, Secret, Span};
use tokio::sync::Semaphore;

/// Log-ins that may wait for a thread; more are told to come back.
const WAITING_MAX: usize = 500;
/// An answer is remembered so long, under a key that lives and dies with this process.
const REMEMBERED: Span = Span::mins(5);
const REMEMBERED_MAX: usize = 10_000;

/// Too many wait already.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// Which of the texts fits, and whether it should be replaced.
pub type Checked = Option<(usize, bool)>;

pub struct Hashing {
    key: [u8; 32],
    cost: Cost,
    remembered: Mutex<HashMap<[u8; 32], (Checked, Now)>>,
    threads: Semaphore,
    waiting: AtomicUsize,
}

impl Hashing {
    /// `key` is fresh randomness.
    pub fn new(key: [u8; 32]) -> Hashing {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hashing {
            key,
            cost: Cost::default(),
            remembered: Mutex::default(),
            threads: Semaphore::new(cores),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The same for the same user and password, for [`super::throttle::Throttle::wrong`].
    pub fn mark(&self, user: &str, password: &str) -> u64 {
        let mark = sasl::mark(&self.key, &[b"wrong", user.as_bytes(), password.as_bytes()]);
        u64::from_le_bytes(mark[..8].try_into().expect("a mark is longer than eight bytes")) | 1
    }

    /// Runs `work` on a blocking thread, when there is one.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Busy);
        }
        let place = Place(&self.waiting);
        let Ok(_thread) = self.threads.acquire().await else { return Err(Busy) };
        drop(place);
        tokio::task::spawn_blocking(work).await.map_err(|_| Busy)
    }

    /// Checks a password against each text. No texts stand for a user who does not exist, and
    /// take as long.
    pub async fn check(
        &self,
        user: &str,
        texts: Vec<Secret<String>>,
        password: &Secret<String>,
        now: Now,
    ) -> Result<Checked, Busy> {
        let mut parts: Vec<&[u8]> = vec![password.reveal().as_bytes(), user.as_bytes()];
        parts.extend(texts.iter().map(|t| t.reveal().as_bytes()));
        let mark = sasl::mark(&self.key, &parts);
        if let Some(known) = self.recall(&mark, now) {
            return Ok(known);
        }
        let (password, cost) = (password.clone(), self.cost);
        let checked = self.run(move || fitting(&texts, &password, cost)).await?;
        self.remember(mark, checked, now);
        Ok(checked)
    }

    fn recall(&self, mark: &[u8; 32], now: Now) -> Option<Checked> {
        let held = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(mark).filter(|(_, until)| *until > now).map(|(checked, _)| *checked)
    }

    fn remember(&self, mark: [u8; 32], checked: Checked, now: Now) {
        let mut held = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= REMEMBERED_MAX {
            held.retain(|_, (_, until)| *until > now);
            if held.len() >= REMEMBERED_MAX {
                held.clear();
            }
        }
        held.insert(mark, (checked, now + REMEMBERED));
    }
}

/// Gives a place in the queue back, also when the session ends while it waits.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn fitting(texts: &[Secret<String>], password: &Secret<String>, cost: Cost) -> Checked {
    if texts.is_empty() {
        password::verify_nobody(password.reveal(), cost);
    }
    texts.iter().enumerate().find_map(|(i, text)| {
        match password::verify(text.reveal(), password.reveal(), cost) {
            Fit::Yes { upgrade } => Some((i, upgrade)),
            Fit::No | Fit::Unusable(_) => None,
        }
    })
}
