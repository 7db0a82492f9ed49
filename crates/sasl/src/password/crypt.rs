//! The crypt(3) schemes built on MD5 and SHA-2, which no maintained crate covers as we need them.

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512};

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends `len` characters of crypt's base 64, least significant bits first.
fn push64(out: &mut String, mut value: u32, len: usize) {
    for _ in 0..len {
        out.push(char::from(ALPHABET[(value & 63) as usize]));
        value >>= 6;
    }
}

/// Appends three bytes of a digest as four characters; missing ones count as zero.
fn push_triple(out: &mut String, digest: &[u8], at: [usize; 3], len: usize) {
    let byte = |i: usize| u32::from(digest.get(i).copied().unwrap_or(0));
    push64(out, byte(at[0]) << 16 | byte(at[1]) << 8 | byte(at[2]), len);
}

/// The hash part that `$1$salt$` gives for a password (Poul-Henning Kamp's MD5 crypt).
pub fn md5_crypt(pw: &[u8], setting: &str) -> Option<String> {
    let salt = setting.strip_prefix("$1$")?.split('$').next()?.as_bytes();
    let salt = &salt[..salt.len().min(8)];
    let inner = Md5::new().chain_update(pw).chain_update(salt).chain_update(pw).finalize();
    let mut sum = Md5::new().chain_update(pw).chain_update(b"$1$").chain_update(salt);
    for start in (0..pw.len()).step_by(16) {
        sum.update(&inner[..(pw.len() - start).min(16)]);
    }
    let mut bits = pw.len();
    while bits > 0 {
        // An old slip in the first implementation that everybody keeps: a zero byte here.
        if bits & 1 != 0 {
            sum.update([0])
        } else {
            sum.update(&pw[..1])
        }
        bits >>= 1;
    }
    let mut digest = sum.finalize();
    for round in 0..1000 {
        let mut sum = Md5::new();
        if round & 1 != 0 {
            sum.update(pw)
        } else {
            sum.update(digest)
        }
        if round % 3 != 0 {
            sum.update(salt);
        }
        if round % 7 != 0 {
            sum.update(pw);
        }
        if round & 1 != 0 {
            sum.update(digest)
        } else {
            sum.update(pw)
        }
        digest = sum.finalize();
    }
    let mut out = String::with_capacity(22);
    for at in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        push_triple(&mut out, &digest, at, 4);
    }
    push64(&mut out, u32::from(digest[11]), 2);
    Some(out)
}

/// The hash part that `$5$…` or `$6$…` gives for a password (Ulrich Drepper's specification,
/// "Unix crypt using SHA-256 and SHA-512"). `long` is SHA-512.
pub fn sha_crypt(pw: &[u8], setting: &str, long: bool, rounds_max: u32) -> Option<String> {
    let mut parts = setting.strip_prefix(if long { "$6$" } else { "$5$" })?.split('$');
    let mut part = parts.next()?;
    let mut rounds = 5000;
    if let Some(count) = part.strip_prefix("rounds=") {
        rounds = count.parse::<u32>().ok()?.max(1000);
        part = parts.next()?;
    }
    if rounds > rounds_max {
        return None;
    }
    let salt = &part.as_bytes()[..part.len().min(16)];
    Some(if long {
        let d = sha_rounds::<Sha512>(pw, salt, rounds);
        let mut out = String::with_capacity(86);
        let (mut a, mut b, mut c) = (0, 21, 42);
        for _ in 0..21 {
            push_triple(&mut out, &d, [a, b, c], 4);
            (a, b, c) = (b + 1, c + 1, a + 1);
        }
        push64(&mut out, u32::from(d[63]), 2);
        out
    } else {
        let d = sha_rounds::<Sha256>(pw, salt, rounds);
        let mut out = String::with_capacity(43);
        let (mut a, mut b, mut c) = (0, 10, 20);
        for _ in 0..10 {
            push_triple(&mut out, &d, [a, b, c], 4);
            (a, b, c) = (c + 1, a + 1, b + 1);
        }
        push64(&mut out, u32::from(d[31]) << 8 | u32::from(d[30]), 3);
        out
    })
}

fn sha_rounds<D: Digest + Clone>(pw: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    let size = <D as Digest>::output_size();
    let repeat = |block: &[u8], len: usize| -> Vec<u8> { block.iter().copied().cycle().take(len).collect() };
    let b = D::new().chain_update(pw).chain_update(salt).chain_update(pw).finalize();
    let mut a = D::new().chain_update(pw).chain_update(salt);
    a.update(repeat(&b, pw.len()));
    let mut bits = pw.len();
    while bits > 0 {
        if bits & 1 != 0 {
            a.update(&b)
        } else {
            a.update(pw)
        }
        bits >>= 1;
    }
    let a = a.finalize();
    let mut dp = D::new();
    (0..pw.len()).for_each(|_| dp.update(pw));
    let p = repeat(&dp.finalize(), pw.len());
    let mut ds = D::new();
    (0..16 + usize::from(a[0])).for_each(|_| ds.update(salt));
    let s = repeat(&ds.finalize(), salt.len());
    let mut digest = a.to_vec();
    debug_assert_eq!(digest.len(), size);
    for round in 0..rounds {
        let mut sum = D::new();
        if round & 1 != 0 {
            sum.update(&p)
        } else {
            sum.update(&digest)
        }
        if round % 3 != 0 {
            sum.update(&s);
        }
        if round % 7 != 0 {
            sum.update(&p);
        }
        if round & 1 != 0 {
            sum.update(&digest)
        } else {
            sum.update(&p)
        }
        digest = sum.finalize().to_vec();
    }
    digest
}
