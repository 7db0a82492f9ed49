//! A new session's first facts: which front, from where, to where.

use std::net::SocketAddr;

use stdx::Now;
use words::SessionId;

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    /// Port 25: mail from other hosts.
    Smtp,
    /// Ports 587 and 465: mail from our own users.
    Submission,
    Imap,
    Pop3,
    /// Port 4190: ManageSieve.
    Sieve,
    Http,
}

impl Front {
    pub const fn name(self) -> &'static str {
        match self {
            Front::Smtp => "smtp",
            Front::Submission => "submission",
            Front::Imap => "imap",
            Front::Pop3 => "pop3",
            Front::Sieve => "sieve",
            Front::Http => "http",
        }
    }
    /// What a peer reads if there is no room, or if our own code breaks.
    pub const fn farewell(self) -> &'static [u8] {
        match self {
            Front::Smtp | Front::Submission => {
                b"421 4.3.0 Something went wrong here; please come back later\r\n"
            }
            Front::Imap => b"* BYE Something went wrong here; please come back later\r\n",
            Front::Pop3 => b"-ERR [SYS/TEMP] Something went wrong here; please come back later\r\n",
            Front::Sieve => b"BYE (TRYLATER) \"Something went wrong here; please come back later\"\r\n",
            Front::Http => b"",
        }
    }
    pub const fn full(self) -> &'static [u8] {
        match self {
            Front::Smtp | Front::Submission => b"421 4.7.0 Too many connections; please come back in a minute\r\n",
            Front::Imap => b"* BYE [UNAVAILABLE] Too many connections; please come back in a minute\r\n",
            Front::Pop3 => b"-ERR [SYS/TEMP] Too many connections; please come back in a minute\r\n",
            Front::Sieve => b"BYE (TRYLATER) \"Too many connections; please come back in a minute\"\r\n",
            Front::Http => {
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
        }
    }
}

/// A new session's first facts.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub id: SessionId,
    pub front: Front,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub implicit_tls: bool,
    /// Whether TLS can be had on this port (STARTTLS or implicit).
    pub tls_offered: bool,
    pub at: Now,
}
