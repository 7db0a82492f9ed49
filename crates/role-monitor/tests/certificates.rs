//! Certificates near and past their end, shown by a real TLS server, in virtual time (R22).

mod farm;

use std::net::SocketAddr;
use std::sync::Arc;

use drive::{TlsPick, TlsServer};
use farm::{Farm, ip, pass};
use role_monitor::probe::{Kind, Target};
use role_monitor::wire::{Family, Place};
use rustls::pki_types::PrivateKeyDer;
use stdx::{Now, Span};

struct One(Arc<rustls::ServerConfig>);

impl TlsServer for One {
    fn pick(&self, _sni: Option<&str>) -> Result<TlsPick, String> {
        Ok(TlsPick { config: self.0.clone(), endpoint: None })
    }
}

/// A certificate for `web.example` that ends then, of an authority the monitor trusts.
fn server(ends: Now) -> (Arc<rustls::ServerConfig>, rcgen::Certificate) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["web.example".to_owned()]).expect("a name");
    let day = |at: Now| {
        let c = at.civil();
        rcgen::date_time_ymd(c.year as i32, c.month as u8, c.day as u8)
    };
    (params.not_before, params.not_after) = (day(Now::from_secs(1_700_000_000)), day(ends));
    let certificate = params.self_signed(&key).expect("signed");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("they fit");
    (Arc::new(config), certificate)
}

#[tokio::test(start_paused = true)]
async fn an_end_that_comes_near_is_told_in_steps_on_every_channel() {
    let mut farm = Farm::begin("ends").await;
    // 22 November 2026 is the first day of this world.
    let (config, certificate) = server(farm.site.now() + Span::days(25));
    let mut store = rustls::RootCertStore::empty();
    store.add(certificate.der().clone()).expect("an anchor");
    farm.roots = Arc::new(drive::Roots::new(store));
    let world = farm.city.world(&[ip("203.0.113.44")]);
    farm.city.zones.ip("web.example", ip("203.0.113.44"));
    let listener = world.net.listen(SocketAddr::new(ip("203.0.113.44"), 25)).await.expect("free");
    let tls: Arc<dyn TlsServer> = Arc::new(One(config));
    let wires = drive::Wires {
        clock: world.clock.clone(),
        tls: drive::Tls::Server { certificates: tls, implicit: true },
        stop: drive::never_stop(),
        farewell: b"",
        meter: Arc::default(),
        limits: drive::Limits::default(),
    };
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            let wires = wires.clone();
            tokio::spawn(async move { drop(drive::tls::accept(connection, &wires).await) });
        }
    });
    let mut settings = farm.settings("m1");
    settings.channels[1].level = 1;
    settings.targets = vec![Target {
        id: "certificate.web".into(),
        kind: Kind::Tls { to: Place { host: "web.example".into(), port: 25 }, family: Family::Any },
        component: "ports".into(),
        host: "web.example".into(),
        every: Span::hours(1),
        limit: Span::secs(20),
        slow: Span::secs(5),
    }];
    // Reminders are another test's business.
    (settings.rule.remind, settings.rule.remind_max) = (Span::days(90), Span::days(90));
    (settings.rule.escalate, settings.rule.public) = (Span::days(90), Span::days(90));
    let monitor = farm.monitor_at_rest(settings, farm::MONITOR_IP).await;
    // Twenty-six days, a look every six hours and a second one to be sure.
    for _ in 0..26 * 4 {
        pass(&monitor, Span::hours(6)).await;
        for wait in [20, 80, 1] {
            monitor.look("certificate.web").await;
            monitor.tick().await;
            pass(&monitor, Span::secs(wait)).await;
        }
        monitor.carry_once().await.expect("the store works");
    }
    let titles: Vec<String> = farm.titles().into_iter().filter(|t| !t.starts_with("Over")).collect();
    for step in ["21 days", "14 days", "7 days", "3 days", "1 days"] {
        let told = titles.iter().filter(|t| t.contains(&format!("within {step}"))).count();
        assert_eq!(told, 2, "{step} on two channels: {titles:?}");
    }
    assert_eq!(titles.iter().filter(|t| t.contains("ended on")).count(), 2, "{titles:?}");
}

// M32: every week, and a channel that nobody answers is told of on all of them.
#[tokio::test(start_paused = true)]
async fn channels_are_tried_every_week_and_silence_about_it_is_told() {
    let farm = Farm::begin("tests").await;
    let mut settings = farm.settings("m1");
    settings.targets.clear();
    settings.rule.remind = Span::days(90);
    (settings.rule.escalate, settings.rule.public) = (Span::days(90), Span::days(90));
    let monitor = farm.monitor_at_rest(settings, farm::MONITOR_IP).await;
    let step = async |hours| {
        pass(&monitor, Span::hours(hours)).await;
        monitor.tick().await;
        monitor.carry_once().await.expect("the store works");
    };
    step(7 * 24 - 1).await;
    assert_eq!(farm.titles(), Vec::<String>::new());
    step(1).await;
    assert_eq!(farm.titles(), ["Test", "Test"]);
    assert!(monitor.acknowledge("test.first", "Ann").await.expect("the store works"));
    step(23).await;
    assert_eq!(farm.titles().len(), 2);
    step(1).await;
    let titles = farm.titles();
    assert!(titles.len() == 3 && titles[2].contains("the test of the channel second"), "{titles:?}");
}
