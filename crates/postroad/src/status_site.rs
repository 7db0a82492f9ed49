//! A running status site: its store, its ports, its tasks; and the same on a folder at rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use link::Peer;
use role_status::board::Settings;
use role_status::carry::{Outgoing, Relay, RelayTls, Way};
use role_status::listen::Door;
use role_status::setup::{Machine, Part, usual_parts};
use role_status::{Board, rows};
use statuspage::model::{ShownZone, Site};
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use web::push::Vapid;
use world::World;

use crate::cli::PlaceArgs;
use crate::{control, house, opening, orders, place};

/// What the site is called, kept beside its rows so that orders know it when it does not run.
const SITE: &str = "site.json";

pub struct StatusSite {
    pub board: Board,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Heard as long as it is kept.
    _control: control::Ear,
}

/// What a site shows besides what happens.
pub struct Shown {
    pub parts: Vec<Part>,
    pub machines: Vec<Machine>,
}

/// Opens the rows of a site.
pub fn open(data: &Path, settings: store::Settings) -> Result<Store, String> {
    opening::data_folder(data)?;
    Store::open(data, settings, &[rows::SCHEMA])
        .map_err(|e| format!("The store in {} cannot be opened: {e}.", data.display()))
}

impl StatusSite {
    /// Lets readers in.
    pub async fn begin(
        data: &Path,
        (world, store): (World, Store),
        settings: Settings,
        shown: Shown,
        doors: Vec<Door>,
    ) -> Result<StatusSite, String> {
        let site = serde_json::to_string(&settings.site).map_err(|e| e.to_string())?;
        std::fs::write(data.join(SITE), site)
            .map_err(|e| format!("The data folder {} cannot be written: {e}.", data.display()))?;
        let wrong =
            |e: store::StoreError| format!("The status site in {} cannot begin: {e}.", data.display());
        let board = Board::open(world, store, settings).await.map_err(wrong)?;
        board.set_parts(shown.parts).await.map_err(wrong)?;
        board.set_machines(shown.machines).await.map_err(wrong)?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for door in doors {
            tasks.spawn(role_status::listen::listen(board.clone(), door, stopped.clone()));
        }
        tasks.spawn(board.clone().run(stopped.clone()));
        tasks.spawn(board.clone().carry(stopped));
        let control = control::listen(data, orders::for_status(board.clone()))
            .map_err(|e| format!("The control socket in {} cannot be made: {e}.", data.display()))?;
        Ok(StatusSite { board, stop, tasks, _control: control })
    }

    pub async fn end(mut self) {
        // An error means that nobody listens any more: then there is nothing to stop.
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(house::STOP_MAX.to_std(), all).await.is_err() {
            tracing::warn!("some readers did not end within {}; they are cut", house::STOP_MAX);
        }
    }
}

/// The site as the configuration says it.
pub fn settings(config: &config::Config) -> Settings {
    let zone = |(label, name): &(String, String)| ShownZone { label: label.clone(), name: name.clone() };
    let site = Site {
        company: config.status.company.clone(),
        title: config.status.title.clone(),
        url: config.status.url.clone(),
        support: config.status.support.clone(),
        zones: config.status.zones.iter().map(zone).collect(),
        links: config.status.links.clone(),
    };
    let peer = |p: &config::Peer| Peer { name: p.name.clone(), public: p.key.clone(), last: 0 };
    Settings {
        folder: config.status.folder.clone(),
        post_by_mail: config.status.post_by_mail.as_deref().and_then(|a| words::Address::parse(a).ok()),
        peers: config.peers.iter().map(peer).collect(),
        ..Settings::new(site)
    }
}

/// How notices leave, as the configuration says it.
pub fn outgoing(config: &config::Config) -> Result<Outgoing, String> {
    let from = &config.status.notices_from;
    let from =
        words::Address::parse(from).map_err(|e| format!("notices_from = \"{from}\" is no address: {e}."))?;
    let roots = host::roots(&config.access.trusted_authorities).map_err(|e| e.to_string())?;
    let way = |e: &config::Egress| Way {
        name: e.name.clone(),
        helo: e.helo.clone(),
        source: e.source,
        relay: e.relay.as_ref().map(relay),
        port: config.queue.remote_port,
    };
    let vapid = push_key(&config.data, &config.status.notices_from)?;
    Ok(Outgoing {
        from,
        ways: config.egresses.iter().map(way).collect(),
        roots: Arc::new(roots),
        vapid: Some(vapid),
    })
}

