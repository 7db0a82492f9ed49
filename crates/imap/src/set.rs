//! Sets of message numbers: [`SeqSet`] as a client writes it (with `*`), [`UidSet`] as plain
//! numbers kept as rising, disjoint, non-touching ranges.

use crate::wire::write::number;
use std::fmt;

/// Greatest number of ranges one command may name.
pub const RANGES_MAX: usize = 20_000;

/// A set of UIDs (or of sequence numbers, where a text says so).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    pub const fn new() -> UidSet {
        UidSet { ranges: Vec::new() }
    }
    pub fn one(uid: u32) -> UidSet {
        UidSet { ranges: vec![(uid, uid)] }
    }
    /// `first..=last`; empty if `first > last`.
    pub fn span(first: u32, last: u32) -> UidSet {
        let ranges = if first <= last { vec![(first, last)] } else { Vec::new() };
        UidSet { ranges }
    }
    /// From numbers in any order, with or without repetitions.
    pub fn of(mut uids: Vec<u32>) -> UidSet {
        uids.sort_unstable();
        uids.into_iter().collect()
    }
    /// From ranges in any order, overlapping or not.
    pub fn of_ranges(mut ranges: Vec<(u32, u32)>) -> UidSet {
        ranges.retain(|r| r.0 <= r.1);
        ranges.sort_unstable();
        let mut set = UidSet::new();
        for (first, last) in ranges {
            set.push(first, last);
        }
        set
    }
    /// Adds a range that does not begin before the last one begins.
    pub fn push(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) && first >= end.0 => end.1 = end.1.max(last),
            Some(end) if first < end.0 => {
                let mut all = std::mem::take(&mut self.ranges);
                all.push((first, last));
                *self = UidSet::of_ranges(all);
            }
            _ => self.ranges.push((first, last)),
        }
    }
    pub fn insert(&mut self, uid: u32) {
        if self.ranges.last().is_none_or(|r| uid >= r.0) {
            self.push(uid, uid);
        } else if !self.contains(uid) {
            *self = self.union(&UidSet::one(uid));
        }
    }
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|r| u64::from(r.1 - r.0) + 1).sum()
    }
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|r| r.0)
    }
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|r| r.1)
    }
    pub fn contains(&self, uid: u32) -> bool {
        let at = self.ranges.partition_point(|r| r.1 < uid);
        self.ranges.get(at).is_some_and(|r| r.0 <= uid)
    }
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|r| r.0..=r.1)
    }
    pub fn union(&self, other: &UidSet) -> UidSet {
        if self.is_empty() {
            return other.clone();
        }
        let mut all = self.ranges.clone();
        all.extend_from_slice(&other.ranges);
        UidSet::of_ranges(all)
    }
    pub fn intersect(&self, other: &UidSet) -> UidSet {
        let (mut a, mut b, mut set) = (0, 0, UidSet::new());
        while let (Some(x), Some(y)) = (self.ranges.get(a), other.ranges.get(b)) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                set.push(first, last);
            }
            if x.1 < y.1 { a += 1 } else { b += 1 }
        }
        set
    }
    /// Members of `self` that are not in `other`.
    pub fn minus(&self, other: &UidSet) -> UidSet {
        let (mut set, mut b) = (UidSet::new(), 0);
        for &(mut first, last) in &self.ranges {
            while other.ranges.get(b).is_some_and(|r| r.1 < first) {
                b += 1;
            }
            let mut at = b;
            while let Some(r) = other.ranges.get(at).filter(|r| r.0 <= last) {
                if r.0 > first {
                    set.ranges.push((first, r.0 - 1));
                }
                if r.1 >= last {
                    first = 0;
                    break;
                }
                first = r.1 + 1;
                at += 1;
            }
            if first != 0 {
                set.push(first, last);
            }
        }
        set
    }
    /// `1:3,5`; nothing for the empty set.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (n, &(first, last)) in self.ranges.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            number(out, u64::from(first));
            if last != first {
                out.push(b':');
                number(out, u64::from(last));
            }
        }
    }
}

