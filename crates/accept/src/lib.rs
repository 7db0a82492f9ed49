//! May this peer, sender, recipient, message come in?
//!
//! What it is: pure judges. Facts go in, a [`Verdict`] with its reasons comes out; [`Pass::No`]
//! holds the reply to be said. What it is not: it looks nothing up and writes nothing. Roles gather
//! the facts; a fact that could not be had is `None`, and never a reason to refuse by itself.
//! Begin with [`judge_rcpt`] and [`judge_message`].

mod customer;
mod envelope;
mod message;

pub use customer::{Quota, Use, judge_customer};
pub use envelope::{Fill, Mail, Peer, Rcpt, Room, Whose, judge_mail, judge_peer, judge_rcpt};
pub use message::{Dmarc, Loop, Message, Place, Policy, Spf, judge_message};

use words::{Reason, Reply, Verdict};

/// Yes, or the reply that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    Yes,
    No(Reply),
}

fn yes(reason: Reason) -> Verdict<Pass> {
    Verdict::new(Pass::Yes, reason)
}

fn no(reply: Reply, reason: Reason) -> Verdict<Pass> {
    let reason = reason.with("reply", reply.to_string());
    Verdict::new(Pass::No(reply), reason)
}
