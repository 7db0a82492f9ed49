//! Bringing mail over from elsewhere.
//!
//! What it is today: readers of mail on disk — mbox files and Maildir trees — that yield each
//! message with its folder, flags and date, whatever its bytes are. What it is not yet: moving a
//! running server (plan, copy, follow, switch, verify). Begin with [`found::read`].

pub mod found;
pub mod maildir;
pub mod mbox;

pub use found::{Flags, Found, ReadError, read};
