//! Status pages: one snapshot of facts in, plain files out.
//!
//! What it is: the page clients read, its archives, feeds, calendar, badges and the
//! Statuspage-shaped API, rendered from a [`Snapshot`] — so that the same files can be served by
//! us, copied to any static host, or kept for a week without the mail host. Also the reader of
//! WordPress exports. What it is not: rules (the judge `watch`), storage or HTTP (the role).
//! Begin with [`model`] and [`files::render`].

pub mod api;
pub mod archive;
pub mod badge;
pub mod feeds;
pub mod files;
pub mod front;
pub mod ics;
pub mod markdown;
pub mod model;
pub mod shell;
pub mod wxr;

pub use files::{File, render};
pub use model::Snapshot;
