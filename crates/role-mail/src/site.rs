//! What every session and every task of this mail host shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use drive::{Meter, Roots};
use ledger::Fact;
use stdx::Ring;
use store::Store;
use words::{AttemptId, MessageId, SessionId};
use world::World;

use crate::Settings;
use crate::arrival::Front;
use crate::crossing::Quay;
use crate::login::Logins;
use crate::pop3::Locks;
use crate::receipts::Receipts;
use crate::send::Outbound;
use crate::signing::Signers;
use crate::space::Fills;
use crate::text::Texts;

/// Facts that wait for a commit, at most.
const ASIDES_MAX: usize = 10_000;
/// Facts that one commit carries along.
const ASIDES_AT_ONCE: usize = 100;

/// Cheap to clone; handed to each desk.
#[derive(Clone)]
pub struct Site(Arc<Shared>);

struct Shared {
    world: World,
    store: Store,
    roots: Arc<Roots>,
    settings: RwLock<Arc<Settings>>,
    serial: AtomicU64,
    meters: [Arc<Meter>; 6],
    logins: Logins,
    pop3_locks: Locks,
    hub: mailbox::Hub,
    feed: spool::Feed,
    receipts: Receipts,
    signers: Signers,
    texts: Texts,
    fills: Fills,
    outbound: Outbound,
    quay: Quay,
    asides: Mutex<Ring<Fact>>,
}

impl Site {
    /// A site that trusts no certificate authority outside: enough where no mail goes out.
    pub fn new(world: World, store: Store, settings: Settings) -> Site {
        Site::with_roots(world, store, settings, Arc::new(Roots::none()))
    }
    /// `roots`: the authorities believed when we are the client (relays, MTA-STS).
    pub fn with_roots(world: World, store: Store, settings: Settings, roots: Arc<Roots>) -> Site {
        let serial = AtomicU64::new(world.random.next_u64());
        let settings = RwLock::new(Arc::new(settings));
        let feed = spool::Feed::new(world.random.next_u64());
        let logins = Logins::new(world.random.as_ref());
        Site(Arc::new(Shared {
            world,
            store,
            roots,
            settings,
            serial,
            meters: Default::default(),
            logins,
            pop3_locks: Locks::default(),
            hub: mailbox::Hub::default(),
            feed,
            receipts: Receipts::default(),
            signers: Signers::default(),
            texts: Texts::default(),
            fills: Fills::default(),
            outbound: Outbound::default(),
            quay: Quay::default(),
            asides: Mutex::new(Ring::new(ASIDES_MAX)),
        }))
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
    /// The certificate authorities we believe as a client.
    pub fn roots(&self) -> &Arc<Roots> {
        &self.0.roots
    }
    /// Who must hear of changes in mailboxes.
    pub fn hub(&self) -> &mailbox::Hub {
        &self.0.hub
    }
    /// Fresh mail for other hosts, on its way to the sender.
    pub fn feed(&self) -> &spool::Feed {
        &self.0.feed
    }
    /// Confirmations of messages taken, on their way into the store.
    pub fn receipts(&self) -> &Receipts {
        &self.0.receipts
    }
    /// DKIM keys that were read.
    pub fn signers(&self) -> &Signers {
        &self.0.signers
    }
    /// What routes have learned.
    pub fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }
    /// Where sessions wait for the next version of this host.
    pub fn quay(&self) -> &Quay {
        &self.0.quay
    }
    /// How full the mail disk was.
    pub fn fills(&self) -> &Fills {
        &self.0.fills
    }
    /// Octets of message texts in memory.
    pub fn texts(&self) -> &Texts {
        &self.0.texts
    }
    /// A fact that needs no commit of its own: the next one carries it, within a second or so. When
    /// too many wait, the oldest is dropped.
    pub fn aside(&self, fact: Fact) {
        self.0.asides.lock().unwrap_or_else(PoisonError::into_inner).push(fact);
    }
    /// What waits, for a commit to carry.
    pub fn take_asides(&self) -> Vec<Fact> {
        let mut asides = self.0.asides.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| asides.pop()).take(ASIDES_AT_ONCE).collect()
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
    /// Which maildrops are open by POP3.
    pub fn pop3_locks(&self) -> &Locks {
        &self.0.pop3_locks
    }
    /// What all log-ins share.
    pub fn logins(&self) -> &Logins {
        &self.0.logins
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
