//! The monitor against the real mail host, in virtual time: what flows is green, and each fault is
//! seen for what it is.

mod farm;

use std::net::SocketAddr;
use std::sync::Arc;

use farm::{Farm, HOST, HOST_IP, ip, pass, state, troubles};
use link::{Fact, Look, Parcel, Peer};
use role_monitor::talk::Taken;
use sim::{Fault, Manners};
use stdx::{Now, Span};
use world::World;

#[tokio::test(start_paused = true)]
async fn a_host_that_works_is_green_on_every_probe() {
    let farm = Farm::begin("green").await;
    let monitor = farm.monitor(farm.settings("m1")).await;
    pass(&monitor, Span::mins(15)).await;
    assert_eq!(troubles(&monitor), Vec::<String>::new());
    assert_eq!(farm.titles(), Vec::<String>::new());
    let loops = monitor.history(&format!("loop.in.{HOST}"), 3).await.expect("read").days[0].1;
    assert!((6..=9).contains(&loops.good) && loops.failed == 0, "{loops:?}");
    let text = monitor.figures();
    assert_eq!(watch::metrics::lint(&text), Vec::<String>::new(), "{text}");
    assert!(text.contains(&format!(
        "probe_success{{probe=\"loop.in.{HOST}\",component=\"receiving\",point=\"m1\"}} 1"
    )));
    assert!(text.contains("probe_ssl_earliest_cert_expiry{probe=\"certificate.imaps"), "{text}");
}

/// Whoever takes every message and delivers none: put before the host's port 25.
async fn black_hole(world: &World, at: &str, name: &str) {
    let listener = world.net.listen(SocketAddr::new(ip(at), 25)).await.expect("free");
    let peer = sim::Peer::new(Manners::friendly(name), world.clock.clone(), 1);
    tokio::spawn(peer.serve(listener));
}

// R35 (a): all ports answer, log-in works, SMTP says 250, and nothing is ever delivered.
#[tokio::test(start_paused = true)]
async fn mail_that_is_taken_and_never_delivered_is_red_within_ten_minutes_while_ports_are_green() {
    let fronts: Vec<_> = farm::FRONTS.iter().copied().filter(|(port, ..)| *port != 25).collect();
    let farm = Farm::begin_with("hole", &fronts).await;
    let began = farm.site.now();
    black_hole(&farm.city.world(&[ip(HOST_IP)]), HOST_IP, HOST).await;
    let mut settings = farm.settings("m1");
    // The hole speaks no TLS; that is not what is shown here.
    settings.targets.retain(|t| !t.id.contains(".smtp.") && !t.id.starts_with("open-relay"));
    let monitor = farm.monitor(settings).await;
    while state(&monitor, &format!("loop.in.{HOST}")) != "down" {
        assert!(monitor.now().since(began) <= Span::mins(10), "{:?}", troubles(&monitor));
        pass(&monitor, Span::secs(5)).await;
    }
    pass(&monitor, Span::secs(80)).await;
    let red = troubles(&monitor);
    assert_eq!(red.len(), 1, "only the loop is red: {red:?}");
    assert!(red[0].contains("is in no folder"), "{red:?}");
    let titles = farm.titles();
    assert!(titles.len() == 1 && titles[0].contains("loop.in"), "{titles:?}");
}

// R35 (b): submission takes everything, and nothing leaves.
#[tokio::test(start_paused = true)]
async fn mail_that_never_leaves_is_red_in_its_own_direction() {
    let farm = Farm::begin("out").await;
    // The seed's provider: its MX takes and drops, its IMAP is our own host under another name.
    let there = farm.city.world(&[ip("203.0.113.50")]);
    black_hole(&there, "203.0.113.50", "mx.seed.example").await;
    farm.city.zones.mx("seed.example", 10, "mx.seed.example").ip("mx.seed.example", ip("203.0.113.50"));
    let mut host = farm.described();
    host.seeds = vec![role_monitor::usual::Seed {
        name: "seed".into(),
        address: "s@seed.example".into(),
        imap: role_monitor::wire::Place { host: HOST.into(), port: 993 },
        tls: role_monitor::wire::TlsWay::Implicit,
        login: farm.login("bob@home.example"),
        egress: None,
        junk: Vec::new(),
    }];
    let mut settings = farm.settings("m1");
    settings.targets = role_monitor::usual::targets(&host);
    let began = farm.site.now();
    let monitor = farm.monitor(settings).await;
    let out = format!("loop.out.seed.{HOST}");
    while state(&monitor, &out) != "down" {
        assert!(monitor.now().since(began) <= Span::mins(10), "{:?}", troubles(&monitor));
        pass(&monitor, Span::secs(5)).await;
    }
    let red = troubles(&monitor);
    assert!(red.len() == 1 && red[0].contains("loop.out"), "{red:?}");
    assert_eq!(state(&monitor, &format!("loop.in.{HOST}")), "good");
}

