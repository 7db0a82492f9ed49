//! DANE for mail (RFC 7672, RFC 7671): which TLSA records count, and does a certificate match?
//!
//! What it is: decisions over records and DER certificates. What it is not: a validator of chains.
//! For a match at a trust anchor the caller still has to verify the chain up to it and the host
//! name, as [`Outcome::Anchor`] says.

use ring::digest::{SHA256, SHA512, digest};
use world::dns::Tlsa;

use crate::keys::der;

/// Records looked at.
const RECORDS_MAX: usize = 100;
/// Certificates of a chain looked at.
const CHAIN_MAX: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// RFC 7672 §2.1: no record can be used. TLS is still required, authentication is not.
    Unusable,
    /// RFC 7672 §3.1.1: the server's own certificate is named; name and dates do not matter.
    EndEntity,
    /// RFC 7672 §3.1.2: the certificate at this place of the chain is named as an anchor. The chain
    /// up to it, its dates and the host name must be verified.
    Anchor(usize),
    /// The server is not the one that is named: do not deliver to it.
    Mismatch,
}

/// RFC 7672 §3.1.3: of usages only 2 (DANE-TA) and 3 (DANE-EE) count for mail; unknown selectors
/// and hashes do not.
pub fn usable(record: &Tlsa) -> bool {
    matches!(record.usage, 2 | 3)
        && match record.matching {
            0 => !record.data.is_empty(),
            1 => record.data.len() == 32,
            2 => record.data.len() == 64,
            _ => false,
        }
        && record.selector <= 1
}

/// Decides over a server's chain of DER certificates, its own first.
pub fn decide(records: &[Tlsa], chain: &[&[u8]]) -> Outcome {
    let mut any = false;
    let mut anchor = None;
    for record in records.iter().take(RECORDS_MAX).filter(|r| usable(r)) {
        any = true;
        if record.usage == 3 {
            if chain.first().is_some_and(|cert| matches(record, cert)) {
                return Outcome::EndEntity;
            }
        } else if anchor.is_none() {
            anchor = chain.iter().take(CHAIN_MAX).position(|cert| matches(record, cert));
        }
    }
    match anchor {
        Some(at) => Outcome::Anchor(at),
        None if any => Outcome::Mismatch,
        None => Outcome::Unusable,
    }
}

/// Whether a record names this certificate.
pub fn matches(record: &Tlsa, certificate: &[u8]) -> bool {
    let part = match record.selector {
        0 => Some(certificate),
        1 => public_key(certificate),
        _ => None,
    };
    let Some(part) = part else { return false };
    match record.matching {
        0 => record.data == part,
        1 => record.data == digest(&SHA256, part).as_ref(),
        2 => record.data == digest(&SHA512, part).as_ref(),
        _ => false,
    }
}

/// The SubjectPublicKeyInfo of a certificate, whole (RFC 5280 §4.1).
pub fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (0x30, certificate, _) = der(certificate)? else { return None };
    let (0x30, mut rest, _) = der(certificate)? else { return None };
    // [0] version, serial, algorithm, issuer, validity, subject.
    if rest.first() == Some(&0xa0) {
        rest = der(rest)?.2;
    }
    for _ in 0..5 {
        rest = der(rest)?.2;
    }
    let (tag, _, after) = der(rest)?;
    (tag == 0x30).then(|| &rest[..rest.len() - after.len()])
}

/// The TLSA record data to publish for a certificate: `3 1 1 <sha256 of the key>`, which outlives
/// renewals that keep the key (RFC 7672 §3.1.1).
pub fn publish(certificate: &[u8]) -> Option<Tlsa> {
    let data = digest(&SHA256, public_key(certificate)?).as_ref().to_vec();
    Some(Tlsa { usage: 3, selector: 1, matching: 1, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Vec<u8> {
        rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).expect("made").cert.der().to_vec()
    }

    #[test]
    fn the_servers_own_certificate_matches_by_key_and_whole() {
        let (cert, other) = (certificate(), certificate());
        let by_key = publish(&cert).expect("a key");
        assert_eq!(decide(std::slice::from_ref(&by_key), &[&cert]), Outcome::EndEntity);
        assert_eq!(decide(&[by_key], &[&other]), Outcome::Mismatch);
        let whole = Tlsa { usage: 3, selector: 0, matching: 0, data: cert.clone() };
        assert_eq!(decide(&[whole], &[&cert, &other]), Outcome::EndEntity);
        let sha512 =
            Tlsa { usage: 2, selector: 0, matching: 2, data: digest(&SHA512, &other).as_ref().to_vec() };
        assert_eq!(decide(&[sha512], &[&cert, &other]), Outcome::Anchor(1));
    }

    #[test]
    fn records_of_other_kinds_do_not_count() {
        let cert = certificate();
        let odd = |usage, matching, len| Tlsa { usage, selector: 1, matching, data: vec![0; len] };
        assert_eq!(decide(&[odd(1, 1, 32), odd(3, 1, 31), odd(3, 9, 32)], &[&cert]), Outcome::Unusable);
        assert_eq!(decide(&[], &[&cert]), Outcome::Unusable);
        assert_eq!(decide(&[odd(3, 1, 32)], &[]), Outcome::Mismatch);
    }
}
