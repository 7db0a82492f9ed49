//! SMTP: grammar, server machine, client machine.
//!
//! What it is: pure engines ([`Server`], [`Client`]) in the shape of `stdx::Machine`: bytes, answers
//! and the time go in, actions come out. What it is not: policy. Whether a recipient exists, whether
//! a disk has room, whether a password is right: the machine asks ([`server::Question`]) and turns
//! the answer into a reply. Begin with [`server`], then [`command`], then [`client`].

pub mod client;
pub mod command;
pub mod limits;
pub mod params;
pub mod path;
pub mod reply;
pub mod server;
pub mod text;

pub use client::{Client, Stage};
pub use command::Command;
pub use limits::{BareNewlines, Limits};
pub use reply::ReplyReader;
pub use server::{Answer, Question, Server};
