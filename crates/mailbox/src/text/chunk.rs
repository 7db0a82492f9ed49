//! One immutable piece of the text index: the words of some hundred or thousand messages.
//!
//! A chunk is kept as a body of its own. It begins with a table of sections, so that a search
//! reads only the words of the fields it wants and the few lists of messages it hits. Words lie
//! sorted in one blob between NULs: looking for a part of a word is one pass over some hundred
//! KiB, which needs no index of its own. Numbers are little-endian.

use crate::text::gathered::Gathered;
use crate::text::words::{Lies, WORD_LEN_MAX, fold, words};
use crate::uids::{put, take};

/// A field that can be searched by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    From,
    To,
    /// Cc and Bcc.
    Cc,
    Subject,
    /// All other header fields.
    Header,
    Body,
}

pub const FIELDS: [Field; 6] =
    [Field::From, Field::To, Field::Cc, Field::Subject, Field::Header, Field::Body];

const MAGIC: u32 = 0x5054_5831;
/// Magic, messages, then per section of documents and of each field: start and length of its
/// three parts.
pub const TABLE_LEN: usize = 8 + 8 + FIELDS.len() * 24;

/// Where the parts of one field lie in the chunk: words, their starts and the starts of their
/// lists, lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    pub words: (u32, u32),
    pub starts: (u32, u32),
    pub lists: (u32, u32),
}

/// The table at the begin of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub messages: u32,
    pub bodies: (u32, u32),
    pub fields: [Section; FIELDS.len()],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Table {
    pub fn read(bytes: &[u8]) -> Option<Table> {
        if u32_at(bytes, 0)? != MAGIC {
            return None;
        }
        let pair = |at: usize| Some((u32_at(bytes, at)?, u32_at(bytes, at + 4)?));
        let mut fields = [Section::default(); FIELDS.len()];
        for (n, field) in fields.iter_mut().enumerate() {
            let at = 16 + n * 24;
            *field = Section { words: pair(at)?, starts: pair(at + 8)?, lists: pair(at + 16)? };
        }
        Some(Table { messages: u32_at(bytes, 4)?, bodies: pair(8)?, fields })
    }
    pub fn section(&self, field: Field) -> Section {
        self.fields[field as usize]
    }
}

/// The messages of a chunk: body numbers in order; and which of them have words too long to be
/// indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    pub bodies: Vec<i64>,
    pub long: Vec<u32>,
}

impl Messages {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.bodies.len() as u64);
        let mut last = 0i64;
        for &body in &self.bodies {
            // Zigzag: chunks joined later need not be in order.
            let step = body.wrapping_sub(last);
            put(&mut out, ((step << 1) ^ (step >> 63)) as u64);
            last = body;
        }
        write_list(&mut out, &self.long);
        out
    }
    pub fn read(mut bytes: &[u8]) -> Option<Messages> {
        let n = take(&mut bytes)?;
        let mut bodies = Vec::with_capacity(n.min(1 << 20) as usize);
        let mut last = 0i64;
        for _ in 0..n {
            let zigzag = take(&mut bytes)?;
            last = last.wrapping_add(((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64));
            bodies.push(last);
        }
        Some(Messages { bodies, long: read_list(&mut bytes)? })
    }
}

fn write_list(out: &mut Vec<u8>, list: &[u32]) {
    put(out, list.len() as u64);
    let mut last = 0;
    for &n in list {
        put(out, u64::from(n.wrapping_sub(last)));
        last = n;
    }
}

fn read_list(bytes: &mut &[u8]) -> Option<Vec<u32>> {
    let n = take(bytes)?;
    let mut out = Vec::with_capacity(n.min(1 << 16) as usize);
    let mut last = 0u32;
    for _ in 0..n {
        last = last.wrapping_add(take(bytes)? as u32);
        out.push(last);
    }
    Some(out)
}

/// A chunk being made of messages.
#[derive(Default)]
pub struct Builder {
    messages: Messages,
    fields: [Gathered; FIELDS.len()],
}

