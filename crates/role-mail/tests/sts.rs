//! MTA-STS, DANE and REQUIRETLS when sending, and the counts for TLS reports: real sockets, real
//! TLS, certificates good and bad; the names come from a table.

mod far;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use far::{Authority, Mx, Shifted, Web, elsewhere};
use mailauth::keys::{self, SigningKey};
use role_mail::{Settings, Site};
use sim::Zones;
use spool::Origin;
use stdx::Span;
use store::Store;
use words::{AccountId, Address, Envelope, MessageId, Recipient};

const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: mx.far.example\nmax_age: 604800\n";
const TESTING: &str = "version: STSv1\nmode: testing\nmx: mx.far.example\nmax_age: 604800\n";

/// far.example with a mail server and a policy, and our host beside it.
struct Farm {
    ca: Authority,
    mx: Mx,
    web: Web,
    /// Where far.example takes reports.
    desk: Web,
    zones: Zones,
    clock: Shifted,
    site: Site,
    stop: tokio::sync::watch::Sender<bool>,
}

async fn farm(mx: Mx) -> Farm {
    let (ca, web, zones, clock) = (Authority::new(), Web::default(), Zones::new(), Shifted::default());
    zones
        .mx("far.example", 10, "mx.far.example")
        .ip("mx.far.example", elsewhere(1))
        .ip("evil.example", elsewhere(1))
        .ip("mta-sts.far.example", elsewhere(2))
        .ip("reports.far.example", elsewhere(3))
        .txt("_mta-sts.far.example", "v=STSv1; id=1;");
    let desk = Web::default();
    let detours = host::Detours::from([
        (SocketAddr::new(elsewhere(1), 25), mx.listen().await),
        (SocketAddr::new(elsewhere(2), 443), web.listen().await),
        (SocketAddr::new(elsewhere(3), 443), desk.listen().await),
    ]);
    web.publish(&ca.server("mta-sts.far.example", false), ENFORCE);
    mx.show(Some(ca.server("mx.far.example", false)));
    let store = Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
    let settings = Settings { dnssec: true, ..Settings::new("mx.home.example") };
    let world = far::world(&zones, &clock, detours);
    let site = Site::with_roots(world, store, settings, Arc::new(ca.roots()));
    let farm = Farm { ca, mx, web, desk, zones, clock, site, stop: tokio::sync::watch::channel(false).0 };
    farm.begin();
    farm
}

