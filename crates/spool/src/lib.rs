//! Accepted mail for elsewhere until each recipient has an end.
//!
//! What it is: one row per accepted message (its body, envelope and what is known of each
//! recipient), an index of what is due, leases of what is being sent, the operator's orders, the
//! rows of what routes have learned, and what is known of others' TLS ([`tls`]). The states are listed in `docs/spool-states.md`.
//! What it is not: it decides nothing about routes and sends nothing. Begin with [`add`],
//! [`claim`], [`put_back`] and [`finish`].

mod entry;
mod feed;
mod orders;
mod rows;
#[cfg(test)]
mod tests;
pub mod tls;

pub use entry::{Entry, Last, New, Options, Origin, Rcpt, SpoolId, State, Tried};
pub use feed::{FEED_MAX, Feed};
pub use orders::{Counts, Listed, Order, counts, drop_all, hold, list, release, retry, show};
pub use rows::{
    add, add_held, claim, finish, next_due, of_body, progress, put_back, recover, routes, save_routes,
};

/// The spool's tables.
pub const SCHEMA: store::Schema = store::Schema {
    room: "spool",
    steps: &[
        "CREATE TABLE spool (
                id INTEGER PRIMARY KEY,
                message INTEGER NOT NULL,
                body INTEGER NOT NULL,
                at INTEGER NOT NULL,
                due INTEGER,               -- NULL while leased, or held altogether
                lease INTEGER NOT NULL,    -- the run that is sending it, 0 for none
                entry TEXT NOT NULL
              ) STRICT;
              CREATE INDEX spool_due ON spool (due) WHERE due IS NOT NULL;
              CREATE TABLE spool_order (   -- orders given while a try is under way
                id INTEGER PRIMARY KEY,
                what TEXT NOT NULL
              ) STRICT;
              CREATE TABLE route_state (
                key TEXT PRIMARY KEY,
                row TEXT NOT NULL
              ) STRICT, WITHOUT ROWID;",
        tls::TABLES,
        tls::REPORTED,
    ],
};