impl Builder {
    /// Begins the next message.
    pub fn message(&mut self, body: i64) {
        self.messages.bodies.push(body);
    }
    pub fn len(&self) -> usize {
        self.messages.bodies.len()
    }
    pub fn is_empty(&self) -> bool {
        self.messages.bodies.is_empty()
    }
    /// Adds text to a field of the message begun last.
    pub fn text(&mut self, field: Field, text: &str) {
        let Some(number) = (self.messages.bodies.len() as u32).checked_sub(1) else { return };
        let known = &mut self.fields[field as usize];
        let long = &mut self.messages.long;
        words(&fold(text), |_, word| {
            if word.len() > WORD_LEN_MAX {
                if long.last() != Some(&number) {
                    long.push(number);
                }
                return;
            }
            known.add(word, number);
        });
    }
    /// The finished chunk.
    pub fn finish(self) -> Vec<u8> {
        let mut sections = Vec::new();
        for field in &self.fields {
            let mut parts = Parts::new();
            for (word, list) in field.sorted() {
                parts.add(word, |out| write_list(out, &list));
            }
            sections.push(parts);
        }
        assemble(&self.messages, &sections)
    }
}

/// One field's parts being written.
struct Parts {
    words: Vec<u8>,
    starts: Vec<u8>,
    lists: Vec<u8>,
}

impl Parts {
    fn new() -> Parts {
        Parts { words: vec![0], starts: Vec::new(), lists: Vec::new() }
    }
    fn add(&mut self, word: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.starts.extend_from_slice(&(self.words.len() as u32).to_le_bytes());
        self.starts.extend_from_slice(&(self.lists.len() as u32).to_le_bytes());
        self.words.extend_from_slice(word);
        self.words.push(0);
        write(&mut self.lists);
    }
}

fn assemble(messages: &Messages, sections: &[Parts]) -> Vec<u8> {
    let bodies = messages.write();
    let mut out = Vec::new();
    let mut at = (TABLE_LEN + bodies.len()) as u32;
    let word = |out: &mut Vec<u8>, n: u32| out.extend_from_slice(&n.to_le_bytes());
    for n in [MAGIC, messages.bodies.len() as u32, TABLE_LEN as u32, bodies.len() as u32] {
        word(&mut out, n);
    }
    for parts in sections {
        for part in [&parts.words, &parts.starts, &parts.lists] {
            word(&mut out, at);
            word(&mut out, part.len() as u32);
            at += part.len() as u32;
        }
    }
    out.extend_from_slice(&bodies);
    for parts in sections {
        for part in [&parts.words, &parts.starts, &parts.lists] {
            out.extend_from_slice(part);
        }
    }
    out
}

/// The words that a piece of a needle hits, as the places of their lists.
pub fn hits(words: &[u8], starts: &[u8], piece: &str, lies: Lies) -> Vec<u32> {
    let mut pattern = Vec::with_capacity(piece.len() + 2);
    if matches!(lies, Lies::AtStart | Lies::Whole) {
        pattern.push(0);
    }
    let lead = pattern.len();
    pattern.extend_from_slice(piece.as_bytes());
    if matches!(lies, Lies::AtEnd | Lies::Whole) {
        pattern.push(0);
    }
    let count = starts.len() / 8;
    let start = |n: usize| u32_at(starts, n * 8).unwrap_or(u32::MAX) as usize;
    let mut out = Vec::new();
    let mut last = usize::MAX;
    for at in memchr::memmem::find_iter(words, &pattern) {
        let at = at + lead;
        let (mut lo, mut hi) = (0, count);
        while lo < hi {
            let mid = (lo + hi) / 2;
            if start(mid) <= at { lo = mid + 1 } else { hi = mid }
        }
        if lo > 0 && lo - 1 != last {
            last = lo - 1;
            out.extend(u32_at(starts, last * 8 + 4));
        }
    }
    out
}

/// The list of messages that begins at `bytes`.
pub fn list(mut bytes: &[u8]) -> Vec<u32> {
    read_list(&mut bytes).unwrap_or_default()
}

/// Joins chunks, leaving out bodies that `lives` does not know any more.
pub fn join(chunks: &[&[u8]], lives: impl Fn(i64) -> bool) -> Option<Vec<u8>> {
    let mut messages = Messages::default();
    let mut tables = Vec::new();
    for &bytes in chunks {
        let table = Table::read(bytes)?;
        let theirs = Messages::read(cut(bytes, table.bodies)?)?;
        let mut new = vec![u32::MAX; theirs.bodies.len()];
        for (n, &body) in theirs.bodies.iter().enumerate() {
            if lives(body) {
                new[n] = messages.bodies.len() as u32;
                messages.bodies.push(body);
            }
        }
        let kept = |n: &u32| new.get(*n as usize).copied().filter(|&n| n != u32::MAX);
        messages.long.extend(theirs.long.iter().filter_map(kept));
        tables.push((bytes, table, new));
    }
    let mut sections = Vec::new();
    for field in FIELDS {
        sections.push(join_field(&tables, field)?);
    }
    Some(assemble(&messages, &sections))
}

