//! Block lists and pre-flight, in virtual time: R15, R38, and the dossier of R33.

mod house;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use house::address;
use role_mail::{Egress, EgressRules, Settings, Site};
use route::board::Word;
use route::dnsbl::{ListFacts, Weight};
use route::dossier::{Entry, Step};
use sim::{City, Manners, Peer, Zones};
use spool::Origin;
use stdx::{Now, Span};
use store::Store;
use words::{AccountId, Domain, Envelope, Recipient};
use world::{Answer, Dns, Later, Mx, Tlsa, World, dns::Found};

const A: &str = "192.0.2.25";
const B: &str = "198.51.100.30";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Zones, of which some answer for everything or never, and every question about lists is counted.
struct Gauge {
    zones: Zones,
    asked: Arc<Mutex<BTreeMap<String, Vec<Now>>>>,
    clock: Arc<sim::VirtualClock>,
}

impl Dns for Gauge {
    fn ipv4<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv4Addr>> {
        use world::Clock;
        if name.ends_with("bl.example") {
            self.asked.lock().expect("a lock").entry(name.into()).or_default().push(self.clock.now());
        }
        if name.ends_with("mute.bl.example") {
            return Box::pin(std::future::pending());
        }
        if name.ends_with("dead.bl.example") {
            let records = vec![Ipv4Addr::new(127, 0, 0, 2)];
            return Box::pin(std::future::ready(Ok(Answer { records, authentic: false, ttl_s: 60 })));
        }
        self.zones.ipv4(name)
    }
    fn mx<'a>(&'a self, name: &'a str) -> Later<'a, Found<Mx>> {
        Dns::mx(&self.zones, name)
    }
    fn ip<'a>(&'a self, name: &'a str) -> Later<'a, Found<IpAddr>> {
        Dns::ip(&self.zones, name)
    }
    fn ipv6<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv6Addr>> {
        self.zones.ipv6(name)
    }
    fn txt<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Dns::txt(&self.zones, name)
    }
    fn ptr(&self, ip: IpAddr) -> Later<'_, Found<String>> {
        Dns::ptr(&self.zones, ip)
    }
    fn tlsa<'a>(&'a self, name: &'a str) -> Later<'a, Found<Tlsa>> {
        Dns::tlsa(&self.zones, name)
    }
    fn ns<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Dns::ns(&self.zones, name)
    }
    fn cname<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Dns::cname(&self.zones, name)
    }
    fn caa<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Dns::caa(&self.zones, name)
    }
    fn soa_serial<'a>(&'a self, name: &'a str) -> Later<'a, Found<u32>> {
        Dns::soa_serial(&self.zones, name)
    }
}

struct Farm {
    site: Site,
    city: City,
    asked: Arc<Mutex<BTreeMap<String, Vec<Now>>>>,
    _stop: tokio::sync::watch::Sender<bool>,
}

fn list(zone: &str, weight: Weight) -> ListFacts {
    ListFacts { delist: format!("https://{zone}/out"), ..ListFacts::plain(zone, weight) }
}

fn egress(name: &str, source: &str) -> Egress {
    let helo = format!("{}.mx.example", name.to_lowercase());
    Egress { name: name.into(), source: Some(ip(source)), helo, relay: None }
}

fn settings() -> Settings {
    Settings {
        egresses: vec![egress("A", A), egress("B", B)],
        lists: vec![
            list("sane.bl.example", Weight::High),
            list("l1.bl.example", Weight::Medium),
            list("l2.bl.example", Weight::Information),
            list("l3.bl.example", Weight::Information),
            list("dead.bl.example", Weight::High),
            list("refusing.bl.example", Weight::High),
            list("old.bl.example", Weight::High),
            list("mute.bl.example", Weight::High),
        ],
        list_zones: vec!["sane.bl.example".into()],
        probe_domains: vec!["far.example".into()],
        ..Settings::new("mx.example")
    }
}

