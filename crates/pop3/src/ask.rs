//! What the machine asks and is answered, and its settings: the engine's only door.

use bytes::Bytes;
use stdx::Span;

/// A question to the desk. After the `—` stands the answer it wants; any but [`Ask::Sasl`] may
/// be answered with [`Answer::Refused`].
pub enum Ask {
    /// A log-in's one open question, handed on as it is — [`Answer::Sasl`].
    Sasl(sasl::Question),
    /// The log-in was granted: what lies in the maildrop? — [`Answer::Drop`].
    Enter,
    /// Whole messages, none larger than [`TEXT_MAX`] and together about as much at most. They
    /// are what the client asked for and what it will probably ask for next
    /// — [`Answer::Texts`], one per uid in the same order, `None` for one that is gone.
    Texts { uids: Vec<u32> },
    /// A piece of a large message — [`Answer::Piece`], not empty, at most `len` octets; `None`
    /// if the message is gone.
    Piece { uid: u32, offset: u64, len: usize },
    /// QUIT: expunge these in one commit — [`Answer::Done`].
    Quit { delete: Vec<u32> },
}

pub enum Answer {
    Sasl(sasl::Answer),
    Drop(Maildrop),
    Texts(Vec<Option<Bytes>>),
    Piece(Option<Bytes>),
    Done,
    Refused(Refusal),
}

/// Why the desk cannot do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RFC 2449 §8.1.1: another session holds the maildrop.
    InUse,
    /// Not now.
    Unavailable,
}

/// The messages of INBOX as they were at log-in; numbers count from 1 in this order.
#[derive(Clone, Debug, Default)]
pub struct Maildrop {
    /// UIDVALIDITY, part of the UIDL.
    pub validity: u32,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub uid: u32,
    /// Octets as stored.
    pub size: u64,
    /// The unique-id the message had on a server it came from; else it is made from uid and
    /// validity in Dovecot's default form, so that a move that keeps both changes nothing.
    pub uidl: Option<Box<str>>,
}

/// Largest message asked for whole.
pub const TEXT_MAX: u64 = 256 * 1024;

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in the greeting.
    pub host: String,
    /// Whether STLS can be done.
    pub starttls: bool,
    /// The mechanisms to offer; `offer.passwords` also governs USER and PASS.
    pub offer: sasl::Offer,
    /// Time for one command before log-in.
    pub login_wait: Span,
    /// RFC 1939 §3: an idle session may be ended after ten minutes, not before.
    pub idle: Span,
    /// Wrong log-ins per session.
    pub login_failures_max: u32,
    /// Commands in a row that cannot be understood.
    pub errors_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            host: "localhost".into(),
            starttls: true,
            offer: sasl::Offer::default(),
            login_wait: Span::mins(3),
            idle: Span::mins(10),
            login_failures_max: 5,
            errors_max: 10,
        }
    }
}
