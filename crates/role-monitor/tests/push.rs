//! Web push as it arrives: a push service that opens what was sealed for its reader and checks who
//! signed it, told by the status site and by the monitor.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use drive::{Limits, Roots, Tls, TlsServer, Wires};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Verifier};
use role_monitor::channel::{Channel, Way};
use role_monitor::monitor::{Monitor, Settings};
use role_monitor::usual::{self, MailHost, Ports};
use role_monitor::wire::Kit;
use role_status::{Board, carry, rows, setup, subscribe};
use sim::City;
use statuspage::model::Site;
use stdx::{Now, Span};
use store::Store;
use web::axum::{self, extract::Path, http::HeaderMap};
use web::push::{Subscription, Vapid};
use words::Address;

const SERVICE: &str = "push.example";
const SERVICE_IP: &str = "203.0.113.80";
const ORIGIN: &str = "https://push.example";

/// What the service took: whose, with which headers, what.
type Taken = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

struct Service {
    taken: Taken,
    roots: Arc<Roots>,
    folder: std::path::PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        // A folder that stays behind in /tmp harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

async fn service(city: &City, name: &str) -> Service {
    let folder = std::env::temp_dir().join(format!("postroad-push-{}-{name}", std::process::id()));
    let world = city.world(&[ip(SERVICE_IP)]);
    city.zones.ip(SERVICE, ip(SERVICE_IP));
    let made = host::authority::ensure(&folder, &[SERVICE.to_owned()], world.now()).expect("certificates");
    let certificates: Arc<dyn TlsServer> =
        Arc::new(host::Certificates::load(std::slice::from_ref(&made.pair)).expect("loads"));
    let roots = Arc::new(host::roots(std::slice::from_ref(&made.ca)).expect("roots"));
    let taken = Taken::default();
    let kept = taken.clone();
    let take = move |Path(whose): Path<String>, headers: HeaderMap, body: axum::body::Bytes| {
        kept.lock().expect("not poisoned").push((whose, headers, body.to_vec()));
        std::future::ready(axum::http::StatusCode::CREATED)
    };
    let router = axum::Router::new().route("/s/{whose}", axum::routing::post(take));
    let listener = world.net.listen(SocketAddr::new(ip(SERVICE_IP), 443)).await.expect("free");
    let (keep, stop) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let _open = keep;
        while let Ok(connection) = listener.accept().await {
            let wires = Wires {
                clock: world.clock.clone(),
                tls: Tls::Server { certificates: certificates.clone(), implicit: true },
                stop: stop.clone(),
                farewell: b"",
                meter: Arc::default(),
                limits: Limits::default(),
            };
            let router = router.clone();
            tokio::spawn(async move {
                let Some(connection) = drive::tls::accept(connection, &wires).await else { return };
                web::serve(connection, router, web::Limits::default()).await;
            });
        }
    });
    Service { taken, roots, folder }
}

/// A browser: its keys, and the line it gives away.
struct Reader {
    key: EphemeralPrivateKey,
    public: Vec<u8>,
    auth: Vec<u8>,
    line: String,
}

fn reader(whose: &str) -> Reader {
    let key = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).expect("a key");
    let public = key.compute_public_key().expect("a key").as_ref().to_vec();
    let auth = vec![9; 16];
    let line = format!("{ORIGIN}/s/{whose} {} {}", B64.encode(&public), B64.encode(&auth));
    Reader { key, public, auth, line }
}

/// HKDF with one block of output (RFC 5869 §2), by its own hand.
fn derived(salt: &[u8], secret: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    use ring::hmac::{HMAC_SHA256, Key, sign};
    let middle = sign(&Key::new(HMAC_SHA256, salt), secret);
    let out = sign(&Key::new(HMAC_SHA256, middle.as_ref()), &[info, &[1]].concat());
    out.as_ref()[..len].to_vec()
}

impl Reader {
    // RFC 8291 §3.4, RFC 8188 §2.1: salt, record size, length of the key, key, one record.
    fn open(self, body: &[u8]) -> Vec<u8> {
        let (salt, size, len) = (&body[..16], &body[16..20], usize::from(body[20]));
        assert!(u32::from_be_bytes(size.try_into().expect("four")) as usize >= body.len() - 21 - len);
        let (theirs, record) = body[21..].split_at(len);
        let (public, auth) = (self.public, self.auth);
        let sender = UnparsedPublicKey::new(&ECDH_P256, theirs);
        agree_ephemeral(self.key, &sender, |secret| {
            let info = [b"WebPush: info\0", &public[..], theirs].concat();
            let key = derived(&auth, secret, &info, 32);
            let content = derived(salt, &key, b"Content-Encoding: aes128gcm\0", 16);
            let nonce = derived(salt, &key, b"Content-Encoding: nonce\0", 12);
            let cipher = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content).expect("a key"));
            let nonce = Nonce::try_assume_unique_for_key(&nonce).expect("12 octets");
            let mut record = record.to_vec();
            let plain = cipher.open_in_place(nonce, Aad::empty(), &mut record).expect("it opens").to_vec();
            let end = plain.iter().rposition(|b| *b != 0).expect("a mark");
            assert_eq!(plain[end], 2, "the last record");
            plain[..end].to_vec()
        })
        .expect("agreed")
    }
}

