//! Short ids that every reply, DSN, log line and panel row carries: `s=` session, `m=` message,
//! `a=` attempt. Thirteen characters of Crockford base 32 at most, easy to read out on a phone.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn print(mut n: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut buf = [b'0'; 13];
    let mut at = 13;
    loop {
        at -= 1;
        buf[at] = ALPHABET[(n & 31) as usize];
        n >>= 5;
        if n == 0 {
            break;
        }
    }
    f.write_str(std::str::from_utf8(&buf[at..]).unwrap_or(""))
}

/// What a text is if it is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

fn read(text: &str, prefix: &str) -> Result<u64, NotAnId> {
    let text = text.strip_prefix(prefix).unwrap_or(text);
    if text.is_empty() || text.len() > 13 {
        return Err(NotAnId);
    }
    let mut n: u64 = 0;
    for c in text.bytes() {
        // Crockford: O reads as 0, I and L as 1.
        let c = match c.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            c => c,
        };
        let digit = ALPHABET.iter().position(|&a| a == c).ok_or(NotAnId)? as u64;
        n = n.checked_mul(32).ok_or(NotAnId)? | digit;
    }
    Ok(n)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// With its prefix, as replies and logs print it.
            pub fn tagged(self) -> String {
                format!(concat!($prefix, "{}"), self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self)
            }
        }
        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(s: &str) -> Result<$name, NotAnId> {
                read(s, $prefix).map($name)
            }
        }
    };
}

id!(/** One conversation with a peer. */ SessionId, "s=");
id!(/** One accepted message, whatever its copies. */ MessageId, "m=");
id!(/** One try to hand a message on. */ AttemptId, "a=");

/// An account of this host: what a login opens and a mailbox belongs to. The directory gives
/// the numbers; they are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_prints() {
        for n in [0, 1, 31, 32, 12_345_678_901, u64::MAX] {
            let id = MessageId(n);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.tagged().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
        assert_eq!("m=".parse::<MessageId>(), Err(NotAnId));
        assert_eq!("ZZZZZZZZZZZZZZ".parse::<MessageId>(), Err(NotAnId));
    }
}
