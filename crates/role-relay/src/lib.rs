//! The relay: another egress on another host.
//!
//! What it is: the door by which our mail hosts and smart-host customers hand mail to this host
//! ([`desk`]), who they are, what they may and what they owe ([`customers`], [`bill`]), and the
//! one commit that makes a message the relay's own. What it is not: the sender; the spool that is
//! filled here is emptied by whoever the door of the house lets run on the same store.
//! Begin with [`Relay`], then [`listen`].

pub mod bill;
pub mod customers;
pub mod desk;
mod listen;
pub mod outcomes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stdx::Now;
use store::Store;
use words::{MessageId, SessionId};
use world::World;

pub use customers::{Customer, SCHEMA};
pub use listen::{Port, listen};

/// What all sessions share. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    world: World,
    store: Store,
    feed: spool::Feed,
    host_name: String,
    message_octets_max: u64,
    serial: AtomicU64,
    open: AtomicU64,
}

impl Relay {
    /// `feed`: where the sender on the same store hears of fresh mail.
    pub fn new(
        world: World,
        store: Store,
        feed: spool::Feed,
        host_name: &str,
        message_octets_max: u64,
    ) -> Relay {
        let serial = AtomicU64::new(world.random.next_u64());
        let host_name = host_name.to_owned();
        Relay(Arc::new(Shared {
            world,
            store,
            feed,
            host_name,
            message_octets_max,
            serial,
            open: AtomicU64::new(0),
        }))
    }
    pub fn world(&self) -> &World {
        &self.0.world
    }
    pub fn store(&self) -> &Store {
        &self.0.store
    }
    pub fn feed(&self) -> &spool::Feed {
        &self.0.feed
    }
    pub fn host_name(&self) -> &str {
        &self.0.host_name
    }
    pub fn message_octets_max(&self) -> u64 {
        self.0.message_octets_max
    }
    pub fn now(&self) -> Now {
        self.0.world.now()
    }
    // The second first, then a serial number that starts anywhere: as all ids of this house.
    fn id(&self) -> u64 {
        let secs = self.now().secs() & 0x7_FFFF_FFFF;
        (secs << 28) | (self.0.serial.fetch_add(1, Ordering::Relaxed) & 0x0FFF_FFFF)
    }
    pub fn session_id(&self) -> SessionId {
        SessionId(self.id())
    }
    pub fn message_id(&self) -> MessageId {
        MessageId(self.id())
    }
    fn open(&self) -> &AtomicU64 {
        &self.0.open
    }
}
