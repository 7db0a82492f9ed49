//! What is still to happen in a simulated quarter, in the order of time. What happens is decided by
//! whoever takes it out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use stdx::Now;

/// Things to come; those of one moment come in the order in which they were put in.
pub struct Agenda<What> {
    queue: BinaryHeap<Reverse<(Now, u64, u64, What)>>,
    serial: u64,
}

impl<What: Ord> Agenda<What> {
    pub fn new() -> Agenda<What> {
        Agenda { queue: BinaryHeap::new(), serial: 0 }
    }

    /// Puts in what happens to the message `id`.
    pub fn push(&mut self, at: Now, id: u64, what: What) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, id, what)));
    }

    /// The next thing before `until`: when, to which message, what.
    pub fn before(&mut self, until: Now) -> Option<(Now, u64, What)> {
        self.queue.peek().filter(|head| head.0.0 < until)?;
        self.queue.pop().map(|Reverse((now, _, id, what))| (now, id, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_of_time_and_then_of_entry() {
        let mut agenda = Agenda::new();
        for (at, id, what) in [(5, 1, "b"), (3, 2, "z"), (5, 3, "a"), (9, 4, "late")] {
            agenda.push(Now(at), id, what);
        }
        let taken: Vec<_> = std::iter::from_fn(|| agenda.before(Now(9))).collect();
        assert_eq!(taken, [(Now(3), 2, "z"), (Now(5), 1, "b"), (Now(5), 3, "a")]);
        assert_eq!(agenda.before(Now(10)), Some((Now(9), 4, "late")));
    }
}
