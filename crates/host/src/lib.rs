//! The real world: sockets, DNS, certificates, the system's clock and randomness.
//!
//! What it is: [`world`] builds the product's [`World`] from the real machine; [`Certificates`]
//! and [`authority`] keep certificates; [`process`] does what a daemon owes its system
//! (privileges, open files, readiness); [`handover`] gives the ports to the next version, and
//! sessions with their sockets ([`socket`]). What it is not: protocols or policy. Nothing else in
//! the product opens a socket. Begin with [`world`].

pub mod authority;
mod cache;
pub mod certificates;
mod datagrams;
mod dns;
pub mod handover;
pub mod identity;
mod net;
mod ping;
pub mod process;
pub mod socket;

use std::sync::Arc;

use stdx::Now;
use world::{Clock, Later, Random, World};

pub use certificates::{CertificateError, Certificates, Pair, roots};
pub use datagrams::Datagrams;
pub use dns::{DnsSettings, Resolver, system_servers};
pub use net::{Detours, HostNet, NetSettings, Sockets};

/// What the real world needs to know.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub net: NetSettings,
    pub dns: DnsSettings,
}

/// The world as it is.
pub fn world(settings: Settings) -> World {
    world_over(settings, Vec::new()).0
}

/// As [`world`], listening on sockets that are open already where they fit; and all sockets it
/// listens on, to be handed on.
pub fn world_over(settings: Settings, sockets: Vec<std::net::TcpListener>) -> (World, Sockets) {
    let net = HostNet::new(settings.net, sockets);
    let sockets = net.sockets();
    let world = World {
        net: Arc::new(net),
        dns: Arc::new(Resolver::new(settings.dns)),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    };
    (world, sockets)
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now(since.map_or(0, |d| d.as_millis() as u64))
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        Box::pin(async move {
            // In steps, so that a clock that was set forward is noticed within the hour.
            const STEP: std::time::Duration = std::time::Duration::from_secs(3600);
            loop {
                let left = until.since(self.now()).to_std();
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(STEP)).await;
            }
        })
    }
}

/// The system's randomness.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system has a source of randomness once it has booted");
    }
}

#[cfg(test)]
mod tests;
