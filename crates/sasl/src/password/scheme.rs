//! Dovecot's `{SCHEME}` names, their encodings, and which check each of them means.

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{ArgonText, BCRYPT_COST_MAX, Cost, PBKDF2_ROUNDS_MAX, SHA_CRYPT_ROUNDS_MAX, crypt, des};
use crate::scram::{Hash, Keys};
use crate::{decode, same};

/// A digest of salted or bare passwords.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Sum {
    const fn len(self) -> usize {
        match self {
            Sum::Md5 => 16,
            Sum::Sha1 => 20,
            Sum::Sha256 => 32,
            Sum::Sha512 => 64,
        }
    }
    fn of(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        match self {
            Sum::Md5 => Md5::new().chain_update(password).chain_update(salt).finalize().to_vec(),
            Sum::Sha1 => Sha1::new().chain_update(password).chain_update(salt).finalize().to_vec(),
            Sum::Sha256 => Sha256::new().chain_update(password).chain_update(salt).finalize().to_vec(),
            Sum::Sha512 => Sha512::new().chain_update(password).chain_update(salt).finalize().to_vec(),
        }
    }
}

/// A stored password, understood.
pub enum Scheme {
    Plain(Vec<u8>),
    Summed { sum: Sum, hash: Vec<u8>, salt: Vec<u8> },
    Argon(ArgonText),
    Bcrypt(String),
    ShaCrypt { text: String, long: bool },
    Md5Crypt(String),
    DesCrypt(String),
    Pbkdf2 { salt: String, rounds: u32, hash: Vec<u8> },
    Scram { hash: Hash, keys: Keys },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Own,
    Base64,
    Hex,
}

impl Scheme {
    /// Reads `{SCHEME}…`, `{SCHEME.hex}…`, or a bare crypt text such as `$6$…`.
    pub fn read(stored: &str) -> Result<Scheme, &'static str> {
        if stored.starts_with('$') {
            return Scheme::crypt(stored);
        }
        let Some((name, rest)) = stored.strip_prefix('{').and_then(|s| s.split_once('}')) else {
            return Err("it names no scheme; write {SCHEME} before it, as `doveadm pw` does");
        };
        let upper = name.to_ascii_uppercase();
        let (name, coding) = match upper.rsplit_once('.') {
            Some((name, "B64" | "BASE64")) => (name, Coding::Base64),
            Some((name, "HEX")) => (name, Coding::Hex),
            _ => (upper.as_str(), Coding::Own),
        };
        match name {
            "PLAIN" | "CLEAR" | "CLEARTEXT" => Ok(Scheme::Plain(bytes(rest, coding)?)),
            "SHA" | "SHA1" => bare(Sum::Sha1, rest, coding),
            "SHA256" => bare(Sum::Sha256, rest, coding),
            "SHA512" => bare(Sum::Sha512, rest, coding),
            "PLAIN-MD5" | "LDAP-MD5" => bare(Sum::Md5, rest, coding),
            "SMD5" => salted(Sum::Md5, rest, coding),
            "SSHA" => salted(Sum::Sha1, rest, coding),
            "SSHA256" => salted(Sum::Sha256, rest, coding),
            "SSHA512" => salted(Sum::Sha512, rest, coding),
            "CRYPT" | "SHA512-CRYPT" | "SHA256-CRYPT" | "BLF-CRYPT" | "BCRYPT" | "MD5-CRYPT" | "MD5"
            | "DES-CRYPT" | "ARGON2ID" | "ARGON2I" | "ARGON2" => {
                let text = String::from_utf8(bytes(rest, coding)?).map_err(|_| "its crypt text is broken")?;
                Scheme::crypt(&text)
            }
            "PBKDF2" => pbkdf2(rest),
            "SCRAM-SHA-1" => scram(Hash::Sha1, rest),
            "SCRAM-SHA-256" => scram(Hash::Sha256, rest),
            _ => Err("its scheme is not known here; the owner must set a new password"),
        }
    }

    fn crypt(text: &str) -> Result<Scheme, &'static str> {
        let kind = text.strip_prefix('$').and_then(|t| t.split_once('$')).map(|(kind, _)| kind);
        match kind {
            Some("argon2id" | "argon2i") => {
                ArgonText::parse(text).map(Scheme::Argon).ok_or("its argon2 text is broken or too dear")
            }
            Some("2a" | "2b" | "2x" | "2y") => {
                let cost = text.get(4..6).and_then(|c| c.parse::<u32>().ok());
                match cost {
                    Some(cost) if cost <= BCRYPT_COST_MAX => Ok(Scheme::Bcrypt(text.to_owned())),
                    _ => Err("its bcrypt text is broken or too dear"),
                }
            }
            Some("5") => Ok(Scheme::ShaCrypt { text: text.to_owned(), long: false }),
            Some("6") => Ok(Scheme::ShaCrypt { text: text.to_owned(), long: true }),
            Some("1") => Ok(Scheme::Md5Crypt(text.to_owned())),
            Some(_) => Err("its crypt variant is not known here; the owner must set a new password"),
            None if text.len() == 13 => Ok(Scheme::DesCrypt(text.to_owned())),
            None => Err("its crypt text is broken"),
        }
    }

    /// Whether the password fits; nothing if the text turns out to be broken.
    pub fn fits(&self, password: &str) -> Option<bool> {
        let pw = password.as_bytes();
        match self {
            Scheme::Plain(stored) => Some(same(stored, pw)),
            Scheme::Summed { sum, hash, salt } => Some(same(&sum.of(pw, salt), hash)),
            Scheme::Argon(argon) => argon.fits(password),
            Scheme::Bcrypt(text) => bcrypt::verify(password, text).ok(),
            Scheme::ShaCrypt { text, long } => {
                let made = crypt::sha_crypt(pw, text, *long, SHA_CRYPT_ROUNDS_MAX)?;
                Some(same(made.as_bytes(), text.rsplit('$').next()?.as_bytes()))
            }
            Scheme::Md5Crypt(text) => {
                let made = crypt::md5_crypt(pw, text)?;
                Some(same(made.as_bytes(), text.rsplit('$').next()?.as_bytes()))
            }
            Scheme::DesCrypt(text) => Some(same(des::crypt(pw, text)?.as_bytes(), text.as_bytes())),
            Scheme::Pbkdf2 { salt, rounds, hash } => {
                let mut made = vec![0; hash.len()];
                pbkdf2::pbkdf2_hmac::<Sha1>(pw, salt.as_bytes(), *rounds, &mut made);
                Some(same(&made, hash))
            }
            Scheme::Scram { hash, keys } => Some(keys.fits(*hash, password)),
        }
    }

    /// Whether a new hash should take its place at the next log-in.
    pub fn is_old(&self, cost: Cost) -> bool {
        match self {
            Scheme::Argon(argon) => argon.is_old(cost),
            _ => true,
        }
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

fn bytes(text: &str, coding: Coding) -> Result<Vec<u8>, &'static str> {
    match coding {
        Coding::Own => Ok(text.as_bytes().to_vec()),
        Coding::Base64 => decode(text.as_bytes()).ok_or("it is not base64"),
        Coding::Hex => hex(text).ok_or("it is not hexadecimal"),
    }
}

