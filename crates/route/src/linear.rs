//! The linear fallback: hashed words, word pairs, pieces of words and concepts, thirteen weights
//! each, learned from labelled replies by `cargo run -p route --release --example train`. It
//! speaks where the rules are silent, and against rules that are not sure. The table holds
//! numbers only.

use crate::concepts::{self, CONCEPTS};
use crate::refusal::{Class, Refusal};
use crate::text::Text;

/// Hash buckets; each has a weight of one octet per class.
pub const BUCKETS: usize = 16384;
pub const CLASSES: usize = Class::ALL.len();
/// A weight's unit.
pub const SCALE: f32 = 32.0;
/// Tokens read; what a refusal has to say, it says in these.
const TOKENS_MAX: usize = 60;
/// See [`share`].
const FLAT: f32 = 3.0;
/// Two concepts belong together within so many tokens.
const NEAR: usize = 6;

static WEIGHTS: &[u8] = include_bytes!("../data/weights.bin");

struct Bag(Vec<usize>);

impl Bag {
    fn add(&mut self, kind: &str, a: &str, b: &str) {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in kind.bytes().chain(a.bytes()).chain([0]).chain(b.bytes()) {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.0.push(1 + (h >> 17) as usize % (BUCKETS - 1));
    }

    fn words(&mut self, text: &Text) {
        let tokens: Vec<&str> =
            text.tokens.iter().map(String::as_str).filter(|t| t.len() < 24).take(TOKENS_MAX).collect();
        for (i, token) in tokens.iter().enumerate() {
            self.add("w", token, "");
            let letters: Vec<char> = std::iter::once('^').chain(token.chars()).chain(['$']).collect();
            if letters.len() > 6 && !token.contains('.') {
                for piece in letters.windows(5) {
                    self.add("n", &piece.iter().collect::<String>(), "");
                }
            }
            if let Some(next) = tokens.get(i + 1) {
                self.add("b", token, next);
            }
            if let Some(next) = tokens.get(i + 2) {
                self.add("g", token, next);
            }
        }
        if tokens.len() < 5 {
            self.add("short", "", "");
        }
    }

    fn concepts(&mut self, text: &Text) {
        let found = concepts::found(text);
        for (i, (place, concept)) in found.iter().enumerate().take(TOKENS_MAX) {
            let name = CONCEPTS[*concept].0;
            self.add("k", name, "");
            let near = found[i + 1..].iter().take_while(|(p, _)| p - place <= NEAR);
            for (at, other) in near {
                let other = CONCEPTS[*other].0;
                self.add("kk", name, other);
                if at - place <= 2 {
                    self.add("kn", name, other);
                }
            }
        }
    }

    fn codes(&mut self, refusal: &Refusal<'_>) {
        self.add("c", &refusal.code.to_string(), "");
        self.add("d", &(refusal.code / 100).to_string(), "");
        if let Some(e) = refusal.enhanced {
            self.add("e", &e.to_string(), "");
            self.add("s", &format!("{}.{}", e.1, e.2), "");
            self.add("j", &e.1.to_string(), "");
        }
        self.add("v", refusal.provider.unwrap_or(""), "");
    }
}

/// The buckets a refusal falls into.
pub fn features(refusal: &Refusal<'_>, text: &Text) -> Vec<usize> {
    let mut bag = Bag(vec![0]);
    bag.words(text);
    bag.concepts(text);
    bag.codes(refusal);
    let mut out = bag.0;
    out.sort_unstable();
    out.dedup();
    out
}

/// Long texts have many features; each then counts for less.
pub fn share(features: &[usize]) -> f32 {
    FLAT / (features.len().max(1) as f32).sqrt()
}

/// Probabilities from a table of weights.
pub fn probabilities(weights: impl Fn(usize, usize) -> f32, features: &[usize]) -> [f32; CLASSES] {
    let mut sums = [0.0f32; CLASSES];
    let share = share(features);
    for (class, sum) in sums.iter_mut().enumerate() {
        *sum = features.iter().map(|f| weights(*f, class)).sum::<f32>() * share;
    }
    let top = sums.iter().copied().fold(f32::MIN, f32::max);
    let mut total = 0.0;
    for sum in &mut sums {
        *sum = (*sum - top).exp();
        total += *sum;
    }
    sums.map(|s| s / total)
}

/// The probability of each class, in the order of [`Class::ALL`].
pub fn spread(refusal: &Refusal<'_>, text: &Text) -> [f32; CLASSES] {
    let table = |feature: usize, class: usize| {
        WEIGHTS.get(feature * CLASSES + class).map_or(0.0, |w| f32::from(*w as i8) / SCALE)
    };
    probabilities(table, &features(refusal, text))
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
