//! When is each probe due? Spread over its interval, never two of the same at once, again soon
//! after a failure, and never more at a time than the limit.

use std::collections::{BTreeMap, BTreeSet};

use stdx::{Dice, Now, Span};

/// After a failure the next look comes this soon: two tries make a finding.
pub const AGAIN: Span = Span::secs(20);
/// Times in a row that a failure is looked at again so soon.
const AGAIN_TIMES_MAX: u32 = 3;

#[derive(Clone, Debug)]
struct Entry {
    every: Span,
    due: Now,
    /// Since when a look is under way.
    out: Option<Now>,
    failed: u32,
}

/// All probes of one vantage point.
#[derive(Clone, Debug)]
pub struct Schedule {
    entries: BTreeMap<String, Entry>,
    order: BTreeSet<(Now, String)>,
    /// Looks at the same time.
    pub at_once_max: usize,
    out: usize,
}

impl Schedule {
    pub fn new(at_once_max: usize) -> Schedule {
        Schedule { entries: BTreeMap::new(), order: BTreeSet::new(), at_once_max: at_once_max.max(1), out: 0 }
    }

    /// Adds a probe. Its first look comes within the interval but at most a minute from now, at a
    /// place of its own, so that a thousand probes do not leave in the same second.
    pub fn add(&mut self, id: &str, every: Span, now: Now, dice: &mut Dice) {
        let spread = every.as_ms().min(60_000);
        let due = now + Span(dice.below(spread.max(1)));
        if let Some(old) = self.entries.remove(id) {
            self.order.remove(&(old.due, id.to_owned()));
            self.out -= usize::from(old.out.is_some());
        }
        self.entries.insert(id.to_owned(), Entry { every, due, out: None, failed: 0 });
        self.order.insert((due, id.to_owned()));
    }

    /// Takes what is due, within the limit, the longest overdue first.
    pub fn take(&mut self, now: Now) -> Vec<String> {
        let mut taken = Vec::new();
        while self.out < self.at_once_max {
            let Some((due, _)) = self.order.first() else { break };
            if *due > now {
                break;
            }
            let Some((_, id)) = self.order.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.out = Some(now);
                self.out += 1;
                taken.push(id);
            }
        }
        taken
    }

    /// A look has ended. The next comes an interval after this one began, give or take a tenth.
    pub fn done(&mut self, id: &str, good: bool, now: Now, dice: &mut Dice) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(began) = entry.out.take() else { return };
        self.out -= 1;
        entry.failed = if good { 0 } else { entry.failed.saturating_add(1) };
        let tenth = entry.every.as_ms() / 10;
        let usual = began + Span(entry.every.as_ms() - tenth / 2 + dice.below(tenth.max(1)));
        let soon = (1..=AGAIN_TIMES_MAX).contains(&entry.failed);
        let due = if soon { usual.min(now + AGAIN) } else { usual };
        entry.due = due.max(now);
        self.order.insert((entry.due, id.to_owned()));
    }

    /// Looks at a probe now that was well when last looked at: a neighbour of it has failed.
    pub fn hasten(&mut self, id: &str, now: Now) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.out.is_none() && entry.failed == 0 && entry.due > now {
            self.order.remove(&(entry.due, id.to_owned()));
            entry.due = now;
            self.order.insert((now, id.to_owned()));
        }
    }

    /// When [`Schedule::take`] may have something; `None` while nothing can be taken before a look
    /// ends.
    pub fn next(&self) -> Option<Now> {
        if self.out >= self.at_once_max {
            return None;
        }
        self.order.first().map(|(due, _)| *due)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// Looks under way.
    pub fn out(&self) -> usize {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(n: usize, every: Span, at_once_max: usize) -> (Schedule, Dice) {
        let (mut schedule, mut dice) = (Schedule::new(at_once_max), Dice::new(1));
        for i in 0..n {
            schedule.add(&format!("p{i}"), every, Now(0), &mut dice);
        }
        (schedule, dice)
    }

    #[test]
    fn a_thousand_probes_a_minute_are_spread_over_the_minute() {
        let (mut schedule, mut dice) = schedule(1000, Span::mins(1), 64);
        let (mut looks, mut most) = (0, 0);
        for s in 0..600 {
            let now = Now::from_secs(s);
            let taken = schedule.take(now);
            most = most.max(taken.len());
            looks += taken.len();
            for id in taken {
                schedule.done(&id, true, now, &mut dice);
            }
        }
        assert!((9_800..=10_400).contains(&looks), "{looks} looks in ten minutes");
        assert!(most < 60, "{most} in one second");
    }

    #[test]
    fn no_more_than_the_limit_are_out_and_none_twice() {
        let (mut schedule, mut dice) = schedule(10, Span::secs(10), 3);
        let first = schedule.take(Now::from_secs(60));
        assert_eq!(first.len(), 3);
        assert_eq!((schedule.take(Now::from_secs(60)), schedule.next()), (Vec::new(), None));
        schedule.done(&first[0], true, Now::from_secs(61), &mut dice);
        let next = schedule.take(Now::from_secs(61));
        assert!(next.len() == 1 && !first.contains(&next[0]));
        schedule.done("unknown", true, Now::from_secs(61), &mut dice);
        assert_eq!(schedule.out(), 3);
    }

    #[test]
    fn a_neighbour_is_looked_at_at_once_but_not_again_and_again() {
        let (mut schedule, mut dice) = schedule(2, Span::hours(1), 4);
        let taken = schedule.take(Now::from_secs(60));
        assert_eq!(taken.len(), 2);
        for id in &taken {
            schedule.done(id, *id == "p0", Now::from_secs(60), &mut dice);
        }
        schedule.hasten("p0", Now::from_secs(61));
        schedule.hasten("p1", Now::from_secs(61));
        assert_eq!(schedule.take(Now::from_secs(61)), ["p0"]);
    }

    #[test]
    fn a_failure_is_looked_at_again_in_twenty_seconds() {
        let (mut schedule, mut dice) = schedule(1, Span::mins(15), 1);
        let mut now = Now::from_secs(60);
        for again in [true, true, true, false] {
            assert_eq!(schedule.take(now).len(), 1);
            schedule.done("p0", false, now, &mut dice);
            let due = schedule.next().expect("it is due some time");
            assert_eq!(due == now + AGAIN, again);
            now = due;
        }
    }
}
