//! TCP as the product needs it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use listenfd::ListenFd;
use stdx::Span;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use world::{Connection, Later, Listener, Net};

/// Connections the kernel holds for us before we accept them.
const BACKLOG: u32 = 1024;

/// Where dialling goes instead: from the address meant to the address really called. `up` lives
/// in a world where port 25 of its neighbours is somewhere else.
pub type Detours = BTreeMap<SocketAddr, SocketAddr>;

#[derive(Clone, Debug)]
pub struct NetSettings {
    /// A dial that takes longer fails (RFC 5321 §4.5.3.2 leaves the connect to the system, whose
    /// two minutes are too long for a next way in the same minute).
    pub dial: Span,
    pub detours: Detours,
    /// Take listening sockets that systemd (or our predecessor) left us.
    pub inherit: bool,
}

impl Default for NetSettings {
    fn default() -> NetSettings {
        NetSettings { dial: Span::secs(30), detours: Detours::new(), inherit: false }
    }
}

/// What a host listens on. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Mutex<Vec<std::net::TcpListener>>>);

impl Sockets {
    /// Second handles of all of them.
    pub fn all(&self) -> io::Result<Vec<std::net::TcpListener>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(std::net::TcpListener::try_clone).collect()
    }
    fn keep(&self, socket: &TcpListener) -> io::Result<()> {
        let second = socket.as_fd().try_clone_to_owned()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(second.into());
        Ok(())
    }
}

pub struct HostNet {
    settings: NetSettings,
    sockets: Sockets,
    /// Sockets that were there when we started, by address.
    inherited: Mutex<BTreeMap<SocketAddr, std::net::TcpListener>>,
}

impl HostNet {
    /// `given`: sockets that listen already, beside those the environment names.
    pub fn new(settings: NetSettings, given: Vec<std::net::TcpListener>) -> HostNet {
        let mut inherited = if settings.inherit { inherited() } else { BTreeMap::new() };
        inherited.extend(given.into_iter().filter_map(|socket| Some((socket.local_addr().ok()?, socket))));
        HostNet { settings, sockets: Sockets::default(), inherited: Mutex::new(inherited) }
    }
    /// All it listens on, now and later.
    pub fn sockets(&self) -> Sockets {
        self.sockets.clone()
    }
}

fn inherited() -> BTreeMap<SocketAddr, std::net::TcpListener> {
    let mut found = ListenFd::from_env();
    let mut out = BTreeMap::new();
    for i in 0..found.len() {
        if let Ok(Some(listener)) = found.take_tcp_listener(i)
            && let Ok(at) = listener.local_addr()
        {
            out.insert(at, listener);
        }
    }
    out
}

impl Net for HostNet {
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr) -> Later<'_, io::Result<Connection>> {
        let to = self.settings.detours.get(&to).copied().unwrap_or(to);
        let limit = self.settings.dial.to_std();
        Box::pin(async move {
            match tokio::time::timeout(limit, connect(from, to)).await {
                Ok(done) => done,
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection to {to} within {} s", limit.as_secs()),
                )),
            }
        })
    }

    fn listen(&self, at: SocketAddr) -> Later<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let kept = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
            let socket = match kept {
                Some(listener) => {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)?
                }
                None => bind(at)?,
            };
            let local = socket.local_addr()?;
            if self.settings.inherit {
                self.sockets.keep(&socket)?;
            }
            Ok(Arc::new(HostListener { socket, local }) as Arc<dyn Listener>)
        })
    }

    fn ping(&self, to: IpAddr, limit: Span) -> Later<'_, io::Result<Span>> {
        Box::pin(crate::ping::ping(to, limit))
    }
}

fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

async fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<Connection> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        if from.is_ipv4() != to.is_ipv4() {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{to} cannot be reached from {from}: one is IPv4, the other IPv6"),
            ));
        }
        socket.bind(SocketAddr::new(from, 0))?;
    }
    connection(socket.connect(to).await?)
}

fn connection(stream: TcpStream) -> io::Result<Connection> {
    // Answers are joined before they are written, so Nagle's delay would only add waiting.
    stream.set_nodelay(true)?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    Ok(Connection { stream: Box::new(stream), local: plain(local), peer: plain(peer) })
}

/// An IPv4 peer of an IPv6 socket is an IPv4 peer.
fn plain(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

struct HostListener {
    socket: TcpListener,
    local: SocketAddr,
}

impl Listener for HostListener {
    fn local(&self) -> SocketAddr {
        self.local
    }
    fn accept(&self) -> Later<'_, io::Result<Connection>> {
        Box::pin(async move {
            loop {
                let (stream, _) = self.socket.accept().await?;
                // A peer that is gone before we look is no event.
                if let Ok(connection) = connection(stream) {
                    return Ok(connection);
                }
            }
        })
    }
}