// RFC 8292 §2 and §3: signed for this service by the key that is named, and not for long.
fn check_token(headers: &HeaderMap, key: &Vapid, now: Now) {
    let value = headers["authorization"].to_str().expect("text");
    let (token, public) = value.strip_prefix("vapid t=").and_then(|v| v.split_once(", k=")).expect("vapid");
    assert_eq!(public, key.public(), "the key that the browser subscribed to");
    let (said, signature) = token.rsplit_once('.').expect("a JWT");
    let decode = |text: &str| B64.decode(text).expect("base64url");
    Verifier::new(&ECDSA_P256_SHA256_FIXED, decode(public))
        .verify(said.as_bytes(), &decode(signature))
        .expect("the signature fits");
    let claims = decode(said.split_once('.').expect("a JWT").1);
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["aud"], ORIGIN);
    assert_eq!(claims["sub"], "mailto:op@home.example");
    let left = claims["exp"].as_u64().expect("a time").saturating_sub(now.secs());
    assert!((1..=86_400).contains(&left), "good for {left} s");
    assert_eq!(headers["content-encoding"], "aes128gcm");
    assert!(headers["ttl"].to_str().expect("text").parse::<u64>().is_ok_and(|ttl| ttl > 0), "RFC 8030 §5.2");
}

fn vapid() -> Arc<Vapid> {
    let pkcs8 = Vapid::generate().expect("a key");
    Arc::new(Vapid::new(&pkcs8, "mailto:op@home.example").expect("a key"))
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_the_site_gets_a_notice_that_only_it_can_open() {
    let city = City::new(80);
    let service = service(&city, "site").await;
    let world = city.world(&[ip("198.51.100.90")]);
    let store = Store::in_memory(store::Settings::default(), &[rows::SCHEMA]).expect("a store");
    let site = Site { url: "https://status.example".into(), ..Site::default() };
    let vapid = vapid();
    let outgoing = carry::Outgoing {
        from: Address::parse("status@status.example").expect("valid"),
        ways: Vec::new(),
        roots: service.roots.clone(),
        vapid: Some(vapid.clone()),
    };
    let settings = role_status::Settings { outgoing: Some(outgoing), ..role_status::Settings::new(site) };
    let board = Board::open(world, store, settings).await.expect("opens");
    board.set_parts(setup::usual_parts()).await.expect("set");
    let (one, other) = (reader("one"), reader("other"));
    let channel = subscribe::Channel::Push;
    board.enlist(channel, &one.line, "", "incidents").await.expect("enlisted");
    board.enlist(channel, &other.line, "webmail", "incidents").await.expect("enlisted");
    let fields =
        [("title", "MX1: Mail waits — here"), ("text", "A disk is being replaced."), ("affected", "sending")];
    let fields: Vec<(String, String)> = fields.map(|(k, v)| (k.into(), v.into())).into();
    board.act("incident", &fields, "Dana".into()).await.expect("opened");
    assert_eq!(board.carry_once().await.expect("carried"), 1);
    let taken = service.taken.lock().expect("not poisoned").clone();
    assert_eq!(taken.len(), 1, "who chose another component hears nothing");
    let (whose, headers, body) = &taken[0];
    assert_eq!(whose, "one");
    check_token(headers, &vapid, board.now());
    assert!(!body.windows(4).any(|w| w == b"disk"), "the service itself cannot read it");
    let said: serde_json::Value = serde_json::from_slice(&one.open(body)).expect("JSON");
    assert_eq!(said["subject"], "MX1: Mail waits — here");
    assert!(said["text"].as_str().is_some_and(|t| t.contains("A disk is being replaced.")), "{said}");
    assert!(said["leave"].as_str().is_some_and(|l| l.contains("/subscribe/leave/")), "{said}");
    assert_eq!(board.carry_once().await.expect("carried"), 0, "told once");
}

#[tokio::test(start_paused = true)]
async fn an_alert_reaches_a_browser_that_can_open_it() {
    let city = City::new(81);
    let service = service(&city, "alert").await;
    let world = city.world(&[ip("198.51.100.7")]);
    let (vapid, one) = (vapid(), reader("operator"));
    let to = Subscription::parse(&one.line).expect("a subscription");
    let way = Way::Push { to, vapid: vapid.clone() };
    let off = Ports {
        smtp: 0,
        submission: 0,
        submissions: 0,
        imap: 0,
        imaps: 993,
        pop3: 0,
        pop3s: 0,
        sieve: 0,
        https: 0,
    };
    // Nothing listens there.
    let name = "mx.home.example".to_owned();
    let dead = MailHost { name, address: Some(ip("192.0.2.25")), ports: off, ..MailHost::default() };
    let mut targets = usual::targets(&dead);
    targets.retain(|t| t.id.starts_with("port."));
    let settings = Settings {
        targets,
        channels: vec![Channel { name: "phone".into(), level: 1, way }],
        ..Settings::new("m1")
    };
    let kit = Kit { world, roots: service.roots.clone(), name: "monitor.example".into() };
    let store = Store::in_memory(store::Settings::default(), &[role_monitor::rows::SCHEMA]).expect("a store");
    let key = link::Key::from_seed(&[9; 32]).expect("a key");
    let monitor = Monitor::open(kit, store, settings, key).await.expect("opens");
    let (_keep, stop) = tokio::sync::watch::channel(false);
    tokio::spawn(monitor.clone().run(stop));
    let world = &monitor.kit().world;
    world.clock.sleep_until(world.now() + Span::mins(4)).await;
    let taken = service.taken.lock().expect("not poisoned").clone();
    assert_eq!(taken.len(), 1, "one cause, one alert");
    let (whose, headers, body) = &taken[0];
    assert_eq!(whose, "operator");
    check_token(headers, &vapid, world.now());
    assert_eq!(headers["urgency"], "high");
    let said = String::from_utf8(one.open(body)).expect("text");
    assert!(said.contains("mx.home.example") && said.contains("refused"), "{said}");
}
