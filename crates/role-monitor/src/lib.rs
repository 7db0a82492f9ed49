//! The monitor: looks at mail hosts from outside, proves that mail flows, and speaks by itself.
//!
//! What it is: one vantage point. It carries out probes by a schedule ([`probe`]), keeps what they
//! saw in bounded space ([`book`]), takes what other points and the mail host itself say over
//! `link` ([`said`]), judges all of it with `watch`, and tells people by ways that share nothing
//! with what it watches ([`channel`], [`alerts`]). What it is not: the status site (its facts go
//! there as parcels), or a place for rules. Begin with [`monitor::Monitor`].

pub mod alerts;
pub mod book;
pub mod channel;
pub mod http;
pub mod monitor;
pub mod probe;
pub mod reply;
pub mod rows;
pub mod said;
pub mod talk;
pub mod usual;
pub mod wire;

pub use monitor::{Monitor, Settings};
pub use probe::{Kind, Target};
