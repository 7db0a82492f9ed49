//! `postroad up`: a whole farm on this machine, with neighbours to send mail to.
//!
//! It is the ordinary host in a world of its own: names come from a table, port 25 of the
//! neighbours is somewhere above the port base, and nothing leaves the machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Certificates;
use role_mail::{Egress, Front, Settings, Site};
use serde::{Deserialize, Serialize};
use sim::{Manners, Peer, Rule, Zones};
use stdx::{Bytes, Span};
use world::World;

use crate::house::{self, House, Plan, Signals, Told};
use crate::opening::{self, Door};
use crate::orders::{self, Order};
use crate::{demo_monitor, demo_past, demo_site, logs, place, say};

pub const HOST: &str = "mx.demo.example";
pub const DOMAIN: &str = "demo.example";
/// The addresses our mail leaves from: the preferred one, and the one to fall back on.
pub const EGRESS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 61, 1), Ipv4Addr::new(127, 0, 61, 2)];
/// The highest port base that leaves room for every port.
const BASE_MAX: u16 = 65_000;

/// What stays the same from start to start.
#[derive(Serialize, Deserialize, Clone)]
struct Kept {
    accounts: Vec<Account>,
    /// Of the status site's desk.
    #[serde(default)]
    desk: String,
}

#[derive(Serialize, Deserialize, Clone)]
pub struct Account {
    pub address: String,
    pub password: String,
}

/// Ports, by the last digits of the usual ones.
pub struct Ports(u16);

impl Ports {
    pub const SMTP: u16 = 25;
    pub const SUBMISSION: u16 = 87;
    pub const SUBMISSIONS: u16 = 65;
    pub const IMAP: u16 = 143;
    pub const IMAPS: u16 = 93;
    pub const POP3: u16 = 110;
    pub const POP3S: u16 = 95;
    pub const SIEVE: u16 = 90;
    pub const HTTP: u16 = 80;
    pub const STATUS: u16 = 81;
    pub const MONITOR: u16 = 82;

    pub fn at(&self, offset: u16) -> u16 {
        self.0 + offset
    }
    fn doors(&self) -> Vec<Door> {
        use config::TlsMode::{Implicit, None, StartTls};
        let door = |front, offset, tls| Door {
            front,
            at: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.at(offset)),
            tls,
        };
        vec![
            door(Front::Smtp, Ports::SMTP, StartTls),
            door(Front::Submission, Ports::SUBMISSION, StartTls),
            door(Front::Submission, Ports::SUBMISSIONS, Implicit),
            door(Front::Imap, Ports::IMAP, StartTls),
            door(Front::Imap, Ports::IMAPS, Implicit),
            door(Front::Pop3, Ports::POP3, StartTls),
            door(Front::Pop3, Ports::POP3S, Implicit),
            door(Front::Sieve, Ports::SIEVE, StartTls),
            door(Front::Http, Ports::HTTP, None),
        ]
    }
}

/// A provider next door.
struct Neighbour {
    domain: &'static str,
    mx: &'static str,
    at: Ipv4Addr,
    manners: Manners,
    words: &'static str,
}

fn neighbours() -> Vec<Neighbour> {
    let blocked = [IpAddr::V4(EGRESS[0])];
    let at = |n| Ipv4Addr::new(127, 0, 60, n);
    let unknown = Rule::Unknown {
        locals: vec!["nobody".into()],
        reply: "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown".into(),
    };
    vec![
        Neighbour {
            domain: "friendly.example",
            mx: "mx.friendly.example",
            at: at(1),
            manners: Manners::friendly("mx.friendly.example").with(unknown),
            words: "takes everything but nobody@",
        },
        Neighbour {
            domain: "patient.example",
            mx: "mx.patient.example",
            at: at(2),
            manners: Manners::greylisting("mx.patient.example", Span::secs(60)),
            words: "greylists for a minute",
        },
        Neighbour {
            domain: "office.example",
            mx: "office-example.mail.protection.outlook.com",
            at: at(3),
            manners: Manners::microsoft_business("DB5EUR03FT012.mail.protection.outlook.com", &blocked),
            words: "blocks our first address as Microsoft's business mail did in 2024",
        },
        Neighbour {
            domain: "hotpost.example",
            mx: "hotpost-example.olc.protection.outlook.com",
            at: at(4),
            manners: Manners::microsoft_consumer("AM7EUR06FT045.mail.protection.outlook.com", &blocked),
            words: "blocks our first address as Microsoft's consumer mail did",
        },
        Neighbour {
            domain: "slow.example",
            mx: "mx.slow.example",
            at: at(5),
            manners: Manners::friendly("mx.slow.example").with(Rule::Slow { each: Span::secs(2) }),
            words: "takes two seconds for each reply",
        },
    ]
}

