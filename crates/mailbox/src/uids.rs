//! Sets of UIDs as sorted, disjoint, inclusive ranges.

/// A set of UIDs. Begin with [`UidSet::push`] in rising order or [`UidSet::of_ranges`] in any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidSet(Vec<(u32, u32)>);

impl UidSet {
    pub const fn new() -> UidSet {
        UidSet(Vec::new())
    }
    /// Every UID there can be.
    pub fn all() -> UidSet {
        UidSet(vec![(1, u32::MAX)])
    }
    /// From ranges in any order, overlapping or not; a range may be given backwards.
    pub fn of_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> UidSet {
        let mut all: Vec<(u32, u32)> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        all.sort_unstable();
        let mut set = UidSet::new();
        for (a, b) in all {
            match set.0.last_mut() {
                Some(last) if a <= last.1.saturating_add(1) => last.1 = last.1.max(b),
                _ => set.0.push((a, b)),
            }
        }
        set
    }
    /// From UIDs in any order.
    pub fn of(uids: impl IntoIterator<Item = u32>) -> UidSet {
        UidSet::of_ranges(uids.into_iter().map(|u| (u, u)))
    }
    /// Adds a UID above all others.
    pub fn push(&mut self, uid: u32) {
        match self.0.last_mut() {
            Some(last) if uid == last.1.wrapping_add(1) => last.1 = uid,
            Some(last) if uid <= last.1 => *self = UidSet::of_ranges(self.0.drain(..).chain([(uid, uid)])),
            _ => self.0.push((uid, uid)),
        }
    }
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many UIDs the ranges span.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(a, b)| u64::from(b - a) + 1).sum()
    }
    pub fn contains(&self, uid: u32) -> bool {
        let at = self.0.partition_point(|r| r.1 < uid);
        self.0.get(at).is_some_and(|r| r.0 <= uid)
    }
    /// The UIDs one by one; only for sets known to be bounded.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&(a, b)| a..=b)
    }
    /// Compact bytes: ranges as varints of gaps and lengths.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0u32;
        for &(a, b) in &self.0 {
            put(&mut out, u64::from(a - at));
            put(&mut out, u64::from(b - a));
            at = b;
        }
        out
    }
    /// Reads [`UidSet::to_bytes`]; stops quietly at damage.
    pub fn from_bytes(mut bytes: &[u8]) -> UidSet {
        let mut ranges = Vec::new();
        let mut at = 0u32;
        while let (Some(gap), Some(len)) = (take(&mut bytes), take(&mut bytes)) {
            let a = at.saturating_add(gap as u32);
            let b = a.saturating_add(len as u32);
            ranges.push((a, b));
            at = b;
        }
        UidSet(ranges)
    }
}

/// Writes an unsigned varint, low groups first.
pub(crate) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads a varint written by [`put`].
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&b, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_come_back_from_bytes() {
        let set = UidSet::of_ranges([(9, 7), (1, 3), (4, 4), (20, 20), (8, 12)]);
        assert_eq!(set.ranges(), [(1, 4), (7, 12), (20, 20)]);
        assert_eq!(UidSet::from_bytes(&set.to_bytes()), set);
        assert!(set.contains(7) && set.contains(20) && !set.contains(5) && !set.contains(21));
        assert_eq!(set.len(), 11);
        assert_eq!(UidSet::from_bytes(&UidSet::all().to_bytes()), UidSet::all());
    }

    #[test]
    fn pushing_in_order_makes_ranges() {
        let mut set = UidSet::new();
        for uid in [1, 2, 3, 7, 8, 5] {
            set.push(uid);
        }
        assert_eq!(set.ranges(), [(1, 3), (5, 5), (7, 8)]);
    }
}