impl Farm {
    fn begin(&self) {
        let stop = self.stop.subscribe();
        tokio::spawn(role_mail::send::run(self.site.clone(), stop.clone()));
        tokio::spawn(role_mail::housekeeping::tend(self.site.clone(), stop));
    }
    /// The sender ends and begins again, with what the store has.
    async fn restart(&self) {
        self.stop.send(true).expect("runs");
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.stop.send(false).expect("is kept");
        self.begin();
    }
    async fn send(&self, requiretls: bool) -> MessageId {
        let (site, id) = (&self.site, self.site.message_id());
        let mut draft = site.store().draft();
        draft.write(format!("Message-ID: <{id}@x>\r\n\r\nHi {id}.\r\n").as_bytes()).await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let address = |text: &str| Address::parse(text).expect("valid");
        let envelope = Envelope {
            sender: Some(address("ann@home.example")),
            recipients: vec![Recipient::new(address("bob@far.example"))],
            requiretls,
            ..Envelope::default()
        };
        let (feed, at) = (site.feed().clone(), site.now());
        let done = site.store().commit(vec![sealed], move |batch| {
            let (body, origin) = (batch.body(0), Origin::Submitted(AccountId(1)));
            let new =
                spool::New { message: id, session: None, body, size: 60, header: None, envelope, origin, at };
            spool::add(batch, &feed, &new)
        });
        done.await.expect("is accepted");
        id
    }
    /// Waits until the walk has a fact of this kind; the walk.
    async fn walk(&self, id: MessageId, kind: &str) -> String {
        let mut text = String::new();
        for _ in 0..400 {
            let facts = self.site.store().read_now(|conn| ledger::walk(conn, id)).expect("facts");
            text = role_mail::why::text("it", &facts);
            if facts.iter().any(|f| f.kind == kind) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no {kind}:\n{text}");
    }
    /// Today's counts: policy, result, sessions.
    async fn counts(&self) -> Vec<(String, String, u64)> {
        role_mail::housekeeping::once(&self.site, false).await.expect("writes");
        let day = role_mail::send::tally::day(self.site.now());
        let rows = self.site.store().read_now(|c| spool::tls::counts(c, day, Some("far.example")));
        rows.expect("counts").into_iter().map(|c| (c.policy, c.result, c.sessions)).collect()
    }
}

fn row(policy: &str, result: &str, sessions: u64) -> (String, String, u64) {
    (policy.to_owned(), result.to_owned(), sessions)
}

#[tokio::test]
async fn a_server_of_the_policy_with_a_good_certificate_gets_the_mail() {
    let farm = farm(Mx::default()).await;
    let id = farm.send(false).await;
    let walk = farm.walk(id, "send.delivered").await;
    assert!(walk.contains("MTA-STS enforce: the server is named and its certificate is good"), "{walk}");
    assert!(matches!(farm.mx.got().as_slice(), [(true, _)]));
    assert_eq!(farm.counts().await, [row("sts", "", 1)]);
    assert_eq!(farm.web.calls(), 1, "the policy is fetched once");
}

// RFC 8461 §5
#[tokio::test]
async fn where_the_policy_is_enforced_a_bad_certificate_gets_nothing() {
    let farm = farm(Mx::default()).await;
    let other = Authority::new();
    let cases = [
        (Some(other.server("mx.far.example", false)), "no authority", "certificate-not-trusted"),
        (Some(farm.ca.server("mx.far.example", true)), "expired", "certificate-expired"),
        (Some(farm.ca.server("www.far.example", false)), "other names", "certificate-host-mismatch"),
        (None, "does not offer TLS", "starttls-not-supported"),
    ];
    for (shown, words, result) in cases {
        farm.mx.show(shown);
        let id = farm.send(false).await;
        let walk = farm.walk(id, "send.deferred").await;
        assert!(
            walk.contains("MTA-STS enforce:") && walk.contains(words) && walk.contains("nothing was sent"),
            "{walk}"
        );
        assert!(farm.mx.got().is_empty(), "{words}");
        let counts = farm.counts().await;
        assert!(counts.contains(&row("sts", result, 1)), "{counts:?}");
    }
    // When the certificate is mended, everything that waits goes out.
    farm.mx.show(Some(farm.ca.server("mx.far.example", false)));
    farm.clock.forward(Span::hours(3));
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
}

#[tokio::test]
async fn a_server_outside_the_policy_is_not_even_called() {
    let farm = farm(Mx::default()).await;
    farm.zones.remove("far.example").mx("far.example", 10, "evil.example");
    farm.mx.show(Some(farm.ca.server("evil.example", false)));
    let id = farm.send(false).await;
    let walk = farm.walk(id, "send.deferred").await;
    assert!(
        walk.contains("MTA-STS enforce: evil.example is not among the servers that the policy names"),
        "{walk}"
    );
    assert_eq!((farm.mx.calls(), farm.counts().await), (0, vec![row("sts", "validation-failure", 1)]));
    // A second server that is named gets it.
    farm.zones.mx("far.example", 20, "mx.far.example");
    farm.mx.show(Some(farm.ca.server("mx.far.example", false)));
    farm.clock.forward(Span::hours(3));
    farm.walk(id, "send.delivered").await;
}

#[tokio::test]
async fn a_policy_under_test_is_counted_and_the_mail_goes_out() {
    let farm = farm(Mx::default()).await;
    farm.web.publish(&farm.ca.server("mta-sts.far.example", false), TESTING);
    farm.mx.show(Some(farm.ca.server("mx.far.example", true)));
    let id = farm.send(false).await;
    let walk = farm.walk(id, "send.delivered").await;
    assert!(walk.contains("MTA-STS testing: its certificate has expired"), "{walk}");
    assert_eq!(farm.counts().await, [row("sts", "certificate-expired", 1)]);
    farm.mx.show(None);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    assert_eq!(farm.mx.got().iter().map(|(tls, _)| *tls).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        farm.counts().await,
        [row("sts", "certificate-expired", 1), row("sts", "starttls-not-supported", 1)]
    );
}

// RFC 8461 §5.1: what is kept holds until it ends, whatever becomes of record and web server.
#[tokio::test]
async fn a_kept_policy_outlives_a_restart_its_record_and_its_web_server() {
    let farm = farm(Mx::default()).await;
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    farm.web.hush();
    farm.zones.remove("_mta-sts.far.example");
    farm.mx.show(None);
    farm.restart().await;
    let id = farm.send(false).await;
    let walk = farm.walk(id, "send.deferred").await;
    assert!(walk.contains("MTA-STS enforce"), "{walk}");
    // A new record whose policy cannot be had changes nothing either, and is counted.
    farm.zones.txt("_mta-sts.far.example", "v=STSv1; id=2;");
    farm.clock.forward(Span::hours(3));
    let id = farm.send(false).await;
    assert!(farm.walk(id, "send.deferred").await.contains("MTA-STS enforce"));
    let counts = farm.counts().await;
    assert!(counts.contains(&row("sts", "sts-policy-fetch-error", 1)), "{counts:?}");
    // When it has ended, it is over.
    farm.clock.forward(Span::days(8));
    farm.zones.remove("_mta-sts.far.example");
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    assert!(matches!(farm.mx.got().last(), Some((false, _))));
}

#[tokio::test]
async fn a_new_record_brings_the_new_policy() {
    let farm = farm(Mx::default()).await;
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    farm.zones.remove("_mta-sts.far.example").txt("_mta-sts.far.example", "v=STSv1; id=2;");
    let none = "version: STSv1\nmode: none\nmax_age: 604800\n";
    farm.web.publish(&farm.ca.server("mta-sts.far.example", false), none);
    farm.mx.show(None);
    farm.clock.forward(Span::hours(2));
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    assert_eq!(farm.web.calls(), 2);
}

#[tokio::test]
async fn a_policy_is_renewed_before_it_ends() {
    let farm = farm(Mx::default()).await;
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    farm.clock.forward(Span::hours(145));
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        if farm.web.calls() == 2 {
            break;
        }
    }
    assert_eq!(farm.web.calls(), 2, "without any mail for the domain");
    // Until it is read and kept, time stands still. So it holds for longer than the first would have.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    farm.web.hush();
    farm.clock.forward(Span::days(2));
    farm.mx.show(None);
    let id = farm.send(false).await;
    assert!(farm.walk(id, "send.deferred").await.contains("MTA-STS enforce"));
}

