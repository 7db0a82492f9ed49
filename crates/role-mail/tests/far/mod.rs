//! Real servers of somebody else on loopback sockets, with certificates good and bad: a mail server
//! that speaks STARTTLS, and the web server that publishes its domain's policy.
#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use stdx::{Now, Span};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use world::{Clock, Later, World};

/// Signs certificates that the host under test believes, or does not.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("signed").der().clone();
        Authority { issuer: Issuer::new(params, key), der }
    }
    /// A server's configuration with a certificate for `name`.
    pub fn server(&self, name: &str, expired: bool) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(if expired { 2021 } else { 2049 }, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate"))
    }
    pub fn roots(&self) -> drive::Roots {
        let mut store = RootCertStore::empty();
        store.add(self.der.clone()).expect("a root");
        drive::Roots::new(store)
    }
}

/// The system's clock, which a test sets forward.
#[derive(Clone, Default)]
pub struct Shifted(Arc<AtomicU64>);

impl Shifted {
    pub fn forward(&self, span: Span) {
        self.0.fetch_add(span.as_ms(), Ordering::Relaxed);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Now {
        Now(host::SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        Box::pin(async move {
            while self.now() < until {
                let left = until.since(self.now()).as_ms().min(10);
                tokio::time::sleep(std::time::Duration::from_millis(left.max(1))).await;
            }
        })
    }
}

/// What a mail server of somebody else does and has got.
#[derive(Clone, Default)]
pub struct Mx {
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    requiretls: bool,
    got: Arc<Mutex<Vec<(bool, String)>>>,
    calls: Arc<AtomicU64>,
}

impl Mx {
    /// One that knows RFC 8689.
    pub fn requiring() -> Mx {
        Mx { requiretls: true, ..Mx::default() }
    }
    /// The certificate it shows from now on; `None`: it offers no TLS.
    pub fn show(&self, tls: Option<Arc<ServerConfig>>) {
        *self.tls.lock().expect("not poisoned") = tls;
    }
    /// Messages with whether they came over TLS.
    pub fn got(&self) -> Vec<(bool, String)> {
        self.got.lock().expect("not poisoned").clone()
    }
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let at = listener.local_addr().expect("an address");
        let mx = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                mx.calls.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(mx.clone().serve(stream));
            }
        });
        at
    }
    async fn serve(self, stream: TcpStream) {
        let tls = self.tls.lock().expect("not poisoned").clone();
        let mut stream = BufReader::new(stream);
        let _ = stream.get_mut().write_all(b"220 mx ESMTP\r\n").await;
        if !self.talk(&mut stream, tls.is_some(), false).await {
            return;
        }
        let Some(config) = tls else { return };
        if let Ok(stream) = TlsAcceptor::from(config).accept(stream.into_inner()).await {
            self.talk(&mut BufReader::new(stream), false, true).await;
        }
    }
    /// True: STARTTLS was asked for.
    async fn talk<S>(&self, stream: &mut BufReader<S>, offers: bool, secured: bool) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return false;
            }
            let verb = line.split(' ').next().unwrap_or("").trim().to_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => {
                    let tls = if offers { "250-STARTTLS\r\n" } else { "" };
                    let required = if self.requiretls && secured { "250-REQUIRETLS\r\n" } else { "" };
                    format!("250-mx\r\n{tls}{required}250 8BITMIME\r\n")
                }
                "STARTTLS" => {
                    let _ = stream.get_mut().write_all(b"220 go\r\n").await;
                    return true;
                }
                "DATA" => {
                    let _ = stream.get_mut().write_all(b"354 go\r\n").await;
                    let text = text(stream).await;
                    self.got.lock().expect("not poisoned").push((secured, text));
                    "250 2.0.0 taken\r\n".to_owned()
                }
                "QUIT" => "221 bye\r\n".to_owned(),
                _ => "250 2.0.0 fine\r\n".to_owned(),
            };
            if stream.get_mut().write_all(reply.as_bytes()).await.is_err() || verb == "QUIT" {
                return false;
            }
        }
    }
}

async fn text<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n.\r\n") {
        if stream.read_line(&mut text).await.unwrap_or(0) == 0 {
            break;
        }
    }
    text
}

/// A certificate to show, and what to answer.
type Says = Option<(Arc<ServerConfig>, String)>;
/// Heads and bodies of what was asked.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A web server that says one thing.
#[derive(Clone, Default)]
pub struct Web {
    says: Arc<Mutex<Says>>,
    asked: Asked,
    calls: Arc<AtomicU64>,
}

impl Web {
    /// A policy of these lines, from now on.
    pub fn publish(&self, tls: &Arc<ServerConfig>, policy: &str) {
        let policy = policy.replace('\n', "\r\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        self.say(tls, format!("{head}Content-Length: {}\r\n\r\n{policy}", policy.len()));
    }
    pub fn say(&self, tls: &Arc<ServerConfig>, answer: String) {
        *self.says.lock().expect("not poisoned") = Some((tls.clone(), answer));
    }
    /// Heads and bodies of what it was asked.
    pub fn asked(&self) -> Vec<(String, Vec<u8>)> {
        self.asked.lock().expect("not poisoned").clone()
    }
    /// It hangs up on everybody.
    pub fn hush(&self) {
        *self.says.lock().expect("not poisoned") = None;
    }
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let at = listener.local_addr().expect("an address");
        let web = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                web.calls.fetch_add(1, Ordering::Relaxed);
                let says = web.says.lock().expect("not poisoned").clone();
                tokio::spawn(answer(stream, says, web.asked.clone()));
            }
        });
        at
    }
}

async fn answer(stream: TcpStream, says: Says, asked: Asked) {
    let Some((config, answer)) = says else { return };
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    asked.lock().expect("not poisoned").push((head, body));
    let _ = stream.get_mut().write_all(answer.as_bytes()).await;
    let _ = stream.get_mut().shutdown().await;
}

/// The real world, with names from a table, this clock, and these ways round.
pub fn world(zones: &sim::Zones, clock: &Shifted, detours: host::Detours) -> World {
    let net = host::NetSettings { detours, ..host::NetSettings::default() };
    let world = host::world(host::Settings { net, ..host::Settings::default() });
    World { dns: Arc::new(zones.clone()), clock: Arc::new(clock.clone()), ..world }
}

/// An address of a server elsewhere, which is never really called.
pub fn elsewhere(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, n))
}
