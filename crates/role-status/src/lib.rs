//! The status site: tells clients, and stands when everything else is down.
//!
//! What it is: a host of its own that takes signed facts over `link`, judges them with `watch`,
//! keeps incidents, maintenance and posts in rows of its own, and after each change writes the
//! whole site as plain files (rendered by `statuspage`), which it serves itself and which any
//! static host can serve too. What it is not: a monitor (that is another role), or rules and pages.
//! Begin with [`board::Board`].

pub mod act;
pub mod board;
pub mod carry;
pub mod credits;
pub mod desk;
pub mod http;
pub mod ingest;
pub mod letter;
pub mod listen;
pub mod mail_in;
pub mod mail_out;
pub mod people;
pub mod postmortem;
pub mod publish;
pub mod push;
pub mod rows;
pub mod say;
pub mod setup;
pub mod snapshot;
pub mod subscribe;
pub mod tick;

pub use board::{Board, Settings};