// RFC 8461 §3.3
#[tokio::test]
async fn a_policy_that_is_badly_published_is_none() {
    let good = "version: STSv1\r\nmode: enforce\r\nmx: mx.far.example\r\nmax_age: 604800\r\n";
    let ok = "HTTP/1.0 200 OK\r\nContent-Type: ";
    for (name, answer, result) in [
        ("www.far.example", format!("{ok}text/plain\r\n\r\n{good}"), "sts-webpki-invalid"),
        ("mta-sts.far.example", format!("{ok}text/html\r\n\r\n{good}"), "sts-policy-fetch-error"),
        (
            "mta-sts.far.example",
            format!("{ok}text/plain\r\n\r\n{}", good.repeat(2000)),
            "sts-policy-fetch-error",
        ),
        ("mta-sts.far.example", format!("{ok}text/plain\r\n\r\nmode: maybe\r\n"), "sts-policy-invalid"),
        (
            "mta-sts.far.example",
            "HTTP/1.1 302 Found\r\nLocation: https://mta-sts.far.example/x\r\n\r\n".into(),
            "sts-policy-fetch-error",
        ),
    ] {
        let farm = farm(Mx::default()).await;
        farm.web.say(&farm.ca.server(name, false), answer);
        farm.mx.show(None);
        let id = farm.send(false).await;
        farm.walk(id, "send.delivered").await;
        let counts = farm.counts().await;
        assert!(counts.contains(&row("sts", result, 1)), "{counts:?}");
        // For five minutes nobody asks again.
        let calls = farm.web.calls();
        farm.clock.forward(Span::mins(2));
        let id = farm.send(false).await;
        farm.walk(id, "send.delivered").await;
        assert_eq!(farm.web.calls(), calls);
    }
}

