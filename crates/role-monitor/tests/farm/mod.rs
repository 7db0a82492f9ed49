//! The real mail host, a monitor and their neighbours in one city of virtual time.
#![allow(dead_code)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use drive::{Roots, TlsServer};
use role_mail::gate::Gate;
use role_mail::listen::{Port, listen};
use role_mail::{Front, Site};
use role_monitor::channel::{Channel, Way};
use role_monitor::monitor::{Monitor, Settings};
use role_monitor::rows;
use role_monitor::usual::{MailHost, Ports};
use role_monitor::wire::{Kit, Login};
use sim::City;
use stdx::{Now, Secret, Span};
use store::Store;
use web::Url;
use words::{AccountId, Address, Domain};

pub const HOST: &str = "mx.home.example";
pub const HOST_IP: &str = "192.0.2.25";
pub const MONITOR_IP: &str = "198.51.100.7";
pub const NTFY_IP: &str = "203.0.113.9";

/// What arrived on the test's channel: title, text, priority.
pub type Heard = Arc<Mutex<Vec<(Now, String, String)>>>;

pub struct Farm {
    pub city: City,
    pub site: Site,
    pub heard: Heard,
    pub roots: Arc<Roots>,
    pub folder: PathBuf,
    stop: tokio::sync::watch::Sender<bool>,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

pub const FRONTS: &[(u16, Front, bool)] = &[
    (25, Front::Smtp, false),
    (587, Front::Submission, false),
    (465, Front::Submission, true),
    (143, Front::Imap, false),
    (993, Front::Imap, true),
    (110, Front::Pop3, false),
    (995, Front::Pop3, true),
    (4190, Front::Sieve, false),
];

impl Farm {
    /// Ann and Bob at home.example, all ports, mail on its way out.
    pub async fn begin(name: &str) -> Farm {
        Farm::begin_with(name, FRONTS).await
    }

    pub async fn begin_with(name: &str, fronts: &[(u16, Front, bool)]) -> Farm {
        let folder = std::env::temp_dir().join(format!("postroad-monitor-{}-{name}", std::process::id()));
        let city = City::new(7);
        let world = city.world(&[ip(HOST_IP)]);
        let made = host::authority::ensure(&folder, &[HOST.to_owned()], world.now()).expect("certificates");
        let certificates =
            Arc::new(host::Certificates::load(std::slice::from_ref(&made.pair)).expect("loads"));
        let roots = Arc::new(host::roots(std::slice::from_ref(&made.ca)).expect("roots"));
        let store = Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
        let mut settings = role_mail::Settings::new(HOST);
        settings.egresses[0].source = Some(ip(HOST_IP));
        let site = Site::with_roots(world.clone(), store, settings, roots.clone());
        let now = site.now();
        site.store()
            .commit(Vec::new(), move |batch| {
                directory::add_domain(batch, &Domain::new("home.example").expect("valid"), now)?;
                for name in ["ann@home.example", "bob@home.example"] {
                    let new = directory::NewAccount { address: &address(name), name, quota: None };
                    let id = directory::add_account(batch, &new, now)?;
                    directory::set_password(batch, id, &[Secret::new("{PLAIN}secret".to_owned())], now)?;
                }
                Ok(())
            })
            .await
            .expect("the directory is filled");
        let _ = AccountId(1);
        zones(&city);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let gate = Gate::default();
        for (port, front, implicit_tls) in fronts {
            let at = SocketAddr::new(ip(HOST_IP), *port);
            let listener = world.net.listen(at).await.expect("free");
            let tls: Arc<dyn TlsServer> = certificates.clone();
            let port = Port { front: *front, implicit_tls: *implicit_tls, listener, certificates: Some(tls) };
            tokio::spawn(listen(site.clone(), port, gate.clone(), stopped.clone()));
        }
        tokio::spawn(role_mail::send::run(site.clone(), stopped));
        let farm = Farm { city, site, heard: Heard::default(), roots, folder, stop };
        farm.ntfy().await;
        farm
    }