impl FromIterator<u32> for UidSet {
    /// Cheapest for rising numbers.
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> UidSet {
        let mut set = UidSet::new();
        for uid in uids {
            set.insert(uid);
        }
        set
    }
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// A sequence set as typed; `None` stands for `*`. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqSet(pub Vec<(Option<u32>, Option<u32>)>);

impl SeqSet {
    /// RFC 9051 §9: `seq-number` is not zero; `*` is the greatest number in use. Reads the whole
    /// of `text`.
    pub fn parse(text: &[u8]) -> Option<SeqSet> {
        let mut ranges = Vec::new();
        for item in text.split(|&b| b == b',') {
            if ranges.len() >= RANGES_MAX {
                return None;
            }
            let mut ends = item.splitn(2, |&b| b == b':');
            let first = seq_number(ends.next()?)?;
            let last = match ends.next() {
                Some(end) => seq_number(end)?,
                None => first,
            };
            ranges.push((first, last));
        }
        Some(SeqSet(ranges))
    }
    /// With `*` replaced by `greatest` (0: there are no messages, then `*` names none).
    pub fn resolve(&self, greatest: u32) -> UidSet {
        let mut ranges = Vec::with_capacity(self.0.len());
        for &(a, b) in &self.0 {
            let (a, b) = (a.unwrap_or(greatest), b.unwrap_or(greatest));
            let (first, last) = (a.min(b), a.max(b));
            if last > 0 {
                ranges.push((first.max(1), last));
            }
        }
        UidSet::of_ranges(ranges)
    }
    /// `*` is one of the ends.
    pub fn reaches_end(&self) -> bool {
        self.0.iter().any(|&(a, b)| a.is_none() || b.is_none())
    }
    /// The greatest number typed, if any number was.
    pub fn greatest_typed(&self) -> Option<u32> {
        self.0.iter().flat_map(|&(a, b)| [a, b]).flatten().max()
    }
}

impl fmt::Display for SeqSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        for (n, &(a, b)) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if a == b {
                write!(f, "{comma}{}", show(a))?;
            } else {
                write!(f, "{comma}{}:{}", show(a), show(b))?;
            }
        }
        Ok(())
    }
}

fn seq_number(text: &[u8]) -> Option<Option<u32>> {
    if text == b"*" {
        return Some(None);
    }
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = text.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
    u32::try_from(n).ok().filter(|&n| n > 0).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn sequence_sets_are_read_and_refused() {
        for (text, greatest, want) in [
            ("1", 9, "1"),
            ("*", 9, "9"),
            ("*:4,1", 9, "1,4:9"),
            ("12:*", 9, "9:12"),
            ("3:1,2:5,7", 9, "1:5,7"),
            ("*", 0, ""),
            ("1:*", 0, "1"),
        ] {
            assert_eq!(SeqSet::parse(text.as_bytes()).unwrap().resolve(greatest).to_string(), want, "{text}");
        }
        for bad in ["", "0", "1,", ",1", "1:", "a", "1:2:3", "4294967296", "-1", "1 2"] {
            assert_eq!(SeqSet::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    fn any_set() -> impl Strategy<Value = BTreeSet<u32>> {
        proptest::collection::btree_set(1u32..60, 0..40)
    }

    proptest! {
        #[test]
        fn a_printed_sequence_set_reads_back(pairs in proptest::collection::vec(
            (proptest::option::of(1u32..), proptest::option::of(1u32..)), 1..20)) {
            let set = SeqSet(pairs);
            prop_assert_eq!(SeqSet::parse(set.to_string().as_bytes()), Some(set));
        }

        #[test]
        fn sets_behave_as_sets(a in any_set(), b in any_set()) {
            let (x, y): (UidSet, UidSet) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(x.len() as usize, a.len());
            let list = |s: &UidSet| s.iter().collect::<Vec<_>>();
            prop_assert_eq!(list(&x.union(&y)), a.union(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(list(&x.intersect(&y)), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(list(&x.minus(&y)), a.difference(&b).copied().collect::<Vec<_>>());
            prop_assert!((1..60).all(|n| x.contains(n) == a.contains(&n)));
            prop_assert!(x.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0));
        }
    }
}
