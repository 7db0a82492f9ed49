//! R26: the data centre of the mail host and the relay goes dark for 75 minutes, monitors and status
//! site live elsewhere. Real roles on every host, parcels over HTTP, virtual time.

mod farm;

use std::net::SocketAddr;
use std::sync::Arc;

use farm::{Farm, HOST_IP, ip};
use link::Peer;
use role_monitor::usual::{self, MailHost, Ports};
use role_status::setup::Part;
use role_status::subscribe::Channel;
use role_status::{Board, rows};
use sim::{Fault, Manners};
use statuspage::model::Site;
use stdx::{Now, Span};
use store::Store;
use watch::State;
use watch::incident::Stage;
use web::{Ask, Url};
use world::World;

const RELAY: &str = "relay.home.example";
const RELAY_IP: &str = "192.0.2.60";
const SITE_IP: &str = "198.51.100.90";
const READER_IP: &str = "203.0.113.200";
const POINTS: [(&str, &str); 3] = [("m1", "198.51.100.7"), ("m2", "198.51.100.8"), ("m3", "198.51.100.10")];
const DARK: Span = Span::mins(75);
/// A reader asks for the next page this often.
const READ_EVERY: Span = Span::secs(5);
const PAGES: [&str; 5] = ["/", "/feed.rss", "/api/v2/summary.json", "/archive/", "/maintenance.ics"];

fn part(id: &str, name: &str) -> Part {
    let (id, name) = (id.to_owned(), name.to_owned());
    Part { id, name, about: String::new(), cause: "mail".into(), decides: true }
}

/// The relay: it takes mail for elsewhere, which is all that a look from outside sees of it.
async fn relay(farm: &Farm) {
    let world = farm.city.world(&[ip(RELAY_IP)]);
    farm.city.zones.ip(RELAY, ip(RELAY_IP)).ptr(ip(RELAY_IP), RELAY);
    let listener = world.net.listen(SocketAddr::new(ip(RELAY_IP), 25)).await.expect("free");
    let peer = sim::Peer::new(Manners::friendly(RELAY), world.clock.clone(), 1);
    tokio::spawn(peer.serve(listener));
}

/// The status site with its own clock hand, its page and its door for parcels.
async fn site(farm: &Farm) -> Board {
    let world = farm.city.world(&[ip(SITE_IP)]);
    farm.city.zones.ip("status.example", ip(SITE_IP));
    let store = Store::in_memory(store::Settings::default(), &[rows::SCHEMA]).expect("a store");
    let site = Site { company: "Home".into(), url: "http://status.example".into(), ..Site::default() };
    let key = link::Key::from_seed(&[9; 32]).expect("a key");
    let peers = POINTS.map(|(name, _)| Peer { name: name.into(), public: key.public(), last: 0 });
    let settings = role_status::Settings { peers: peers.into(), ..role_status::Settings::new(site) };
    let board = Board::open(world.clone(), store, settings).await.expect("opens");
    let parts = [
        part("receiving", "Receiving mail"),
        part("reading", "Mail programs (IMAP/POP)"),
        part("ports", "Ports and certificates"),
    ];
    board.set_parts(parts.into()).await.expect("set");
    let listener = world.net.listen(SocketAddr::new(ip(SITE_IP), 80)).await.expect("free");
    let router = role_status::http::router(board.clone());
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            tokio::spawn(web::serve(connection, router.clone(), web::Limits::default()));
        }
    });
    board
}

/// Three points, each of which tells the site what it sees.
async fn points(farm: &Farm) {
    farm.city.zones.remove("monitor.example");
    farm.city.zones.txt("monitor.example", "v=spf1 ip4:198.51.100.0/24 -all");
    let key = link::Key::from_seed(&[9; 32]).expect("a key");
    let url = Url::parse("http://status.example/").expect("a URL");
    for (name, at) in POINTS {
        farm.city.zones.ip("monitor.example", ip(at)).ptr(ip(at), "monitor.example");
        let mut settings = farm.settings(name);
        settings.targets.retain(|t| matches!(t.component.as_str(), "receiving" | "reading" | "ports"));
        let ports = Ports {
            smtp: 25,
            submission: 0,
            submissions: 0,
            imap: 0,
            imaps: 0,
            pop3: 0,
            pop3s: 0,
            sieve: 0,
            https: 0,
        };
        let relay = MailHost { name: RELAY.into(), ports, ..MailHost::default() };
        // The peer speaks no TLS; whether it answers is what is looked at.
        let all = usual::targets(&relay).into_iter();
        settings.targets.extend(all.filter(|t| t.id.starts_with("port.smtp")).map(|mut t| {
            if let role_monitor::Kind::Port(port) = &mut t.kind {
                port.tls = role_monitor::wire::TlsWay::None;
            }
            t
        }));
        settings.peers =
            vec![(Peer { name: "status".into(), public: key.public(), last: 0 }, Some(url.clone()))];
        // Only one of them speaks: the others are here to agree.
        if name != "m1" {
            settings.channels.clear();
        }
        let _ = farm.monitor_at(settings, at).await;
    }
}

