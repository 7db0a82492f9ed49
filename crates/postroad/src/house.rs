//! A running mail host: its ports, its store, its tasks, and how it stops.

use std::path::Path;
use std::sync::Arc;

use drive::{Roots, TlsServer};
use host::Certificates;
use role_mail::crossing::{self, Crossing, Landing};
use role_mail::gate::Gate;
use role_mail::listen::{Port, listen};
use role_mail::{Settings, Site};
use stdx::{Bytes, Span};
use store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use world::World;

use crate::opening::Opened;
use crate::place::Place;
use crate::upgrade::Wishes;
use crate::{control, orders};

/// After a stop was asked for, sessions and tasks get this long.
pub const STOP_MAX: Span = Span::secs(25);

/// What a house is made of.
pub struct Plan<'p> {
    pub data: &'p Path,
    pub world: World,
    pub settings: Settings,
    pub store: store::Settings,
    pub certificates: Arc<Certificates>,
    pub roots: Arc<Roots>,
    /// Where orders for another version go, if this host can be followed by one.
    pub wishes: Option<Wishes>,
}

/// A running host.
pub struct House {
    pub site: Site,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    gate: Gate,
    certificates: Arc<Certificates>,
    control: control::Ear,
}

impl House {
    /// Opens the store and lets people in.
    pub fn begin(plan: Plan<'_>, ports: Vec<Opened>) -> Result<House, String> {
        std::fs::write(plan.data.join("host-name"), &plan.settings.host_name)
            .map_err(|e| format!("The data folder {} cannot be written: {e}.", plan.data.display()))?;
        let store = open_store(plan.data, plan.store)?;
        let site = Site::with_roots(plan.world, store, plan.settings, plan.roots);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let gate = Gate::default();
        for opened in ports {
            let port = Port {
                front: opened.door.front,
                implicit_tls: opened.door.tls == config::TlsMode::Implicit,
                certificates: opened.shown(Some(&plan.certificates)),
                listener: opened.listener,
            };
            tasks.spawn(listen(site.clone(), port, gate.clone(), stopped.clone()));
        }
        role_mail::begin(&site, &stopped, &mut tasks);
        let control = control::listen(plan.data, orders::for_mail(site.clone(), plan.wishes))
            .map_err(|e| format!("The control socket in {} cannot be made: {e}.", plan.data.display()))?;
        Ok(House { site, stop, tasks, gate, certificates: plan.certificates, control })
    }

    /// One more task of this house, which ends when the house does.
    pub fn also<F>(&mut self, task: impl FnOnce(drive::Stop) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.subscribe()));
    }

    /// Sessions that began in another process go on here, as they come.
    pub fn go_on(&mut self, crossings: mpsc::Receiver<Crossing>) {
        let certificates: Arc<dyn TlsServer> = self.certificates.clone();
        let landing =
            Landing { site: self.site.clone(), gate: self.gate.clone(), certificates: Some(certificates) };
        self.also(|stop| crossing::resume(landing, crossings, stop));
    }

    /// Stops, but for the sessions that can go on elsewhere: those are left to the caller. So is the
    /// ear for orders, so that nobody takes the data folder for one without a host.
    pub async fn leave_within(self, limit: Span) -> (Vec<Crossing>, control::Ear) {
        let site = self.site.clone();
        site.quay().open();
        let control = self.end_within(limit).await;
        (site.quay().close(), control)
    }

    /// Stops in order: no new sessions, a word to those that stand, then the tasks' end.
    pub async fn end(self) {
        host::process::notify("STOPPING=1");
        drop(self.end_within(STOP_MAX).await);
    }

    /// As [`House::end`], with a time of the caller's choice.
    async fn end_within(mut self, limit: Span) -> control::Ear {
        // An error means that nobody listens any more: then there is nothing to stop.
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit.to_std(), all).await.is_err() {
            tracing::warn!("some sessions did not end within {limit}; they are cut");
        }
        self.control
    }
}

/// Opens the store with everything a mail host or a relay keeps in it.
pub fn open_store(data: &Path, settings: store::Settings) -> Result<Store, String> {
    let mut schemas = role_mail::schemas();
    schemas.push(role_relay::SCHEMA);
    Store::open(data, settings, &schemas)
        .map_err(|e| format!("The store in {} cannot be opened: {e}.", data.display()))
}

/// Carries out an order without a running host, on the data folder itself.
pub fn alone(place: &Place, order: orders::Order) -> Result<orders::Reply, String> {
    runtime(2)?.block_on(async {
        let store = open_store(&place.data, store::Settings::default())?;
        let world = host::world(host::Settings::default());
        let roots = host::roots(&[]).map_err(|e| e.to_string())?;
        let site = Site::with_roots(world, store, place.settings.clone(), Arc::new(roots));
        orders::restore_routes(&site)?;
        orders::carry_out(&site, order).await
    })
}

/// The threads everything runs on.
pub fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|e| format!("The runtime cannot be started: {e}."))
}

/// As many threads as there are processors.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// What the system tells a daemon.
pub struct Signals {
    end: Signal,
    interrupt: Signal,
    reload: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    End,
    Reload,
}

impl Signals {
    pub fn new() -> Result<Signals, String> {
        let on = |kind| signal(kind).map_err(|e| format!("Signals cannot be heard: {e}."));
        Ok(Signals {
            end: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            reload: on(SignalKind::hangup())?,
        })
    }
    pub async fn next(&mut self) -> Told {
        let Signals { end, interrupt, reload } = self;
        match drive::first(drive::first(end.recv(), interrupt.recv()), reload.recv()).await {
            drive::First::A(_) => Told::End,
            drive::First::B(_) => Told::Reload,
        }
    }
}

/// The store's settings for a reserve as the configuration names it: five in a hundred of the
/// disk if that is more is the store's own rule, so the default stays with it.
pub fn store_settings(reserve: Bytes) -> store::Settings {
    let reserve = (reserve != Bytes::mib(64)).then_some(reserve);
    store::Settings { reserve, ..store::Settings::default() }
}