pub fn run(data: Option<PathBuf>, port_base: u16, json: bool) -> Result<(), String> {
    if port_base == 0 || port_base > BASE_MAX {
        return Err(format!("--port-base must be from 1 to {BASE_MAX}; the ports are up to 143 above it."));
    }
    logs::begin("warn", None, Bytes::mib(50))?;
    // Fewer open files only mean fewer sessions at the same time.
    let _ = host::process::raise_open_files();
    let data = data.unwrap_or_else(place::up_folder);
    house::runtime(house::processors())?.block_on(up(&data, Ports(port_base), json))
}

async fn up(data: &Path, ports: Ports, json: bool) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let zones = Zones::new();
    let world = farm_world(&ports, &zones);
    std::fs::create_dir_all(data)
        .map_err(|e| format!("The folder {} cannot be made: {e}.", data.display()))?;
    let data =
        &data.canonicalize().map_err(|e| format!("The folder {} cannot be found: {e}.", data.display()))?;
    let names = [HOST.to_owned(), "localhost".into(), "127.0.0.1".into(), DOMAIN.into()];
    let authority = host::authority::ensure(&data.join("tls"), &names, world.now())
        .map_err(|e| format!("The demo's certificates cannot be made: {e}."))?;
    let certificates =
        Certificates::load(std::slice::from_ref(&authority.pair)).map_err(|e| e.to_string())?;
    let roots = host::roots(std::slice::from_ref(&authority.ca)).map_err(|e| e.to_string())?;
    let opened = opening::open_ports(&world, &ports.doors()).await?;
    begin_neighbours(&world, &ports, &zones).await?;
    let plan = Plan {
        data,
        world,
        settings: settings(),
        store: store::Settings::default(),
        certificates: Arc::new(certificates),
        roots: Arc::new(roots),
        wishes: None,
    };
    let house = House::begin(plan, opened)?;
    let kept = furnish(&house.site, data).await?;
    publish_keys(&house.site, &zones).await?;
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports.at(Ports::STATUS));
    let status = demo_site::begin(
        &data.join("status"),
        (house.site.world().clone(), house.site.roots().clone()),
        at,
        &kept.desk,
    )
    .await?;
    let watched = ports.doors().iter().map(|d| d.at).collect();
    let around = demo_monitor::Around {
        data: &data.join("monitor"),
        site: &house.site,
        ports: &ports,
        accounts: &kept.accounts,
        zones: &zones,
    };
    let post = demo_monitor::begin(&around).await?;
    let telling = tokio::spawn(demo_monitor::tell(
        post.monitor.clone(),
        house.site.clone(),
        status.board.clone(),
        data.to_owned(),
    ));
    let watching = tokio::spawn(demo_site::watch(status.board.clone(), house.site.clone(), watched));
    let told =
        Announcement { ports: &ports, ca: &authority.ca, data, accounts: &kept.accounts, desk: &kept.desk };
    say::announce(if json { told.json() } else { told.text() });
    while signals.next().await != Told::End {}
    watching.abort();
    telling.abort();
    post.end().await;
    status.end().await;
    house.end().await;
    Ok(())
}

fn farm_world(ports: &Ports, zones: &Zones) -> World {
    let mut detours = host::Detours::new();
    for neighbour in neighbours() {
        let ip = IpAddr::V4(neighbour.at);
        detours.insert(SocketAddr::new(ip, 25), SocketAddr::new(ip, ports.at(Ports::SMTP)));
    }
    // Mail to ourselves by way of our own MX.
    let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
    detours.insert(SocketAddr::new(own, 25), SocketAddr::new(own, ports.at(Ports::SMTP)));
    let net = host::NetSettings { detours, ..host::NetSettings::default() };
    let world = host::world(host::Settings { net, ..host::Settings::default() });
    zones.mx(DOMAIN, 10, HOST).ip(HOST, own).ptr(own, HOST);
    let [a, b] = EGRESS;
    zones
        .txt(DOMAIN, &format!("v=spf1 ip4:{a} ip4:{b} -all"))
        .txt(&format!("_dmarc.{DOMAIN}"), "v=DMARC1; p=reject");
    for (ip, name) in [(a, "a.mx.demo.example"), (b, "b.mx.demo.example")] {
        zones.ip(name, ip.into()).ptr(ip.into(), name);
    }
    zones.mx("nomail.example", 0, "");
    World { dns: Arc::new(zones.clone()), ..world }
}

