//! Words of many messages and where each stands, while a chunk is made.
//!
//! What it is: a table of its own in place of a map from strings to lists, because this is a fifth of
//! all the work that a message of 10 KiB makes: words lie one behind the other, lists are chained, and
//! nothing is allocated per word. What it is not: kept anywhere. Begin with [`Gathered::add`].

use std::hash::{BuildHasher, RandomState};

/// No entry.
const NONE: u32 = u32::MAX;

/// One word.
struct Entry {
    hash: u64,
    start: u32,
    len: u32,
    /// Its newest place, and the message that is.
    newest: u32,
    message: u32,
}

/// The words of one field.
#[derive(Default)]
pub struct Gathered {
    words: Vec<u8>,
    entries: Vec<Entry>,
    /// By hash: a part of it, and the entry. A power of two, at most half full.
    slots: Vec<(u32, u32)>,
    /// Message, and the place before it in the same list.
    places: Vec<(u32, u32)>,
    /// Strangers write the words: which of them meet in a slot must not be foreseen.
    seed: Option<(u64, u64)>,
}

impl Gathered {
    /// Message `message` has the word. Messages come in rising order.
    pub fn add(&mut self, word: &str, message: u32) {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = self.hash(word.as_bytes());
        let mut at = hash as usize & (self.slots.len() - 1);
        let entry = loop {
            let (part, entry) = self.slots[at];
            if entry == NONE {
                self.slots[at] = ((hash >> 32) as u32, self.entries.len() as u32);
                let (start, len) = (self.words.len() as u32, word.len() as u32);
                self.words.extend_from_slice(word.as_bytes());
                self.entries.push(Entry { hash, start, len, newest: NONE, message: NONE });
                break self.entries.len() - 1;
            }
            if part == (hash >> 32) as u32 && self.word(entry as usize) == word.as_bytes() {
                break entry as usize;
            }
            at = (at + 1) & (self.slots.len() - 1);
        };
        let entry = &mut self.entries[entry];
        if entry.message != message {
            self.places.push((message, entry.newest));
            (entry.newest, entry.message) = (self.places.len() as u32 - 1, message);
        }
    }

    /// All words in order, each with its messages in rising order.
    pub fn sorted(&self) -> impl Iterator<Item = (&[u8], Vec<u32>)> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_unstable_by(|a, b| self.word(*a).cmp(self.word(*b)));
        order.into_iter().map(|n| (self.word(n), self.list(n)))
    }

    fn word(&self, entry: usize) -> &[u8] {
        let Entry { start, len, .. } = self.entries[entry];
        &self.words[start as usize..(start + len) as usize]
    }
    fn list(&self, entry: usize) -> Vec<u32> {
        let mut out = Vec::new();
        let mut at = self.entries[entry].newest;
        while at != NONE {
            let (message, before) = self.places[at as usize];
            out.push(message);
            at = before;
        }
        out.reverse();
        out
    }
    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(256);
        self.slots.clear();
        self.slots.resize(len, (0, NONE));
        for (n, entry) in self.entries.iter().enumerate() {
            let mut at = entry.hash as usize & (len - 1);
            while self.slots[at].1 != NONE {
                at = (at + 1) & (len - 1);
            }
            self.slots[at] = ((entry.hash >> 32) as u32, n as u32);
        }
    }
    /// Eight octets at a time, multiplied by a secret and folded.
    fn hash(&mut self, word: &[u8]) -> u64 {
        let (a, b) = *self.seed.get_or_insert_with(|| {
            let random = RandomState::new();
            (random.hash_one(1u8) | 1, random.hash_one(2u8))
        });
        let mut h = b ^ word.len() as u64;
        for some in word.chunks(8) {
            let mut eight = [0; 8];
            eight[..some.len()].copy_from_slice(some);
            let wide = u128::from(h ^ u64::from_le_bytes(eight)) * u128::from(a);
            h = (wide as u64) ^ (wide >> 64) as u64 ^ b.rotate_left(17);
        }
        h
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn words_and_their_messages_are_as_in_a_map() {
        let (mut table, mut map) = (Gathered::default(), BTreeMap::<String, Vec<u32>>::new());
        for message in 0..60u32 {
            for n in 0..200u32 {
                let word = format!("w{}", (n * 7919 + message * 31) % 1500);
                let word = if n % 9 == 0 { word.repeat(5) } else { word };
                table.add(&word, message);
                let list = map.entry(word).or_default();
                if list.last() != Some(&message) {
                    list.push(message);
                }
            }
        }
        let all: Vec<(Vec<u8>, Vec<u32>)> = table.sorted().map(|(w, l)| (w.to_vec(), l)).collect();
        let want: Vec<(Vec<u8>, Vec<u32>)> = map.into_iter().map(|(w, l)| (w.into_bytes(), l)).collect();
        assert_eq!(all, want);
    }
}
