//! Which observations make an incident, and the words a client reads.
//!
//! What it is: pure decisions over observations — do the vantage points agree ([`agree`]), what
//! state is a component in ([`state`]), does an incident begin, go public or end ([`incident`]),
//! who is told ([`alert`]), when is a disk full ([`forecast`]), what did each day look like
//! ([`day`]), what is owed to whom ([`credits`]), and what time is it for a reader ([`zones`]).
//! What it is not: probes, pages or storage. Begin with [`incident`].

pub mod agree;
pub mod alert;
pub mod cause;
pub mod credits;
pub mod day;
pub mod drift;
pub mod forecast;
pub mod incident;
pub mod maintenance;
pub mod metrics;
pub mod schedule;
pub mod state;
pub mod zones;

pub use agree::{Agreed, Outcome, Rule, Seen};
pub use state::State;
