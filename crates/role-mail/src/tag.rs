//! The mark on outgoing mail by which a complaint finds its account again.
//!
//! What it is: message id and sender in 24 octets, the sender hidden and all of it sealed with a
//! key of this host, as letters and digits that fit a header field, a local part or an ENVID.
//! Nobody else can read who sent it, or make one. What it is not: a record; nothing is stored.
//! Begin with [`Tags`].

use hmac::{Hmac, Mac};
use sha2::Sha256;
use words::{AccountId, MessageId};

/// The header field that carries it.
pub const FIELD: &str = "X-Postroad-Tag";
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const SECRET: usize = 9;
const SEAL: usize = 7;
const OCTETS: usize = 8 + SECRET + SEAL;
/// Characters of a mark.
pub const LENGTH: usize = (OCTETS * 8).div_ceil(5);

/// Who a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Account(AccountId),
    /// Not an account's: forwarded or relayed; the ledger knows the message.
    Message,
}

/// The key.
#[derive(Clone)]
pub struct Tags([u8; 32]);

impl Tags {
    pub fn new(key: [u8; 32]) -> Tags {
        Tags(key)
    }

    fn mac(&self, mark: u8, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&[mark]);
        parts.iter().for_each(|p| mac.update(p));
        mac.finalize().into_bytes().into()
    }

    pub fn make(&self, whose: Whose, message: MessageId) -> String {
        let (kind, id) = match whose {
            Whose::Account(id) => (b'a', id.0),
            Whose::Message => (b'm', 0),
        };
        let message = message.0.to_be_bytes();
        let mut hidden = [0; SECRET];
        hidden[0] = kind;
        hidden[1..].copy_from_slice(&id.to_be_bytes());
        let cover = self.mac(b'h', &[&message]);
        hidden.iter_mut().zip(cover).for_each(|(h, c)| *h ^= c);
        let seal = self.mac(b's', &[&message, &hidden]);
        let mut all = Vec::with_capacity(OCTETS);
        all.extend_from_slice(&message);
        all.extend_from_slice(&hidden);
        all.extend_from_slice(&seal[..SEAL]);
        print(&all)
    }

    /// The header field with its line ending.
    pub fn field(&self, whose: Whose, message: MessageId) -> String {
        format!("{FIELD}: {}\r\n", self.make(whose, message))
    }

    /// Who it was; `None` for anything this host has not made.
    pub fn open(&self, tag: &str) -> Option<(Whose, MessageId)> {
        let all = read(tag)?;
        let (message, rest) = all.split_at(8);
        let (hidden, seal) = rest.split_at(SECRET);
        let want = self.mac(b's', &[message, hidden]);
        // Seven octets, compared whole: a stranger has one guess for each complaint he writes.
        let same = seal.iter().zip(&want).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        if !same {
            return None;
        }
        let cover = self.mac(b'h', &[message]);
        let open: Vec<u8> = hidden.iter().zip(cover).map(|(h, c)| h ^ c).collect();
        let id = i64::from_be_bytes(open[1..].try_into().ok()?);
        let whose = if open[0] == b'a' { Whose::Account(AccountId(id)) } else { Whose::Message };
        Some((whose, MessageId(u64::from_be_bytes(message.try_into().ok()?))))
    }

    /// The first mark of ours in a text: behind our field's name, wherever it stands.
    pub fn find(&self, text: &[u8]) -> Option<(Whose, MessageId)> {
        let name = FIELD.as_bytes();
        let places = text.windows(name.len()).enumerate().filter(|(_, w)| w.eq_ignore_ascii_case(name));
        for (at, _) in places.take(64) {
            let rest = &text[at + name.len()..];
            let value: String = rest
                .iter()
                .take(200)
                .map(|b| char::from(*b))
                .skip_while(|c| matches!(c, ':' | ' ' | '\t' | '\r' | '\n'))
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if let Some(found) = self.open(&value) {
                return Some(found);
            }
        }
        None
    }
}

fn print(octets: &[u8]) -> String {
    let bit = |n: usize| octets.get(n / 8).map_or(0, |o| (o >> (7 - n % 8)) & 1);
    (0..LENGTH)
        .map(|at| (0..5).fold(0, |value, n| (value << 1) | bit(at * 5 + n)))
        .map(|value| char::from(LETTERS[usize::from(value)]))
        .collect()
}

fn read(text: &str) -> Option<[u8; OCTETS]> {
    if text.len() != LENGTH {
        return None;
    }
    let mut out = [0; OCTETS];
    for (at, letter) in text.bytes().enumerate() {
        let value = LETTERS.iter().position(|l| *l == letter.to_ascii_lowercase())?;
        for n in 0..5 {
            let bit = at * 5 + n;
            if bit < OCTETS * 8 && value >> (4 - n) & 1 == 1 {
                out[bit / 8] |= 1 << (7 - bit % 8);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_by_its_maker_only_and_hides_its_sender() {
        let (ours, other) = (Tags::new([7; 32]), Tags::new([8; 32]));
        for n in 0..500u64 {
            let whose = if n % 5 == 0 { Whose::Message } else { Whose::Account(AccountId(n as i64 * 77)) };
            let tag = ours.make(whose, MessageId(n << 30));
            assert_eq!(tag.len(), LENGTH);
            assert!(tag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{tag}");
            assert_eq!(ours.open(&tag.to_uppercase()), Some((whose, MessageId(n << 30))));
            assert_eq!(other.open(&tag), None);
            let mut bent = tag.into_bytes();
            bent[20] = if bent[20] == b'a' { b'b' } else { b'a' };
            assert_eq!(ours.open(&String::from_utf8_lossy(&bent)), None);
        }
        let one = ours.make(Whose::Account(AccountId(1)), MessageId(5));
        let two = ours.make(Whose::Account(AccountId(1)), MessageId(6));
        assert_ne!(one[13..28], two[13..28], "one account looks different in each message");
    }

    #[test]
    fn it_is_found_wherever_a_report_puts_it() {
        let tags = Tags::new([7; 32]);
        let field = tags.field(Whose::Account(AccountId(9)), MessageId(44));
        let text = format!("Some words\r\n> {}\r\nx-postroad-tag: nonsense\r\n", field.trim());
        assert_eq!(tags.find(text.as_bytes()), Some((Whose::Account(AccountId(9)), MessageId(44))));
        assert_eq!(tags.find(b"x-postroad-tag: nonsense"), None);
    }
}
