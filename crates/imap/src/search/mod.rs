//! SORT and THREAD as pure functions over what is known of each message.
//!
//! What it is: the orders of RFC 5256 and RFC 5957. What it is not: a search; which messages fit
//! a [`crate::command::SearchKey`] is found by the desk, where the rows and the index are.
//! Begin with [`Facts`].

mod sort;
mod thread;

pub use sort::sort;
pub use thread::thread;

/// What SORT and THREAD compare of one message. Texts are decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub uid: u32,
    /// INTERNALDATE in seconds since 1970.
    pub arrival: i64,
    pub size: u64,
    /// The Date field in seconds since 1970, or `arrival` where it is missing or broken.
    pub sent: i64,
    /// Local part of the first address (RFC 5256 §3).
    pub from: String,
    pub to: String,
    pub cc: String,
    /// Display name of the first address, or the address (RFC 5957 §3).
    pub from_shown: String,
    pub to_shown: String,
    /// Base subject (RFC 5256 §2.1).
    pub subject: String,
    /// The subject said that it answers or forwards something.
    pub is_reply: bool,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// References, or the first of In-Reply-To, oldest first.
    pub references: Vec<String>,
}

/// A text as it is compared: RFC 5051's case folding, near enough to its letter (capitals of
/// every script; compatibility forms stay apart).
fn folded(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_uppercase()
    } else {
        text.chars().flat_map(char::to_uppercase).collect()
    }
}
