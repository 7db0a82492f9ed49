//! One question to somebody else's HTTP server: dialled, asked, read and closed, within a time and
//! a size. No redirects, no cookies, no proxies: those who need them ask again.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use drive::{ClientTls, First, Roots, Trust, first};
use stdx::{Span, TlsFacts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Stream, World};

use crate::response::{Reader, Response};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// `https://host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Url {
    // RFC 9110 §4.2: http and https, with an authority; no user name is taken.
    pub fn parse(text: &str) -> Result<Url, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("\"{text}\" is no URL"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("{other}: is neither http: nor https:")),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("\"{port}\" is no port"))?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() || host.contains(['@', ' ']) || path.chars().any(|c| c.is_control() || c == ' ') {
            return Err(format!("\"{text}\" is no URL we can ask"));
        }
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url { tls, host, port, path: format!("{slash}{path}") })
    }

    /// Scheme, host and port, as VAPID and `Origin` want it.
    pub fn origin(&self) -> String {
        let usual = self.port == if self.tls { 443 } else { 80 };
        let port = if usual { String::new() } else { format!(":{}", self.port) };
        format!("{}://{}{port}", if self.tls { "https" } else { "http" }, self.host_in_brackets())
    }

    fn host_in_brackets(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// What must be proved of an HTTPS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// That it is who we meant.
    Name,
    /// Nothing: we come to look ([`TlsFacts::verified`] tells).
    None,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub proof: Proof,
    /// Ask this address instead of those DNS names.
    pub at: Option<IpAddr>,
    pub limit: Span,
    pub body_bytes_max: usize,
}

