//! Whole-farm replays: a scene is a file, and anybody can run it.
//!
//! What it is: [`Scene`] is what a `scenes/*.toml` says (hosts, zones, lists, peers with reply
//! scripts, traffic, faults, checks); [`stage`] plays it against the product's own mail host in
//! virtual time, [`real`] on real sockets against a process that can be killed; [`measure`] reads transcripts, mailboxes and the ledger afterwards, and
//! [`verdict`] compares with the bounds.
//! What it is not: a second mail host, or a test mode: the host under test does not know.
//! Begin with [`Scene::read`] and [`stage::play`].

pub mod cast;
pub mod client;
pub mod dnsd;
pub mod expand;
pub mod farm;
pub mod file;
pub mod folder;
pub mod gather;
pub mod letters;
pub mod life;
pub mod measure;
pub mod names;
pub mod outcry;
pub mod pace;
pub mod parse;
pub mod real;
pub mod record;
pub mod scene;
pub mod snds;
pub mod stage;
pub mod standing;
pub mod verdict;

pub use record::Record;
pub use scene::Scene;
pub use verdict::Report;
