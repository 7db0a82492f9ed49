//! A running monitor: its store, its ports, its tasks; and its settings as the configuration says
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::monitor as file;
use drive::{Roots, TlsServer};
use role_monitor::channel::{Channel, Way};
use role_monitor::probe::port::{Port, Proto};
use role_monitor::probe::{Kind, Target, Web};
use role_monitor::usual::{MailHost, Ports, Seed};
use role_monitor::wire::{Family, Kit, Login, Place, TlsWay};
use role_monitor::{Monitor, Settings, rows};
use stdx::Secret;
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use web::{Url, push};
use world::{Listener, World};

use crate::cli::PlaceArgs;
use crate::{control, house, link_key, orders, place};

/// Kept in the data folder, so that orders know what lives there.
const POINT: &str = "point";
/// Our key towards push services, made when the first push channel is there.
const VAPID: &str = "push.key";

/// A port that is open, and the certificates to show there.
pub type Door = (Arc<dyn Listener>, Option<Arc<dyn TlsServer>>);

pub struct WatchPost {
    pub monitor: Monitor,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Heard as long as it is kept.
    _control: control::Ear,
}

impl WatchPost {
    /// Begins to look.
    pub async fn begin(
        data: &Path,
        (world, roots): (World, Arc<Roots>),
        name: &str,
        mut settings: Settings,
        doors: Vec<Door>,
    ) -> Result<WatchPost, String> {
        std::fs::create_dir_all(data)
            .and_then(|()| std::fs::write(data.join(POINT), &settings.point))
            .map_err(|e| format!("The data folder {} cannot be written: {e}.", data.display()))?;
        let store = Store::open(data, store::Settings::default(), &[rows::SCHEMA])
            .map_err(|e| format!("The store in {} cannot be opened: {e}.", data.display()))?;
        let key = link_key::load(data)?;
        settings.secret = link_key::derived(data, "acknowledge")?;
        let kit = Kit { world, roots, name: name.to_owned() };
        let monitor = Monitor::open(kit, store, settings, key)
            .await
            .map_err(|e| format!("The monitor in {} cannot begin: {e}.", data.display()))?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (listener, certificates) in doors {
            tasks.spawn(role_monitor::http::listen(monitor.clone(), listener, certificates, stopped.clone()));
        }
        tasks.spawn(monitor.clone().run(stopped));
        let control = control::listen(data, orders::for_monitor(monitor.clone()))
            .map_err(|e| format!("The control socket in {} cannot be made: {e}.", data.display()))?;
        Ok(WatchPost { monitor, stop, tasks, _control: control })
    }

    pub async fn end(mut self) {
        // An error means that nobody listens any more: then there is nothing to stop.
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(house::STOP_MAX.to_std(), all).await.is_err() {
            tracing::warn!("some probes did not end within {}; they are cut", house::STOP_MAX);
        }
    }
}

/// The settings as the configuration says them.
pub fn settings(config: &config::Config) -> Result<Settings, String> {
    let m = &config.monitor;
    let mut targets = Vec::new();
    for watch in &m.watches {
        targets.extend(role_monitor::usual::targets(&mail_host(watch)?));
    }
    for probe in &m.probes {
        targets.push(target(probe)?);
    }
    let mut ids: Vec<&str> = targets.iter().map(|t| t.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
        return Err(format!("There are two probes \"{}\": give each [[probe]] a name of its own.", twice[0]));
    }
    let place = |(host, port): &(String, u16)| Place { host: host.clone(), port: *port };
    let peer = |p: &config::Peer| {
        let url = p.url.as_deref().map(folder_url).transpose()?;
        Ok((link::Peer { name: p.name.clone(), public: p.key.clone(), last: 0 }, url))
    };
    Ok(Settings {
        region: m.region.clone(),
        targets,
        neutral: m.neutral.iter().map(place).collect(),
        channels: m.channels.iter().map(|c| channel(c, &config.data)).collect::<Result<_, String>>()?,
        peers: config.peers.iter().map(peer).collect::<Result<_, String>>()?,
        expected: m.heartbeat.clone(),
        name: config.host_name.clone(),
        points_min: m.points_min,
        at_once_max: m.at_once,
        url: m.url.as_deref().map(folder_url).transpose()?,
        rule: ::watch::alert::Rule {
            remind: m.remind,
            escalate: m.escalate,
            ..::watch::alert::Rule::default()
        },
        raw_for: m.raw,
        ..Settings::new(&m.point)
    })
}

fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|e| format!("{e}. Write a URL such as \"https://mail.example.org/\"."))
}

/// A URL below which others stand.
pub fn folder_url(text: &str) -> Result<Url, String> {
    let mut url = url(text)?;
    if !url.path.ends_with('/') {
        url.path.push('/');
    }
    Ok(url)
}

fn login(account: &file::Account) -> Login {
    Login { user: account.user.clone(), password: account.password.clone() }
}

const fn tls(mode: config::TlsMode) -> TlsWay {
    match mode {
        config::TlsMode::Implicit => TlsWay::Implicit,
        config::TlsMode::StartTls => TlsWay::StartTls,
        config::TlsMode::None => TlsWay::None,
    }
}

fn mail_host(w: &file::Watch) -> Result<MailHost, String> {
    let mut ports = Ports::default();
    for (name, port) in &w.ports {
        let slot = match name.as_str() {
            "smtp" => &mut ports.smtp,
            "submission" => &mut ports.submission,
            "submissions" => &mut ports.submissions,
            "imap" => &mut ports.imap,
            "imaps" => &mut ports.imaps,
            "pop3" => &mut ports.pop3,
            "pop3s" => &mut ports.pop3s,
            _ => &mut ports.sieve,
        };
        *slot = *port;
    }
    let account = |a: &file::Account| (a.address.clone(), login(a));
    let web = w.web.as_deref().map(url).transpose()?.map(|url| Web {
        url,
        status: 0,
        expect: w.web_text.clone(),
        form: w.web_login.clone(),
        family: Family::Any,
    });
    let status = match &w.status {
        Some(site) => Some((folder_url(site)?, w.status_copy.as_deref().map(folder_url).transpose()?)),
        None => None,
    };
    Ok(MailHost {
        name: w.host.clone(),
        address: w.address,
        ports,
        ipv6: w.ipv6,
        domains: w.domains.clone(),
        selectors: w.selectors.clone(),
        ns: w.name_servers.clone(),
        autoconfig: w.autoconfig,
        rdap: w.rdap.as_deref().map(folder_url).transpose()?,
        egresses: w.egress.iter().map(|ip| (*ip, w.helo.clone())).collect(),
        account: w.account.as_ref().map(account),
        second: w.second.as_ref().map(account),
        seeds: w.seeds.iter().map(seed).collect(),
        web,
        status,
        from: w.from.clone(),
        lists: w.lists,
        junk: w.junk.clone(),
    })
}

