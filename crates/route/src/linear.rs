//! The linear fallback: hashed words and word pairs, thirteen weights each, learned from labelled
//! replies by `cargo run -p route --release --example train`. It speaks where the rules are silent.
//! The table holds numbers only.

use crate::refusal::{Class, Refusal};
use crate::text::Text;

/// Hash buckets; each has a weight of one octet per class.
pub const BUCKETS: usize = 4096;
pub const CLASSES: usize = Class::ALL.len();
/// A weight's unit.
pub const SCALE: f32 = 16.0;

static WEIGHTS: &[u8] = include_bytes!("../data/weights.bin");

/// The buckets a refusal falls into.
pub fn features(refusal: &Refusal<'_>, text: &Text) -> Vec<usize> {
    let mut out = vec![0];
    let mut add = |kind: &str, a: &str, b: &str| {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in kind.bytes().chain(a.bytes()).chain([0]).chain(b.bytes()) {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        out.push(1 + (h >> 17) as usize % (BUCKETS - 1));
    };
    let tokens: Vec<&str> =
        text.tokens.iter().map(String::as_str).filter(|t| t.len() < 24).take(60).collect();
    for (i, token) in tokens.iter().enumerate() {
        add("w", token, "");
        if token.len() > 5 {
            add("p", &token.chars().take(5).collect::<String>(), "");
        }
        if let Some(next) = tokens.get(i + 1) {
            add("b", token, next);
        }
    }
    add("c", &refusal.code.to_string(), "");
    add("k", &(refusal.code / 100).to_string(), "");
    if let Some(e) = refusal.enhanced {
        add("e", &e.to_string(), "");
        add("s", &format!("{}.{}", e.1, e.2), "");
        add("j", &e.1.to_string(), "");
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Probabilities from a table of weights.
pub fn probabilities(weights: impl Fn(usize, usize) -> f32, features: &[usize]) -> [f32; CLASSES] {
    let mut sums = [0.0f32; CLASSES];
    for (class, sum) in sums.iter_mut().enumerate() {
        *sum = features.iter().map(|f| weights(*f, class)).sum();
    }
    let top = sums.iter().copied().fold(f32::MIN, f32::max);
    let mut total = 0.0;
    for sum in &mut sums {
        *sum = (*sum - top).exp();
        total += *sum;
    }
    sums.map(|s| s / total)
}

/// The likeliest class and its probability.
pub fn predict(refusal: &Refusal<'_>, text: &Text) -> (Class, f32) {
    let table = |feature: usize, class: usize| {
        WEIGHTS.get(feature * CLASSES + class).map_or(0.0, |w| f32::from(*w as i8) / SCALE)
    };
    best(&probabilities(table, &features(refusal, text)))
}

pub fn best(p: &[f32; CLASSES]) -> (Class, f32) {
    let mut top = (Class::Unclear, 0.0);
    for (class, p) in Class::ALL.iter().zip(p) {
        if *p > top.1 {
            top = (*class, *p);
        }
    }
    top
}

/// The commonest sub-cause, where only the class is known.
pub const fn sub(class: Class) -> &'static str {
    match class {
        Class::IpReputation => "provider",
        Class::Content => "spam",
        Class::SenderAuth => "auth",
        Class::Sender => "address",
        Class::Recipient => "unknown",
        Class::Rate => "generic",
        Class::Greylist => "greylist",
        Class::Policy => "other",
        Class::Tls => "tls",
        Class::Transient => "system",
        Class::Routing => "route",
        Class::Protocol => "protocol",
        Class::Unclear => "unclear",
    }
}