// RFC 8461 §2: MTA-STS does not override a failing DANE validation.
#[tokio::test]
async fn dane_goes_before_the_policy() {
    let farm = farm(Mx::default()).await;
    let tlsa = |data| world::Tlsa { usage: 3, selector: 1, matching: 1, data };
    for name in ["far.example", "mx.far.example", "_25._tcp.mx.far.example"] {
        farm.zones.authentic(name, true);
    }
    farm.zones.tlsa("_25._tcp.mx.far.example", tlsa(vec![7; 32]));
    let id = farm.send(false).await;
    let walk = farm.walk(id, "send.deferred").await;
    assert!(walk.contains("DANE:") && walk.contains("no TLSA record names its certificate"), "{walk}");
    assert_eq!(farm.counts().await, [row("tlsa", "validation-failure", 1)]);
    // RFC 7672 §2.1.2: an answer that does not come may hide records.
    farm.zones.fails("_25._tcp.mx.far.example", true);
    farm.clock.forward(Span::hours(2));
    let id = farm.send(false).await;
    let walk = farm.walk(id, "send.deferred").await;
    assert!(walk.contains("cannot be looked up") && farm.mx.got().is_empty(), "{walk}");
}

// RFC 8689 §4.2.1
#[tokio::test]
async fn a_message_that_requires_tls_goes_over_a_proved_way_or_comes_back() {
    let farm = farm(Mx::requiring()).await;
    let id = farm.send(true).await;
    farm.walk(id, "send.delivered").await;
    farm.mx.show(Some(farm.ca.server("mx.far.example", true)));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let id = farm.send(true).await;
    assert!(farm.walk(id, "send.deferred").await.contains("expired"));
    assert_eq!(farm.mx.got().len(), 1);
    let farm = self::farm(Mx::requiring()).await;
    farm.zones.remove("_mta-sts.far.example");
    let id = farm.send(true).await;
    let walk = farm.walk(id, "send.failed").await;
    assert!(walk.contains("neither DNSSEC nor MTA-STS vouches for mx.far.example"), "{walk}");
    assert_eq!(farm.mx.calls(), 0);
}

