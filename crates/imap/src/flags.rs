//! Message flags: a bit set for a row, a list of names for what a client typed.
//!
//! Bits 0 to 4 are the system flags; bit 8 + n is the folder's keyword number n. The folder's
//! keyword table is told by the desk ([`crate::ask::Selected::keywords`] and every answer that
//! may have changed it), so that a row of flags is one number.

use std::sync::Arc;

/// The flags of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(pub u128);

/// A folder's keywords by number, empty where a number has none; shared by all sessions on it.
pub type Keywords = Arc<[String]>;

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const ANSWERED: Flags = Flags(1);
    pub const FLAGGED: Flags = Flags(2);
    pub const DELETED: Flags = Flags(4);
    pub const SEEN: Flags = Flags(8);
    pub const DRAFT: Flags = Flags(16);
    /// All system flags together.
    pub const SYSTEM: Flags = Flags(31);
    /// Number of the first keyword's bit.
    pub const FIRST_KEYWORD: u32 = 8;
    /// How many keywords one folder can have.
    pub const KEYWORDS_MAX: usize = 120;

    /// The bit of keyword number `n`; nothing if the number is out of range.
    pub const fn keyword(n: usize) -> Option<Flags> {
        if n < Self::KEYWORDS_MAX { Some(Flags(1 << (n as u32 + Self::FIRST_KEYWORD))) } else { None }
    }
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Names of the system flags, in the order of their bits.
pub const SYSTEM_NAMES: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

/// Flags as a client named them: system bits, and keywords by name (each once, as typed).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagNames {
    pub system: Flags,
    pub keywords: Vec<String>,
}

impl FlagNames {
    /// Adds a flag by its name; `\Recent` cannot be set by a client and unknown system flags are
    /// refused (RFC 9051 §2.3.2).
    pub fn add(&mut self, name: &str) -> Result<(), BadFlag> {
        if let Some(at) = SYSTEM_NAMES.iter().position(|n| n.eq_ignore_ascii_case(name)) {
            self.system = self.system.with(Flags(1 << at));
            return Ok(());
        }
        if name.is_empty() || name.starts_with('\\') {
            return Err(BadFlag);
        }
        if !self.keywords.iter().any(|k| k.eq_ignore_ascii_case(name)) {
            self.keywords.push(name.to_owned());
        }
        Ok(())
    }
    pub fn is_empty(&self) -> bool {
        self.system.is_empty() && self.keywords.is_empty()
    }
}

/// A flag name that nobody may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFlag;

/// Writes `\Seen \Flagged work` (without parentheses).
pub fn write_flags(out: &mut Vec<u8>, flags: Flags, recent: bool, keywords: &[String]) {
    let start = out.len();
    let mut bits = flags.0;
    while bits != 0 {
        let at = bits.trailing_zeros();
        bits &= bits - 1;
        let name = match at {
            0..=4 => SYSTEM_NAMES[at as usize],
            _ => match at.checked_sub(Flags::FIRST_KEYWORD).and_then(|n| keywords.get(n as usize)) {
                Some(name) if !name.is_empty() => name.as_str(),
                _ => continue,
            },
        };
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
    if recent {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(b"\\Recent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(flags: Flags, recent: bool, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let mut out = Vec::new();
        write_flags(&mut out, flags, recent, &words);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn flags_are_written_by_their_names() {
        let work = Flags::keyword(1).unwrap();
        assert_eq!(written(Flags::SEEN.with(work), false, &["$Junk", "work"]), "\\Seen work");
        assert_eq!(written(Flags::NONE, true, &[]), "\\Recent");
        assert_eq!(written(Flags::DRAFT.with(work), true, &["one"]), "\\Draft \\Recent");
        assert_eq!(written(Flags::NONE, false, &[]), "");
        assert_eq!(written(work.with(Flags::SEEN), false, &["a", ""]), "\\Seen");
    }

    #[test]
    fn a_client_cannot_set_recent_or_invent_system_flags() {
        let mut names = FlagNames::default();
        assert_eq!(names.add("\\seen"), Ok(()));
        assert_eq!(names.add("Work"), Ok(()));
        assert_eq!(names.add("work"), Ok(()));
        assert_eq!(names.add("\\Recent"), Err(BadFlag));
        assert_eq!(names.add("\\Strange"), Err(BadFlag));
        assert_eq!(names, FlagNames { system: Flags::SEEN, keywords: vec!["Work".into()] });
    }
}