async fn farm(settings: Settings) -> Farm {
    farm_at(settings, &[ip(A), ip(B)]).await
}

async fn farm_at(settings: Settings, sources: &[IpAddr]) -> Farm {
    let city = City::new(3);
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let gauge = Gauge { zones: city.zones.clone(), asked: asked.clone(), clock: city.clock() };
    let world = World { dns: Arc::new(gauge), ..city.world(sources) };
    let store = Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
    let site = Site::new(world, store, settings);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(role_mail::send::run(site.clone(), stopped.clone()));
    tokio::spawn(role_mail::lists::watch(site.clone(), stopped.clone()));
    tokio::spawn(role_mail::preflight::tend(site.clone(), stopped.clone()));
    tokio::spawn(role_mail::housekeeping::tend(site.clone(), stopped));
    for zone in ["sane", "l1", "l2", "l3"] {
        city.zones.ip(&format!("2.0.0.127.{zone}.bl.example"), ip("127.0.0.2"));
    }
    city.zones.ip("2.0.0.127.refusing.bl.example", ip("127.255.255.254"));
    city.zones.ip("25.2.0.192.refusing.bl.example", ip("127.255.255.254"));
    city.zones.ip("2.0.0.127.old.bl.example", ip("127.0.0.2"));
    city.zones.ip("25.2.0.192.old.bl.example", ip("127.0.1.255"));
    Farm { site, city, asked, _stop: stop }
}

