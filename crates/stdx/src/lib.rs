//! Ground: small tools with no mail word in them.
//!
//! What it is: instants as values ([`Now`]), sizes and spans with units ([`Bytes`], [`Span`]),
//! bounded collections, seeded randomness ([`Dice`]), the shape of every protocol machine
//! ([`Machine`]) and [`Secret`].
//! What it is not: a place for anything that knows about mail, sockets, files or clocks.
//! Begin with [`machine`].

pub mod bounded;
pub mod dice;
pub mod machine;
pub mod network;
pub mod secret;
pub mod time;
pub mod units;

pub use bounded::{Full, Ring};
pub use dice::Dice;
pub use machine::{Action, Machine, TlsFacts};
pub use secret::Secret;
pub use time::{Now, Span};
pub use units::Bytes;

/// Says that a state cannot be reached. Stops the session in every build; the session's
/// keeper catches it, answers 421 (or BYE) and reports it.
#[macro_export]
macro_rules! never {
    ($($why:tt)+) => { panic!("never: {}", format_args!($($why)+)) };
}