async fn begin_neighbours(world: &World, ports: &Ports, zones: &Zones) -> Result<(), String> {
    for (n, neighbour) in neighbours().into_iter().enumerate() {
        let at = SocketAddr::new(neighbour.at.into(), ports.at(Ports::SMTP));
        let listener = world.net.listen(at).await.map_err(|e| {
            format!(
                "The neighbour {} cannot listen on {at}: {e}. Choose another --port-base.",
                neighbour.domain
            )
        })?;
        zones.mx(neighbour.domain, 10, neighbour.mx).ip(neighbour.mx, neighbour.at.into());
        // Their people may write to us from anywhere on this machine.
        zones.txt(neighbour.domain, "v=spf1 ip4:127.0.0.0/8 -all");
        zones.ptr(neighbour.at.into(), neighbour.mx);
        let peer = Peer::new(neighbour.manners, world.clock.clone(), n as u64);
        tokio::spawn(peer.serve(listener));
    }
    Ok(())
}

fn settings() -> Settings {
    let egress = |name: &str, ip: Ipv4Addr, helo: &str| Egress {
        name: name.into(),
        source: Some(ip.into()),
        helo: helo.into(),
        relay: None,
    };
    Settings {
        egresses: vec![
            egress("A", EGRESS[0], "a.mx.demo.example"),
            egress("B", EGRESS[1], "b.mx.demo.example"),
        ],
        // One person tries a thousand connections from one address.
        sessions_per_address_max: 5000,
        ..Settings::new(HOST)
    }
}

/// Makes the demo domain and its people the first time; reads their passwords back later.
async fn furnish(site: &Site, data: &Path) -> Result<Kept, String> {
    let file = data.join("up.json");
    if let Ok(text) = std::fs::read_to_string(&file)
        && let Ok(mut kept) = serde_json::from_str::<Kept>(&text)
    {
        // A folder of an older version has no desk yet.
        if kept.desk.is_empty() {
            kept.desk = orders::new_password(site.world());
            keep(&file, &kept)?;
        }
        return Ok(kept);
    }
    orders::carry_out(site, Order::DomainAdd { domain: DOMAIN.into() }).await?;
    orders::carry_out(site, Order::DomainKey { domain: DOMAIN.into() }).await?;
    let mut kept = Kept { accounts: Vec::new(), desk: orders::new_password(site.world()) };
    for (local, name) in [("alice", "Alice Demo"), ("bob", "Bob Demo")] {
        let address = format!("{local}@{DOMAIN}");
        let password = orders::new_password(site.world());
        let order = Order::AccountAdd {
            address: address.clone(),
            name: name.into(),
            quota: None,
            password: password.clone(),
        };
        orders::carry_out(site, order).await?;
        kept.accounts.push(Account { address, password });
    }
    orders::carry_out(
        site,
        Order::AliasAdd { from: format!("postmaster@{DOMAIN}"), to: format!("alice@{DOMAIN}") },
    )
    .await?;
    keep(&file, &kept)?;
    Ok(kept)
}

fn keep(file: &Path, kept: &Kept) -> Result<(), String> {
    let text = serde_json::to_string_pretty(kept).map_err(|e| e.to_string())?;
    write_private(file, &text).map_err(|e| format!("{} cannot be written: {e}.", file.display()))
}

/// Puts the demo domain's DKIM records into the farm's names and lets its mail be signed.
async fn publish_keys(site: &Site, zones: &Zones) -> Result<(), String> {
    for (name, text) in orders::key_records(site, DOMAIN).await? {
        zones.txt(&name, &text);
    }
    orders::carry_out(site, Order::DomainKey { domain: DOMAIN.into() }).await.map(drop)
}

fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes())
}

/// What `up` says once everything answers.
struct Announcement<'t> {
    ports: &'t Ports,
    ca: &'t Path,
    data: &'t Path,
    accounts: &'t [Account],
    desk: &'t str,
}

