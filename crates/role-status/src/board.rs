//! What every request and every tick of the status site shares.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use link::Peer;
use sasl::password::{Cost, Fit, verify};
use statuspage::model::Site;
use stdx::{Now, Secret, Span};
use store::{Store, StoreError};
use world::World;

use crate::publish::Files;

#[derive(Clone)]
pub struct Settings {
    pub site: Site,
    /// Where the plain files are written for a second copy; `None` keeps them in memory only.
    pub folder: Option<PathBuf>,
    /// Hosts that may tell us facts.
    pub peers: Vec<Peer>,
    /// Secret of the operators' API and log-in, checked as a password hash.
    pub operators: Vec<Operator>,
    pub agree: watch::Rule,
    pub incidents: watch::incident::Rule,
    /// How long raw tries are kept.
    pub raw_for: Span,
    /// How often everything is judged.
    pub tick: Span,
}

/// Someone who may speak for the provider.
#[derive(Clone)]
pub struct Operator {
    pub name: String,
    /// A password hash as `sasl` makes them.
    pub hash: Secret<String>,
}

impl Settings {
    pub fn new(site: Site) -> Settings {
        Settings {
            site,
            folder: None,
            peers: Vec::new(),
            operators: Vec::new(),
            agree: watch::Rule::default(),
            incidents: watch::incident::Rule::default(),
            raw_for: Span::days(14),
            tick: Span::secs(5),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Board(Arc<Shared>);

struct Shared {
    world: World,
    store: Store,
    settings: RwLock<Arc<Settings>>,
    files: Files,
    sessions: Mutex<Vec<Session>>,
}

/// A log-in of an operator.
#[derive(Clone)]
pub(crate) struct Session {
    pub token: String,
    /// Against forged forms of other sites.
    pub form: String,
    pub name: String,
    pub until: Now,
}

/// Log-ins held at the same time.
const SESSIONS_MAX: usize = 64;

impl Board {
    /// # Errors
    /// If the first snapshot cannot be read from the store.
    pub async fn open(world: World, store: Store, settings: Settings) -> Result<Board, StoreError> {
        let board = Board(Arc::new(Shared {
            world,
            store,
            settings: RwLock::new(Arc::new(settings)),
            files: Files::default(),
            sessions: Mutex::new(Vec::new()),
        }));
        board.publish().await?;
        Ok(board)
    }

    pub fn world(&self) -> &World {
        &self.0.world
    }
    pub fn store(&self) -> &Store {
        &self.0.store
    }
    pub fn now(&self) -> Now {
        self.0.world.now()
    }
    pub fn files(&self) -> &Files {
        &self.0.files
    }
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub fn reload(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Renders everything from the rows and hands it to readers: at most a second after any change.
    ///
    /// # Errors
    /// If the rows cannot be read.
    pub async fn publish(&self) -> Result<(), StoreError> {
        let (now, site) = (self.now(), self.settings().site.clone());
        let snapshot = self.store().read(move |conn| crate::snapshot::read(conn, &site, now)).await?;
        let folder = self.settings().folder.clone();
        self.files().set(snapshot, folder.as_deref());
        Ok(())
    }

    /// A random token, 128 bits.
    pub(crate) fn token(&self) -> String {
        let mut bytes = [0; 16];
        self.0.world.random.fill(&mut bytes);
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Checks an operator's password and opens a session for twelve hours.
    pub(crate) fn log_in(&self, name: &str, password: &str) -> Option<Session> {
        let settings = self.settings();
        let operator = settings.operators.iter().find(|o| o.name == name)?;
        if !matches!(verify(operator.hash.reveal(), password, Cost::default()), Fit::Yes { .. }) {
            return None;
        }
        let session = Session {
            token: self.token(),
            form: self.token(),
            name: name.to_owned(),
            until: self.now() + Span::hours(12),
        };
        let now = self.now();
        let mut sessions = self.sessions();
        sessions.retain(|s| s.until > now);
        if sessions.len() >= SESSIONS_MAX {
            sessions.remove(0);
        }
        sessions.push(session.clone());
        Some(session)
    }

    pub(crate) fn session(&self, token: &str) -> Option<Session> {
        let now = self.now();
        self.sessions().iter().find(|s| s.token == token && s.until > now).cloned()
    }

    pub(crate) fn log_out(&self, token: &str) {
        self.sessions().retain(|s| s.token != token);
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
