//! IMAP: grammar and server machine, for IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051).
//!
//! What it is: a machine ([`server::Server`]) that reads commands, keeps each session's view of
//! the selected folder, and asks a desk ([`ask::Ask`]) for everything it cannot know; pure
//! functions for SEARCH, SORT and THREAD ([`search`]).
//! What it is not: a keeper. It stores nothing, opens nothing and knows no account.
//! Begin with [`ask`].

pub mod ask;
pub mod command;
pub mod fields;
pub mod flags;
pub mod grammar;
pub mod search;
pub mod server;
pub mod set;
mod view;
pub mod wire;

pub use ask::{Answer, Ask, Code, Notice, Refusal};
pub use flags::{FlagNames, Flags, Keywords};
pub use server::{Limits, Parcel, Server, Settings};
pub use set::{SeqSet, UidSet};
