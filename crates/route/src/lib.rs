//! Which egress, when, and what did that reply teach us?
//!
//! What it is: a judge. [`classify`] reads a refusal, [`group`] says which destinations belong
//! together, [`plan`] chooses the way of one recipient, [`learn`] turns outcomes into state,
//! [`dnsbl`] judges block-list answers. Everything is a pure function of facts, settings and
//! the time; the learned [`State`] is a value the caller keeps.
//! What it is not: a queue, a resolver or a sender; it never waits and never writes.
//! Begin with [`plan`] and [`Refusal`].

pub mod classify;
pub mod linear;
pub mod refusal;
pub mod rules;
pub mod text;

pub use classify::{check_replies, classify};
pub use refusal::{Class, Reading, Refusal, Remedy, Stage};
