//! A seeded city of peers with manners.
//!
//! What it is: a [`World`] in which time is virtual ([`VirtualClock`] over tokio's paused clock),
//! the network is in memory ([`Network`]: addresses, refusals, silence, broken wires), DNS is a
//! table ([`Zones`]) and randomness comes from a seed. And [`Peer`]: a scripted mail host of
//! somebody else (friendly, greylisting, blocking, slow …), which works on any `Net`, so the
//! same neighbours live in `sim` and, on loopback sockets, beside `postroad up`.
//! What it is not: part of the product's own mail handling, or a test mode of it.
//! Begin with [`City`].

pub mod network;
pub mod peer;
pub mod script;
pub mod zones;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use stdx::{Dice, Now};
use world::{Clock, Later, Random, World};

pub use network::{Fault, Network};
pub use peer::{Contact, Got, Manners, Peer, Refused, Rule, Stage, Wrap};
pub use script::{Above, Act, When};
pub use zones::Zones;

/// When a simulated world begins: Sun, 22 Nov 2026 00:00:00 UTC.
pub const BEGIN: Now = Now::from_secs(1_795_305_600);

/// Everything outside, made from one seed. Use it under a paused tokio clock
/// (`#[tokio::test(start_paused = true)]`), where hours pass in milliseconds.
pub struct City {
    pub network: Network,
    pub zones: Zones,
    clock: Arc<VirtualClock>,
    dice: Mutex<Dice>,
}

impl City {
    pub fn new(seed: u64) -> City {
        City {
            network: Network::new(),
            zones: Zones::new(),
            clock: Arc::new(VirtualClock::new(BEGIN)),
            dice: Mutex::new(Dice::new(seed)),
        }
    }
    /// The world as the host with these addresses sees it; it dials from the first unless told
    /// otherwise. Each call gets its own stream of randomness.
    pub fn world(&self, own: &[IpAddr]) -> World {
        let dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner).fork("world");
        World {
            net: Arc::new(self.network.host(own)),
            dns: Arc::new(self.zones.clone()),
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom(Mutex::new(dice))),
        }
    }
    pub fn clock(&self) -> Arc<VirtualClock> {
        self.clock.clone()
    }
}

/// A clock that follows tokio's, which tests pause.
pub struct VirtualClock {
    begin: Now,
    since: tokio::time::Instant,
}

impl VirtualClock {
    pub fn new(begin: Now) -> VirtualClock {
        VirtualClock { begin, since: tokio::time::Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        Now(self.begin.0 + self.since.elapsed().as_millis() as u64)
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        let at = self.since + until.since(self.begin).to_std();
        Box::pin(tokio::time::sleep_until(at))
    }
}

/// Randomness that repeats.
pub struct SeededRandom(Mutex<Dice>);

impl SeededRandom {
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Mutex::new(Dice::new(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&dice.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests;
