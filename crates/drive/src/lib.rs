//! The one async loop for any machine on any stream.
//!
//! What it is: [`run`] joins a protocol machine, the desk that answers its questions, and a
//! connection: reads, joined writes, deadlines, STARTTLS and implicit TLS, DEFLATE,
//! back-pressure, shutdown, and a last word if our own code breaks. [`pump`] is the loop without a machine. What it is not: a place
//! that knows a protocol or a policy. Begin with [`Desk`] and [`run`].
//!
//! Rules of the loop
//! - Actions are carried out in order; bytes to send are joined and flushed before it waits.
//! - While a question is open nothing is read (back-pressure), no notice is taken, and the
//!   deadline rests: the desk bounds its own time. What was said before is still written out.
//! - Reading goes through one scratch buffer per thread; a connection that waits holds none.
//! - A panic in a machine or desk ends that session alone: the peer is told [`Wires::farewell`].

mod deflate;
mod ending;
mod out;
mod pump;
mod session;
pub mod tls;
mod until;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stdx::{Machine, Span, TlsFacts};
use tokio::sync::watch;
use world::{Clock, Connection, Stream};

pub use ending::{End, Why};
pub use pump::pump;
pub use tls::{ClientTls, Doubt, Roots, Tls, TlsPick, TlsServer, Trust};
pub use until::{First, first, stopped, until_stop};

/// Why a session ends whose client begins with TLS where the conversation begins in the clear.
pub const TLS_TOO_EARLY: &str = "TLS began on a port that begins in the clear";

/// Takes a connection away from its session.
pub type Takes = Box<dyn FnOnce(Box<dyn Stream>) + Send>;

/// Answers a machine's questions. Roles implement it.
pub trait Desk: Send {
    type M: Machine<Ask: Send, Answer: Send, Notice: Send> + Send;

    fn answer(
        &mut self,
        ask: <Self::M as Machine>::Ask,
    ) -> impl Future<Output = <Self::M as Machine>::Answer> + Send;

    /// The next thing the machine should hear from outside its conversation. Must lose nothing
    /// when it is dropped while it waits.
    fn notice(&mut self) -> impl Future<Output = <Self::M as Machine>::Notice> + Send {
        std::future::pending()
    }

    /// TLS stands; told right after the machine was. For the record of a log-in.
    fn tls_started(&mut self, facts: &TlsFacts) {
        let _ = facts;
    }

    /// The server stops while the session waits with all said. If it can go on elsewhere, whoever
    /// takes its connection there; the session is over here then, without a word to the peer.
    fn leave(&mut self, machine: &Self::M) -> Option<Takes> {
        let _ = machine;
        None
    }
}

impl<D: Desk> Desk for &mut D {
    type M = D::M;
    fn answer(
        &mut self,
        ask: <Self::M as Machine>::Ask,
    ) -> impl Future<Output = <Self::M as Machine>::Answer> + Send {
        (**self).answer(ask)
    }
    fn notice(&mut self) -> impl Future<Output = <Self::M as Machine>::Notice> + Send {
        (**self).notice()
    }
    fn tls_started(&mut self, facts: &TlsFacts) {
        (**self).tls_started(facts);
    }
    fn leave(&mut self, machine: &Self::M) -> Option<Takes> {
        (**self).leave(machine)
    }
}

/// Tells sessions to stop: `true` once the server wants to.
pub type Stop = watch::Receiver<bool>;

/// What a session needs besides its machine, desk and connection.
#[derive(Clone)]
pub struct Wires {
    pub clock: Arc<dyn Clock>,
    pub tls: Tls,
    pub stop: Stop,
    /// Said if our own code breaks in this session: `421 …` or `* BYE …`, with CRLF.
    pub farewell: &'static [u8],
    pub meter: Arc<Meter>,
    pub limits: Limits,
}

/// Bounds on what a peer can make us wait for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A TLS handshake takes at most this long.
    pub handshake: Span,
    /// A write that takes longer than this, plus the time its bytes take at
    /// [`Limits::bytes_per_s_min`], ends the session: the peer does not read.
    pub write: Span,
    pub bytes_per_s_min: u64,
    /// After [`Machine::shutdown`] the session may go on this long.
    pub stop_grace: Span,
    /// When a write fails, how long to listen for what the peer may have said before. A client
    /// wants to know why it was cut off; a server must not act on what comes after the end.
    pub hear_out: Span,
}

impl Limits {
    /// For the client's side of a conversation.
    pub fn client() -> Limits {
        Limits { hear_out: Span::secs(2), ..Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake: Span::secs(30),
            write: Span::mins(3),
            bytes_per_s_min: 1024,
            stop_grace: Span::secs(20),
            hear_out: Span::ZERO,
        }
    }
}

/// Counts what passes through sessions. Shared by all sessions of one kind.
#[derive(Debug, Default)]
pub struct Meter {
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub sessions: AtomicU64,
    pub open: AtomicU64,
    pub panics: AtomicU64,
    pub tls_failures: AtomicU64,
    pub stalls: AtomicU64,
}

impl Meter {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// A stop signal that never comes (clients, tests).
pub fn never_stop() -> Stop {
    let (sender, receiver) = watch::channel(false);
    // The sender must outlive the receiver, or waiting ends at once; a leaked one does.
    std::mem::forget(sender);
    receiver
}

/// Drives `machine` on `connection` until either side has had enough. Call it without holding
/// other big values in the same future: a waiting session's memory is what the caller keeps plus
/// the machine and the desk.
pub fn run<D: Desk>(
    machine: D::M,
    desk: D,
    connection: Connection,
    wires: Wires,
) -> impl Future<Output = End> + Send {
    // Boxed here, outside the future, so that the future is one pointer wide and the machine
    // and desk are stored once.
    let session = Box::new(session::Session::new(machine, desk, connection.stream, wires));
    session.run()
}

#[cfg(test)]
mod tests;
