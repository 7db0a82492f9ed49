//! Keys of DKIM: making them, publishing them, signing and verifying with them.
//!
//! Begin with [`Published`] (a stranger's key) and [`SigningKey`] (ours).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{self, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use rsa::pkcs8::EncodePrivateKey;
use stdx::Secret;
use world::Random;

use crate::tags::Tags;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `rsa-sha256`.
    Rsa,
    /// `ed25519-sha256` (RFC 8463).
    Ed25519,
}

impl Algorithm {
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa-sha256",
            Algorithm::Ed25519 => "ed25519-sha256",
        }
    }
}

/// RFC 8301 §3.2: shorter RSA keys prove nothing.
pub const RSA_BITS_MIN: usize = 1024;
/// What we make ourselves.
pub const RSA_BITS: usize = 2048;

/// A public key as DNS has it (RFC 6376 §3.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub algorithm: Algorithm,
    /// RSAPublicKey in DER, or the 32 octets of an Ed25519 key.
    bytes: Vec<u8>,
    /// Of RSA; 256 for Ed25519.
    pub bits: usize,
    /// Flag y: the domain is testing.
    pub testing: bool,
    /// Flag s: the `i=` domain must be the `d=` domain itself.
    pub strict: bool,
}

impl Published {
    /// Reads a key record. `Err` says why it is of no use.
    pub fn parse(text: &str) -> Result<Published, String> {
        let tags = Tags::parse(text)?;
        if tags.get("v").is_some() && tags.first() != Some(("v", "DKIM1")) {
            return Err("its version is not DKIM1".into());
        }
        let p = tags.dense("p").ok_or("it holds no key")?;
        if p.is_empty() {
            return Err("the key is revoked".into());
        }
        let has =
            |tag: &str, what: &str| tags.get(tag).is_none_or(|v| v.split(':').any(|s| s.trim() == what));
        if !has("h", "sha256") {
            return Err("the key does not allow sha256".into());
        }
        if !has("s", "email") && !has("s", "*") {
            return Err("the key is not for mail".into());
        }
        let der = STANDARD
            .decode(p.trim_end_matches('=').to_owned() + padding(&p))
            .map_err(|_| "it is not base64")?;
        let flag = |what: &str| tags.get("t").is_some_and(|v| v.split(':').any(|s| s.trim() == what));
        let (testing, strict) = (flag("y"), flag("s"));
        match tags.get("k").unwrap_or("rsa") {
            "rsa" => {
                let bytes = rsa_key(&der).ok_or("it is no RSA key")?.to_vec();
                let bits = rsa_bits(&bytes).ok_or("it is no RSA key")?;
                Ok(Published { algorithm: Algorithm::Rsa, bytes, bits, testing, strict })
            }
            "ed25519" => {
                let bytes = der.strip_prefix(&ED25519_SPKI[..]).unwrap_or(&der).to_vec();
                if bytes.len() != 32 {
                    return Err("it is no Ed25519 key".into());
                }
                Ok(Published { algorithm: Algorithm::Ed25519, bytes, bits: 256, testing, strict })
            }
            other => Err(format!("its kind \"{other}\" is not known")),
        }
    }

    /// Whether the signature is this key's over that text. RFC 8463 §3: Ed25519 signs the hash.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Rsa => {
                let how = &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                UnparsedPublicKey::new(how, &self.bytes).verify(signed, signature).is_ok()
            }
            Algorithm::Ed25519 => {
                let hash = ring::digest::digest(&ring::digest::SHA256, signed);
                UnparsedPublicKey::new(&signature::ED25519, &self.bytes)
                    .verify(hash.as_ref(), signature)
                    .is_ok()
            }
        }
    }
}

/// Base64 is accepted with and without its padding.
fn padding(text: &str) -> &'static str {
    match text.trim_end_matches('=').len() % 4 {
        2 => "==",
        3 => "=",
        _ => "",
    }
}