fn cut(bytes: &[u8], (start, len): (u32, u32)) -> Option<&[u8]> {
    bytes.get(start as usize..(start as usize).checked_add(len as usize)?)
}

/// One chunk being joined: its words not yet taken, its lists, and its messages' new numbers.
struct Source<'b> {
    words: &'b [u8],
    starts: &'b [u8],
    lists: &'b [u8],
    new: &'b [u32],
    at: usize,
}

impl<'b> Source<'b> {
    fn word(&self) -> Option<&'b [u8]> {
        let start = u32_at(self.starts, self.at * 8)? as usize;
        let rest = self.words.get(start..)?;
        rest.get(..memchr::memchr(0, rest)?)
    }
    fn list(&self) -> Vec<u32> {
        let start = u32_at(self.starts, self.at * 8 + 4).unwrap_or(u32::MAX) as usize;
        let old = list(self.lists.get(start..).unwrap_or_default());
        old.into_iter().filter_map(|n| self.new.get(n as usize).copied().filter(|&n| n != u32::MAX)).collect()
    }
}

fn join_field(tables: &[(&[u8], Table, Vec<u32>)], field: Field) -> Option<Parts> {
    let mut sources = Vec::new();
    for (bytes, table, new) in tables {
        let s = table.section(field);
        let (words, starts) = (cut(bytes, s.words)?, cut(bytes, s.starts)?);
        sources.push(Source { words, starts, lists: cut(bytes, s.lists)?, new, at: 0 });
    }
    let mut parts = Parts::new();
    while let Some(word) = sources.iter().filter_map(Source::word).min() {
        let mut all = Vec::new();
        for source in &mut sources {
            if source.word() == Some(word) {
                all.extend(source.list());
                source.at += 1;
            }
        }
        if !all.is_empty() {
            parts.add(word, |out| write_list(out, &all));
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(chunk: &[u8], field: Field, piece: &str, lies: Lies) -> Vec<i64> {
        let table = Table::read(chunk).expect("a table");
        let messages = Messages::read(cut(chunk, table.bodies).expect("there")).expect("messages");
        let s = table.section(field);
        let (words, starts) = (cut(chunk, s.words).expect("there"), cut(chunk, s.starts).expect("there"));
        let lists = cut(chunk, s.lists).expect("there");
        let mut all: Vec<i64> = hits(words, starts, piece, lies)
            .into_iter()
            .flat_map(|at| list(&lists[at as usize..]))
            .map(|n| messages.bodies[n as usize])
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn chunk(messages: &[(i64, &str)]) -> Vec<u8> {
        let mut builder = Builder::default();
        for (body, text) in messages {
            builder.message(*body);
            builder.text(Field::Body, text);
        }
        builder.finish()
    }

    #[test]
    fn parts_of_words_are_found_where_they_lie() {
        let c = chunk(&[(5, "the zanzibarium of Bar"), (9, "bar none"), (12, "embargo")]);
        assert_eq!(found(&c, Field::Body, "bar", Lies::Anywhere), [5, 9, 12]);
        assert_eq!(found(&c, Field::Body, "bar", Lies::Whole), [5, 9]);
        assert_eq!(found(&c, Field::Body, "em", Lies::AtStart), [12]);
        assert_eq!(found(&c, Field::Body, "rium", Lies::AtEnd), [5]);
        assert_eq!(found(&c, Field::Subject, "bar", Lies::Anywhere), []);
    }

    #[test]
    fn joined_chunks_find_the_same_without_the_dead() {
        let (a, b) = (chunk(&[(5, "one two"), (9, "two three")]), chunk(&[(2, "three two"), (3, "four")]));
        let joined = join(&[&a, &b], |body| body != 9).expect("joins");
        assert_eq!(found(&joined, Field::Body, "two", Lies::Whole), [2, 5]);
        assert_eq!(found(&joined, Field::Body, "three", Lies::Whole), [2]);
        assert_eq!(found(&joined, Field::Body, "four", Lies::Whole), [3]);
    }

    #[test]
    fn damage_is_no_panic() {
        let whole = chunk(&[(5, "one two")]);
        for len in 0..whole.len() {
            let _ = join(&[&whole[..len]], |_| true);
            let mut broken = whole.clone();
            broken[len] ^= 0xff;
            let _ = join(&[&broken], |_| true);
        }
    }
}