impl Ask {
    pub fn get(url: Url) -> Ask {
        Ask {
            method: "GET",
            url,
            headers: Vec::new(),
            body: Vec::new(),
            proof: Proof::Name,
            at: None,
            limit: Span::secs(20),
            body_bytes_max: 1 << 20,
        }
    }
    pub fn post(url: Url, kind: &str, body: impl Into<Vec<u8>>) -> Ask {
        Ask { method: "POST", body: body.into(), ..Ask::get(url) }.header("Content-Type", kind)
    }
    /// Adds a field; line breaks in it are taken out.
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        self.headers.push((clean(name), clean(value)));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: ", self.method, self.url.path);
        out.push_str(&self.url.host_in_brackets());
        if self.url.port != if self.url.tls { 443 } else { 80 } {
            out.push_str(&format!(":{}", self.url.port));
        }
        out.push_str("\r\nUser-Agent: postroad\r\nAccept: */*\r\nConnection: close\r\n");
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method != "GET" {
            out.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Got {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub tls: Option<TlsFacts>,
    pub peer: SocketAddr,
}

impl Got {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How far a question got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    Dns,
    Connect,
    Tls,
    Http,
}

/// Why there is no response. The words do not differ from try to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    pub at: Asked,
    pub says: String,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}
impl std::error::Error for FetchError {}

/// Asks, and waits for the whole response.
pub async fn fetch(world: &World, roots: &Arc<Roots>, ask: &Ask) -> Result<Got, FetchError> {
    let until = world.now() + ask.limit;
    match first(converse(world, roots, ask), world.clock.sleep_until(until)).await {
        First::A(got) => got,
        First::B(()) => {
            Err(FetchError { at: Asked::Http, says: format!("no whole response within {}", ask.limit) })
        }
    }
}

async fn converse(world: &World, roots: &Arc<Roots>, ask: &Ask) -> Result<Got, FetchError> {
    let addresses = addresses(world, ask).await?;
    let mut failed = FetchError { at: Asked::Dns, says: "the name has no address".into() };
    let mut connected = None;
    for ip in addresses.into_iter().take(ADDRESSES_MAX) {
        match world.net.dial(None, SocketAddr::new(ip, ask.url.port)).await {
            Ok(connection) => {
                connected = Some(connection);
                break;
            }
            Err(e) => failed = FetchError { at: Asked::Connect, says: e.to_string() },
        }
    }
    let connection = connected.ok_or(failed)?;
    let (peer, mut stream) = (connection.peer, connection.stream);
    let mut tls = None;
    if ask.url.tls {
        let name = ask.url.host.clone();
        let trust = if ask.proof == Proof::Name { Trust::Names(vec![name.clone()]) } else { Trust::Any };
        let client = ClientTls::new(roots.clone(), name, trust);
        let (secure, facts) = drive::tls::client_handshake(&client, stream)
            .await
            .map_err(|says| FetchError { at: Asked::Tls, says })?;
        (stream, tls) = (secure, Some(facts));
    }
    let response = speak(&mut *stream, ask).await.map_err(|says| FetchError { at: Asked::Http, says })?;
    Ok(Got { status: response.status, headers: response.headers, body: response.body, tls, peer })
}

async fn addresses(world: &World, ask: &Ask) -> Result<Vec<IpAddr>, FetchError> {
    if let Some(ip) = ask.at.or_else(|| ask.url.host.parse().ok()) {
        return Ok(vec![ip]);
    }
    match world.dns.ip(&ask.url.host).await {
        Ok(answer) => Ok(answer.records),
        Err(why) => Err(FetchError { at: Asked::Dns, says: format!("DNS: {why:?}") }),
    }
}

async fn speak(stream: &mut dyn Stream, ask: &Ask) -> Result<Response, String> {
    stream.write_all(&ask.bytes()).await.map_err(|e| e.to_string())?;
    stream.flush().await.map_err(|e| e.to_string())?;
    let mut reader = Reader::new(ask.method == "HEAD", ask.body_bytes_max);
    let mut piece = vec![0; 8192];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => return reader.end(),
            Ok(n) if reader.take(&piece[..n])? => return Ok(reader.whole()),
            Ok(_) => {}
            // Many servers close TLS without saying so; what has its length is whole all the same.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return reader.end(),
            Err(e) => return Err(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::{get, post};

    #[test]
    fn urls_are_taken_apart() {
        let url = |tls, host: &str, port, path: &str| Url { tls, host: host.into(), port, path: path.into() };
        for (text, want) in [
            ("https://Example.org", url(true, "example.org", 443, "/")),
            ("http://a.b:81/x?y#z", url(false, "a.b", 81, "/x?y")),
            ("https://[::1]:8443?q", url(true, "::1", 8443, "/?q")),
        ] {
            assert_eq!(Url::parse(text), Ok(want), "{text}");
        }
        for text in ["example.org", "ftp://x/", "https://", "http://u@h/", "http://h:99999/", "http://h/a b"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        assert_eq!(Url::parse("https://[::1]:8443/a").expect("a URL").origin(), "https://[::1]:8443");
    }

    async fn city() -> (sim::City, World) {
        let city = sim::City::new(1);
        let here = city.world(&["192.0.2.1".parse().expect("an address")]);
        let there = city.world(&["192.0.2.80".parse().expect("an address")]);
        city.zones.ip("web.example", "192.0.2.80".parse().expect("an address"));
        let listener = there.net.listen("192.0.2.80:80".parse().expect("one")).await.expect("free");
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/echo", post(|body: String| async move { body }))
            .route("/slow", get(std::future::pending::<&'static str>));
        tokio::spawn(async move {
            while let Ok(connection) = listener.accept().await {
                tokio::spawn(crate::serve(connection, router.clone(), crate::Limits::default()));
            }
        });
        (city, here)
    }

    async fn asked(world: &World, ask: Ask) -> Result<(u16, String), FetchError> {
        fetch(world, &Arc::new(Roots::none()), &ask).await.map(|got| (got.status, got.text()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered() {
        let (_city, world) = city().await;
        let url = |path: &str| Url::parse(&format!("http://web.example{path}")).expect("a URL");
        assert_eq!(asked(&world, Ask::get(url("/"))).await, Ok((200, "hello".into())));
        assert_eq!(asked(&world, Ask::get(url("/no"))).await.map(|(s, _)| s), Ok(404));
        let post = Ask::post(url("/echo"), "text/plain", "ab\r\nc").header("X-A", "b\r\nEvil: 1");
        assert_eq!(asked(&world, post).await, Ok((200, "ab\r\nc".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_says_how_far_it_got() {
        let (city, world) = city().await;
        let at = |text: &str| Ask::get(Url::parse(text).expect("a URL"));
        let stage = |got: Result<(u16, String), FetchError>| got.expect_err("it fails").at;
        assert_eq!(stage(asked(&world, at("http://nowhere.example/")).await), Asked::Dns);
        assert_eq!(stage(asked(&world, at("http://web.example:81/")).await), Asked::Connect);
        assert_eq!(stage(asked(&world, at("http://web.example/slow")).await), Asked::Http);
        city.network.fault("192.0.2.80".parse().expect("an address"), Some(sim::Fault::Silent));
        let began = world.now();
        assert_eq!(stage(asked(&world, at("http://web.example/")).await), Asked::Http);
        assert_eq!(world.now().since(began), Span::secs(20));
    }
}