/// One DER element: tag, content, and what follows it.
pub(crate) fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(first & 0x7F)).filter(|(d, _)| d.len() <= 4)?;
        (digits.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// The RSAPublicKey, out of a SubjectPublicKeyInfo or bare, as some publish it.
fn rsa_key(bytes: &[u8]) -> Option<&[u8]> {
    let (0x30, inner, _) = der(bytes)? else { return None };
    match der(inner)? {
        (0x02, ..) => Some(bytes),
        (0x30, _, rest) => {
            let (0x03, bits, _) = der(rest)? else { return None };
            bits.strip_prefix(&[0])
        }
        _ => None,
    }
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (0x30, inner, _) = der(key)? else { return None };
    let (0x02, modulus, _) = der(inner)? else { return None };
    let zeros = modulus.iter().take_while(|b| **b == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// RFC 8410 §4 and §7: what stands around a raw Ed25519 key in DER.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// `SEQUENCE { rsaEncryption, NULL }` (RFC 3279 §2.3.1).
const RSA_OID: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A private key that signs.
pub enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// Why a key cannot be used, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(pub String);

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for KeyError {}

impl SigningKey {
    /// Makes a key and gives it as PEM (PKCS #8), to be kept secret. RSA takes a second or so;
    /// call it where blocking is allowed.
    pub fn generate(algorithm: Algorithm, random: &dyn Random) -> Result<Secret<String>, KeyError> {
        let der = match algorithm {
            Algorithm::Ed25519 => {
                let mut seed = [0; 32];
                random.fill(&mut seed);
                [&ED25519_PKCS8[..], &seed].concat()
            }
            Algorithm::Rsa => {
                let key = rsa::RsaPrivateKey::new(&mut Source(random), RSA_BITS)
                    .map_err(|e| KeyError(format!("no RSA key could be made: {e}")))?;
                let der = key
                    .to_pkcs8_der()
                    .map_err(|e| KeyError(format!("the new key cannot be written: {e}")))?;
                der.as_bytes().to_vec()
            }
        };
        Ok(Secret::new(pem("PRIVATE KEY", &der)))
    }

    /// Reads a PEM file: PKCS #8 of either kind, or an RSA key in PKCS #1.
    pub fn from_pem(text: &str) -> Result<SigningKey, KeyError> {
        let (label, der) = read_pem(text).ok_or_else(|| {
            KeyError("the key file holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)".into())
        })?;
        let bad = |e: ring::error::KeyRejected| {
            KeyError(format!("the key is refused ({e}): DKIM needs RSA of 2048 to 4096 bits, or Ed25519"))
        };
        if label == "RSA PRIVATE KEY" {
            return Ok(SigningKey::Rsa(Box::new(RsaKeyPair::from_der(&der).map_err(bad)?)));
        }
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            return Ok(SigningKey::Ed25519(key));
        }
        Ok(SigningKey::Rsa(Box::new(RsaKeyPair::from_pkcs8(&der).map_err(bad)?)))
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            SigningKey::Rsa(_) => Algorithm::Rsa,
            SigningKey::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The value of the TXT record at `<selector>._domainkey.<domain>`.
    pub fn record(&self) -> String {
        match self {
            SigningKey::Rsa(key) => {
                let mut bits = vec![0];
                bits.extend_from_slice(key.public_key().as_ref());
                let info = sequence(&[&RSA_OID[..], &element(0x03, &bits)].concat());
                format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(info))
            }
            SigningKey::Ed25519(key) => {
                format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key().as_ref()))
            }
        }
    }

    pub(crate) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            SigningKey::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut out)
                    .map_err(|_| KeyError("the RSA key failed to sign".into()))?;
                Ok(out)
            }
            SigningKey::Ed25519(key) => {
                let hash = ring::digest::digest(&ring::digest::SHA256, text);
                Ok(key.sign(hash.as_ref()).as_ref().to_vec())
            }
        }
    }
}

/// A TXT value as a zone file wants it: in quoted strings of at most 255 octets.
pub fn zone_strings(value: &str) -> String {
    let pieces: Vec<String> =
        value.as_bytes().chunks(250).map(|c| format!("\"{}\"", String::from_utf8_lossy(c))).collect();
    pieces.join(" ")
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        n if n < 0x80 => out.push(n as u8),
        n if n < 0x100 => out.extend_from_slice(&[0x81, n as u8]),
        n => out.extend_from_slice(&[0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(content);
    out
}

fn sequence(content: &[u8]) -> Vec<u8> {
    element(0x30, content)
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

fn read_pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let dense: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    label.ends_with("PRIVATE KEY").then_some(())?;
    Some((label.to_owned(), STANDARD.decode(dense).ok()?))
}

/// The world's randomness for a crate that wants its own trait.
struct Source<'a>(&'a dyn Random);

impl rsa::rand_core::RngCore for Source<'_> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u64() as u32
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill(dest);
    }
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.0.fill(dest);
        Ok(())
    }
}
impl rsa::rand_core::CryptoRng for Source<'_> {}
