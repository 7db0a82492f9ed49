//! The mail host: receive, keep, serve, send.
//!
//! What it is: straight-line async that gathers facts, asks a judge, tells the keepers and
//! drives the engines. What it is not: rules (judges), protocols (engines), storage (keepers).
//! Begin with [`site::Site`], what every session of this host shares; then `listen`, which
//! turns a connection into a session.

pub mod arrival;
pub mod gate;
// pub mod http; (when drive::tls::accept is there)
pub mod settings;
pub mod site;

pub use arrival::{Arrival, Front};
pub use settings::{Egress, Relay, RelayTls, Settings, Tolerance};
pub use site::Site;
