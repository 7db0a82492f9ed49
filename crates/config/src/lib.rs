//! One TOML for what belongs to the host; every error with file, line, caret and remedy.
//!
//! What it is: [`keys`] is the table of every key; [`read`] and [`parse`] make a [`Config`] of a
//! file or say all that is wrong with it ([`Faults`]); [`explain`], [`reference`] and
//! [`Config::show`] are made from the same table. Config is data: no expressions, no scripts;
//! secrets stand in files of their own. What it is not: settings that change at run time (the
//! directory keeps those). Begin with [`Config`].

mod egress;
mod fault;
pub mod keys;
pub mod monitor;
mod read;
mod show;
pub mod status;
pub mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use stdx::{Bytes, Span};

pub use egress::{BlockList, Egress, Preflight, Relay, Rules, Weight};
pub use fault::{Fault, Faults};
pub use show::{explain, reference};
pub use status::{Peer, Role, Status};

use read::{Filled, Tree};
use value::Value;

/// What speaks on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Smtp,
    Submission,
    Imap,
    Pop3,
    /// ManageSieve.
    Sieve,
    Http,
}

/// TLS on a port, or towards a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    StartTls,
    Implicit,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub front: Front,
    pub address: SocketAddr,
    pub tls: TlsMode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// A host's configuration, complete and checked.
#[derive(Clone)]
pub struct Config {
    pub host_name: String,
    pub role: Role,
    pub data: PathBuf,
    pub user: Option<String>,
    pub listeners: Vec<Listener>,
    pub certificates: Vec<Certificate>,
    pub egresses: Vec<Egress>,
    /// Block lists of the operator's own.
    pub lists: Vec<BlockList>,
    /// Whether the public ones are asked.
    pub public_lists: bool,
    /// Where complaints come in.
    pub feedback: Option<words::Address>,
    pub snds_url: Option<stdx::Secret<String>>,
    pub limits: Limits,
    pub queue: Queue,
    pub dns: Dns,
    pub access: Access,
    pub store_reserve: Bytes,
    pub ledger_keeps: Span,
    pub ledger_rows_max: u64,
    pub log: Log,
    pub peers: Vec<Peer>,
    pub status: Status,
    pub monitor: monitor::Monitor,
    tree: Tree,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub message_size: Bytes,
    pub recipients: usize,
    pub sessions: usize,
    pub sessions_per_address: usize,
    pub hops: usize,
    pub sessions_per_destination: usize,
}

#[derive(Clone, Debug)]
pub struct Queue {
    pub give_up_after: Span,
    pub delay_notice_after: Span,
    pub remote_port: u16,
    pub probe_domains: Vec<String>,
    pub policy_port: u16,
    pub tls_reports: bool,
}

#[derive(Clone, Debug)]
pub struct Dns {
    pub servers: Vec<SocketAddr>,
    pub trust_ad: bool,
}

#[derive(Clone, Debug)]
pub struct Access {
    pub trusted_networks: Vec<(IpAddr, u8)>,
    pub login_without_domain: bool,
    pub login_in_capitals: bool,
    pub plain_on_trusted_network: bool,
    pub tls_on_any_port: bool,
    pub list_channel_binding: bool,
    pub trusted_authorities: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub level: String,
    pub file: Option<PathBuf>,
    pub budget: Bytes,
}

/// Reads and checks a file, and the secrets it points to.
pub fn read(file: &Path) -> Result<Config, Faults> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| Faults::unreadable(&name, &e))?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    parse(&name, &text, &|path| {
        let text = std::fs::read_to_string(folder.join(path))?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    })
}

/// How secrets are fetched: the first line of a file.
pub type Fetch<'f> = &'f dyn Fn(&Path) -> std::io::Result<String>;

/// Reads and checks a file's text.
pub fn parse(name: &str, text: &str, fetch: Fetch<'_>) -> Result<Config, Faults> {
    let (tree, mut faults) = read::read(text);
    if !faults.is_empty() {
        return Err(Faults::new(name, text, faults));
    }
    let config = build(tree, fetch, &mut faults);
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(Faults::new(name, text, faults)),
    }
}

impl Config {
    /// The values as a file; with `all` the defaults too.
    pub fn show(&self, all: bool) -> String {
        show::show(&self.tree, all)
    }
}

/// The ports a host has when nothing else is said.
fn standard_listeners(role: Role) -> Vec<Listener> {
    use Front::{Http, Imap, Pop3, Sieve, Smtp, Submission};
    use TlsMode::{Implicit, StartTls};
    let at = |front, port, tls| Listener {
        front,
        address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        tls,
    };
    if role == Role::Relay {
        return vec![at(Submission, 587, StartTls), at(Submission, 465, Implicit)];
    }
    if role != Role::Mail {
        return vec![at(Http, 80, TlsMode::None), at(Http, 443, Implicit)];
    }
    vec![
        at(Smtp, 25, StartTls),
        at(Submission, 587, StartTls),
        at(Submission, 465, Implicit),
        at(Imap, 143, StartTls),
        at(Imap, 993, Implicit),
        at(Pop3, 110, StartTls),
        at(Pop3, 995, Implicit),
        at(Sieve, 4190, StartTls),
        at(Http, 443, Implicit),
    ]
}

fn certificates(tree: &Tree) -> Vec<Certificate> {
    let one = |c: &Filled| Some(Certificate { chain: path(c, "chain")?, key: path(c, "key")? });
    tree.many("certificate").iter().filter_map(one).collect()
}