/// Dovecot takes a digest of exactly twice its length in characters for hexadecimal, whatever
/// the scheme's usual form is.
fn digest_bytes(sum: Sum, text: &str, coding: Coding) -> Result<Vec<u8>, &'static str> {
    match coding {
        Coding::Own if text.len() == 2 * sum.len() => {
            hex(text).or_else(|| decode(text.as_bytes())).ok_or("it is neither hexadecimal nor base64")
        }
        Coding::Own => bytes(text, Coding::Base64),
        coding => bytes(text, coding),
    }
}

fn bare(sum: Sum, text: &str, coding: Coding) -> Result<Scheme, &'static str> {
    let hash = digest_bytes(sum, text, coding)?;
    if hash.len() != sum.len() {
        return Err("its digest has the wrong length");
    }
    Ok(Scheme::Summed { sum, hash, salt: Vec::new() })
}

fn salted(sum: Sum, text: &str, coding: Coding) -> Result<Scheme, &'static str> {
    let mut hash = match coding {
        Coding::Hex => bytes(text, coding)?,
        _ => bytes(text, Coding::Base64)?,
    };
    if hash.len() <= sum.len() || hash.len() > sum.len() + 128 {
        return Err("its digest and salt have the wrong length");
    }
    let salt = hash.split_off(sum.len());
    Ok(Scheme::Summed { sum, hash, salt })
}

/// `$1$salt$rounds$hash in hexadecimal`, PBKDF2 with HMAC-SHA-1.
fn pbkdf2(text: &str) -> Result<Scheme, &'static str> {
    let broken = "its PBKDF2 text is broken or too dear";
    let parts: Vec<&str> = text.split('$').collect();
    let ["", "1", salt, rounds, hash] = parts[..] else { return Err(broken) };
    let rounds = rounds.parse().ok().filter(|n| (1..=PBKDF2_ROUNDS_MAX).contains(n)).ok_or(broken)?;
    let hash = hex(hash).filter(|h| h.len() == 20).ok_or(broken)?;
    Ok(Scheme::Pbkdf2 { salt: salt.to_owned(), rounds, hash })
}

fn scram(hash: Hash, text: &str) -> Result<Scheme, &'static str> {
    Keys::parse(hash, text).map(|keys| Scheme::Scram { hash, keys }).ok_or("its SCRAM keys are broken")
}
