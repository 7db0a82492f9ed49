//! A network in memory: hosts with addresses, ports that listen, and wires that can fail.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use stdx::Span;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use world::{Connection, Later, Listener, Net};

/// Bytes a wire holds in each direction before the writer waits.
const WIRE: usize = 64 * 1024;
/// Connections that wait to be accepted; more are refused.
const BACKLOG: usize = 1024;

/// What is wrong with an address, for everyone who dials it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens.
    Refused,
    /// Nothing answers; the dial never ends by itself.
    Silent,
    /// Connections break after this many bytes from the dialling side.
    BreaksAfter(usize),
}

#[derive(Default)]
struct Wires {
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Connection>>,
    faults: BTreeMap<IpAddr, Fault>,
    ports: BTreeMap<IpAddr, u16>,
    dials: Vec<(IpAddr, SocketAddr)>,
}

/// The wires between all hosts of one simulation.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Wires>>);

impl Network {
    pub fn new() -> Network {
        Network::default()
    }
    /// A host's view: what it dials comes from its first address of the right family.
    pub fn host(&self, own: &[IpAddr]) -> HostView {
        HostView { network: self.clone(), own: own.to_vec() }
    }
    /// Breaks (or mends) the way to an address.
    pub fn fault(&self, to: IpAddr, fault: Option<Fault>) {
        let mut wires = self.lock();
        match fault {
            Some(fault) => wires.faults.insert(to, fault),
            None => wires.faults.remove(&to),
        };
    }
    /// Every dial since the last call: from, to.
    pub fn take_dials(&self) -> Vec<(IpAddr, SocketAddr)> {
        std::mem::take(&mut self.lock().dials)
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One host's sockets.
pub struct HostView {
    network: Network,
    own: Vec<IpAddr>,
}

impl HostView {
    fn source(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<IpAddr> {
        match from {
            Some(from) if self.own.contains(&from) => Ok(from),
            Some(from) => Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{from} is no address of this host"),
            )),
            None => {
                let family = self.own.iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
                Ok(*family.unwrap_or(&IpAddr::V4(Ipv4Addr::LOCALHOST)))
            }
        }
    }
}

impl Net for HostView {
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr) -> Later<'_, io::Result<Connection>> {
        Box::pin(async move {
            let source = self.source(from, to)?;
            let (fault, knock, local) = {
                let mut wires = self.network.lock();
                wires.dials.push((source, to));
                let port = wires.ports.entry(source).or_insert(40_000);
                *port = port.checked_add(1).unwrap_or(40_000);
                let local = SocketAddr::new(source, *port);
                (wires.faults.get(&to.ip()).copied(), wires.listener(to), local)
            };
            let refused =
                || io::Error::new(io::ErrorKind::ConnectionRefused, format!("{to} refused the connection"));
            let budget = match fault {
                Some(Fault::Silent) => std::future::pending().await,
                Some(Fault::Refused) => return Err(refused()),
                Some(Fault::BreaksAfter(bytes)) => Some(bytes),
                None => None,
            };
            let knock = knock.ok_or_else(refused)?;
            let (near, far) = tokio::io::duplex(WIRE);
            knock
                .try_send(Connection { stream: Box::new(far), local: to, peer: local })
                .map_err(|_| refused())?;
            let stream: Box<dyn world::Stream> = match budget {
                Some(left) => Box::new(Breaking { inner: near, left }),
                None => Box::new(near),
            };
            Ok(Connection { stream, local, peer: to })
        })
    }

    fn listen(&self, at: SocketAddr) -> Later<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let mut wires = self.network.lock();
            let at = if at.port() == 0 { wires.free_port(at.ip()) } else { at };
            if wires.listeners.get(&at).is_some_and(|sender| !sender.is_closed()) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{at} is taken")));
            }
            let (sender, receiver) = mpsc::channel(BACKLOG);
            wires.listeners.insert(at, sender);
            Ok(Arc::new(SimListener { at, receiver: tokio::sync::Mutex::new(receiver) }) as Arc<dyn Listener>)
        })
    }

    /// An address with a listener is a machine that answers.
    fn ping(&self, to: IpAddr, limit: Span) -> Later<'_, io::Result<Span>> {
        Box::pin(async move {
            let there = {
                let wires = self.network.lock();
                wires.faults.get(&to) != Some(&Fault::Silent)
                    && wires.listeners.keys().any(|at| at.ip() == to)
            };
            if there {
                return Ok(Span::ms(1));
            }
            tokio::time::sleep(limit.to_std()).await;
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no echo from {to}")))
        })
    }
}

impl Wires {
    fn listener(&self, to: SocketAddr) -> Option<mpsc::Sender<Connection>> {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        let found = self.listeners.get(&to).or_else(|| self.listeners.get(&SocketAddr::new(any, to.port())));
        found.filter(|sender| !sender.is_closed()).cloned()
    }
    fn free_port(&self, ip: IpAddr) -> SocketAddr {
        let free =
            (20_000..).map(|port| SocketAddr::new(ip, port)).find(|at| !self.listeners.contains_key(at));
        free.unwrap_or(SocketAddr::new(ip, 0))
    }
}

struct SimListener {
    at: SocketAddr,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
}

impl Listener for SimListener {
    fn local(&self) -> SocketAddr {
        self.at
    }
    fn accept(&self) -> Later<'_, io::Result<Connection>> {
        Box::pin(async move {
            let got = self.receiver.lock().await.recv().await;
            got.ok_or_else(|| io::Error::other("the listener is gone"))
        })
    }
}

/// A wire that breaks after so many bytes went out.
struct Breaking {
    inner: DuplexStream,
    left: usize,
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let n = bytes.len().min(self.left);
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[..n]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
