//! All that was seen of a scene: by the senders, by the peers, in the mailboxes and the ledger.

use ledger::Fact;
use role_relay::bill::Bill;
use sim::Stage;
use stdx::{Now, Span};

use crate::client::Handed;
use crate::letters::Letter;
use crate::names::Asked;
use crate::outcry::Reported;

/// What measures are taken from.
pub struct Record {
    pub begin: Now,
    pub end: Now,
    pub letters: Vec<Letter>,
    pub handed: Vec<Handed>,
    pub arrivals: Vec<Arrival>,
    pub refusals: Vec<Refusal>,
    pub contacts: Vec<Contact>,
    pub notices: Vec<Notice>,
    /// Recipients that are still in the queue.
    pub queued: Vec<String>,
    pub facts: Vec<Fact>,
    pub asked: Vec<Asked>,
    /// Complaints that peers reported to us.
    pub reports: Vec<Reported>,
    /// What the relay's customers owe for the month.
    pub bills: Vec<Bill>,
    /// What `route show` said at the end.
    pub routes: Vec<route::show::Row>,
    pub kills: u64,
    /// What was answered to orders, by their places in the scene.
    pub answers: Vec<(usize, String)>,
    /// Most memory the host's process used, where it had one.
    pub memory_max: Option<u64>,
    /// Tasks before the first letter and at the end.
    pub tasks: Option<(usize, usize)>,
}

/// A recipient's copy at a peer.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Now,
    pub egress: String,
    pub peer: usize,
    pub sender: String,
    pub rcpt: String,
    /// None for mail that is none of the scene's letters (notices).
    pub token: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Refusal {
    pub at: Now,
    pub egress: String,
    pub peer: usize,
    pub stage: Stage,
    pub sender: String,
    pub rcpt: String,
    pub reply: String,
}

#[derive(Clone, Debug)]
pub struct Contact {
    pub at: Now,
    pub egress: String,
    pub peer: usize,
}

/// A notice in somebody's mailbox.
#[derive(Clone, Debug)]
pub struct Notice {
    pub id: String,
    pub at: Now,
    pub to: String,
    pub token: Option<String>,
    pub failed: Vec<String>,
    pub delayed: Vec<String>,
    pub text: String,
}

impl Record {
    /// Everything that was seen, one line each, the earliest first.
    pub fn trace(&self) -> String {
        let mut lines: Vec<(Now, String)> = Vec::new();
        for h in &self.handed {
            let letter = &self.letters[h.letter];
            let what = match (&h.accepted, &h.refused) {
                (Some(at), _) => (*at, "accepted".to_owned()),
                (None, Some(why)) => (letter.at, format!("refused: {why}")),
                (None, None) => (letter.at, format!("not taken in {} tries", h.tries)),
            };
            let to = letter.recipients.join(" ");
            lines.push((what.0, format!("{} {} -> {to}: {}", letter.token, letter.sender, what.1)));
        }
        for a in &self.arrivals {
            let token = a.token.as_deref().unwrap_or("notice");
            lines.push((
                a.at,
                format!("{token} {} -> {}: taken by peer {} through {}", a.sender, a.rcpt, a.peer, a.egress),
            ));
        }
        for r in &self.refusals {
            let Refusal { sender, rcpt, peer, egress, stage, reply, .. } = r;
            lines.push((
                r.at,
                format!("{sender} -> {rcpt}: peer {peer} refuses {egress} at {stage:?}: {reply}"),
            ));
        }
        for n in &self.notices {
            let (failed, delayed) = (n.failed.join(" "), n.delayed.join(" "));
            lines.push((
                n.at,
                format!("notice to {} about {:?}: failed [{failed}] delayed [{delayed}]", n.to, n.token),
            ));
        }
        for r in &self.reports {
            let what = if r.accepted.is_some() { "taken" } else { "not taken" };
            lines.push((r.begun, format!("{} peer {} reports {}: {what}", r.token, r.peer, r.account)));
        }
        lines.extend(self.facts.iter().map(|f| (f.at, format!("fact {f} {:?}", f.reasons()))));
        lines.sort_by_key(|(at, _)| *at);
        lines.iter().map(|(at, line)| format!("{} {line}\n", at.since(self.begin))).collect()
    }

    pub fn length(&self) -> Span {
        self.end.since(self.begin)
    }
}
