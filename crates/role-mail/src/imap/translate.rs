//! Between the machine's values and the keeper's.

use std::sync::Arc;

use ::imap::ask::{Code, DateTime, Refusal, SpecialUse};
use ::imap::{FlagNames, UidSet as TheirSet};
use mailbox::{Flags, UidSet};
use store::StoreError;

pub(super) fn set(theirs: &TheirSet) -> UidSet {
    UidSet::of_ranges(theirs.ranges().iter().copied())
}

pub(super) fn their_set(ours: &UidSet) -> TheirSet {
    TheirSet::of_ranges(ours.ranges().to_vec())
}

/// Both words have the system flags below and keyword number n at bit 8 + n.
pub(super) fn their_flags(ours: Flags) -> ::imap::Flags {
    ::imap::Flags(u128::from(ours.0))
}

pub(super) fn flags(theirs: &FlagNames) -> Flags {
    Flags(theirs.system.0 as u64).system()
}

pub(super) fn date(secs: i64, zone: i16) -> DateTime {
    DateTime { secs, zone }
}

/// The table of keywords as the machine wants it.
pub(super) fn keywords(table: Vec<String>) -> ::imap::Keywords {
    Arc::from(table)
}

/// A keeper's refusal begins with its response code in brackets.
pub(super) fn refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::Rule(why) => {
            let (code, text) = match why.strip_prefix('[').and_then(|w| w.split_once("] ")) {
                Some((code, text)) => (code.to_owned(), text.to_owned()),
                None => (String::new(), why),
            };
            Refusal { code: code_of(&code), text: capital(&text) }
        }
        StoreError::Full(_) => {
            Refusal::new(Code::Unavailable, "The mail disk is full; the operator was told, try later")
        }
        StoreError::Missing(_) => Refusal::new(Code::ExpungeIssued, "The message was expunged meanwhile"),
        StoreError::Damaged(body, _) => Refusal::new(
            Code::Corruption,
            format!("The stored text of this message is damaged (body {}); please tell the operator", body.0),
        ),
        other => {
            tracing::warn!(error = %other, "the store failed an IMAP session");
            Refusal::new(Code::Unavailable, "The mail store cannot answer right now; try again shortly")
        }
    }
}

fn code_of(code: &str) -> Option<Code> {
    Some(match code.split(' ').next()? {
        "OVERQUOTA" => Code::OverQuota,
        "NONEXISTENT" => Code::NonExistent,
        "TRYCREATE" => Code::TryCreate,
        "ALREADYEXISTS" => Code::AlreadyExists,
        "CANNOT" => Code::Cannot,
        "LIMIT" => Code::Limit,
        "INUSE" => Code::InUse,
        "NOPERM" => Code::NoPerm,
        "METADATA" if code.contains("TOOMANY") => Code::MetadataTooMany,
        "METADATA" => Code::MetadataMaxSize,
        "UNAVAILABLE" => Code::Unavailable,
        "SERVERBUG" => Code::ServerBug,
        _ => return None,
    })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

const USES: [(SpecialUse, &str); 8] = [
    (SpecialUse::All, "\\All"),
    (SpecialUse::Archive, "\\Archive"),
    (SpecialUse::Drafts, "\\Drafts"),
    (SpecialUse::Flagged, "\\Flagged"),
    (SpecialUse::Junk, "\\Junk"),
    (SpecialUse::Sent, "\\Sent"),
    (SpecialUse::Trash, "\\Trash"),
    (SpecialUse::Important, "\\Important"),
];

pub(super) fn uses(kept: &str) -> Vec<SpecialUse> {
    kept.split(' ')
        .filter_map(|word| USES.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(u, _)| *u))
        .collect()
}

pub(super) fn uses_kept(uses: &[SpecialUse]) -> String {
    let names: Vec<&str> = USES.iter().filter(|(u, _)| uses.contains(u)).map(|(_, name)| *name).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepers_refusal_carries_its_code() {
        let said = refusal(StoreError::rule("[OVERQUOTA] the mailbox is full"));
        assert_eq!(said, Refusal::new(Code::OverQuota, "The mailbox is full"));
        assert_eq!(refusal(StoreError::rule("no such thing")).code, None);
        let many = refusal(StoreError::rule("[METADATA TOOMANY] too many"));
        assert_eq!(many.code, Some(Code::MetadataTooMany));
    }

    #[test]
    fn the_longest_annotation_is_told_as_it_is_kept() {
        assert_eq!(::imap::ask::METADATA_LEN_MAX, mailbox::metadata::VALUE_LEN_MAX);
        assert!(Code::MetadataMaxSize.name().ends_with(&format!(" {}", mailbox::metadata::VALUE_LEN_MAX)));
    }

    #[test]
    fn special_uses_read_as_they_are_kept() {
        let kept = uses_kept(&[SpecialUse::Sent, SpecialUse::Archive]);
        assert_eq!(kept, "\\Archive \\Sent");
        assert_eq!(uses(&kept), [SpecialUse::Archive, SpecialUse::Sent]);
    }
}