#[tokio::test(start_paused = true)]
async fn a_closed_port_is_one_alert_and_a_dead_host_is_one_alert() {
    let fronts: Vec<_> = farm::FRONTS.iter().copied().filter(|(port, ..)| *port != 993).collect();
    let farm = Farm::begin_with("port", &fronts).await;
    let mut settings = farm.settings("m1");
    settings.targets.retain(|t| t.id.starts_with("port."));
    let monitor = farm.monitor(settings).await;
    pass(&monitor, Span::mins(4)).await;
    let titles = farm.titles();
    assert!(
        titles.len() == 1 && titles[0].contains("port.imaps") && titles[0].contains("refused"),
        "{titles:?}"
    );

    farm.city.network.fault(ip(HOST_IP), Some(Fault::Refused));
    pass(&monitor, Span::mins(4)).await;
    let titles = farm.titles();
    assert_eq!(titles.len(), 2, "{titles:?}");
    assert_eq!(titles[1], format!("{HOST} does not answer on any port"));
}

#[tokio::test(start_paused = true)]
async fn wrong_names_are_seen_within_the_hour() {
    let farm = Farm::begin("names").await;
    let mut settings = farm.settings("m1");
    settings.targets.retain(|t| t.id.starts_with("names.") || t.id.starts_with("reverse."));
    let monitor = farm.monitor(settings).await;
    pass(&monitor, Span::mins(5)).await;
    assert_eq!(troubles(&monitor), Vec::<String>::new());
    farm.city.zones.remove("home.example");
    farm.city.zones.mx("home.example", 10, HOST).txt("home.example", "v=spf1 ip4:192.0.2.99 -all");
    pass(&monitor, Span::mins(62)).await;
    let titles = farm.titles();
    assert!(titles.len() == 1 && titles[0].contains("SPF says fail for 192.0.2.25"), "{titles:?}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_told_before_its_end_and_at_it_and_for_a_wrong_name() {
    let farm = Farm::begin("certificate").await;
    let mut host = farm.described();
    host.name = "other.home.example".into();
    host.address = Some(ip(HOST_IP));
    let mut settings = farm.settings("m1");
    settings.targets = role_monitor::usual::targets(&host);
    settings.targets.retain(|t| t.id.starts_with("certificate.imaps"));
    let monitor = farm.monitor(settings).await;
    pass(&monitor, Span::mins(3)).await;
    let titles = farm.titles();
    assert!(titles.len() == 1 && titles[0].contains("not for other.home.example"), "{titles:?}");
}

// R31: the road that is watched is broken; the alert comes by another, within two minutes. And
// three minutes of silence are spoken of without being asked.
#[tokio::test(start_paused = true)]
async fn an_alert_does_not_use_the_broken_road_and_silence_is_spoken_of() {
    let farm = Farm::begin("road").await;
    let mut settings = farm.settings("m1");
    settings.targets.clear();
    let key = link::Key::from_seed(&[3; 32]).expect("a key");
    settings.peers = vec![(Peer { name: HOST.into(), public: key.public(), last: 0 }, None)];
    settings.expected = vec![HOST.into()];
    // The first channel is the operator's mailbox, on the host whose store is full.
    let mut port = match &farm
        .settings("m1")
        .targets
        .iter()
        .find(|t| t.id.starts_with("port.submissions"))
        .expect("there")
        .kind
    {
        role_monitor::Kind::Port(port) => port.clone(),
        _ => panic!("a port"),
    };
    port.login = None;
    let (from, to) = ("op@home.example".to_owned(), "op@blocked.example".to_owned());
    let way = role_monitor::channel::Way::Mail { port, login: None, from, to };
    settings.channels.insert(0, role_monitor::channel::Channel { name: "mail".into(), level: 1, way });
    let monitor = farm.monitor(settings).await;
    let began = monitor.now();
    let say = async |serial: u64, facts: Vec<Fact>| {
        let parcel = Parcel { from: HOST.into(), serial, at: monitor.now(), facts };
        monitor.take(&link::seal(&parcel, &key)).await.expect("the store works")
    };
    let beat = || Fact::Heartbeat { at: 0, version: "1".into(), started: 0 };
    let full = Fact::Alarm {
        at: 0,
        cause: "store.full".into(),
        says: "the store is full: mail is put off".into(),
        over: false,
    };
    assert_eq!(say(1, vec![beat(), full]).await, Taken::Facts(2));
    assert_eq!(say(1, vec![]).await, Taken::Again);
    pass(&monitor, Span::mins(2)).await;
    let heard = farm.heard.lock().expect("not poisoned").clone();
    assert!(heard.len() == 1 && heard[0].1.contains("store is full"), "{heard:?}");
    assert!(heard[0].0.since(began) <= Span::mins(2));
    let sent = monitor.figures();
    assert!(sent.contains("postroad_notices_total{channel=\"mail\",result=\"failed\"}"), "{sent}");

    // The heartbeat was the last: by three minutes and a tick someone is told.
    pass(&monitor, Span::secs(70)).await;
    let titles = farm.titles();
    assert!(titles.len() == 2 && titles[1].contains("has said nothing since"), "{titles:?}");
    assert_eq!(say(2, vec![beat()]).await, Taken::Facts(1));
    pass(&monitor, Span::mins(6)).await;
    // By then it has been silent again for longer than it spoke.
    assert!(farm.titles().len() <= 3, "{:?}", farm.titles());
}

// R13: half of the connections of one region are lost; nobody is told more than once, and the
// others' word stands.
#[tokio::test(start_paused = true)]
async fn trouble_of_one_region_is_that_regions_and_one_alert() {
    let farm = Farm::begin("region").await;
    let mut settings = farm.settings("m1");
    settings.targets.retain(|t| t.id.starts_with("port."));
    let keys: Vec<link::Key> = [1, 2].map(|n| link::Key::from_seed(&[n; 32]).expect("a key")).into();
    let names = ["m2", "m3"];
    settings.peers = names
        .iter()
        .zip(&keys)
        .map(|(name, key)| (Peer { name: (*name).into(), public: key.public(), last: 0 }, None))
        .collect();
    let ids: Vec<(String, String)> =
        settings.targets.iter().map(|t| (t.id.clone(), t.component.clone())).collect();
    let monitor = farm.monitor(settings).await;
    for round in 0..30u64 {
        for (n, (name, key)) in names.iter().zip(&keys).enumerate() {
            let facts = ids
                .iter()
                .map(|(probe, component)| {
                    let lost =
                        n == 1 && (probe.contains("submission") || probe.contains("imaps")) && round % 2 == 0;
                    Fact::Probe {
                        at: monitor.now().ms(),
                        probe: probe.clone(),
                        component: component.clone(),
                        point: (*name).into(),
                        region: format!("region of {name}"),
                        look: if lost { Look::Failed } else { Look::Good },
                        ms: 9,
                        says: if lost { "no connection in time".into() } else { String::new() },
                    }
                })
                .collect();
            let parcel = Parcel { from: (*name).into(), serial: round + 1, at: monitor.now(), facts };
            assert!(matches!(monitor.take(&link::seal(&parcel, key)).await, Ok(Taken::Facts(_))));
        }
        pass(&monitor, Span::secs(20)).await;
    }
    assert_eq!(state(&monitor, &format!("port.imaps.{HOST}")), "degraded");
    assert_eq!(state(&monitor, &format!("port.imap.{HOST}")), "good");
    let titles = farm.titles();
    assert_eq!(titles.len(), 1, "{titles:?}");
    assert!(titles[0].contains("degraded for region of m3"), "{titles:?}");
}

#[tokio::test(start_paused = true)]
async fn a_point_whose_own_line_is_dead_blames_nobody() {
    let farm = Farm::begin("line").await;
    let mut settings = farm.settings("m1");
    settings.targets.retain(|t| t.id.starts_with("port."));
    settings.neutral = ["203.0.113.70", "203.0.113.71"]
        .map(|host| role_monitor::wire::Place { host: host.into(), port: 443 })
        .into();
    // Nothing is reached any more: neither the host nor anything else.
    farm.city.network.fault(ip(HOST_IP), Some(Fault::Silent));
    let monitor = farm.monitor(settings).await;
    pass(&monitor, Span::mins(10)).await;
    assert_eq!(state(&monitor, &format!("port.imaps.{HOST}")), "no data");
    assert_eq!(farm.titles(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn facts_reach_another_point_over_http_and_survive_its_absence() {
    let farm = Farm::begin("peers").await;
    let key = link::Key::from_seed(&[9; 32]).expect("a key");
    let mut second = farm.settings("m2");
    second.peers = vec![(Peer { name: "m1".into(), public: key.public(), last: 0 }, None)];
    second.targets.retain(|t| t.id.starts_with("port."));
    second.channels.clear();
    let mut first = second.clone();
    (first.point, first.name, first.region) = ("m1".into(), "m1".into(), "region of m1".into());
    let url = web::Url::parse("http://m2.example/").expect("a URL");
    first.peers = vec![(Peer { name: "m2".into(), public: key.public(), last: 0 }, Some(url))];
    farm.city.zones.ip("m2.example", ip("198.51.100.8"));
    let one = farm.monitor(first).await;
    pass(&one, Span::mins(3)).await;
    let two = farm.monitor_at(second, "198.51.100.8").await;
    let listener = two.kit().world.net.listen(SocketAddr::new(ip("198.51.100.8"), 80)).await.expect("free");
    let router = role_monitor::http::router(two.clone());
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            tokio::spawn(web::serve(connection, router.clone(), web::Limits::default()));
        }
    });
    pass(&two, Span::secs(30)).await;
    let overview = two.overview();
    let probe = &overview["probes"][0];
    let points: Vec<&str> =
        probe["points"].as_array().expect("points").iter().filter_map(|p| p["point"].as_str()).collect();
    assert!(points.contains(&"m1"), "{probe}");
    assert!(overview["hosts"].as_array().is_some_and(|h| h.iter().any(|h| h["name"] == "m1")), "{overview}");
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_acknowledged_from_its_address_and_stays_so_after_a_restart() {
    let farm = Farm::begin("ack").await;
    let mut settings = farm.settings("m1");
    settings.targets.retain(|t| t.id.starts_with("port."));
    settings.url = Some(web::Url::parse("https://monitor.example/").expect("a URL"));
    farm.city.network.fault(ip(HOST_IP), Some(Fault::Refused));
    let monitor = farm.monitor(settings.clone()).await;
    pass(&monitor, Span::mins(3)).await;
    assert_eq!(farm.titles().len(), 1);
    let cause = format!("host.{HOST}");
    assert!(monitor.ack_address(&cause, Now(5)).starts_with("https://monitor.example/ack/host."));
    assert!(monitor.acknowledge(&cause, "Ann").await.expect("the store works"));
    assert!(!monitor.acknowledge("host.other", "Ann").await.expect("the store works"));
    pass(&monitor, Span::hours(3)).await;
    assert_eq!(farm.titles().len(), 1, "who has it is not reminded: {:?}", farm.titles());
    let key = link::Key::from_seed(&[9; 32]).expect("a key");
    let kit = role_monitor::wire::Kit {
        world: monitor.kit().world.clone(),
        roots: Arc::clone(&farm.roots),
        name: "m".into(),
    };
    let again =
        role_monitor::Monitor::open(kit, monitor.store().clone(), settings, key).await.expect("opens");
    let overview = again.overview();
    assert_eq!(overview["alerts"][0]["by"], "Ann", "{overview}");
    let days = again.history(&format!("port.imaps.{HOST}"), 3).await.expect("read").days;
    assert!(days[0].1.failed > 100, "what was counted before the restart is there: {days:?}");
}

#[tokio::test(start_paused = true)]
async fn the_loop_inside_proves_delivery_every_minute() {
    let farm = Farm::begin("inside").await;
    let mut settings = farm.settings("m1");
    settings.targets.retain(|t| t.id.starts_with("loop.inside"));
    let monitor = farm.monitor(settings).await;
    pass(&monitor, Span::mins(5)).await;
    let history = monitor.history(&format!("loop.inside.{HOST}"), 1).await.expect("read");
    assert!(history.days[0].1.good >= 4 && history.tries.len() >= 4, "{:?}", history.days);
    assert!(history.tries.iter().all(|(_, look, _)| *look == Look::Good));
}
