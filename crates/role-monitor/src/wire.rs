//! A connection on which a probe talks: dialled by name and family, its TLS, its replies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drive::{ClientTls, Roots, Trust};
use stdx::{Secret, TlsFacts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Stream, World};

use crate::reply::{Replies, Reply, Wait};

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which addresses of a name are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    #[default]
    Any,
    V4,
    V6,
}

impl Family {
    fn takes(self, ip: &IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }
}

/// How TLS comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWay {
    None,
    StartTls,
    Implicit,
}

#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: Secret<String>,
}

/// What probes are carried out with.
#[derive(Clone)]
pub struct Kit {
    pub world: World,
    pub roots: Arc<Roots>,
    /// Said in EHLO.
    pub name: String,
}

pub struct Wire {
    stream: Box<dyn Stream>,
    replies: Replies,
    pub peer: SocketAddr,
    pub tls: Option<TlsFacts>,
}

/// A failure in words that do not differ from try to try.
pub type Fails<T> = Result<T, String>;

pub async fn addresses(world: &World, host: &str, family: Family) -> Fails<Vec<IpAddr>> {
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => {
            let answer = world.dns.ip(host).await;
            answer.map(|a| a.records).map_err(|e| format!("{host} has no address: {}", dns_says(&e)))?
        }
    };
    let fit: Vec<IpAddr> = found.into_iter().filter(|ip| family.takes(ip)).collect();
    if fit.is_empty() { Err(format!("{host} has no address of this family")) } else { Ok(fit) }
}

pub fn dns_says(error: &world::DnsError) -> String {
    match error {
        world::DnsError::NoName => "the name does not exist".into(),
        world::DnsError::NoData => "there is no such record".into(),
        world::DnsError::Failed(why) => format!("the resolver gives no answer ({why})"),
    }
}

/// A TCP connection to the first address that takes it.
pub async fn dial(world: &World, to: &Place, family: Family) -> Fails<world::Connection> {
    let mut failed = String::new();
    for ip in addresses(world, &to.host, family).await?.into_iter().take(4) {
        match world.net.dial(None, SocketAddr::new(ip, to.port)).await {
            Ok(connection) => return Ok(connection),
            Err(e) => failed = connect_says(&e),
        }
    }
    Err(failed)
}

/// Without ports and addresses of the moment.
fn connect_says(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::TimedOut => "no connection in time".into(),
        std::io::ErrorKind::ConnectionReset => "connection reset".into(),
        _ => error.to_string(),
    }
}

impl Wire {
    pub async fn dial(kit: &Kit, to: &Place, family: Family) -> Fails<Wire> {
        let connection = dial(&kit.world, to, family).await?;
        Ok(Wire { stream: connection.stream, replies: Replies::default(), peer: connection.peer, tls: None })
    }

    /// Any certificate is taken; whether it is right is another probe's question, and
    /// [`TlsFacts::verified`] has the answer.
    pub async fn start_tls(self, kit: &Kit, name: &str) -> Fails<Wire> {
        if !self.replies.is_empty() {
            // RFC 3207 §4.2 and its kin: what came before the handshake must not count.
            return Err("the server said something between its yes to STARTTLS and the handshake".into());
        }
        let client = ClientTls::new(kit.roots.clone(), name, Trust::Any);
        let (stream, facts) = drive::tls::client_handshake(&client, self.stream)
            .await
            .map_err(|e| format!("TLS failed: {e}"))?;
        Ok(Wire { stream, tls: Some(facts), replies: Replies::default(), peer: self.peer })
    }

    pub async fn send(&mut self, text: &[u8]) -> Fails<()> {
        self.stream.write_all(text).await.map_err(|e| connect_says(&e))?;
        self.stream.flush().await.map_err(|e| connect_says(&e))
    }

    pub async fn reply(&mut self, wait: &Wait) -> Fails<Reply> {
        let mut piece = [0; 4096];
        loop {
            if let Some(reply) = self.replies.next(wait)? {
                return Ok(reply);
            }
            match self.stream.read(&mut piece).await {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(n) => self.replies.push(&piece[..n]),
                Err(e) => return Err(connect_says(&e)),
            }
        }
    }

    /// Says something and wants a yes.
    pub async fn ask(&mut self, text: &str, wait: &Wait) -> Fails<Reply> {
        self.send(text.as_bytes()).await?;
        self.want(text.split(['\r', ' ']).next().unwrap_or_default(), wait).await
    }

    /// Wants a yes.
    pub async fn want(&mut self, what: &str, wait: &Wait) -> Fails<Reply> {
        let reply = self.reply(wait).await?;
        if reply.yes {
            return Ok(reply);
        }
        let said: String = reply.last().chars().take(300).collect();
        Err(if what.is_empty() { said } else { format!("{what}: {said}") })
    }
}

/// SASL PLAIN (RFC 4616 §2).
pub fn plain(login: &Login) -> String {
    STANDARD.encode(format!("\0{}\0{}", login.user, login.password.reveal()))
}

/// An IMAP quoted string (RFC 3501 §4.3); line breaks cannot stand in one and are left out.
pub fn quoted(text: &str) -> String {
    let inner: String = text
        .chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        })
        .collect();
    format!("\"{inner}\"")
}