/// Somebody who reads the site all the while: answers that were whole, and all.
async fn reads(world: &World, roots: &Arc<drive::Roots>, n: usize) -> bool {
    let path = PAGES[n % PAGES.len()];
    let url = Url::parse(&format!("http://status.example{path}")).expect("a URL");
    let asked = world.now();
    let got = web::fetch(world, roots, &Ask::get(url)).await;
    got.is_ok_and(|got| got.status == 200 && !got.text().is_empty())
        && world.now().since(asked) <= Span::ms(200)
}

fn all_green(board: &Board) -> bool {
    board.files().now().snapshot.components.iter().all(|c| c.state == State::Operational)
}

#[tokio::test(start_paused = true)]
async fn r26_the_data_centre_is_dark_for_75_minutes_and_the_site_tells_it() {
    let farm = Farm::begin("dark").await;
    relay(&farm).await;
    let board = site(&farm).await;
    board.enlist(Channel::Mail, "client@elsewhere.example", "", "").await.expect("enlisted");
    points(&farm).await;
    let reader = farm.city.world(&[ip(READER_IP)]);
    let began = board.now();
    let (mut dark, mut light): (Option<Now>, Option<Now>) = (None, None);
    let (mut public, mut green, mut told) = (None, None, Vec::new());
    let (mut asked, mut answered) = (0usize, 0usize);
    while board.now().since(began) < Span::mins(97) {
        let next = board.now() + READ_EVERY;
        board.tick().await.expect("ticks");
        let now = board.now();
        if dark.is_none() && now.since(began) >= Span::mins(10) {
            assert!(all_green(&board), "before: {:?}", board.files().now().snapshot.components);
            assert!(board.files().now().snapshot.incidents.is_empty(), "a good day has no incident");
            for host in [HOST_IP, RELAY_IP] {
                farm.city.network.fault(ip(host), Some(Fault::Silent));
            }
            dark = Some(now);
        }
        if light.is_none() && dark.is_some_and(|at| now.since(at) >= DARK) {
            for host in [HOST_IP, RELAY_IP] {
                farm.city.network.fault(ip(host), None);
            }
            light = Some(now);
        }
        if let Some(at) = dark
            && public.is_none()
            && !board.files().now().snapshot.incidents.is_empty()
        {
            public = Some(now.since(at));
        }
        if let Some(at) = light
            && green.is_none()
            && all_green(&board)
        {
            green = Some(now.since(at));
        }
        for notice in board.take_notices(10).await.expect("read") {
            told.push((now, notice.text.clone()));
            board.notice_done(notice.id, true).await.expect("done");
        }
        answered += usize::from(reads(&reader, &farm.roots, asked).await);
        asked += 1;
        board.world().clock.sleep_until(next).await;
    }
    let (light, served) = (light.expect("it came back"), board.files().now());
    println!(
        "public after {public:?}, green {green:?} after the return; {answered} of {asked} requests answered"
    );
    assert!(public.is_some_and(|after| after <= Span::mins(2)), "public after {public:?}");
    assert_eq!(answered, asked, "the site answers throughout");
    assert!(green.is_some_and(|after| after <= Span::mins(8)), "green {green:?} after the return");
    let incidents = &served.snapshot.incidents;
    assert_eq!(incidents.len(), 1, "one cause, one incident: {incidents:?}");
    let incident = &incidents[0];
    assert_eq!(incident.stage, Stage::Resolved);
    let resolved = Now(incident.resolved.expect("over")).since(dark.expect("it was dark"));
    assert!(resolved >= DARK && resolved <= Span::mins(83), "it lasted {resolved}");
    assert!(told.first().is_some_and(|(at, _)| *at < light), "the beginning is told: {told:?}");
    let last = told.last().expect("a notice");
    assert!(last.0 >= light && told.len() <= 6, "the resolution is told, and little else: {told:?}");
    let titles = farm.titles();
    assert!(titles.iter().filter(|t| t.contains("does not answer on any port")).count() >= 1, "{titles:?}");
}

// What the operator is told before the event.
#[test]
fn two_ways_out_of_one_data_centre_are_said_to_fall_together() {
    use route::egress::{Egress, shared_fate};
    let way = |name: &str, at: &str, network: &str| {
        let egress = Egress::address(name, ip(at), name);
        Egress { network: Some(network.to_owned()), ..egress }
    };
    let near = [way("A", HOST_IP, "fra1"), way("B", "203.0.113.60", "fra1")];
    assert_eq!(shared_fate(&near), [("A".to_owned(), "B".to_owned(), "both are in fra1".to_owned())]);
    let apart = [way("A", HOST_IP, "fra1"), way("B", "203.0.113.60", "ams2")];
    assert_eq!(shared_fate(&apart), []);
}
