//! What the client machine asks, what it takes, and how it tells what became of each recipient.

use bytes::Bytes;
use stdx::machine::TlsFacts;
use words::{Envelope, Reply};

use super::Capabilities;
use crate::reply::NotAReply;

/// Where in the conversation something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The reply to the whole text.
    Dot,
}

/// A question to the desk.
pub enum Ask {
    /// The session is ready for a message, the first or a further one. Answer with `Send` or `Quit`.
    Next(Box<Ready>),
    /// The next piece of the text. Answer with `Chunk` (empty: that was all) or `Abort`.
    Chunk,
    /// What became of the message. Answer with `Noted`. If `over` is set, the session ends behind it.
    Done(Outcome),
    /// The session ended before a message was begun. Answer with `Noted`; the session ends.
    Failed(Failure),
}

/// What the desk answers.
pub enum Answer {
    Send(Box<Envelope>),
    Quit,
    Chunk(Bytes),
    /// The text cannot be had: cut the connection, so that nothing half is taken for whole.
    Abort,
    Noted,
}

/// What is known of the server once mail may be sent.
#[derive(Clone, Debug)]
pub struct Ready {
    pub banner: Reply,
    pub capabilities: Capabilities,
    pub tls: Option<TlsFacts>,
    /// Messages finished on this connection.
    pub finished: u32,
}

/// A message's outcome; `fates` stand in the order of the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub fates: Vec<Fate>,
    /// The connection is of no further use.
    pub over: bool,
    /// Commands were pipelined; a time-out may come from a server that only says it can take that.
    pub pipelined: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has taken responsibility. `dsn`: it promised RFC 3461, so success is its to tell.
    Accepted {
        reply: Reply,
        dsn: bool,
    },
    Refused {
        stage: Stage,
        reply: Reply,
    },
    /// The server cannot take this message, and was not asked.
    Unfit(Unfit),
    /// No reply: nobody knows. At [`Stage::Dot`] the server may have it nevertheless.
    Broken {
        stage: Stage,
        why: Break,
    },
}

/// Why a message does not fit a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// RFC 6531: an address or header needs SMTPUTF8, which is not offered.
    Utf8,
    /// RFC 1870: larger than the server's limit.
    TooLarge { max: u64 },
    /// RFC 8689: REQUIRETLS is not offered.
    RequireTls,
    /// RFC 3030: BINARYMIME is not offered.
    Binary,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Break {
    Closed,
    TimedOut,
    Garbage(NotAReply),
    /// TLS or a log-in is demanded of the server, which does not offer it.
    NotOffered,
    /// The server could not prove that it knows our password, or its challenge cannot be read.
    LoginFailed(String),
    /// A reply to a command that was not sent.
    OutOfStep(Reply),
    /// We gave up: no text, or we are being stopped.
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    Refused(Reply),
    Broken(Break),
}