impl Announcement<'_> {
    fn json(&self) -> String {
        let p = |offset| self.ports.at(offset);
        serde_json::json!({
            "smtp": p(Ports::SMTP), "submission": p(Ports::SUBMISSION), "submissions": p(Ports::SUBMISSIONS),
            "imap": p(Ports::IMAP), "imaps": p(Ports::IMAPS), "pop3": p(Ports::POP3), "pop3s": p(Ports::POP3S),
            "sieve": p(Ports::SIEVE), "http": p(Ports::HTTP), "ca": self.ca, "data": self.data, "host": HOST, "domain": DOMAIN,
            "accounts": self.accounts, "status": self.status(), "monitor": self.monitor(),
            "status_desk": { "name": demo_past::AUTHOR, "password": self.desk },
            "neighbours": neighbours().iter().map(|n| n.domain).collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}/", self.ports.at(Ports::MONITOR))
    }

    fn status(&self) -> String {
        format!("http://127.0.0.1:{}/", self.ports.at(Ports::STATUS))
    }

    fn text(&self) -> String {
        let p = |offset| self.ports.at(offset);
        let (data, ca) = (self.data.display(), self.ca.display());
        let mut out = format!(
            "Postroad is up. Stop it with Ctrl-C; start it again and the mail is still there.\n\n\
             \x20 host      {HOST}, for the domain {DOMAIN}\n\
             \x20 ports     smtp {}, submission {} (TLS {}), imap {} (TLS {}), pop3 {} (TLS {}), sieve {}, http {}\n\
             \x20 data      {data}\n\
             \x20 CA        {ca}\n",
            p(Ports::SMTP),
            p(Ports::SUBMISSION),
            p(Ports::SUBMISSIONS),
            p(Ports::IMAP),
            p(Ports::IMAPS),
            p(Ports::POP3),
            p(Ports::POP3S),
            p(Ports::SIEVE),
            p(Ports::HTTP),
        );
        for account in self.accounts {
            out.push_str(&format!("  account   {}  password {}\n", account.address, account.password));
        }
        out.push_str(&format!(
            "  status    {} (its desk: {}desk, {} / {})\n",
            self.status(),
            self.status(),
            demo_past::AUTHOR,
            self.desk
        ));
        out.push_str(&format!("  monitor   {} (postroad monitor probes --data {data})\n", self.monitor()));
        for n in neighbours() {
            out.push_str(&format!("  neighbour {:<18}{}\n", n.domain, n.words));
        }
        out.push_str(&self.tries());
        out
    }

    /// Lines that work as they stand.
    fn tries(&self) -> String {
        let Some(Account { address, password }) = self.accounts.first() else { return String::new() };
        let (smtp, submissions) = (self.ports.at(Ports::SMTP), self.ports.at(Ports::SUBMISSIONS));
        let (imaps, data, ca) = (self.ports.at(Ports::IMAPS), self.data.display(), self.ca.display());
        let us = std::env::current_exe().map_or("postroad".to_owned(), |path| path.display().to_string());
        let letter = |from: &str, to: &str| {
            format!("printf 'From: {from}\\r\\nTo: {to}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n'")
        };
        let (friend, office) = ("me@friendly.example", "you@office.example");
        format!(
            "\nTry it: send yourself a message, read it, see what happened to it;\n\
             then write to a neighbour who blocks our first address, and see the way round.\n\n\
             {} | curl -sS smtp://127.0.0.1:{smtp} --mail-from {friend} --mail-rcpt {address} -T -\n\
             curl -sS --cacert {ca} --user '{address}:{password}' 'imaps://localhost:{imaps}/INBOX;UID=1'\n\
             {us} why {address} --data {data}\n\n\
             {} | curl -sS --cacert {ca} --user '{address}:{password}' smtps://localhost:{submissions} --mail-from {address} --mail-rcpt {office} -T -\n\
             {us} why {office} --data {data}\n",
            letter(friend, address),
            letter(address, office),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_its_own() {
        let mut ports: Vec<u16> = Ports(2500).doors().iter().map(|d| d.at.port()).collect();
        ports.sort();
        let all = ports.len();
        ports.dedup();
        assert_eq!(ports.len(), all);
    }

    #[test]
    fn the_json_line_has_what_scripts_rely_on() {
        let accounts = [Account { address: "a@b".into(), password: "x".into() }];
        let told = Announcement {
            ports: &Ports(3000),
            ca: Path::new("/ca"),
            data: Path::new("/d"),
            accounts: &accounts,
            desk: "x",
        };
        let line = told.json();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        for key in ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http"] {
            assert!(value[key].as_u64().is_some_and(|port| port > 3000), "{key}");
        }
        assert_eq!(
            (value["ca"].as_str(), value["accounts"][0]["password"].as_str()),
            (Some("/ca"), Some("x"))
        );
        let text = told.text();
        assert!(text.contains("curl -sS smtp://127.0.0.1:3025") && text.contains("office.example"), "{text}");
    }
}
