//! SCRAM (RFC 5802, RFC 7677): keys, messages and proofs, as both sides need them.

use std::fmt;

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::{decode, encode, same};

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    Sha1,
    Sha256,
}

/// Iterations for new keys. RFC 7677 §4 asks for at least 4096; more makes stolen keys dearer
/// to guess, and only clients pay for it.
pub const ITERATIONS: u32 = 20_000;
/// Iterations a client of ours is willing to do for a server.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Longest message we read; real ones stay under 300 octets.
pub const MESSAGE_MAX: usize = 2048;

impl Hash {
    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Hash::Sha1 => {
                let mut mac =
                    <Hmac<Sha1> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
                parts.iter().for_each(|p| mac.update(p));
                mac.finalize().into_bytes().to_vec()
            }
            Hash::Sha256 => {
                let mut mac =
                    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
                parts.iter().for_each(|p| mac.update(p));
                mac.finalize().into_bytes().to_vec()
            }
        }
    }
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::digest(data).to_vec(),
            Hash::Sha256 => Sha256::digest(data).to_vec(),
        }
    }
    const fn len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
        }
    }
    /// The name Dovecot and we store keys under.
    pub const fn scheme(self) -> &'static str {
        match self {
            Hash::Sha1 => "SCRAM-SHA-1",
            Hash::Sha256 => "SCRAM-SHA-256",
        }
    }
    /// RFC 5802 §2.2 `Hi`: the salted password. Costly on purpose; keep it off async threads.
    pub fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let prepared = prepare(password);
        let mut out = vec![0; self.len()];
        match self {
            Hash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(prepared.as_bytes(), salt, iterations, &mut out),
            Hash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, &mut out),
        }
        out
    }
}

/// RFC 5802 §5.1: SASLprep (RFC 4013). Text it forbids is used as it is, as others do, so that
/// an odd password that was once set still works.
pub fn prepare(text: &str) -> String {
    stringprep::saslprep(text).map_or_else(|_| text.to_owned(), |p| p.into_owned())
}

/// What a server keeps of a password: enough to check a proof, not to make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}

impl Keys {
    /// RFC 5802 §3.
    pub fn derive(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Keys {
        Keys::from_salted(hash, &hash.salted(password, salt, iterations), salt, iterations)
    }
    fn from_salted(hash: Hash, salted: &[u8], salt: &[u8], iterations: u32) -> Keys {
        let client_key = hash.hmac(salted, &[b"Client Key"]);
        Keys {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(salted, &[b"Server Key"]),
        }
    }
    /// For a user who does not exist or has no keys: the same salt each time he is asked for, so
    /// that the answer does not tell who exists (RFC 5802 §9). No password fits them.
    pub fn nobody(hash: Hash, server_secret: &[u8], user: &str) -> Keys {
        let part = |what: &[u8]| hash.hmac(server_secret, &[what, b"\0", user.as_bytes()]);
        let mut salt = part(b"scram salt");
        salt.truncate(16);
        Keys {
            salt,
            iterations: ITERATIONS,
            stored_key: part(b"scram stored key"),
            server_key: part(b"scram server key"),
        }
    }
    /// Dovecot's form without the scheme: `4096,salt,stored key,server key` in base64.
    pub fn parse(hash: Hash, text: &str) -> Option<Keys> {
        let mut parts = text.split(',');
        let iterations = parts.next()?.parse().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n))?;
        let mut bytes = || parts.next().and_then(|p| decode(p.as_bytes()));
        let keys = Keys { iterations, salt: bytes()?, stored_key: bytes()?, server_key: bytes()? };
        let fits = keys.stored_key.len() == hash.len() && keys.server_key.len() == hash.len();
        (fits && !keys.salt.is_empty() && parts.next().is_none()).then_some(keys)
    }
    pub fn print(&self) -> String {
        format!(
            "{},{},{},{}",
            self.iterations,
            encode(&self.salt),
            encode(&self.stored_key),
            encode(&self.server_key)
        )
    }
    /// Whether the keys were made from this password.
    pub fn fits(&self, hash: Hash, password: &str) -> bool {
        same(&Keys::derive(hash, password, &self.salt, self.iterations).stored_key, &self.stored_key)
    }
    /// Checks a client's proof over the whole conversation.
    pub fn proof_fits(&self, hash: Hash, auth_message: &[u8], proof: &[u8]) -> bool {
        let signature = hash.hmac(&self.stored_key, &[auth_message]);
        if proof.len() != signature.len() {
            return false;
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(p, s)| p ^ s).collect();
        same(&hash.digest(&client_key), &self.stored_key)
    }
    pub fn server_signature(&self, hash: Hash, auth_message: &[u8]) -> Vec<u8> {
        hash.hmac(&self.server_key, &[auth_message])
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} iterations)", self.iterations)
    }
}

