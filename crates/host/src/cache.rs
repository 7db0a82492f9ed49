//! Answers the resolver gave, kept for as long as they may be, within a bound.

use std::collections::BTreeMap;

use stdx::{Now, Span};

/// Answers kept at most.
const ENTRIES_MAX: usize = 20_000;
/// No answer is kept longer than this, whatever its TTL says.
const KEPT_MAX: Span = Span::hours(6);

pub(crate) struct Cache<V> {
    entries: BTreeMap<(String, u16), (Now, V)>,
    /// Where the next eviction begins, so that all names take their turn.
    hand: (String, u16),
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new() -> Cache<V> {
        Cache { entries: BTreeMap::new(), hand: (String::new(), 0) }
    }
    /// The answer and how many seconds it may still be kept.
    pub(crate) fn get(&self, name: &str, kind: u16, now: Now) -> Option<(V, u32)> {
        let (until, value) = self.entries.get(&(name.to_owned(), kind))?;
        let left = until.since(now);
        if left == Span::ZERO { None } else { Some((value.clone(), left.as_secs() as u32)) }
    }
    pub(crate) fn put(&mut self, name: &str, kind: u16, value: V, (now, keep): (Now, Span)) {
        if keep == Span::ZERO {
            return;
        }
        while self.entries.len() >= ENTRIES_MAX {
            self.evict(now);
        }
        let until = now + keep.min(KEPT_MAX);
        self.entries.insert((name.to_owned(), kind), (until, value));
    }
    /// Drops what is over among the next few, and one at least.
    fn evict(&mut self, now: Now) {
        const LOOK: usize = 64;
        let keys: Vec<_> =
            self.entries.range(self.hand.clone()..).take(LOOK).map(|(k, v)| (k.clone(), v.0)).collect();
        if keys.is_empty() {
            self.hand = (String::new(), 0);
            return;
        }
        self.hand = keys[keys.len() - 1].0.clone();
        let over = keys.iter().filter(|(_, until)| *until <= now).map(|(k, _)| k.clone());
        let mut drop: Vec<_> = over.collect();
        if drop.is_empty() {
            drop.extend(keys.iter().min_by_key(|(_, until)| *until).map(|(k, _)| k.clone()));
        }
        for key in drop {
            self.entries.remove(&key);
        }
        self.hand.1 = self.hand.1.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_no_longer() {
        let mut cache = Cache::new();
        cache.put("a.example", 1, "x", (Now(1000), Span::secs(10)));
        assert_eq!(cache.get("a.example", 1, Now(2000)), Some(("x", 9)));
        assert_eq!(cache.get("a.example", 2, Now(2000)), None);
        assert_eq!(cache.get("a.example", 1, Now(11_000)), None);
    }

    #[test]
    fn a_full_cache_lets_old_answers_go() {
        let mut cache = Cache::new();
        for i in 0..ENTRIES_MAX + 5000 {
            cache.put(&format!("{i}.example"), 1, i, (Now(1000), Span::secs(60)));
        }
        assert!(cache.entries.len() <= ENTRIES_MAX);
        let last = ENTRIES_MAX + 4999;
        assert_eq!(cache.get(&format!("{last}.example"), 1, Now(1000)).map(|(v, _)| v), Some(last));
    }
}