fn seed(s: &file::Seed) -> Seed {
    Seed {
        name: s.name.clone(),
        address: s.account.address.clone(),
        imap: Place { host: s.imap.0.clone(), port: s.imap.1 },
        tls: tls(s.tls),
        login: login(&s.account),
        egress: s.egress,
        junk: s.junk.clone(),
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn host_port(text: &str) -> Result<Place, String> {
    let wrong = || format!("\"{text}\" is no target: write \"host:port\".");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Place { host, port: port.parse().map_err(|_| wrong())? })
}

fn target(p: &file::Probe) -> Result<Target, String> {
    let about = |why: String| format!("The probe \"{}\": {why}", p.name);
    let family = Family::Any;
    let (host, kind) = match p.kind.as_str() {
        "tcp" => {
            let to = host_port(&p.target).map_err(about)?;
            (to.host.clone(), Kind::Tcp { to, family })
        }
        "tls" => {
            let to = host_port(&p.target).map_err(about)?;
            (to.host.clone(), Kind::Tls { to, family })
        }
        "ping" => (p.target.clone(), Kind::Ping { host: p.target.clone(), family }),
        "http" => {
            let url = url(&p.target).map_err(about)?;
            let page = Web { url, status: p.status, expect: p.expect.clone(), form: Vec::new(), family };
            (page.url.host.clone(), Kind::Http(page))
        }
        "dns" => {
            let (record, name) = p.target.split_once(' ').ok_or_else(|| {
                about(format!("\"{}\" is no question: write \"MX example.org\".", p.target))
            })?;
            let (record, name) = (record.to_ascii_uppercase(), name.trim().to_owned());
            (String::new(), Kind::Dns { record, name, expect: p.expect.clone() })
        }
        word => {
            let proto = Proto::from_word(word).ok_or_else(|| about(format!("there is no kind {word}.")))?;
            let to = host_port(&p.target).map_err(about)?;
            let name = to.host.clone();
            let port = Port { proto, to, family, tls: tls(p.tls), name: name.clone(), login: None };
            (name, Kind::Port(Box::new(port)))
        }
    };
    Ok(Target {
        id: p.name.clone(),
        kind,
        component: p.component.clone(),
        host,
        every: p.every,
        limit: p.limit,
        slow: p.slow,
    })
}

fn channel(c: &file::Channel, data: &Path) -> Result<Channel, String> {
    let about = |why: String| format!("The channel \"{}\": {why}", c.name);
    let secret = || c.secret.clone().unwrap_or_else(|| Secret::new(String::new()));
    let way = match c.kind.as_str() {
        "ntfy" => Way::Ntfy { url: url(&c.url).map_err(about)?, token: c.secret.clone() },
        "webhook" => Way::Hook { url: url(&c.url).map_err(about)?, secret: secret() },
        "matrix" => {
            Way::Matrix { server: folder_url(&c.url).map_err(about)?, room: c.to.clone(), token: secret() }
        }
        "sms" => {
            Way::Sms { url: c.url.clone(), body: c.body.clone(), to: c.to.clone(), token: c.secret.clone() }
        }
        "mail" => {
            let (host, port) = c.server.clone().ok_or_else(|| about("it has no server.".into()))?;
            let port = Port {
                proto: Proto::Submission,
                to: Place { host: host.clone(), port },
                family: Family::Any,
                tls: tls(c.tls),
                name: host,
                login: None,
            };
            let login = (!c.user.is_empty()).then(|| Login { user: c.user.clone(), password: secret() });
            Way::Mail { port: Box::new(port), login, from: c.from.clone(), to: c.to.clone() }
        }
        _ => Way::Push {
            to: push::Subscription::parse(&c.to).map_err(about)?,
            vapid: Arc::new(vapid(data).map_err(about)?),
        },
    };
    Ok(Channel { name: c.name.clone(), level: c.level, way })
}

/// Our key towards push services, made the first time.
pub fn vapid(data: &Path) -> Result<push::Vapid, String> {
    let file = data.join(VAPID);
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let made = push::Vapid::generate().ok_or("no key can be made")?;
            link_key::write_secret(&file, &made)?;
            made
        }
        Err(e) => return Err(format!("{} cannot be read: {e}.", file.display())),
    };
    push::Vapid::new(&bytes, "mailto:postmaster@localhost")
        .ok_or_else(|| format!("{} is no key of ours. Move it away to get a new one.", file.display()))
}

/// The data folder of the monitor an order is about.
fn find(args: &PlaceArgs) -> Result<PathBuf, String> {
    let is_one = |dir: &Path| dir.join(POINT).exists();
    let data = match (&args.data, &args.config) {
        (Some(data), _) => data.clone(),
        (None, Some(file)) => config::read(file).map_err(|faults| faults.to_string())?.data,
        (None, None) if Path::new(place::CONFIG).exists() => {
            config::read(Path::new(place::CONFIG)).map_err(|faults| faults.to_string())?.data
        }
        (None, None) => place::up_folder(),
    };
    let below = data.join("monitor");
    match (is_one(&data), is_one(&below)) {
        (true, _) => Ok(data),
        (false, true) => Ok(below),
        _ => Err(format!(
            "There is no monitor in {}. Name one with --config FILE or --data DIR.",
            data.display()
        )),
    }
}

/// Gives an order to the running monitor.
pub fn order(args: &PlaceArgs, order: orders::Order) -> Result<orders::Reply, String> {
    let data = find(args)?;
    control::ask(&data, &order, &mut |_, _, _| ()).unwrap_or_else(|| {
        Err(format!("The monitor in {} does not run. Start it with `postroad serve`.", data.display()))
    })
}
