//! How TLS with other hosts went, counted for reports (RFC 8460) until the next commit carries it.

use std::collections::BTreeMap;

use mailauth::tlsrpt::{Failure, PolicyKind};
use spool::tls::TlsKey;
use stdx::Now;
use words::Domain;

/// Different counts that wait for a commit; beyond, they are counted without their particulars.
const WAITING_MAX: usize = 5_000;
/// Days that counts are kept: reports are made for the day before, and looked at for a while.
pub const DAYS: u64 = 30;

/// Counts that wait for a commit.
#[derive(Default)]
pub struct Tallies(BTreeMap<TlsKey, u64>);

/// One session, or one policy that could not be had.
pub struct Seen<'a> {
    pub domain: &'a Domain,
    pub policy: PolicyKind,
    /// `None`: it went well.
    pub failure: Option<Failure>,
    pub mx: &'a str,
    pub source: String,
}

/// The day of a moment: days since 1970, UTC.
pub fn day(at: Now) -> u64 {
    at.secs() / 86_400
}

impl Tallies {
    pub fn add(&mut self, seen: Seen<'_>, now: Now) {
        let mut key = TlsKey {
            day: day(now),
            domain: seen.domain.to_string(),
            policy: seen.policy.as_str(),
            result: seen.failure.map_or("", Failure::as_str),
            mx: seen.mx.to_owned(),
            source: seen.source,
        };
        if self.0.len() >= WAITING_MAX && !self.0.contains_key(&key) {
            (key.domain, key.mx, key.source) = (String::new(), String::new(), String::new());
        }
        *self.0.entry(key).or_default() += 1;
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// All that waits, for a commit to carry.
    pub fn take(&mut self) -> Vec<(TlsKey, u64)> {
        std::mem::take(&mut self.0).into_iter().collect()
    }
    /// The commit failed.
    pub fn put_back(&mut self, tallies: Vec<(TlsKey, u64)>) {
        for (key, sessions) in tallies {
            *self.0.entry(key).or_default() += sessions;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_one_count_and_there_is_a_bound() {
        let mut tallies = Tallies::default();
        let mut add = |n: usize, failure| {
            let domain = Domain::new(&format!("d{n}.example")).expect("a domain");
            let (policy, source) = (PolicyKind::Sts, String::new());
            let seen = Seen { domain: &domain, policy, failure, mx: "mx.far.example", source };
            tallies.add(seen, Now::from_secs(86_400 * 3 + 5));
        };
        add(0, None);
        add(0, None);
        add(0, Some(Failure::CertificateExpired));
        (0..WAITING_MAX + 100).for_each(|n| add(n, None));
        let taken = tallies.take();
        assert!(taken.len() <= WAITING_MAX + 1 && tallies.is_empty(), "{}", taken.len());
        let of = |result: &str| {
            taken
                .iter()
                .find(|(k, _)| k.domain == "d0.example" && k.result == result)
                .map(|(k, n)| (k.day, *n))
        };
        assert_eq!((of(""), of("certificate-expired")), (Some((3, 3)), Some((3, 1))));
        assert_eq!(taken.iter().map(|(_, n)| n).sum::<u64>(), 3 + WAITING_MAX as u64 + 100);
    }
}
