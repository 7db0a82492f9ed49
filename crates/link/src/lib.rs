//! The hosts' own talk: signed, idempotent facts.
//!
//! What it is: the values that mail host, relay, monitor and status site tell each other
//! ([`Fact`]), and the sealed parcel they travel in ([`seal`], [`open`]): signed with Ed25519,
//! numbered, so that a parcel that comes twice changes nothing. What it is not: transport — a
//! parcel is bytes, carried by HTTP, a file or a mail. Begin with [`Parcel`].

pub mod fact;
pub mod parcel;

pub use fact::{FILES, Fact, Look};
pub use parcel::{Key, OpenError, Parcel, Peer, open, seal};
