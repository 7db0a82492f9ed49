//! What every session and every task of this mail host shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use drive::Meter;
use store::Store;
use words::{AttemptId, MessageId, SessionId};
use world::World;

use crate::Settings;
use crate::arrival::Front;

/// Cheap to clone; handed to each desk.
#[derive(Clone)]
pub struct Site(Arc<Shared>);

struct Shared {
    world: World,
    store: Store,
    settings: RwLock<Arc<Settings>>,
    serial: AtomicU64,
    meters: [Arc<Meter>; 5],
}

impl Site {
    pub fn new(world: World, store: Store, settings: Settings) -> Site {
        let serial = AtomicU64::new(world.random.next_u64());
        let settings = RwLock::new(Arc::new(settings));
        Site(Arc::new(Shared { world, store, settings, serial, meters: Default::default() }))
    }
    pub fn world(&self) -> &World {
        &self.0.world
    }
    pub fn store(&self) -> &Store {
        &self.0.store
    }
    pub fn now(&self) -> stdx::Now {
        self.0.world.now()
    }
    /// The settings that stand now; a session keeps what it got.
    pub fn settings(&self) -> Arc<Settings> {
        match self.0.settings.read() {
            Ok(held) => held.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
    /// New settings for everything that begins from now on.
    pub fn reload(&self, settings: Settings) {
        let fresh = Arc::new(settings);
        match self.0.settings.write() {
            Ok(mut held) => *held = fresh,
            Err(poisoned) => *poisoned.into_inner() = fresh,
        }
    }
    // Ids begin with the second, so that neighbours in time are neighbours in every index, and end
    // with a serial number that starts anywhere: unique within a run, and over restarts and hosts
    // unless two of them meet within one second at the same place of 2^28.
    fn id(&self) -> u64 {
        let secs = self.now().secs() & 0x7_FFFF_FFFF;
        (secs << 28) | (self.0.serial.fetch_add(1, Ordering::Relaxed) & 0x0FFF_FFFF)
    }
    /// What has passed through the sessions of a front.
    pub fn meter(&self, front: Front) -> Arc<Meter> {
        self.0.meters[front as usize].clone()
    }
    pub fn session_id(&self) -> SessionId {
        SessionId(self.id())
    }
    pub fn message_id(&self) -> MessageId {
        MessageId(self.id())
    }
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId(self.id())
    }
}
