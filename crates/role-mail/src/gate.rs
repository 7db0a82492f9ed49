//! How many sessions may be open, from one address and in all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts open sessions; cheap to clone.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    /// By our port and the peer's address: who reads mail on ten sessions may still send.
    by_address: HashMap<(u16, IpAddr), usize>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    TooManyInAll,
    TooManyFromThere,
}

/// One open session; dropping it gives the place back.
pub struct Pass {
    gate: Gate,
    key: (u16, IpAddr),
}

impl Gate {
    /// A session on our `port` from an address; both bounds are the operator's.
    pub fn enter(
        &self,
        (port, from): (u16, IpAddr),
        per_address_max: usize,
        all_max: usize,
    ) -> Result<Pass, Shut> {
        let key = (port, network(from));
        let mut counts = self.lock();
        if counts.all >= all_max {
            return Err(Shut::TooManyInAll);
        }
        let here = counts.by_address.entry(key).or_insert(0);
        if *here >= per_address_max {
            return Err(Shut::TooManyFromThere);
        }
        *here += 1;
        counts.all += 1;
        Ok(Pass { gate: self.clone(), key })
    }

    /// A session that was let in before, in another process: it is counted, and never refused.
    pub fn enter_again(&self, (port, from): (u16, IpAddr)) -> Pass {
        let key = (port, network(from));
        let mut counts = self.lock();
        *counts.by_address.entry(key).or_insert(0) += 1;
        counts.all += 1;
        Pass { gate: self.clone(), key }
    }

    pub fn open(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(here) = counts.by_address.get_mut(&self.key) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                counts.by_address.remove(&self.key);
            }
        }
    }
}

/// One customer has a whole IPv6 /64: it counts as one address.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !(u128::from(u64::MAX)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_come_back_when_a_session_ends() {
        let gate = Gate::default();
        let first = gate.enter((25, ip("192.0.2.1")), 1, 2).expect("room");
        assert_eq!(gate.enter((25, ip("192.0.2.1")), 1, 2).err(), Some(Shut::TooManyFromThere));
        let _other = gate.enter((25, ip("192.0.2.2")), 1, 2).expect("room");
        assert_eq!(gate.enter((25, ip("192.0.2.3")), 1, 2).err(), Some(Shut::TooManyInAll));
        assert_eq!(gate.enter((143, ip("192.0.2.1")), 1, 9).err(), None, "another port counts apart");
        drop(first);
        drop(gate.enter_again((25, ip("192.0.2.9"))));
        assert!(gate.enter((25, ip("192.0.2.1")), 1, 2).is_ok());
        assert_eq!(gate.lock().by_address.len(), 1);
    }

    #[test]
    fn a_slash_64_is_one_address() {
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:2")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
