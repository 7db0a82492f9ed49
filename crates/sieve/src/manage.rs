//! ManageSieve (RFC 5804): the server as a machine.
//!
//! What it is: the protocol, log-in included, and the check of every script before it is kept.
//! What it is not: a keeper of scripts; it asks. Begin with [`Ask`], then [`Server`].

mod read;
mod server;

use stdx::Span;

use crate::Limits;
pub use server::Server;

/// A question to the desk. After the `—` stands the answer it wants; all but [`Ask::Sasl`] may be
/// answered with [`Answer::Refused`].
pub enum Ask {
    /// A log-in's one open question, handed on as it is — [`Answer::Sasl`].
    Sasl(sasl::Question),
    /// The log-in was granted — [`Answer::Done`].
    Enter,
    /// UNAUTHENTICATE: forget who it was — [`Answer::Done`].
    Forget,
    /// Would a script of this size fit? — [`Answer::Done`].
    HaveSpace { name: String, size: u64 },
    /// Keep this script, which has no faults; it takes the place of one of the same name
    /// — [`Answer::Done`].
    Put { name: String, script: String },
    /// — [`Answer::Scripts`].
    List,
    /// Make this script the active one, or none — [`Answer::Done`].
    SetActive { name: Option<String> },
    /// — [`Answer::Script`].
    Get { name: String },
    /// — [`Answer::Done`].
    Delete { name: String },
    /// — [`Answer::Done`].
    Rename { from: String, to: String },
}

pub enum Answer {
    Sasl(sasl::Answer),
    Done,
    /// Names, and whether it is the active one.
    Scripts(Vec<(String, bool)>),
    Script(String),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NonExistent,
    AlreadyExists,
    /// The active script cannot be deleted.
    Active,
    /// Too many scripts.
    TooMany,
    /// Too many octets.
    TooLarge,
    /// Not now.
    TryLater,
}

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    pub starttls: bool,
    pub offer: sasl::Offer,
    /// Time for one command before log-in, and after it (RFC 5804 §1.4: at least 30 minutes).
    pub login_wait: Span,
    pub idle: Span,
    pub login_failures_max: u32,
    pub errors_max: u32,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            starttls: true,
            offer: sasl::Offer::default(),
            login_wait: Span::mins(3),
            idle: Span::mins(30),
            login_failures_max: 5,
            errors_max: 20,
            limits: Limits::default(),
        }
    }
}
