//! How a session ended.

use std::fmt;

use stdx::TlsFacts;

/// What is left of a session.
#[derive(Clone, Debug)]
pub struct End {
    pub why: Why,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// TLS as it stood at the end.
    pub tls: Option<TlsFacts>,
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The machine closed.
    Done,
    /// The peer closed and the machine had nothing left to do.
    PeerClosed,
    /// The connection broke.
    Broken(String),
    /// The TLS handshake failed or took too long.
    TlsFailed(String),
    /// The peer did not take our bytes in time.
    Stalled,
    /// The server stopped and the machine did not end within the grace.
    Stopped,
    /// The session goes on elsewhere ([`crate::Desk::leave`]).
    Left,
    /// Our own fault; the text is for the operator.
    Panicked(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Done => f.write_str("ended in order"),
            Why::PeerClosed => f.write_str("the peer closed the connection"),
            Why::Broken(why) => write!(f, "the connection broke: {why}"),
            Why::TlsFailed(why) => write!(f, "TLS failed: {why}"),
            Why::Stalled => f.write_str("the peer did not take our bytes in time"),
            Why::Left => f.write_str("it goes on in another process"),
            Why::Stopped => f.write_str("the server stopped"),
            Why::Panicked(why) => write!(f, "our own fault: {why}"),
        }
    }
}
