//! Which egress, when, and what did that reply teach us?
//!
//! What it is: a judge. [`classify`] reads a refusal, [`group_of`] says which destinations belong
//! together, [`plan`] chooses the way of one recipient, [`learn`] turns outcomes into state,
//! [`dnsbl`] judges block-list answers. Everything is a pure function of facts, settings and
//! the time; the learned [`State`] is a value the caller keeps and stores row by row.
//! What it is not: a queue, a resolver or a sender; it never waits and never writes.
//! Begin with [`plan()`] and [`learn()`].

pub mod afar;
pub mod board;
pub mod classify;
pub mod concepts;
pub mod dnsbl;
pub mod dossier;
pub mod egress;
pub mod event;
pub mod explain;
pub mod group;
pub mod learn;
pub mod linear;
pub mod lists;
pub mod plan;
pub mod preflight;
pub mod provider;
pub mod refusal;
pub mod rules;
pub mod settings;
pub mod show;
pub mod snds;
pub mod state;
pub mod text;

pub use afar::learn_afar;
pub use classify::{check_replies, classify};
pub use egress::{Dmarc, Egress, Kind, Sender, Spf, WarmUp};
pub use group::{Banners, group_of, learn_banner};
pub use learn::{Event, EventKind, Lesson, Next, Outcome, Told, learn, learn_also, start, tick};
pub use lists::{News, cited_zones, learn_list};
pub use plan::{Alert, Facts, Purpose, Tried, Way, plan};
pub use refusal::{Class, Reading, Refusal, Remedy, Stage};
pub use settings::{Settings, retry_at};
pub use state::{Evidence, Pin, PinScope, State};