fn relay(relay: &config::Relay) -> Relay {
    let tls = match relay.tls {
        config::TlsMode::StartTls => RelayTls::StartTls,
        config::TlsMode::Implicit => RelayTls::Implicit,
        config::TlsMode::None => RelayTls::None,
    };
    Relay { host: relay.host.clone(), port: relay.port, tls, login: relay.login.clone() }
}

/// The site's key towards push services, made the first time.
pub fn push_key(data: &Path, contact: &str) -> Result<Arc<Vapid>, String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = data.join("push.key");
    let wrong = |e: std::io::Error| format!("{} cannot be read or made: {e}.", file.display());
    if !file.exists() {
        let made = Vapid::generate().ok_or("The system has no randomness for a key.")?;
        let mut out = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .map_err(wrong)?;
        out.write_all(&made).and_then(|()| out.sync_all()).map_err(wrong)?;
    }
    let key = std::fs::read(&file).map_err(wrong)?;
    let vapid = Vapid::new(&key, &format!("mailto:{contact}"));
    vapid.map(Arc::new).ok_or_else(|| {
        format!(
            "{} is no key of ours. Move it away to get a new one; readers must subscribe again.",
            file.display()
        )
    })
}

pub fn shown(config: &config::Config) -> Shown {
    let part = |c: &config::status::Component| Part {
        id: c.id.clone(),
        name: c.name.clone(),
        about: c.about.clone(),
        cause: c.cause.clone(),
        decides: c.decides,
    };
    let machine = |s: &config::status::System| Machine {
        code: s.code.clone(),
        country: s.country.clone(),
        place: s.place.clone(),
        role: s.what.clone(),
        word: s.word.clone(),
        component: s.component.clone(),
    };
    let parts = config.status.components.iter().map(part).collect::<Vec<_>>();
    Shown {
        parts: if parts.is_empty() { usual_parts() } else { parts },
        machines: config.status.systems.iter().map(machine).collect(),
    }
}

/// The data folder of the site an order is about.
pub fn find(args: &PlaceArgs) -> Result<PathBuf, String> {
    let has_site = |dir: &Path| dir.join(SITE).exists();
    if let Some(data) = &args.data {
        let below = data.join("status");
        return match (has_site(data), has_site(&below)) {
            (true, _) => Ok(data.clone()),
            (false, true) => Ok(below),
            _ => Err(format!("There is no status site in {}.", data.display())),
        };
    }
    let file = args.config.clone().unwrap_or_else(|| PathBuf::from(place::CONFIG));
    if args.config.is_some() || file.exists() {
        let config = config::read(&file).map_err(|faults| faults.to_string())?;
        return match config.role {
            config::Role::Status => Ok(config.data),
            config::Role::Mail | config::Role::Monitor | config::Role::Relay => Err(format!(
                "{} is another host's. Name the status site's with --config or --data.",
                file.display()
            )),
        };
    }
    let up = place::up_folder().join("status");
    if has_site(&up) {
        Ok(up)
    } else {
        Err(format!(
            "There is no status site here: {} does not exist. Name one with --config FILE or --data DIR.",
            place::CONFIG
        ))
    }
}

/// Gives an order to the running site, or carries it out on its folder if none runs.
pub fn order(args: &PlaceArgs, order: orders::Order) -> Result<orders::Reply, String> {
    let data = find(args)?;
    match control::ask(&data, &order, &mut |_, _, _| ()) {
        Some(answer) => answer,
        None => alone(&data, order),
    }
}

fn alone(data: &Path, order: orders::Order) -> Result<orders::Reply, String> {
    house::runtime(2)?.block_on(async {
        let text = std::fs::read_to_string(data.join(SITE)).unwrap_or_default();
        let site: Site = serde_json::from_str(&text).unwrap_or_default();
        let store = open(data, store::Settings::default())?;
        let world = host::world(host::Settings::default());
        let board = Board::open(world, store, Settings::new(site)).await.map_err(|e| e.to_string())?;
        orders::for_status(board)(order, store::Tell::default()).await
    })
}
