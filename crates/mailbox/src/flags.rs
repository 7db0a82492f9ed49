//! Flags of a message: one 64-bit word, system flags below, keywords above.
//!
//! A keyword's bit is chosen per account when it is first used, so that copying between an
//! account's folders copies the word unchanged.

use std::collections::BTreeMap;

use rusqlite::Connection;
use store::{Batch, StoreError};
use words::AccountId;

use crate::rule;

/// The flag word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(pub u64);

/// First bit used for keywords.
pub const FIRST_BIT: u32 = 8;
/// Keywords per account: bits 8 to 62 (the sign bit stays clear for SQL).
pub const KEYWORDS_MAX: usize = 55;
/// Longest keyword, in octets.
pub const KEYWORD_LEN_MAX: usize = 128;

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const ANSWERED: Flags = Flags(1);
    pub const FLAGGED: Flags = Flags(2);
    pub const DELETED: Flags = Flags(4);
    pub const SEEN: Flags = Flags(8);
    pub const DRAFT: Flags = Flags(16);
    /// All system flags.
    pub const SYSTEM: Flags = Flags(31);

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
    pub const fn system(self) -> Flags {
        Flags(self.0 & Flags::SYSTEM.0)
    }
    /// The keyword bits alone.
    pub const fn keywords(self) -> u64 {
        self.0 & !Flags::SYSTEM.0
    }
    pub(crate) const fn sql(self) -> i64 {
        self.0 as i64
    }
    pub(crate) const fn from_sql(n: i64) -> Flags {
        Flags(n as u64)
    }
}

/// An account's keywords: bit to word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keywords(BTreeMap<u32, String>);

impl Keywords {
    /// Reads an account's table.
    pub fn of(conn: &Connection, account: AccountId) -> Result<Keywords, StoreError> {
        let mut read = conn.prepare_cached("SELECT bit, word FROM mb_keyword WHERE account = ?1")?;
        let rows = read.query_map([account.0], |r| Ok((r.get::<_, u32>(0)?, r.get::<_, String>(1)?)))?;
        Ok(Keywords(rows.collect::<Result<_, _>>()?))
    }
    /// The words of a flag word, in the order of their bits.
    pub fn words(&self, flags: Flags) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(bit, _)| flags.0 >> **bit & 1 == 1).map(|(_, w)| w.as_str())
    }
    /// The words by number (bit less [`FIRST_BIT`]); a number never used is empty.
    pub fn table(&self) -> Vec<String> {
        let len = self.0.keys().last().map_or(0, |bit| bit + 1 - FIRST_BIT);
        (0..len).map(|n| self.0.get(&(n + FIRST_BIT)).cloned().unwrap_or_default()).collect()
    }
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
    /// The bit of a keyword, if the account has ever used it. Keywords compare without case
    /// (RFC 9051 §2.3.2).
    pub fn bit(&self, word: &str) -> Option<Flags> {
        self.0.iter().find(|(_, w)| w.eq_ignore_ascii_case(word)).map(|(bit, _)| Flags(1 << bit))
    }
    /// All bits that have a word.
    pub fn known(&self) -> u64 {
        self.0.keys().fold(0, |all, bit| all | 1 << bit)
    }
    /// The bits of all these words, giving new words their bits.
    pub fn learn(
        &mut self,
        batch: &mut Batch<'_>,
        account: AccountId,
        words: &[String],
    ) -> Result<Flags, StoreError> {
        let mut flags = Flags::NONE;
        for word in words {
            flags = flags.with(match self.bit(word) {
                Some(bit) => bit,
                None => self.add(batch, account, word)?,
            });
        }
        Ok(flags)
    }
    fn add(&mut self, batch: &mut Batch<'_>, account: AccountId, word: &str) -> Result<Flags, StoreError> {
        if word.is_empty() || word.len() > KEYWORD_LEN_MAX {
            return rule(format!("a keyword has 1 to {KEYWORD_LEN_MAX} characters"));
        }
        let free = (FIRST_BIT..FIRST_BIT + KEYWORDS_MAX as u32).find(|bit| !self.0.contains_key(bit));
        let Some(bit) = free else {
            return rule(format!("this account already uses {KEYWORDS_MAX} keywords; use one of those"));
        };
        batch
            .sql()
            .prepare_cached("INSERT INTO mb_keyword (account, bit, word) VALUES (?1, ?2, ?3)")?
            .execute(rusqlite::params![account.0, bit, word])?;
        batch.settle();
        self.0.insert(bit, word.to_owned());
        Ok(Flags(1 << bit))
    }
}

/// The bits of `words` in an account, learning new ones. Free when there are no words.
pub fn learn(batch: &mut Batch<'_>, account: AccountId, words: &[String]) -> Result<Flags, StoreError> {
    if words.is_empty() {
        return Ok(Flags::NONE);
    }
    Keywords::of(batch.sql(), account)?.learn(batch, account, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_flags_and_keywords_do_not_meet() {
        let f = Flags::SEEN.with(Flags(1 << FIRST_BIT));
        assert_eq!((f.system(), f.keywords()), (Flags::SEEN, 1 << FIRST_BIT));
        assert!(f.has(Flags::SEEN) && !f.has(Flags::DRAFT));
        assert_eq!(f.without(Flags::SEEN).system(), Flags::NONE);
    }
}