impl Farm {
    /// home.example is ours and signs.
    async fn signs(&self) {
        let now = self.site.now();
        let home = words::Domain::new("home.example").expect("a domain");
        let random = self.site.world().random.clone();
        let private = SigningKey::generate(keys::Algorithm::Ed25519, &*random).expect("a key");
        let made = self.site.store().commit(Vec::new(), move |batch| {
            directory::add_domain(batch, &home, now)?;
            let (algorithm, state) = (directory::Algorithm::Ed25519Sha256, directory::KeyState::Signing);
            let key = directory::DkimKey { selector: "s1".into(), algorithm, private, state, created: now };
            directory::add_dkim_key(batch, &home, &key)
        });
        made.await.expect("a domain");
    }
    /// To five in the morning (UTC) of the next day, whatever hour it is.
    fn sleep_over(&self) {
        let now = self.site.now();
        let morning = stdx::Now::from_secs((role_mail::send::tally::day(now) + 1) * 86_400) + Span::hours(5);
        self.clock.forward(morning.since(now));
    }
    async fn until(&self, what: &str, is: impl Fn(&Farm) -> bool) {
        for _ in 0..400 {
            if is(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{what} did not happen");
    }
    fn reports(&self) -> Vec<String> {
        let got = self.mx.got().into_iter().map(|(_, text)| text);
        got.filter(|text| text.contains("TLS-Report-Domain")).collect()
    }
}

fn unpack(packed: &[u8]) -> serde_json::Value {
    let mut json = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut json).expect("gzip");
    serde_json::from_str(&json).expect("JSON")
}

// RFC 8460 §3, §4, §5.3; RFC 8689 §3.
#[tokio::test]
async fn a_day_is_told_once_to_who_asks_for_it_even_where_tls_is_broken() {
    let farm = farm(Mx::default()).await;
    farm.signs().await;
    farm.desk.say(&farm.ca.server("reports.far.example", false), "HTTP/1.1 201 Created\r\n\r\n".into());
    let places = "v=TLSRPTv1; rua=mailto:tls@far.example,https://reports.far.example/v1?x=1";
    farm.zones.txt("_smtp._tls.far.example", places);
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    farm.mx.show(Some(farm.ca.server("mx.far.example", true)));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let id = farm.send(false).await;
    farm.walk(id, "send.deferred").await;
    farm.counts().await;
    let day = role_mail::send::tally::day(farm.site.now());
    farm.sleep_over();
    farm.until("the report", |farm| farm.reports().len() == 1 && farm.desk.asked().len() == 1).await;
    let report = farm.reports().remove(0);
    let head = message::Head::parse(report.as_bytes());
    assert_eq!(head.text("TLS-Report-Submitter").as_deref(), Some("home.example"));
    assert_eq!(head.text("From").as_deref(), Some("postmaster@home.example"));
    assert_eq!(head.text("TLS-Required").as_deref(), Some("No"));
    assert!(head.text("DKIM-Signature").is_some_and(|s| s.contains("d=home.example")), "{report}");
    let structure = message::Structure::of(report.as_bytes());
    assert!(report.contains("report-type=tlsrpt") && report.contains("application/tlsrpt+gzip"), "{report}");
    let [_, _, part] = structure.parts() else { panic!("{report}") };
    let mailed = unpack(&message::transfer::decode(part.encoding, &report.as_bytes()[part.body.clone()]));
    let (asked, posted) = farm.desk.asked().remove(0);
    assert!(asked.starts_with("POST /v1?x=1 ") && asked.contains("application/tlsrpt+gzip"), "{asked}");
    assert_eq!(mailed, unpack(&posted));
    let policy = &mailed["policies"][0];
    assert_eq!(policy["summary"]["total-successful-session-count"], 1);
    assert_eq!(policy["failure-details"][0]["result-type"], "certificate-expired");
    assert!(policy["policy"]["policy-string"].as_array().is_some_and(|lines| lines.len() == 4), "{policy}");
    // Not again, not after a restart either, and the report's own session makes no report.
    farm.restart().await;
    farm.clock.forward(Span::mins(30));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((farm.reports().len(), farm.desk.asked().len()), (1, 1));
    let rows = farm.site.store().read_now(|c| spool::tls::counts(c, day + 1, Some("far.example")));
    assert!(
        rows.expect("counts").iter().all(|c| !c.result.is_empty()),
        "the report's session is not counted"
    );
    let told = farm.site.store().read_now(|conn| {
        Ok(conn
            .query_row("SELECT count(*) FROM fact WHERE kind = 'tls.reported'", [], |r| r.get::<_, i64>(0))?)
    });
    assert_eq!(told.expect("facts"), 1);
}

#[tokio::test]
async fn a_place_that_does_not_answer_is_told_later() {
    let farm = farm(Mx::default()).await;
    farm.zones.txt("_smtp._tls.far.example", "v=TLSRPTv1; rua=https://reports.far.example/");
    let id = farm.send(false).await;
    farm.walk(id, "send.delivered").await;
    farm.counts().await;
    farm.signs().await;
    farm.sleep_over();
    farm.until("a try", |farm| farm.desk.calls() > 0).await;
    farm.desk.say(&farm.ca.server("reports.far.example", false), "HTTP/1.1 200 OK\r\n\r\n".into());
    // The try may still be under way when the clock moves.
    for _ in 0..20 {
        farm.clock.forward(Span::mins(35));
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !farm.desk.asked().is_empty() {
            break;
        }
    }
    assert_eq!(farm.desk.asked().len(), 1);
}
