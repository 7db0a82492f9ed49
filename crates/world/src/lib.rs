//! What we need from outside, as traits: connections, DNS questions, the clock, randomness.
//!
//! `host` implements them with the real machine, `sim` with a seeded city in virtual time.
//! A test is another world; the product has no test mode. Begin with [`World`].

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use stdx::{Now, Span};
use tokio::io::{AsyncRead, AsyncWrite};

pub mod dns;
pub use dns::{Answer, Dns, DnsError, Mx, Tlsa};

/// A boxed future that can move between threads.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A byte stream to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The stream as what it is, for those who can hand on a bare socket.
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// An accepted or dialled connection and what is known of its two ends.
pub struct Connection {
    pub stream: Box<dyn Stream>,
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// Accepts connections on one address.
pub trait Listener: Send + Sync {
    fn local(&self) -> SocketAddr;
    fn accept(&self) -> Later<'_, io::Result<Connection>>;
}

/// Sockets.
pub trait Net: Send + Sync {
    /// Connects to `to`, from the source address `from` if one is given (an egress address).
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr) -> Later<'_, io::Result<Connection>>;
    fn listen(&self, at: SocketAddr) -> Later<'_, io::Result<Arc<dyn Listener>>>;
    /// Sends an ICMP echo and waits for its answer: how long it took.
    fn ping(&self, to: IpAddr, limit: Span) -> Later<'_, io::Result<Span>> {
        let _ = limit;
        let why = format!("{to} cannot be pinged from here");
        Box::pin(std::future::ready(Err(io::Error::new(io::ErrorKind::Unsupported, why))))
    }
}

/// The clock. Only roles and fronts may hold one; judges and engines take [`Now`] as an argument.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
    /// Returns once `now() >= until`.
    fn sleep_until(&self, until: Now) -> Later<'_, ()>;
}

/// Randomness for ids, salts, nonces and jitter.
pub trait Random: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Everything from outside, in one value that is cheap to clone.
#[derive(Clone)]
pub struct World {
    pub net: Arc<dyn Net>,
    pub dns: Arc<dyn Dns>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

impl World {
    pub fn now(&self) -> Now {
        self.clock.now()
    }
}
