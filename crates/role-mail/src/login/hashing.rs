//! Passwords checked on blocking threads, with a bounded queue and a short memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Checks under way; who brings the same password meanwhile waits for the answer.
    under_way: Mutex<BTreeMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
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
            under_way: Mutex::default(),
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
        let place = self.place()?;
        self.run_from(place, work).await
    }

    fn place(&self) -> Result<Place<'_>, Busy> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Busy);
        }
        Ok(Place(&self.waiting))
    }

    async fn run_from<T: Send + 'static>(
        &self,
        place: Place<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
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
        let place = self.place()?;
        let turn = Turn::of(self, mark);
        let _mine = turn.turn.lock().await;
        // A program that opens many connections at once costs one hash.
        if let Some(known) = self.recall(&mark, now) {
            return Ok(known);
        }
        let (password, cost) = (password.clone(), self.cost);
        let checked = self.run_from(place, move || fitting(&texts, &password, cost)).await?;
        self.remember(mark, checked, now);
        Ok(checked)
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A part in a check that is under way; the last one takes it off the list.
struct Turn<'a> {
    all: &'a Hashing,
    mark: [u8; 32],
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Turn<'_> {
    fn of(all: &Hashing, mark: [u8; 32]) -> Turn<'_> {
        let turn = all.under_way().entry(mark).or_default().clone();
        Turn { all, mark, turn }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.under_way();
        // One is ours and one the list's.
        if Arc::strong_count(&self.turn) <= 2 {
            under_way.remove(&self.mark);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now(1_000_000);

    fn stored(password: &str) -> Secret<String> {
        Secret::new(password::make(password, &[1; 16], Cost::default()))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_connections_with_one_password_cost_one_hash() {
        let hashing = Arc::new(Hashing::new([7; 32]));
        let (text, right) = (stored("geheim"), Secret::new("geheim".to_owned()));
        let cores = hashing.threads.available_permits();
        let threads = hashing.threads.acquire_many(cores as u32).await.expect("open");
        let tries: Vec<_> = (0..200)
            .map(|_| {
                let (hashing, text, right) = (hashing.clone(), text.clone(), right.clone());
                tokio::spawn(async move { hashing.check("u", vec![text], &right, NOW).await })
            })
            .collect();
        while hashing.waiting.load(Ordering::Relaxed) < 200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.under_way().len(), 1, "one check, which all wait for");
        drop(threads);
        for one in tries {
            assert_eq!(one.await.expect("runs"), Ok(Some((0, false))));
        }
        assert!(hashing.under_way().is_empty(), "nothing is left of it");
        assert_eq!(hashing.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_check_whose_session_ends_leaves_the_next_one_to_do_it() {
        let hashing = Hashing::new([7; 32]);
        let (text, right) = (stored("geheim"), Secret::new("geheim".to_owned()));
        let mut first = Box::pin(hashing.check("u", vec![text.clone()], &right, NOW));
        let mut second = Box::pin(hashing.check("u", vec![text.clone()], &right, NOW));
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending())).await
        );
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending())).await
        );
        drop(first);
        assert_eq!(second.await, Ok(Some((0, false))));
        let wrong = Secret::new("falsch".to_owned());
        assert_eq!(hashing.check("u", vec![text], &wrong, NOW).await, Ok(None));
        assert!(hashing.under_way().is_empty());
    }
}
