//! What every request and every tick of the status site shares.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use link::Peer;
use statuspage::model::Site;
use stdx::{Now, Span};
use store::{Store, StoreError};
use world::World;

use crate::carry::{Outgoing, Shy};
use crate::people::Failures;
use crate::publish::{Files, Reach};

#[derive(Clone)]
pub struct Settings {
    pub site: Site,
    /// Where the plain files are written for a second copy; `None` keeps them in memory only.
    pub folder: Option<PathBuf>,
    /// Hosts that may tell us facts.
    pub peers: Vec<Peer>,
    pub agree: watch::Rule,
    pub incidents: watch::incident::Rule,
    /// How long raw tries are kept.
    pub raw_for: Span,
    /// How often everything is judged.
    pub tick: Span,
    /// How notices leave; `None` keeps them.
    pub outgoing: Option<Outgoing>,
    /// Where posts by mail are sent to.
    pub post_by_mail: Option<words::Address>,
    /// Keep rows and render nothing: for a past that is lived through at once.
    pub rows_only: bool,
}

impl Settings {
    pub fn new(site: Site) -> Settings {
        Settings {
            site,
            folder: None,
            peers: Vec::new(),
            agree: watch::Rule::default(),
            incidents: watch::incident::Rule::default(),
            raw_for: Span::days(14),
            tick: Span::secs(5),
            outgoing: None,
            post_by_mail: None,
            rows_only: false,
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
    failures: Failures,
    shy: Shy,
    /// One publishes at a time: the newest rows win.
    publishing: tokio::sync::Mutex<()>,
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
            failures: Failures::default(),
            shy: Shy::default(),
            publishing: tokio::sync::Mutex::new(()),
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
        self.publish_within(Reach::All).await
    }

    /// The same for what changes with states, incidents and windows; posts stay as they are.
    pub(crate) async fn publish_live(&self) -> Result<(), StoreError> {
        self.publish_within(Reach::Live).await
    }

    /// Writes the whole site as plain files into a folder; returns how many files it has.
    ///
    /// # Errors
    /// What stands in the way of writing.
    pub async fn export(&self, to: PathBuf) -> std::io::Result<usize> {
        let served = self.files().now();
        let written = tokio::task::spawn_blocking(move || crate::publish::write_all(&to, &served));
        written.await.map_err(std::io::Error::other)?
    }

    async fn publish_within(&self, reach: Reach) -> Result<(), StoreError> {
        let _one = self.0.publishing.lock().await;
        let (now, site) = (self.now(), self.settings().site.clone());
        let snapshot = self.store().read(move |conn| crate::snapshot::read(conn, &site, now)).await?;
        if self.settings().rows_only {
            self.files().set_rows(snapshot);
            return Ok(());
        }
        let (board, folder) = (self.clone(), self.settings().folder.clone());
        let written =
            tokio::task::spawn_blocking(move || board.files().set(snapshot, reach, folder.as_deref()));
        if let Err(e) = written.await {
            tracing::error!(error = %e, "the pages could not be rendered; the old ones are served on");
        }
        Ok(())
    }

    /// A random token, 128 bits.
    pub(crate) fn token(&self) -> String {
        let mut bytes = [0; 16];
        self.0.world.random.fill(&mut bytes);
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    pub(crate) fn shy(&self) -> &Shy {
        &self.0.shy
    }
    pub(crate) fn failures(&self) -> &Failures {
        &self.0.failures
    }

    /// Checks an operator's password and opens a session for twelve hours.
    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Option<Session> {
        if !self.is_operator(name, password).await {
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

    pub(crate) fn log_out_all(&self, name: &str) {
        self.sessions().retain(|s| s.name != name);
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
