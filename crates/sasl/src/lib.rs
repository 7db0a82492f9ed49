//! SASL mechanisms as machines, and password hashes old and new.
//!
//! What it is: the server side of PLAIN, LOGIN, SCRAM-SHA-1/-256 (with -PLUS), OAUTHBEARER and
//! XOAUTH2 as one machine ([`Exchange`]) that every front embeds; the client side we need to
//! log in at a relay ([`client::Client`]); verifying and making password hashes ([`password`]).
//! What it is not: a keeper of passwords or a judge of log-ins. It asks [`Question`]s; one place
//! in the mail role answers them.
//! Begin with [`server`].

pub mod bearer;
pub mod client;
pub mod mechanism;
pub mod password;
pub mod scram;
pub mod server;

pub use mechanism::{Mechanism, Offer, offered};
pub use scram::{Hash, Keys};
pub use server::{Answer, Exchange, Failure, LINE_MAX, Question, Step};

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};

/// Some clients leave the padding off; nothing is gained by refusing them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Base64 as SASL lines carry it.
pub fn encode(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

/// Reads base64, with or without its padding.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}

/// Compares without telling by its duration where the difference is.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y))) == 0
}

/// A mark of some parts under a secret key (HMAC-SHA-256): the same parts give the same mark,
/// and nobody without the key can tell the parts or make the mark.
pub fn mark(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    use hmac::{Hmac, Mac};
    let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
