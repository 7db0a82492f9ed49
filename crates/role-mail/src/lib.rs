//! The mail host: receive, keep, serve, send.
//!
//! What it is: straight-line async that gathers facts, asks a judge, tells the keepers and
//! drives the engines. What it is not: rules (judges), protocols (engines), storage (keepers).
//! Begin with [`site::Site`], what every session of this host shares; then `listen`, which
//! turns a connection into a session.

pub mod ahead;
pub mod arrival;
pub mod arrived;
pub mod complaints;
pub mod crossing;
pub mod damage;
pub mod deliver;
mod figures;
pub mod filter;
pub mod gate;
pub mod housekeeping;
pub mod http;
pub mod imap;
pub mod listen;
pub mod lists;
pub mod login;
pub mod managesieve;
pub mod peers;
pub mod pop3;
pub mod preflight;
pub mod proof;
pub mod receipts;
pub mod reception;
pub mod send;
pub mod settings;
pub mod signing;
pub mod site;
pub mod smtp_in;
pub mod space;
pub mod srs;
pub mod submission;
pub mod tag;
pub mod text;
pub mod why;

pub use arrival::{Arrival, Front};
pub use settings::{Egress, EgressRules, Relay, RelayTls, Settings, Tolerance};
pub use site::Site;

/// The tables of every room that this host keeps, in the order they are made.
pub fn schemas() -> Vec<store::Schema> {
    vec![directory::SCHEMA, mailbox::SCHEMA, ledger::SCHEMA, spool::SCHEMA, receipts::SCHEMA, peers::SCHEMA]
}

/// Everything a mail host does beside its sessions, until the stop.
pub fn begin(site: &Site, stop: &drive::Stop, tasks: &mut tokio::task::JoinSet<()>) {
    tasks.spawn(housekeeping::tend(site.clone(), stop.clone()));
    tasks.spawn(imap::tend(site.clone(), stop.clone()));
    tasks.spawn(send::run(site.clone(), stop.clone()));
    tasks.spawn(lists::watch(site.clone(), stop.clone()));
    tasks.spawn(preflight::tend(site.clone(), stop.clone()));
    tasks.spawn(complaints::read_snds(site.clone(), stop.clone()));
}
