//! Dialogue scripts for machines.
//!
//! What it is: a small text language for the conversation of one [`Machine`] with its peer and
//! its desk, and a runner that plays a script three ways: whole, byte by byte, and cut in two at
//! every position. What it is not: a socket, a desk, or part of the product.
//! Begin with [`Voice`] (what a test says about its machine) and [`play`].
//!
//! One thing per line; blank lines and lines beginning with `#` are skipped:
//!
//! | line | meaning |
//! |---|---|
//! | `C: text` | the peer sends `text` and CRLF. Neighbouring `C` lines travel together. |
//! | `C-: text` | the same without CRLF |
//! | `C*1000: text` | `text` a thousand times, without CRLF |
//! | `S: text` | the machine sends exactly `text` and CRLF |
//! | `S-: text` | the same without CRLF |
//! | `? text` | the machine asks; `text` is what [`Voice::show`] makes of the question |
//! | `! text` | the open question is answered by what [`Voice::answer`] makes of `text` |
//! | `B: text` | the machine hands on `text` and CRLF as content ([`Voice::absorb`]); `B-:` without CRLF |
//! | `= starttls` `= deflate` `= close` | the machine wants that done (TLS then stands at once) |
//! | `= quiet` | all input is eaten, nothing is said, no question is open |
//! | `@ 5 min` | time passes (`ms`, `s`, `min`, `h`, `d`); the deadline fires if it falls in it |
//! | `~ tls` `~ closed` `~ shutdown` | TLS stands from the start; the peer is gone; the server wants to stop |
//! | `~ notice text` | a notice, made by [`Voice::notice`] |
//!
//! In `C`, `S` and `B` texts, `‹0d 0a›` stands for those bytes. In `S`, `?` and `B` texts, `…` stands
//! for any run of characters within the line.

mod player;
mod script;

use stdx::{Machine, TlsFacts};

pub use player::Way;
pub use script::{BadScript, Line, Script};

/// What a test says about its machine.
pub trait Voice {
    type M: Machine;
    /// A fresh machine.
    fn machine(&self) -> Self::M;
    /// A question as the script writes it after `?`, in one line.
    fn show(&self, ask: &<Self::M as Machine>::Ask) -> String;
    /// The answer the script writes after `!`. `ask` is the question as shown.
    fn answer(&self, ask: &str, text: &str) -> <Self::M as Machine>::Answer;
    /// The notice the script writes after `~ notice`.
    fn notice(&self, text: &str) -> <Self::M as Machine>::Notice {
        panic!("this voice knows no notices, but the script gives one: {text}")
    }
    /// Questions that carry content cut anywhere (message text): their bytes, and the answer to
    /// give at once. They are not shown; `B` lines check the bytes.
    fn absorb(&self, ask: &<Self::M as Machine>::Ask) -> Option<(Vec<u8>, <Self::M as Machine>::Answer)> {
        let _ = ask;
        None
    }
    /// What the machine is told of TLS.
    fn tls(&self) -> TlsFacts {
        TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS13_AES_256_GCM_SHA384".into(),
            ..TlsFacts::default()
        }
    }
    /// Whether the machine is told `opened` (a test may want to do it by itself).
    fn opens(&self) -> bool {
        true
    }
}

/// Positions at which a long script is cut, at most.
const SPLITS_MAX: usize = 1500;

/// Plays a script whole, byte by byte and at every split. Panics with the line that failed, the
/// way it was played, and what the machine did instead.
#[track_caller]
pub fn play<V: Voice>(voice: &V, text: &str) {
    let script = match Script::read(text) {
        Ok(script) => script,
        Err(bad) => panic!("{bad}"),
    };
    let mut ways = vec![Way::Whole, Way::Bytes];
    let total = script.input_len();
    let step = (total / SPLITS_MAX).max(1);
    ways.extend((1..total).step_by(step).map(Way::SplitAt));
    for way in ways {
        if let Err(failure) = player::Player::new(voice, way).run(&script) {
            panic!("{failure}");
        }
    }
}

/// Plays a script one way and returns the failure as text.
pub fn play_once<V: Voice>(voice: &V, text: &str, way: Way) -> Result<(), String> {
    let script = Script::read(text).map_err(|bad| bad.to_string())?;
    player::Player::new(voice, way).run(&script)
}

#[cfg(test)]
mod tests;
