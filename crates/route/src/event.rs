//! Automatic decisions as audit lines: what, because of which replies, until when, how to undo.

use stdx::Now;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    GroupBlocked,
    DestinationBlocked,
    Returning,
    StepUp,
    Returned,
    FellBack,
    Throttled,
    RelayOut,
    SenderUnverified,
    EgressMisconfigured,
    SenderMisconfigured,
    Listed,
    ListCleared,
    ListMoved,
    Neighbours,
    ListUnusable,
    ListUsable,
    EgressLocked,
    EgressPassed,
    NameListed,
    Reputation,
    StillRefused,
}

impl EventKind {
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::GroupBlocked => "route.group_blocked",
            EventKind::DestinationBlocked => "route.destination_blocked",
            EventKind::Returning => "route.returning",
            EventKind::StepUp => "route.step_up",
            EventKind::Returned => "route.returned",
            EventKind::FellBack => "route.fell_back",
            EventKind::Throttled => "route.throttled",
            EventKind::RelayOut => "route.relay_out",
            EventKind::SenderUnverified => "route.sender_unverified",
            EventKind::EgressMisconfigured => "route.egress_misconfigured",
            EventKind::SenderMisconfigured => "route.sender_misconfigured",
            EventKind::Listed => "route.listed",
            EventKind::ListCleared => "route.list_cleared",
            EventKind::ListMoved => "route.list_moved",
            EventKind::Neighbours => "route.list_neighbours",
            EventKind::ListUnusable => "route.list_unusable",
            EventKind::ListUsable => "route.list_usable",
            EventKind::EgressLocked => "route.egress_locked",
            EventKind::EgressPassed => "route.egress_passed",
            EventKind::NameListed => "route.name_listed",
            EventKind::Reputation => "route.reputation",
            EventKind::StillRefused => "route.still_refused",
        }
    }
}

/// One automatic decision: the audit line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub says: String,
    /// Verbatim replies.
    pub evidence: Vec<String>,
    pub until: Option<Now>,
    pub undo: String,
}

impl Event {
    pub fn new(kind: EventKind, says: String) -> Event {
        Event { kind, says, evidence: Vec::new(), until: None, undo: String::new() }
    }
    pub fn undo(mut self, how: impl Into<String>) -> Event {
        self.undo = how.into();
        self
    }
    pub fn because(mut self, replies: impl IntoIterator<Item = String>) -> Event {
        self.evidence.extend(replies);
        self
    }
    pub(crate) fn until(mut self, at: u64) -> Event {
        self.until = Some(Now(at));
        self
    }
}