    /// A push server that keeps what it gets.
    async fn ntfy(&self) {
        use web::axum::{self, http::HeaderMap};
        let world = self.city.world(&[ip(NTFY_IP)]);
        let listener = world.net.listen(SocketAddr::new(ip(NTFY_IP), 80)).await.expect("free");
        let (heard, clock) = (self.heard.clone(), world.clock.clone());
        let take = move |headers: HeaderMap, text: String| {
            let title = headers.get("title").and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
            heard.lock().expect("not poisoned").push((clock.now(), title, text));
            std::future::ready("ok")
        };
        let router = axum::Router::new().route("/op", axum::routing::post(take));
        tokio::spawn(async move {
            while let Ok(connection) = listener.accept().await {
                tokio::spawn(web::serve(connection, router.clone(), web::Limits::default()));
            }
        });
    }

    pub fn login(&self, user: &str) -> Login {
        Login { user: user.into(), password: Secret::new("secret".into()) }
    }

    /// The host as its operator describes it.
    pub fn described(&self) -> MailHost {
        MailHost {
            name: HOST.into(),
            domains: vec!["home.example".into()],
            egresses: vec![(ip(HOST_IP), HOST.into())],
            account: Some(("ann@home.example".into(), self.login("ann@home.example"))),
            second: Some(("bob@home.example".into(), self.login("bob@home.example"))),
            ports: Ports { https: 0, ..Ports::default() },
            from: "probe@monitor.example".into(),
            junk: vec!["Junk".into()],
            ..MailHost::default()
        }
    }

    pub fn settings(&self, point: &str) -> Settings {
        let url = Url::parse("http://ntfy.example/op").expect("a URL");
        let channel = |name: &str, level| Channel {
            name: name.into(),
            level,
            way: Way::Ntfy { url: url.clone(), token: None },
        };
        Settings {
            targets: role_monitor::usual::targets(&self.described()),
            channels: vec![channel("first", 1), channel("second", 2)],
            region: format!("region of {point}"),
            ..Settings::new(point)
        }
    }

    pub async fn monitor(&self, settings: Settings) -> Monitor {
        self.monitor_at(settings, MONITOR_IP).await
    }

    pub async fn monitor_at(&self, settings: Settings, at: &str) -> Monitor {
        let monitor = self.monitor_at_rest(settings, at).await;
        tokio::spawn(monitor.clone().run(self.stop.subscribe()));
        monitor
    }

    /// A monitor whose tasks do not run: the test says when it looks and judges.
    pub async fn monitor_at_rest(&self, settings: Settings, at: &str) -> Monitor {
        let world = self.city.world(&[ip(at)]);
        let kit = Kit { world, roots: self.roots.clone(), name: "monitor.example".into() };
        let store = Store::in_memory(store::Settings::default(), &[rows::SCHEMA]).expect("a store");
        let key = link::Key::from_seed(&[9; 32]).expect("any 32 bytes will do");
        Monitor::open(kit, store, settings, key).await.expect("opens")
    }

    pub fn titles(&self) -> Vec<String> {
        self.heard.lock().expect("not poisoned").iter().map(|(_, title, _)| title.clone()).collect()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        // A folder that stays behind in /tmp harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn zones(city: &City) {
    let host = ip(HOST_IP);
    city.zones.mx("home.example", 10, HOST).ip(HOST, host).ptr(host, HOST);
    city.zones.txt("home.example", "v=spf1 ip4:192.0.2.25 -all");
    city.zones.txt("_dmarc.home.example", "v=DMARC1; p=reject");
    city.zones.txt("monitor.example", "v=spf1 ip4:198.51.100.7 -all");
    city.zones.ip("ntfy.example", ip(NTFY_IP));
    city.zones.ip("monitor.example", ip(MONITOR_IP)).ptr(ip(MONITOR_IP), "monitor.example");
}

/// The state of a probe in the overview.
pub fn state(monitor: &Monitor, id: &str) -> String {
    let overview = monitor.overview();
    let probes = overview["probes"].as_array().expect("probes").clone();
    let found = probes.iter().find(|p| p["id"] == id).unwrap_or_else(|| panic!("no probe {id}"));
    found["state"].as_str().unwrap_or_default().to_owned()
}

/// Every probe that is not good: id, state and words.
pub fn troubles(monitor: &Monitor) -> Vec<String> {
    let overview = monitor.overview();
    let probes = overview["probes"].as_array().expect("probes").clone();
    let bad = probes.iter().filter(|p| p["state"] != "good" || p["look"] != "good");
    bad.map(|p| format!("{} {} {} {}", p["id"], p["state"], p["look"], p["says"])).collect()
}

pub async fn pass(monitor: &Monitor, span: Span) {
    let world = &monitor.kit().world;
    world.clock.sleep_until(world.now() + span).await;
}
