//! The nouns all rooms share.
//!
//! What it is: [`Domain`], [`Address`], [`Envelope`], the short ids that tie a reply to a walk,
//! [`Reply`] with its enhanced code, [`Verdict`] with its [`Reason`]s.
//! What it is not: parsing of messages or protocols. Begin with [`address`].

pub mod address;
pub mod envelope;
pub mod id;
pub mod reply;
pub mod verdict;

pub use address::{Address, AddressError, Domain};
pub use envelope::{Body, Envelope, Notify, Recipient, Ret};
pub use id::{AccountId, AttemptId, MessageId, SessionId};
pub use reply::{Enhanced, Reply};
pub use verdict::{Reason, Reasons, Verdict};
