//! The hashes of a body that a message's signatures ask for, each taken once while the body comes.
//!
//! What it is: the way a message can be verified whose body is nowhere in memory. What it is not:
//! the verification; [`crate::dkim`] and [`crate::arc`] compare. Begin with [`Hashing::wanted`].

use message::Head;

use crate::canon::{BodyHash, Canon};
use crate::dkim::{SIGNATURES_MAX, Signature};
use crate::tags::Tags;

/// Different forms of one body that are hashed; honest messages need one or two.
const FORMS_MAX: usize = 16;
/// ARC fields looked at: as many as a longest chain has.
const ARC_FIELDS_MAX: usize = 50;

type Form = (Canon, Option<u64>);

/// Hashes under way.
#[derive(Default)]
pub struct Hashing(Vec<(Form, BodyHash)>);

/// A body's hashes, each with whether the body was as long as its limit said.
#[derive(Clone, Debug, Default)]
pub struct Hashes(Vec<(Form, ([u8; 32], bool))>);

impl Hashing {
    /// What the signatures in this header ask for.
    pub fn wanted(header: &[u8]) -> Hashing {
        let head = Head::parse(header);
        let mut out = Hashing::default();
        let dkim = head.all("DKIM-Signature").take(SIGNATURES_MAX).map(|f| (f, "simple/simple"));
        let arc = head.all("ARC-Message-Signature").take(ARC_FIELDS_MAX).map(|f| (f, "relaxed/relaxed"));
        for (field, form) in dkim.chain(arc) {
            let text = String::from_utf8_lossy(field.raw());
            if let Ok(signature) =
                Tags::parse(&text).map_err(drop).and_then(|tags| Signature::parse(&tags, form).map_err(drop))
            {
                out.add((signature.body_canon, signature.limit));
            }
        }
        out
    }
    /// What a signature of our own needs.
    pub fn ours() -> Hashing {
        let mut out = Hashing::default();
        out.add((Canon::Relaxed, None));
        out
    }
    fn add(&mut self, form: Form) {
        if self.0.len() < FORMS_MAX && !self.0.iter().any(|(f, _)| *f == form) {
            self.0.push((form, BodyHash::new(form.0, form.1)));
        }
    }
    pub fn push(&mut self, bytes: &[u8]) {
        for (_, hash) in &mut self.0 {
            hash.push(bytes);
        }
    }
    pub fn finish(self) -> Hashes {
        Hashes(self.0.into_iter().map(|(form, hash)| (form, hash.finish())).collect())
    }
}

impl Hashes {
    /// Of a whole message in memory.
    pub fn of(message: &[u8]) -> Hashes {
        let mut hashing = Hashing::wanted(message);
        if !hashing.0.is_empty() {
            hashing.push(&message[Head::parse(message).body_start()..]);
        }
        hashing.finish()
    }
    /// The hash of the body in this form; nothing if nobody asked for it in time.
    pub fn get(&self, canon: Canon, limit: Option<u64>) -> Option<([u8; 32], bool)> {
        self.0.iter().find(|(form, _)| *form == (canon, limit)).map(|(_, hash)| *hash)
    }
    /// The one our own signatures need.
    pub fn relaxed(&self) -> Option<[u8; 32]> {
        self.get(Canon::Relaxed, None).map(|(hash, _)| hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_pieces_has_the_hashes_its_header_asks_for() {
        let sign = |c: &str, l: &str| {
            format!(
                "DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; c={c}; h=from; bh=AA==; b=AA=={l}\r\n"
            )
        };
        let header = sign("relaxed/relaxed", "")
            + &sign("relaxed/simple", "; l=3")
            + &sign("simple/relaxed", "")
            + "From: a@x.example\r\n\r\n";
        let body = b"one  two \r\n\r\nthree\r\n\r\n";
        let mut whole = header.clone().into_bytes();
        whole.extend_from_slice(body);
        let of = Hashes::of(&whole);
        assert_eq!(of.0.len(), 2, "two signatures share a form");
        let mut hashing = Hashing::wanted(header.as_bytes());
        body.chunks(1).for_each(|piece| hashing.push(piece));
        let pieces = hashing.finish();
        for (form, hash) in &of.0 {
            assert_eq!(pieces.get(form.0, form.1), Some(*hash));
        }
        assert_eq!(pieces.get(Canon::Simple, None), None);
        assert!(pieces.relaxed().is_some());
    }
}
