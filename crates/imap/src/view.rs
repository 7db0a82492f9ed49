//! A session's view of the selected folder: which UID stands at which sequence number.
//!
//! Kept as ranges, so a folder of any size with few holes costs a few bytes. Sequence numbers
//! change only through [`View::add`] and [`View::remove`], which the session calls exactly when
//! it tells the client.

use crate::set::UidSet;

/// UIDs in order; position is the sequence number minus one.
#[derive(Clone, Debug, Default)]
pub struct View {
    uids: UidSet,
    /// Sequence number of each range's first UID.
    starts: Vec<u32>,
    count: u32,
    /// The greatest UID ever shown or gone before: only greater ones can be new.
    top: u32,
}

impl View {
    /// `top`: the greatest UID the folder ever gave out.
    pub fn new(uids: UidSet, top: u32) -> View {
        let top = uids.last().unwrap_or(0).max(top);
        let mut view = View { uids, starts: Vec::new(), count: 0, top };
        view.renumber();
        view
    }
    fn renumber(&mut self) {
        let mut next = 1u32;
        self.starts.clear();
        self.starts.extend(self.uids.ranges().iter().map(|r| {
            let start = next;
            next += r.1 - r.0 + 1;
            start
        }));
        self.starts.shrink_to_fit();
        self.count = next - 1;
    }
    pub fn count(&self) -> u32 {
        self.count
    }
    pub fn uids(&self) -> &UidSet {
        &self.uids
    }
    pub fn last_uid(&self) -> u32 {
        self.uids.last().unwrap_or(0)
    }
    pub fn top(&self) -> u32 {
        self.top
    }
    pub fn seq_of(&self, uid: u32) -> Option<u32> {
        let at = self.uids.ranges().partition_point(|r| r.1 < uid);
        let range = self.uids.ranges().get(at).filter(|r| r.0 <= uid)?;
        Some(self.starts[at] + (uid - range.0))
    }
    #[cfg(test)]
    pub fn uid_at(&self, seq: u32) -> Option<u32> {
        if seq == 0 || seq > self.count {
            return None;
        }
        let at = self.starts.partition_point(|&s| s <= seq) - 1;
        Some(self.uids.ranges()[at].0 + (seq - self.starts[at]))
    }
    /// The UIDs at these sequence numbers; numbers out of range are left out.
    pub fn uids_at(&self, seqs: &UidSet) -> UidSet {
        let mut out = UidSet::new();
        for &(first, last) in seqs.ranges() {
            let last = last.min(self.count);
            let mut seq = first.max(1);
            while seq <= last {
                let at = self.starts.partition_point(|&s| s <= seq) - 1;
                let range = self.uids.ranges()[at];
                let from = range.0 + (seq - self.starts[at]);
                let to = range.1.min(from + (last - seq));
                out.push(from, to);
                seq += to - from + 1;
            }
        }
        out
    }
    /// The sequence numbers of these UIDs; UIDs not shown are left out.
    pub fn seqs_of(&self, uids: &UidSet) -> UidSet {
        let mut out = UidSet::new();
        for &(first, last) in self.uids.intersect(uids).ranges() {
            if let Some(seq) = self.seq_of(first) {
                out.push(seq, seq + (last - first));
            }
        }
        out
    }
    /// Shows new messages. Only UIDs beyond all shown before can be new.
    pub fn add(&mut self, new: &UidSet) -> bool {
        let before = self.count;
        for &(first, last) in new.ranges() {
            let first = first.max(self.top + 1);
            if first <= last {
                self.uids.push(first, last);
                self.top = last;
            }
        }
        self.renumber();
        self.count != before
    }
    /// Takes messages away; returns the sequence numbers they had.
    pub fn remove(&mut self, gone: &UidSet) -> UidSet {
        let seqs = self.seqs_of(gone);
        if !seqs.is_empty() {
            self.uids = self.uids.minus(gone);
            self.renumber();
        }
        seqs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A plain list of UIDs is the model.
        #[test]
        fn a_view_is_a_list_of_uids(steps in proptest::collection::vec((any::<bool>(), 1u32..6, 1u32..80), 1..40)) {
            let (mut view, mut list, mut next) = (View::default(), Vec::<u32>::new(), 1);
            for (adds, n, at) in steps {
                if adds {
                    let new = UidSet::span(next + at % 3, next + at % 3 + n);
                    list.extend(new.iter());
                    next += at % 3 + n + 1;
                    prop_assert!(view.add(&new));
                } else {
                    let gone = UidSet::of(vec![at, at + 1, at + n + 2]);
                    let seqs = view.remove(&gone);
                    let want: Vec<u32> = (1..).zip(&list).filter(|(_, u)| gone.contains(**u)).map(|(s, _)| s).collect();
                    prop_assert_eq!(seqs.iter().collect::<Vec<_>>(), want);
                    list.retain(|u| !gone.contains(*u));
                }
                prop_assert_eq!(view.count() as usize, list.len());
                for (seq, &uid) in (1..).zip(&list) {
                    prop_assert_eq!(view.uid_at(seq), Some(uid));
                    prop_assert_eq!(view.seq_of(uid), Some(seq));
                }
                prop_assert_eq!(view.uid_at(view.count() + 1), None);
                let some = UidSet::of(vec![at, at + 1, at + 7]);
                let want: Vec<u32> = some.iter().filter_map(|s| list.get(s as usize - 1).copied()).collect();
                prop_assert_eq!(view.uids_at(&some).iter().collect::<Vec<_>>(), want);
            }
        }
    }

    #[test]
    fn a_uid_that_was_passed_by_is_never_new() {
        let mut view = View::new(UidSet::span(1, 5), 0);
        view.remove(&UidSet::span(4, 5));
        assert!(!view.add(&UidSet::span(4, 5)));
        assert!(view.add(&UidSet::span(4, 6)));
        assert_eq!((view.count(), view.uid_at(4)), (4, Some(6)));
    }
}
