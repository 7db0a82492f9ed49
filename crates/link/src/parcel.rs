//! Facts, numbered and signed.
//!
//! A parcel is one header line and a JSON body:
//! `postroad-link 1 NAME SERIAL AT SIGNATURE`, LF, body. The signature (Ed25519, base64 without
//! padding) covers everything but itself: the header up to it, and the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use stdx::{Now, Span};

use crate::Fact;

/// Largest parcel, bytes.
pub const PARCEL_BYTES_MAX: usize = 1 << 20;
/// Facts in a parcel.
pub const FACTS_MAX: usize = 10_000;
/// A parcel from further in the future than this has a wrong clock behind it.
pub const AHEAD_MAX: Span = Span::mins(5);
const MAGIC: &str = "postroad-link 1";

#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    /// Who says it.
    pub from: String,
    /// Grows with each parcel of the sender; never given twice.
    pub serial: u64,
    pub at: Now,
    pub facts: Vec<Fact>,
}

/// A host's own key.
pub struct Key(Ed25519KeyPair);

impl Key {
    /// From 32 random bytes, kept secret.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Key> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Key)
    }
    /// What the others need to know, base64.
    pub fn public(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.public_key().as_ref())
    }
}

/// Another host, as we know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// As [`Key::public`] prints it.
    pub public: String,
    /// The last serial taken from it; 0 for none.
    pub last: u64,
}

/// Why a parcel is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    TooLarge,
    Malformed(&'static str),
    /// Nobody of this name is known here.
    Stranger(String),
    BadSignature,
    /// Already taken: say yes and change nothing.
    Again {
        serial: u64,
    },
    /// Its clock or ours is wrong.
    Ahead {
        by: Span,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::TooLarge => {
                write!(f, "the parcel is larger than {PARCEL_BYTES_MAX} bytes; send fewer facts at once")
            }
            OpenError::Malformed(what) => write!(f, "the parcel cannot be read: {what}"),
            OpenError::Stranger(name) => {
                write!(f, "no host called \"{name}\" is known here; add its public key to the configuration")
            }
            OpenError::BadSignature => {
                f.write_str("the signature does not fit the key known for this host; was its key changed?")
            }
            OpenError::Again { serial } => write!(f, "parcel {serial} was taken before"),
            OpenError::Ahead { by } => {
                write!(f, "the parcel is {by} ahead of our clock; check the time on both hosts")
            }
        }
    }
}
impl std::error::Error for OpenError {}

/// The bytes to carry.
pub fn seal(parcel: &Parcel, key: &Key) -> Vec<u8> {
    let body = serde_json::to_vec(&parcel.facts).unwrap_or_default();
    let head = format!("{MAGIC} {} {} {}", parcel.from, parcel.serial, parcel.at.ms());
    let signature = key.0.sign(&signed(&head, &body));
    let mut out = format!("{head} {}\n", STANDARD_NO_PAD.encode(signature.as_ref())).into_bytes();
    out.extend_from_slice(&body);
    out
}

fn signed(head: &str, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(head.len() + 1 + body.len());
    text.extend_from_slice(head.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(body);
    text
}

/// Reads, checks and opens a parcel from one of `peers`.
///
/// # Errors
/// Everything in [`OpenError`]; [`OpenError::Again`] is no fault of anyone.
pub fn open(bytes: &[u8], peers: &[Peer], now: Now) -> Result<Parcel, OpenError> {
    if bytes.len() > PARCEL_BYTES_MAX {
        return Err(OpenError::TooLarge);
    }
    let end = bytes.iter().position(|b| *b == b'\n').ok_or(OpenError::Malformed("it has no header line"))?;
    let (line, body) = (&bytes[..end], &bytes[end + 1..]);
    let line = std::str::from_utf8(line).map_err(|_| OpenError::Malformed("its header is not text"))?;
    let (head, signature) = line.rsplit_once(' ').ok_or(OpenError::Malformed("its header is too short"))?;
    let fields: Vec<&str> = head
        .strip_prefix(MAGIC)
        .ok_or(OpenError::Malformed("it is no parcel of version 1"))?
        .split_whitespace()
        .collect();
    let [from, serial, at] = fields[..] else {
        return Err(OpenError::Malformed("its header has other fields"));
    };
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| OpenError::Malformed("a number in its header is none"));
    let (serial, at) = (number(serial)?, Now(number(at)?));
    let peer = peers.iter().find(|p| p.name == from).ok_or_else(|| OpenError::Stranger(from.to_owned()))?;
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| OpenError::BadSignature);
    UnparsedPublicKey::new(&ED25519, decode(&peer.public)?)
        .verify(&signed(head, body), &decode(signature)?)
        .map_err(|_| OpenError::BadSignature)?;
    if serial <= peer.last {
        return Err(OpenError::Again { serial });
    }
    if at > now + AHEAD_MAX {
        return Err(OpenError::Ahead { by: at.since(now) });
    }
    let facts: Vec<Fact> =
        serde_json::from_slice(body).map_err(|_| OpenError::Malformed("its facts are no JSON of ours"))?;
    if facts.len() > FACTS_MAX {
        return Err(OpenError::TooLarge);
    }
    Ok(Parcel { from: from.to_owned(), serial, at, facts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Look;

    fn key() -> Key {
        Key::from_seed(&[7; 32]).expect("any 32 bytes will do")
    }

    fn parcel(serial: u64) -> Parcel {
        let fact = Fact::Probe {
            at: 5,
            probe: "loop.in".into(),
            component: "in".into(),
            point: "m1".into(),
            region: "Lusaka".into(),
            look: Look::Failed,
            ms: 0,
            says: "no mail in 120 s".into(),
        };
        Parcel { from: "monitor".into(), serial, at: Now(1000), facts: vec![fact] }
    }

    fn peers(last: u64) -> Vec<Peer> {
        vec![Peer { name: "monitor".into(), public: key().public(), last }]
    }

    #[test]
    fn what_is_sealed_opens() {
        assert_eq!(open(&seal(&parcel(3), &key()), &peers(2), Now(1000)), Ok(parcel(3)));
    }

    #[test]
    fn a_parcel_is_taken_once() {
        assert_eq!(
            open(&seal(&parcel(3), &key()), &peers(3), Now(1000)),
            Err(OpenError::Again { serial: 3 })
        );
    }

    #[test]
    fn strangers_changes_and_wrong_clocks_are_refused() {
        let sealed = seal(&parcel(3), &key());
        assert_eq!(open(&sealed, &[], Now(1000)), Err(OpenError::Stranger("monitor".into())));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&bad, &peers(0), Now(1000)).is_err(), "byte {at} may be changed");
        }
        let late = Parcel { at: Now(10_000_000), ..parcel(3) };
        assert!(matches!(open(&seal(&late, &key()), &peers(0), Now(1000)), Err(OpenError::Ahead { .. })));
    }

    #[test]
    fn an_unknown_kind_is_skipped_not_refused() {
        let facts: Vec<Fact> = serde_json::from_str(
            r#"[{"kind":"weather"},{"kind":"heartbeat","at":1,"version":"2","started":0}]"#,
        )
        .expect("valid");
        assert_eq!(facts[0], Fact::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            proptest::prop_assert!(open(&bytes, &peers(0), Now(0)).is_err());
        }
    }
}