/// `None` only together with a fault.
fn build(tree: Tree, fetch: Fetch<'_>, faults: &mut Vec<Fault>) -> Option<Config> {
    let top = tree.one("");
    let host_name = text(&top, "host_name")?;
    let role = Role::read(&top);
    let status = status::read(&tree, &host_name, faults);
    let monitor = monitor::read(&tree, &host_name, fetch, faults);
    let (limits, queue, dns) = (tree.one("limits"), tree.one("queue"), tree.one("dns"));
    let (ledger, log) = (tree.one("ledger"), tree.one("log"));
    let mut listeners: Vec<Listener> =
        tree.many("listener").iter().filter_map(|l| listener(l, faults)).collect();
    if tree.many("listener").is_empty() {
        listeners = standard_listeners(role);
    }
    let egresses = egress::egresses(&tree, &host_name, fetch, faults);
    let lists = egress::lists(&tree);
    let (feedback, snds_url) = egress::complaints(&tree.one("complaints"), fetch, faults);
    Some(Config {
        role,
        status,
        monitor,
        peers: status::peers(&tree),
        data: path(&top, "data")?,
        user: text(&top, "user"),
        listeners,
        certificates: certificates(&tree),
        egresses,
        lists,
        feedback,
        snds_url,
        public_lists: flag(&tree.one("lists"), "public"),
        limits: Limits {
            message_size: size(&limits, "message_size")?,
            recipients: count(&limits, "recipients")? as usize,
            sessions: count(&limits, "sessions")? as usize,
            sessions_per_address: count(&limits, "sessions_per_address")? as usize,
            hops: count(&limits, "hops")? as usize,
            sessions_per_destination: count(&limits, "sessions_per_destination")? as usize,
        },
        queue: Queue {
            give_up_after: span(&queue, "give_up_after")?,
            delay_notice_after: span(&queue, "delay_notice_after")?,
            remote_port: count(&queue, "remote_port")? as u16,
            probe_domains: each(&queue, "probe_domains", |v| {
                if let Value::Text(name) = v { Some(name.clone()) } else { None }
            }),
            policy_port: count(&queue, "policy_port")? as u16,
            tls_reports: flag(&queue, "tls_reports"),
        },
        dns: Dns {
            servers: each(&dns, "servers", |v| if let Value::Address(at) = v { Some(*at) } else { None }),
            trust_ad: flag(&dns, "trust_ad"),
        },
        access: access(&tree.one("access")),
        store_reserve: size(&tree.one("store"), "reserve")?,
        ledger_keeps: span(&ledger, "keep")?,
        ledger_rows_max: count(&ledger, "rows")?,
        log: Log { level: text(&log, "level")?, file: path(&log, "file"), budget: size(&log, "budget")? },
        host_name,
        tree,
    })
}

fn access(filled: &Filled) -> Access {
    Access {
        trusted_networks: each(filled, "trusted_networks", |v| {
            if let Value::Network(ip, bits) = v { Some((*ip, *bits)) } else { None }
        }),
        login_without_domain: flag(filled, "login_without_domain"),
        login_in_capitals: flag(filled, "login_in_capitals"),
        plain_on_trusted_network: flag(filled, "plain_on_trusted_network"),
        tls_on_any_port: flag(filled, "tls_on_any_port"),
        list_channel_binding: flag(filled, "list_channel_binding"),
        trusted_authorities: each(filled, "trusted_authorities", |v| {
            if let Value::Path(path) = v { Some(path.clone()) } else { None }
        }),
    }
}

fn listener(filled: &Filled, faults: &mut Vec<Fault>) -> Option<Listener> {
    let front = match text(filled, "front")?.as_str() {
        "smtp" => Front::Smtp,
        "submission" => Front::Submission,
        "imap" => Front::Imap,
        "pop3" => Front::Pop3,
        "sieve" => Front::Sieve,
        _ => Front::Http,
    };
    let Some(Value::Address(address)) = filled.get("address") else { return None };
    let mut tls = mode(filled, "tls");
    if front == Front::Http && tls == TlsMode::StartTls {
        if filled.was_given("tls") {
            faults.push(Fault {
                at: filled.place("tls"),
                what: "HTTP has no STARTTLS".into(),
                remedy: "write \"implicit\" for HTTPS or \"none\"".into(),
            });
        }
        tls = TlsMode::Implicit;
    }
    Some(Listener { front, address: *address, tls })
}

fn mode(filled: &Filled, key: &str) -> TlsMode {
    match text(filled, key).as_deref() {
        Some("implicit") => TlsMode::Implicit,
        Some("none") => TlsMode::None,
        _ => TlsMode::StartTls,
    }
}

// The table of keys has checked each kind; a getter that finds none finds a key left out.
fn text(filled: &Filled, key: &str) -> Option<String> {
    if let Some(Value::Text(text)) = filled.get(key) { Some(text.clone()) } else { None }
}
fn path(filled: &Filled, key: &str) -> Option<PathBuf> {
    if let Some(Value::Path(path)) = filled.get(key) { Some(path.clone()) } else { None }
}
fn size(filled: &Filled, key: &str) -> Option<Bytes> {
    if let Some(Value::Size(size)) = filled.get(key) { Some(*size) } else { None }
}
fn span(filled: &Filled, key: &str) -> Option<Span> {
    if let Some(Value::Span(span)) = filled.get(key) { Some(*span) } else { None }
}
fn count(filled: &Filled, key: &str) -> Option<u64> {
    if let Some(Value::Count(n)) = filled.get(key) { Some(*n) } else { None }
}
fn flag(filled: &Filled, key: &str) -> bool {
    matches!(filled.get(key), Some(Value::Bool(true)))
}
fn each<T>(filled: &Filled, key: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    if let Some(Value::List(items)) = filled.get(key) {
        items.iter().filter_map(read).collect()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