/// A client's proof, and the server signature it should see in return.
pub fn prove(hash: Hash, password: &str, (salt, n): (&[u8], u32), auth: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let salted = hash.salted(password, salt, n);
    let client_key = hash.hmac(&salted, &[b"Client Key"]);
    let signature = hash.hmac(&hash.digest(&client_key), &[auth]);
    let proof = client_key.iter().zip(&signature).map(|(k, s)| k ^ s).collect();
    (proof, hash.hmac(&hash.hmac(&salted, &[b"Server Key"]), &[auth]))
}

/// How the client binds to the channel (RFC 5802 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `n`: the client cannot.
    None,
    /// `y`: it could, but believes that we cannot.
    Unasked,
    /// `p=`: by this kind.
    By(String),
}

/// client-first-message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    pub binding: Binding,
    pub authzid: Option<String>,
    pub user: String,
    pub nonce: String,
    /// The GS2 header as it was sent, which the final message must repeat.
    pub header: String,
    /// client-first-message-bare as it was sent.
    pub bare: String,
}

impl First {
    pub fn parse(message: &[u8]) -> Option<First> {
        if message.len() > MESSAGE_MAX {
            return None;
        }
        let text = std::str::from_utf8(message).ok()?;
        let (flag, rest) = text.split_once(',')?;
        let (authzid, bare) = rest.split_once(',')?;
        let binding = match flag {
            "n" => Binding::None,
            "y" => Binding::Unasked,
            kind => Binding::By(kind.strip_prefix("p=")?.to_owned()),
        };
        let authzid = match authzid {
            "" => None,
            name => Some(unescape_name(name.strip_prefix("a=")?)?),
        };
        // RFC 5802 §5.1: a message that begins with `m=` demands an extension; we have none.
        let mut fields = bare.split(',');
        let user = unescape_name(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        let printable = |b: u8| (0x21..=0x7e).contains(&b);
        if user.is_empty() || nonce.is_empty() || !nonce.bytes().all(printable) {
            return None;
        }
        let header = text[..text.len() - bare.len()].to_owned();
        Some(First { binding, authzid, user, nonce: nonce.to_owned(), header, bare: bare.to_owned() })
    }
}

/// client-final-message, taken apart.
pub struct Final<'a> {
    pub channel: Vec<u8>,
    pub nonce: &'a str,
    pub proof: Vec<u8>,
    pub without_proof: &'a str,
}

impl<'a> Final<'a> {
    pub fn parse(message: &'a [u8]) -> Option<Final<'a>> {
        if message.len() > MESSAGE_MAX {
            return None;
        }
        let text = std::str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let channel = decode(fields.next()?.strip_prefix("c=")?.as_bytes())?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        Some(Final { channel, nonce, proof: decode(proof.as_bytes())?, without_proof })
    }
}

/// RFC 5802 §5.1: `=2C` is a comma and `=3D` an equals sign; any other `=` is an error.
pub fn unescape_name(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut parts = name.split('=');
    out.push_str(parts.next()?);
    for part in parts {
        let (c, rest) = match part.get(..2)? {
            "2C" | "2c" => (',', &part[2..]),
            "3D" | "3d" => ('=', &part[2..]),
            _ => return None,
        };
        out.push(c);
        out.push_str(rest);
    }
    (!out.contains('\0')).then_some(out)
}

pub fn escape_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_read_back() {
        for name in ["bob", "a,b=c", "=,=", "jürgen"] {
            assert_eq!(unescape_name(&escape_name(name)).as_deref(), Some(name));
        }
        for bad in ["a=b", "a=", "a=2", "=2X"] {
            assert_eq!(unescape_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_print_as_they_are_read_and_fit_only_their_password() {
        for hash in [Hash::Sha1, Hash::Sha256] {
            let keys = Keys::derive(hash, "pencil", b"salt", 4096);
            assert_eq!(Keys::parse(hash, &keys.print()), Some(keys.clone()));
            assert!(keys.fits(hash, "pencil") && !keys.fits(hash, "pencils"));
        }
        assert_eq!(Keys::parse(Hash::Sha1, "4096,AAAA,AAAA,AAAA"), None);
    }

    #[test]
    fn nobody_gets_the_same_salt_each_time() {
        let one = Keys::nobody(Hash::Sha256, b"secret", "ghost");
        assert_eq!(one, Keys::nobody(Hash::Sha256, b"secret", "ghost"));
        assert_ne!(one.salt, Keys::nobody(Hash::Sha256, b"secret", "other").salt);
        assert_eq!((one.salt.len(), one.iterations), (16, ITERATIONS));
    }
}
