//! What a script is told of the world, and what it wants done.

use std::collections::BTreeMap;

use words::Domain;

use crate::fault::Fault;

/// What is known of a delivery.
pub struct Facts<'a> {
    /// The message as it will be stored.
    pub message: &'a [u8],
    /// The reverse path; empty for a bounce, nothing if it is not known.
    pub sender: Option<&'a str>,
    /// The address this copy was sent to.
    pub recipient: &'a str,
    /// The user who submitted the message, if it is one of ours.
    pub authenticated: Option<&'a str>,
    /// All addresses of the script's owner.
    pub own: &'a [String],
    /// What separates user and detail in an address (RFC 5233 §4): any of these characters.
    pub delimiters: &'a str,
    /// The owner's zone, minutes east of UTC, for `currentdate` and `date`.
    pub zone_min: i32,
    /// RFC 5183: `host`, `domain`, `remote-ip` and so on.
    pub environment: &'a BTreeMap<String, String>,
    /// What stands left of the @ in the Message-ID of a reply; fresh for every message.
    pub reply_id: &'a str,
    pub around: &'a dyn Around,
}

/// What must be looked up outside of the message.
pub trait Around {
    /// Whether the owner has a folder of this name that he may put mail into.
    fn folder_exists(&self, name: &str) -> bool;
    /// Whether a folder (any, if none is named) has this special use, such as `\Sent`.
    fn special_use_exists(&self, folder: Option<&str>, special_use: &str) -> bool;
    /// Whether a mark of `duplicate` was set before and has not ended.
    fn seen(&self, mark: &str) -> bool;
}

/// No folders, nothing seen.
pub struct Nowhere;

impl Around for Nowhere {
    fn folder_exists(&self, _name: &str) -> bool {
        false
    }
    fn special_use_exists(&self, _folder: Option<&str>, _special_use: &str) -> bool {
        false
    }
    fn seen(&self, _mark: &str) -> bool {
        false
    }
}

/// One thing to do. `version` says with which text: 0 is the message as it came, 1 the first of
/// [`Outcome::versions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Into INBOX; implicit if the script did not ask for it.
    Keep {
        flags: Vec<String>,
        implicit: bool,
        version: usize,
    },
    FileInto {
        folder: String,
        flags: Vec<String>,
        /// RFC 5490 §3.2: make it if it is not there.
        create: bool,
        /// RFC 8579 §4: prefer the folder with this use.
        special_use: Option<String>,
        version: usize,
    },
    Redirect {
        to: String,
        version: usize,
    },
    /// Nothing is kept, and that was wished for.
    Discard,
    /// RFC 5429: refuse with this text; `in_session` for `ereject`, which wants an SMTP refusal.
    Reject {
        reason: String,
        in_session: bool,
    },
    Vacation(Box<Vacation>),
}

/// RFC 5230.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vacation {
    /// The same for the same reply to the same sender: within `seconds` only one is sent.
    pub mark: String,
    pub seconds: u64,
    /// The reply, or why there is none.
    pub reply: Result<Reply, &'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub to: String,
    /// The author; the envelope's sender is the null path (RFC 5230 §5.1).
    pub from: String,
    pub message: Vec<u8>,
}

/// A mark that `duplicate` wants set when the actions have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub name: String,
    pub seconds: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub actions: Vec<Action>,
    /// Texts after `addheader` and `deleteheader`.
    pub versions: Vec<Vec<u8>>,
    pub marks: Vec<Mark>,
    /// Where the script failed; then the one action is to keep the message as it came.
    pub trouble: Option<Fault>,
    /// What the script's owner should know, though the script went on.
    pub remarks: Vec<Fault>,
}

/// The address in a `redirect` or `:from`: bare, or in angle brackets behind a name.
pub fn redirect_target(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = match text.strip_suffix('>') {
        Some(rest) => {
            let (name, inner) = rest.rsplit_once('<')?;
            let quoted = name.trim().starts_with('"') && name.trim().ends_with('"') && name.trim().len() > 1;
            if !quoted && name.contains(['<', '>', '@', ',', ';', ':', '(', ')', '"']) {
                return None;
            }
            inner
        }
        None => text,
    };
    let (local, domain) = inner.rsplit_once('@')?;
    let (local, domain) = (local.trim(), domain.trim());
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let unquoted = !local.is_empty() && local.bytes().all(atom);
    let well_quoted =
        quoted && local[1..local.len() - 1].bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"');
    let host = Domain::new(domain).ok().filter(|_| domain.is_ascii())?;
    if well_quoted {
        // Needless quotes go, so that one address is written in one way.
        let inner = &local[1..local.len() - 1];
        return words::Address::new(inner, host.clone())
            .ok()
            .map(|a| if inner.contains('\\') { format!("{local}@{host}") } else { a.to_string() });
    }
    unquoted.then(|| format!("{local}@{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_targets_are_addresses() {
        for (text, want) in [
            ("ok@example.com", "ok@example.com"),
            ("Ok Good <stephan@Example.org>", "stephan@example.org"),
            (" more  @  example.com  ", "more@example.com"),
            ("..a...b..@example.com", "..a...b..@example.com"),
            ("\"a b\"@example.com", "\"a b\"@example.com"),
        ] {
            assert_eq!(redirect_target(text).as_deref(), Some(want), "{text}");
        }
        for bad in [
            "",
            "@",
            "<>",
            "a",
            "a@",
            "@b.example",
            "a b c@d.example",
            "x <a@b.example",
            "a@b.example,c@d.example",
            "rü@x.example",
        ] {
            assert_eq!(redirect_target(bad), None, "{bad}");
        }
    }
}