impl Farm {
    async fn pass(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }
    fn word(&self, zone: &str, subject: &str) -> Option<Word> {
        let rows = self.site.outbound().board().rows(self.site.now());
        rows.iter().find(|r| r.zone == zone && r.subject == subject).map(|r| r.word)
    }
    /// Audit lines of a kind.
    fn told(&self, kind: &'static str) -> Vec<String> {
        let facts = self.site.store().read_now(|conn| {
            let mut read = conn.prepare("SELECT detail FROM fact WHERE kind = ?1 ORDER BY id")?;
            let rows = read.query_map([kind], |r| r.get::<_, String>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        facts.expect("facts")
    }
    /// V4: each audit line there is has a time, says what, why, until when, and by which order it is
    /// undone; and these kinds are among them.
    async fn audited(&self, kinds: &[&str]) {
        // What waits for the next commit is entered.
        let asides = self.site.take_asides();
        let entered = self.site.store().commit(Vec::new(), move |batch| {
            asides.iter().try_for_each(|fact| ledger::note(batch, fact).map(drop))
        });
        entered.await.expect("they are entered");
        let rows = self.site.store().read_now(|conn| {
            let mut read = conn.prepare(
                "SELECT kind, at, detail FROM fact WHERE kind LIKE 'route.%' AND kind <> 'route.alert' ORDER BY id",
            )?;
            let rows = read.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, String>(2)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        let rows = rows.expect("facts");
        let now = self.site.now().ms() as i64;
        for (kind, at, detail) in &rows {
            let detail: serde_json::Value = serde_json::from_str(detail).expect("JSON");
            let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
            assert!(*at > 0 && *at <= now, "{kind} at {at}");
            assert!(!text("says").is_empty() && !text("until").is_empty(), "{kind}: {detail}");
            assert!(!text("undo").is_empty() && !text("undo").contains("EGRESS"), "{kind}: {detail}");
            let evidence = detail["evidence"].as_array().expect("evidence");
            let said = |e: &serde_json::Value| e.as_str().is_some_and(|e| !e.trim().is_empty());
            assert!(!evidence.is_empty() && evidence.iter().all(said), "{kind}: {detail}");
        }
        for kind in kinds {
            assert!(rows.iter().any(|(k, _, _)| k == kind), "no audit line of {kind}: {rows:#?}");
        }
    }
    async fn neighbour(&self, domain: &str, at: &str, manners: Manners) -> Peer {
        let mx = manners.name.clone();
        let peer = Peer::new(manners, self.city.clock(), 7);
        let theirs = self.city.world(&[ip(at)]);
        let listener = theirs.net.listen((ip(at), 25).into()).await.expect("listens");
        tokio::spawn(peer.clone().serve(listener));
        self.city.zones.mx(domain, 10, &mx).ip(&mx, ip(at));
        peer
    }
    async fn send(&self, to: &str) {
        let site = &self.site;
        let id = site.message_id();
        let mut draft = site.store().draft();
        draft.write(b"From: ann@home.example\r\n\r\nHi.\r\n").await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let envelope = Envelope {
            sender: Some(address("ann@home.example")),
            recipients: vec![Recipient::new(address(to))],
            ..Envelope::default()
        };
        let (feed, at) = (site.feed().clone(), site.now());
        let done = site.store().commit(vec![sealed], move |batch| {
            let body = batch.body(0);
            let origin = Origin::Submitted(AccountId(1));
            let new =
                spool::New { message: id, session: None, body, size: 60, header: None, envelope, origin, at };
            spool::add(batch, &feed, &new)
        });
        done.await.expect("is accepted");
    }
    async fn host(&self, domains: usize) {
        let now = self.site.now();
        let made = self.site.store().commit(Vec::new(), move |batch| {
            for n in 0..domains {
                directory::add_domain(batch, &Domain::new(&format!("d{n}.example")).expect("valid"), now)?;
            }
            Ok(())
        });
        made.await.expect("domains");
    }
}

// R15.
#[tokio::test(start_paused = true)]
async fn good_lists_are_believed_and_bad_ones_are_not() {
    let farm = farm(settings()).await;
    let far = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    farm.pass(Span::mins(2)).await;
    // One cycle, and every bad zone is known as such.
    for zone in ["dead", "refusing", "old", "mute"] {
        assert_eq!(farm.word(&format!("{zone}.bl.example"), A), Some(Word::Unusable), "{zone}");
    }
    for zone in ["sane", "l1", "l2", "l3"] {
        assert_eq!(farm.word(&format!("{zone}.bl.example"), A), Some(Word::Clean), "{zone}");
    }
    // The neighbourhood is listed, then we are.
    farm.city
        .zones
        .ip("25.2.0.192.l2.bl.example", ip("127.0.0.2"))
        .ip("25.2.0.192.l3.bl.example", ip("127.0.0.2"));
    farm.pass(Span::mins(10)).await;
    assert_eq!(farm.word("l3.bl.example", A), Some(Word::Neighbours));
    assert!(farm.told("route.list_neighbours").iter().all(|t| t.contains("neighbours, not you")));
    assert_eq!((farm.told("route.list_neighbours").len(), farm.told("route.listed").len()), (2, 0));
    farm.city.zones.ip("25.2.0.192.sane.bl.example", ip("127.0.0.2"));
    farm.pass(Span::mins(10)).await;
    assert_eq!(farm.told("route.listed").len(), 1, "within ten minutes");
    assert_eq!(farm.told("route.alert").len(), 1, "the operator hears of it once");
    // No destination has cited it: nothing moves.
    farm.send("bob@far.example").await;
    farm.pass(Span::secs(20)).await;
    assert_eq!(far.got()[0].source, ip(A));
    farm.city.zones.remove("25.2.0.192.sane.bl.example");
    farm.pass(Span::mins(10)).await;
    assert_eq!(farm.told("route.list_cleared").len(), 2, "{:?}", farm.told("route.list_cleared"));
    farm.pass(Span::hours(3)).await;
    assert_eq!(farm.told("route.listed").len(), 1);
    assert_eq!(farm.told("route.list_unusable").len(), 7, "once for each zone and address");
    let kinds = ["route.list_unusable", "route.list_neighbours", "route.listed", "route.list_cleared"];
    farm.audited(&kinds).await;
    let asked = farm.asked.lock().expect("a lock");
    for (name, times) in asked.iter() {
        for pair in times.windows(2) {
            assert!(pair[1].since(pair[0]) >= Span::mins(5), "{name}");
        }
    }
    assert!(asked["25.2.0.192.sane.bl.example"].len() > 30);
    assert!(!asked.contains_key("25.2.0.192.dead.bl.example"), "a dead list is asked no further");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_comes_back_and_a_listed_name_leave_whole_audit_lines() {
    let mut set = settings();
    set.lists.push(ListFacts {
        of_domains: true,
        test_names: ("test.names.example".into(), "never.names.example".into()),
        ..list("names.bl.example", Weight::High)
    });
    let farm = farm(set).await;
    let zones = &farm.city.zones;
    zones.ip("test.names.example.names.bl.example", ip("127.0.0.2"));
    farm.pass(Span::mins(2)).await;
    // The list that refused us answers; the name of A stands in a list of names.
    zones.remove("2.0.0.127.refusing.bl.example");
    zones.remove("25.2.0.192.refusing.bl.example");
    zones.ip("2.0.0.127.refusing.bl.example", ip("127.0.0.2"));
    zones.ip("a.mx.example.names.bl.example", ip("127.0.0.2"));
    zones.ip("mx.example.names.bl.example", ip("127.0.0.2"));
    farm.pass(Span::hours(2)).await;
    farm.audited(&["route.list_unusable", "route.list_usable", "route.name_listed"]).await;
}

// F7: nobody watches the list that a refusal cites, and it has died and lists the world.
#[tokio::test(start_paused = true)]
async fn a_list_that_a_refusal_cites_is_asked_and_found_out() {
    let mut set = settings();
    let (a, b) = ("5.75.130.25", "5.75.131.30");
    set.egresses = vec![egress("A", a), egress("B", b)];
    let farm = farm_at(set, &[ip(a), ip(b)]).await;
    let refusing = Manners::friendly("mx.far.example").with(sim::Rule::Say {
        at: sim::Stage::Rcpt,
        sources: Vec::new(),
        reply: "554 5.7.1 Service unavailable; Client host [{ip}] blocked using own.dead.bl.example".into(),
    });
    let far = farm.neighbour("far.example", "203.0.113.5", refusing).await;
    farm.send("bob@far.example").await;
    farm.pass(Span::hours(5)).await;
    assert_eq!(farm.word("own.dead.bl.example", a), Some(Word::Unusable), "asked since it was cited");
    let found = farm.told("route.list_unusable");
    let ours = |t: &&String| t.contains("own.dead.bl.example");
    assert!(found.iter().filter(ours).all(|t| t.contains("answers for everything")), "{found:?}");
    assert_eq!(found.iter().filter(ours).count(), 2, "{found:?}");
    far.behave(Manners::friendly("mx.far.example"));
    farm.pass(Span::hours(1)).await;
    assert_eq!(far.got().len(), 1, "kept beyond the four hours, and taken in the end");
}

// R49, and what a relay of ours says over link.
#[tokio::test(start_paused = true)]
async fn what_relays_teach_leaves_whole_audit_lines() {
    let key = link::Key::from_seed(&[7; 32]).expect("a key");
    let mut set = settings();
    let relay = role_mail::Relay {
        host: "relay.example".into(),
        port: 25,
        tls: role_mail::RelayTls::None,
        login: None,
        pin: None,
    };
    set.egresses.insert(0, Egress { relay: Some(relay), ..egress("C", A) });
    set.peers = vec![link::Peer { name: "relay.example".into(), public: key.public(), last: 0 }];
    let farm = farm(set).await;
    farm.host(1).await;
    let refuses = Manners::friendly("relay.example").with(sim::Rule::Say {
        at: sim::Stage::Dot,
        sources: vec![],
        reply: "550 From header sender domain not verified (HOME.EXAMPLE)".into(),
    });
    farm.neighbour("relay.example", "203.0.113.8", refuses).await;
    farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    farm.send("bob@far.example").await;
    farm.pass(Span::mins(2)).await;
    let far = "mx.far.example".to_owned();
    let at = farm.site.now().ms();
    let route = |state: &str, at: u64| link::Fact::Route {
        at,
        egress: "B".into(),
        group: far.clone(),
        state: state.into(),
        since: at,
        evidence: vec!["550 5.7.1 Service unavailable; client [203.0.113.8] blocked".into()],
    };
    let listing = |listed: bool, at: u64| link::Fact::Listing {
        at,
        list: "sane.bl.example".into(),
        subject: "203.0.113.8".into(),
        listed,
        says: "127.0.0.2".into(),
    };
    let alive = |at: u64| link::Fact::Heartbeat { at, version: "1".into(), started: at };
    let words = [
        vec![alive(at), route("closed", at), listing(true, at)],
        vec![alive(at), route("open", at)],
        vec![alive(at), route("closed", at), listing(false, at)],
    ];
    for (n, facts) in words.into_iter().enumerate() {
        let parcel =
            link::Parcel { from: "relay.example".into(), serial: n as u64 + 1, at: farm.site.now(), facts };
        let taken =
            role_mail::peers::take(&farm.site, link::seal(&parcel, &key)).await.expect("the store answers");
        assert!(matches!(taken, role_mail::peers::Taken::Facts(_)), "{taken:?}");
        farm.pass(Span::mins(1)).await;
    }
    let kinds = [
        "route.sender_unverified",
        "route.group_blocked",
        "route.returning",
        "route.fell_back",
        "route.listed",
        "route.list_cleared",
    ];
    farm.audited(&kinds).await;
}

fn listing(site: &str) -> Manners {
    Manners::friendly(site).with(sim::Rule::Say {
        at: sim::Stage::Rcpt,
        sources: vec![ip(A)],
        reply: "554 5.7.1 Service unavailable; Client host [{ip}] blocked using sane.bl.example".into(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_listing_moves_only_those_who_cite_it_and_its_end_brings_them_back() {
    let farm = farm(settings()).await;
    farm.city.zones.ip("25.2.0.192.sane.bl.example", ip("127.0.0.2"));
    farm.pass(Span::mins(1)).await;
    let obeys = farm.neighbour("obeys.example", "203.0.113.6", listing("mx.obeys.example")).await;
    let far = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    for _ in 0..3 {
        farm.send("x@obeys.example").await;
        farm.send("x@far.example").await;
        farm.pass(Span::mins(2)).await;
    }
    assert!(obeys.got().iter().all(|g| g.source == ip(B)) && obeys.got_count() == 3);
    assert_eq!(obeys.refused().len(), 1, "once it has cited the list, it is asked no more");
    assert!(far.got().iter().all(|g| g.source == ip(A)) && far.got_count() == 3);
}

// R38.
#[tokio::test(start_paused = true)]
async fn a_new_egress_stays_locked_until_each_of_its_five_faults_is_mended() {
    let mut set = settings();
    set.egresses = vec![egress("A", A), egress("B", B)];
    set.egress_rules.insert("A".into(), EgressRules { must_pass: true, ..EgressRules::default() });
    let farm = farm(set).await;
    farm.host(10).await;
    let zones = &farm.city.zones;
    for n in 0..10 {
        let ips = if n < 3 { B.to_owned() } else { format!("{A} ip4:{B}") };
        zones.txt(&format!("d{n}.example"), &format!("v=spf1 ip4:{ips} -all"));
    }
    zones.ip("25.2.0.192.sane.bl.example", ip("127.0.0.2"));
    zones.mx("far.example", 10, "mx.far.example").ip("mx.far.example", ip("203.0.113.5"));
    let faults = role_mail::preflight::check(&farm.site, "A").await.expect("an egress");
    let kinds: Vec<&str> = faults.iter().filter(|f| f.locks).map(|f| f.kind.as_str()).collect();
    assert_eq!(kinds, ["ptr", "helo", "spf", "port25", "listed"], "{faults:?}");
    assert!(faults.iter().all(|f| !f.fix.is_empty()));
    assert_eq!(farm.told("route.egress_locked").len(), 0, "it comes with the next commit");
    let far = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    farm.send("bob@far.example").await;
    farm.pass(Span::secs(30)).await;
    assert_eq!(far.got()[0].source, ip(B), "a locked egress carries nothing");
    assert_eq!(farm.told("route.egress_locked").len(), 1);
    // Mended one by one, and it opens by itself.
    zones.ptr(ip(A), "a.mx.example").ip("a.mx.example", ip(A));
    zones.remove("25.2.0.192.sane.bl.example");
    for n in 0..3 {
        zones.remove(&format!("d{n}.example"));
        zones.txt(&format!("d{n}.example"), &format!("v=spf1 ip4:{A} -all"));
    }
    farm.pass(Span::mins(25)).await;
    assert_eq!(farm.told("route.egress_passed").len(), 1);
    assert!(role_mail::preflight::check(&farm.site, "A").await.expect("an egress").is_empty());
    farm.send("bob@far.example").await;
    farm.pass(Span::mins(6)).await;
    assert_eq!(far.got().last().expect("mail").source, ip(A));
    farm.audited(&["route.egress_locked", "route.egress_passed"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_only_egress_that_is_locked_keeps_mail_and_bounces_none() {
    let mut set = settings();
    set.egresses = vec![egress("A", A)];
    set.egress_rules.insert("A".into(), EgressRules { must_pass: true, ..EgressRules::default() });
    let farm = farm(set).await;
    let far = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    farm.send("bob@far.example").await;
    farm.pass(Span::hours(9)).await;
    // Only the notice that it is late finds nobody: its sender's domain is not ours here.
    let failed = farm.told("send.failed");
    assert!(far.got_count() == 0 && failed.iter().all(|f| f.contains("home.example")), "{failed:?}");
    farm.site.outbound().routes().force_preflight("A", Some("by order".into()));
    farm.pass(Span::mins(6)).await;
    assert_eq!(far.got_count(), 1);
}

// R33.
#[tokio::test(start_paused = true)]
async fn a_dossier_keeps_what_was_said_and_contradicts_the_portal() {
    let farm = farm(settings()).await;
    let manners = Manners::microsoft_business("x.mail.protection.outlook.com", &[ip(A)]);
    for n in 0..4 {
        let at = format!("203.0.113.{}", 10 + n);
        let mut theirs = manners.clone();
        theirs.name = format!("m{n}-example.mail.protection.outlook.com");
        farm.neighbour(&format!("m{n}.example"), &at, theirs).await;
        farm.send(&format!("x@m{n}.example")).await;
        farm.pass(Span::mins(1)).await;
    }
    let group = "microsoft-365";
    let note = |step, note: &str| Entry { at: farm.site.now().0, step, note: note.into() };
    {
        let mut routes = farm.site.outbound().routes();
        assert!(routes.record_step("A", group, note(Step::Asked, "ticket 1")));
        assert!(routes.record_step("A", group, note(Step::Answered, "not currently blocked")));
    }
    for _ in 0..12 {
        farm.send("x@m1.example").await;
        farm.pass(Span::mins(5)).await;
    }
    let dossier = farm.site.outbound().routes().dossiers("A", Some(group)).remove(0);
    assert!(dossier.count >= 3 && dossier.last > dossier.first, "{dossier:?}");
    assert!(dossier.quotes[0].reply.starts_with("550"), "{dossier:?}");
    assert!(dossier.standing().starts_with("still refused since"), "{}", dossier.standing());
}
