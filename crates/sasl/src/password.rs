//! Password hashes: argon2id for new ones, and the schemes of Dovecot and iRedMail for old ones.
//!
//! What it is: pure functions over a stored text such as `{SSHA512}…` or `$6$…`. What it is not:
//! cheap; [`verify`] and [`make`] take tens of milliseconds on purpose, so call them from
//! blocking threads. Begin with [`verify`].

mod crypt;
mod des;
mod scheme;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use sha2::{Digest, Sha256};

use crate::same;
use crate::scram::{Hash, ITERATIONS, Keys};
pub use scheme::Scheme;

/// What a password hash may cost at most. A foolish or hostile stored hash must not stop the host.
const ARGON_MEMORY_KIB_MAX: u32 = 256 * 1024;
const ARGON_PASSES_MAX: u32 = 16;
const BCRYPT_COST_MAX: u32 = 14;
const PBKDF2_ROUNDS_MAX: u32 = 2_000_000;
const SHA_CRYPT_ROUNDS_MAX: u32 = 2_000_000;
/// Longest password any scheme is fed with.
const PASSWORD_MAX: usize = crate::server::PASSWORD_MAX;

/// The cost of new hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Default for Cost {
    /// OWASP's first choice for argon2id: 19 MiB, two passes; some 20 ms on a small host.
    fn default() -> Cost {
        Cost { memory_kib: 19 * 1024, passes: 2 }
    }
}

/// Whether a password fits a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    Yes {
        /// The hash is of an old scheme or too cheap: store a new one, now that the password is
        /// at hand.
        upgrade: bool,
    },
    No,
    /// The stored text is no hash we can check, and why.
    Unusable(&'static str),
}

/// A new hash: `{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
pub fn make(password: &str, salt: &[u8; 16], cost: Cost) -> String {
    let hash = argon(Algorithm::Argon2id, password, salt, (cost.memory_kib, cost.passes, 1), 32)
        .expect("our own cost settings are within argon2's bounds");
    format!(
        "{{ARGON2ID}}$argon2id$v=19$m={},t={},p=1${}${}",
        cost.memory_kib,
        cost.passes,
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash)
    )
}

/// Everything a new password is stored as: argon2id for passwords that are shown to us, SCRAM
/// keys for those that are not. `scram_salt` is that of the account's other keys, if it has any.
pub fn make_all(password: &str, salt: &[u8; 16], scram_salt: &[u8], cost: Cost) -> Vec<String> {
    let keys = |hash: Hash| {
        let keys = Keys::derive(hash, password, scram_salt, ITERATIONS);
        format!("{{{}}}{}", hash.scheme(), keys.print())
    };
    vec![make(password, salt, cost), keys(Hash::Sha256), keys(Hash::Sha1)]
}

/// The same for a password that is random itself (an app password): nobody can guess it at any
/// speed, so a fast hash will do, and an account may have many without making log-ins slow.
pub fn make_all_random(password: &str, salt: &[u8; 16], scram_salt: &[u8]) -> Vec<String> {
    let mut all = make_all(password, salt, scram_salt, Cost { memory_kib: 8, passes: 1 });
    let digest = Sha256::new().chain_update(password).chain_update(salt).finalize();
    all[0] = format!("{{SSHA256}}{}", crate::encode(&[&digest[..], salt].concat()));
    all
}

/// The SCRAM keys among stored texts.
pub fn scram_keys(stored: &str, hash: Hash) -> Option<Keys> {
    match Scheme::read(stored) {
        Ok(Scheme::Scram { hash: of, keys }) if of == hash => Some(keys),
        _ => None,
    }
}

/// Checks a password against what is stored.
pub fn verify(stored: &str, password: &str, cost: Cost) -> Fit {
    if password.len() > PASSWORD_MAX {
        return Fit::No;
    }
    let scheme = match Scheme::read(stored) {
        Ok(scheme) => scheme,
        Err(why) => return Fit::Unusable(why),
    };
    match scheme.fits(password) {
        Some(true) => Fit::Yes { upgrade: scheme.is_old(cost) },
        Some(false) => Fit::No,
        None => Fit::Unusable("the stored hash is broken, or dearer than this host allows"),
    }
}

/// Takes as long as verifying a hash of ours, so that the time does not tell whether a user
/// exists.
pub fn verify_nobody(password: &str, cost: Cost) -> Fit {
    let spent =
        argon(Algorithm::Argon2id, password, b"nobody's salt 16", (cost.memory_kib, cost.passes, 1), 32);
    std::hint::black_box(spent);
    Fit::No
}

/// Blocks of one KiB in a piece of memory just above 32 MiB.
const BLOCKS_ROOM: usize = 33 << 10;

fn argon(
    algorithm: Algorithm,
    password: &str,
    salt: &[u8],
    (memory_kib, passes, lanes): (u32, u32, u32),
    len: usize,
) -> Option<Vec<u8>> {
    let params = Params::new(memory_kib, passes, lanes, Some(len)).ok()?;
    let mut out = vec![0; len];
    // The system's allocator gives pieces above 32 MiB back as soon as they are dropped; smaller
    // ones it keeps, a hundred KiB for each session that logged in. Room never touched costs nothing.
    let count = params.block_count();
    let mut blocks: Vec<Block> = Vec::with_capacity(count.max(BLOCKS_ROOM));
    blocks.resize(count, Block::default());
    Argon2::new(algorithm, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut out, &mut blocks)
        .ok()?;
    Some(out)
}

/// An argon2 hash in its usual text form, taken apart.
pub struct ArgonText {
    algorithm: Algorithm,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl ArgonText {
    fn parse(text: &str) -> Option<ArgonText> {
        let mut parts = text.strip_prefix('$')?.split('$');
        let algorithm = match parts.next()? {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            _ => return None,
        };
        if parts.next()? != "v=19" {
            return None;
        }
        let mut costs = parts.next()?.split(',');
        let mut cost = |name| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (memory_kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
        let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let hash = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let bounded = memory_kib <= ARGON_MEMORY_KIB_MAX && passes <= ARGON_PASSES_MAX && lanes <= 16;
        let sane = bounded && (8..=64).contains(&salt.len()) && (16..=128).contains(&hash.len());
        sane.then_some(ArgonText { algorithm, memory_kib, passes, lanes, salt, hash })
    }
    fn fits(&self, password: &str) -> Option<bool> {
        let costs = (self.memory_kib, self.passes, self.lanes);
        let made = argon(self.algorithm, password, &self.salt, costs, self.hash.len())?;
        Some(same(&made, &self.hash))
    }
    fn is_old(&self, cost: Cost) -> bool {
        self.algorithm != Algorithm::Argon2id
            || self.memory_kib < cost.memory_kib
            || self.passes < cost.passes
            || self.hash.len() < 32
    }
}

#[cfg(test)]
mod tests;
