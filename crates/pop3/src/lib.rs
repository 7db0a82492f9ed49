//! POP3: grammar and server machine (RFC 1939, 2449, 2595, 3206, 5034, 6856).
//!
//! What it is: everything a POP3 session says and counts, deletions until QUIT included.
//! What it is not: a keeper of mail; it asks for the maildrop once and for texts as they are
//! wanted. Begin with [`ask`] (what it asks), then [`server`].

pub mod ask;
mod auth;
mod command;
pub mod server;
mod transfer;

pub use ask::{Answer, Ask, Entry, Maildrop, Refusal, Settings};
pub use server::Server;
