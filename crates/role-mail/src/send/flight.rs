//! A message under way: its recipients, what each is doing, and what is to be written when all rest.

use ledger::Fact;
use spool::{Entry, Rcpt, State};
use stdx::Now;
use words::{Enhanced, Reply};

/// What a recipient is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// To be planned.
    Idle,
    /// Waits for DNS, or for a session to end.
    Parked,
    Flying,
    /// At rest until its due time.
    Rest,
    Ended,
}

pub struct Slot {
    pub rcpt: Rcpt,
    pub phase: Phase,
    /// When it ends if no way opens, as the last plan had it.
    pub give_up: Option<Now>,
}

/// An end that the sender is told about.
#[derive(Clone, Debug)]
pub struct Told {
    pub rcpt: Rcpt,
    pub how: How,
    pub status: Enhanced,
    pub says: String,
    pub host: Option<String>,
    pub reply: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Failed,
    Delayed { until: Now },
    Delivered { onward: bool },
}

pub struct Flight {
    pub entry: Entry,
    pub slots: Vec<Slot>,
    pub facts: Vec<Fact>,
    pub told: Vec<Told>,
}

impl Flight {
    pub fn new(mut entry: Entry, now: Now) -> Flight {
        let slots = std::mem::take(&mut entry.rcpts).into_iter().map(|rcpt| {
            let phase = if rcpt.is_held() || rcpt.due > now { Phase::Rest } else { Phase::Idle };
            Slot { rcpt, phase, give_up: None }
        });
        let slots = slots.collect();
        Flight { entry, slots, facts: Vec::new(), told: Vec::new() }
    }
    pub fn is_resting(&self) -> bool {
        self.slots.iter().all(|s| matches!(s.phase, Phase::Rest | Phase::Ended))
    }
    /// The entry with the recipients that have no end yet.
    pub fn into_entry(self) -> (Entry, Vec<Fact>, Vec<Told>) {
        let mut entry = self.entry;
        entry.rcpts = self
            .slots
            .into_iter()
            .filter(|s| s.phase != Phase::Ended)
            .map(|mut s| {
                if !s.rcpt.is_held() {
                    s.rcpt.state = State::Later;
                }
                s.rcpt
            })
            .collect();
        (entry, self.facts, self.told)
    }
    pub fn rest_until(&mut self, slot: usize, due: Now) {
        self.slots[slot].rcpt.due = due;
        self.slots[slot].phase = Phase::Rest;
    }
    /// The recipient has failed for good.
    pub fn fail(&mut self, slot: usize, status: Enhanced, says: String, reply: Option<String>) {
        self.slots[slot].phase = Phase::Ended;
        let rcpt = self.slots[slot].rcpt.clone();
        let host = rcpt.last.as_ref().and_then(|l| l.host.clone());
        self.told.push(Told { rcpt, how: How::Failed, status, says, host, reply });
    }
}

/// The status of a notice, from a reply: its own, or by its code.
pub fn status_of(reply: &Reply, permanent: bool) -> Enhanced {
    let class = if permanent { 5 } else { 4 };
    reply.enhanced.map_or(Enhanced(class, 0, 0), |e| Enhanced(class, e.1, e.2))
}
