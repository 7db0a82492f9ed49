//! SORT (RFC 5256 §3, RFC 5957).

use super::{Facts, folded};
use crate::command::{SortBy, SortKey};
use std::cmp::Ordering;

/// One key's values for all messages.
enum Column {
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

impl Column {
    fn of(facts: &[Facts], by: SortBy) -> Column {
        let texts = |f: &dyn Fn(&Facts) -> &str| Column::Texts(facts.iter().map(|m| folded(f(m))).collect());
        let numbers = |f: &dyn Fn(&Facts) -> i64| Column::Numbers(facts.iter().map(f).collect());
        match by {
            SortBy::Arrival => numbers(&|m| m.arrival),
            SortBy::Date => numbers(&|m| m.sent),
            SortBy::Size => numbers(&|m| i64::try_from(m.size).unwrap_or(i64::MAX)),
            SortBy::Cc => texts(&|m| &m.cc),
            SortBy::From => texts(&|m| &m.from),
            SortBy::Subject => texts(&|m| &m.subject),
            SortBy::To => texts(&|m| &m.to),
            SortBy::DisplayFrom => texts(&|m| &m.from_shown),
            SortBy::DisplayTo => texts(&|m| &m.to_shown),
        }
    }
    fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Column::Numbers(n) => n[a].cmp(&n[b]),
            Column::Texts(t) => t[a].cmp(&t[b]),
        }
    }
}

/// UIDs in the order wanted. RFC 5256 §3: what no key tells apart stands in order of sequence
/// numbers, whichever keys are reversed.
pub fn sort(facts: &[Facts], keys: &[SortKey]) -> Vec<u32> {
    let columns: Vec<(bool, Column)> = keys.iter().map(|k| (k.reverse, Column::of(facts, k.by))).collect();
    let mut order: Vec<usize> = (0..facts.len()).collect();
    order.sort_by(|&a, &b| {
        for (reverse, column) in &columns {
            let by = column.compare(a, b);
            let by = if *reverse { by.reverse() } else { by };
            if by.is_ne() {
                return by;
            }
        }
        facts[a].uid.cmp(&facts[b].uid)
    });
    order.into_iter().map(|at| facts[at].uid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, subject: &str, sent: i64, size: u64) -> Facts {
        Facts { uid, subject: subject.into(), sent, size, arrival: 100 - i64::from(uid), ..Facts::default() }
    }

    #[test]
    fn keys_apply_in_turn_and_ties_keep_their_order() {
        let all = [
            message(1, "beta", 30, 5),
            message(2, "Alpha", 20, 5),
            message(3, "ALPHA", 10, 9),
            message(4, "ébé", 5, 1),
        ];
        let key = |by| SortKey { reverse: false, by };
        let back = |by| SortKey { reverse: true, by };
        for (keys, want) in [
            (vec![key(SortBy::Subject)], [2, 3, 1, 4]),
            (vec![key(SortBy::Subject), key(SortBy::Date)], [3, 2, 1, 4]),
            (vec![back(SortBy::Size)], [3, 1, 2, 4]),
            (vec![key(SortBy::Arrival)], [4, 3, 2, 1]),
            (vec![back(SortBy::From)], [1, 2, 3, 4]),
        ] {
            assert_eq!(sort(&all, &keys), want, "{keys:?}");
        }
    }
}
