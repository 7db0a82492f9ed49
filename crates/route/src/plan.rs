//! Which way for one recipient, now.
//!
//! Egresses are taken in the operator's order; the first that may carry the mail and is not
//! refused there carries it. A blocked one is probed with real mail when its time has come, a
//! returning one gets its share. Where every way is refused, mail is held, then ends with one
//! DSN that names the server, not the address. Begin with [`plan`].

use stdx::{Now, Span};
use words::{Domain, Reason, Reasons, Verdict};

use crate::egress::{Egress, Sender, ineligible};
use crate::lists::ListView;
use crate::settings::Settings;
use crate::state::{Block, Lane, Mood, Return, STEPS, State};

/// What is known about one recipient of one message.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub egresses: &'a [Egress],
    pub group: &'a str,
    pub hosts: &'a [String],
    pub domain: &'a Domain,
    pub sender: &'a Sender<'a>,
    /// Tries of this recipient that were refused for the egress's sake.
    pub tried: &'a [Tried],
    pub accepted_at: Now,
    /// When this recipient was first refused for an egress's sake.
    pub first_blocked: Option<Now>,
    /// Greylisted: come back through this egress.
    pub stick: Option<&'a str>,
    /// Whether this mail may be used to probe (low risk by the guard's judgement).
    pub may_probe: bool,
    /// A number drawn once per recipient, for shares.
    pub draw: u64,
}

/// One try that was refused for the egress's sake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub egress: String,
    pub at: Now,
}

/// Why a way was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Usual,
    /// Another egress than the first, because the first is refused.
    Moved,
    Probe,
    /// A share of a return.
    Step,
    Pinned,
    /// Everything is blocked and the hold ends: one last try.
    LastCall,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Send through `egresses[egress]`.
    Send { egress: usize, purpose: Purpose },
    /// Not now: a throttle, or no free session. `slot` means "as soon as one ends".
    Wait { until: Now, slot: bool },
    /// No way is open; mail stays until `give_up`.
    Hold { until: Now, give_up: Now, alert: Alert },
    /// The hold has ended: one DSN.
    GiveUp { says: String },
}

/// One thing the operator is to hear once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The same key is the same alert.
    pub key: String,
    pub says: String,
}

enum Standing {
    Free,
    Busy(Now),
    NoSlot,
    Spent(Now),
    Share { now: bool },
    Blocked { probe_at: Now, accepts_this: bool, candidate: bool },
}

struct Search<'a> {
    facts: &'a Facts<'a>,
    state: &'a State,
    settings: &'a Settings,
    now: Now,
    reasons: Vec<Reason>,
    returning: Option<usize>,
    resort: Option<usize>,
    wait: Option<Now>,
    probe_at: Option<Now>,
    blocked: Vec<usize>,
    barred: Option<Alert>,
}

/// Chooses. Pure: call [`crate::learn::start`] when the way is taken.
pub fn plan(facts: &Facts<'_>, state: &State, settings: &Settings, now: Now) -> Verdict<Way> {
    let mut search = Search {
        facts,
        state,
        settings,
        now,
        reasons: Vec::new(),
        returning: None,
        resort: None,
        wait: None,
        probe_at: None,
        blocked: Vec::new(),
        barred: None,
    };
    if let Some(way) = search.pinned().or_else(|| search.sticky()) {
        return search.verdict(way);
    }
    for index in 0..facts.egresses.len() {
        if let Some(way) = search.consider(index) {
            return search.verdict(way);
        }
    }
    let way = search.rest();
    search.verdict(way)
}

impl Search<'_> {
    fn verdict(self, way: Way) -> Verdict<Way> {
        let name = |i: usize| self.facts.egresses.get(i).map_or("?", |e| e.name.as_str());
        let first = match &way {
            Way::Send { egress, purpose } => {
                let says = match purpose {
                    Purpose::Usual => "the first egress that may carry this mail is open",
                    Purpose::Moved => "the egresses before it may not be used now",
                    Purpose::Probe => {
                        "a blocked egress is tried with one message; refused, it goes elsewhere at once"
                    }
                    Purpose::Step => "the group comes back to this egress step by step",
                    Purpose::Pinned => "pinned by hand",
                    Purpose::LastCall => "every egress is refused and the hold ends: one last try",
                };
                Reason::new("route.send", says).with("egress", name(*egress)).with("group", self.facts.group)
            }
            Way::Wait { until, slot: true } => {
                Reason::new("route.slot", "all sessions this destination bears are in use")
                    .with("until", until)
            }
            Way::Wait { until, .. } => {
                Reason::new("route.wait", "the destination asked for less").with("until", until)
            }
            Way::Hold { until, give_up, .. } => {
                Reason::new("route.hold", "no egress may carry this mail now")
                    .with("until", until)
                    .with("give_up", give_up)
            }
            Way::GiveUp { says } => Reason::new("route.give_up", says.clone()),
        };
        let mut reasons = Reasons::one(first);
        for reason in self.reasons {
            reasons.push(reason);
        }
        Verdict::new(way, reasons)
    }

    fn note(&mut self, rule: &'static str, index: usize, says: String) {
        let name = &self.facts.egresses[index].name;
        self.reasons.push(Reason::new(rule, says).with("egress", name));
    }

    fn pinned(&mut self) -> Option<Way> {
        let facts = self.facts;
        let pin = self.state.pin_for(facts.group, facts.domain.as_str(), facts.hosts, self.now)?;
        let index = facts.egresses.iter().position(|e| e.name == pin.egress)?;
        let until = pin.until.map_or_else(|| "it is taken away".to_owned(), |u| Now(u).iso());
        let says = format!("pinned to {} by {} until {until}: {}", pin.egress, pin.by, pin.note);
        self.note("pin", index, says);
        if self.refused_now(index) {
            return None;
        }
        Some(Way::Send { egress: index, purpose: Purpose::Pinned })
    }

    /// Greylisting counts per address: the same egress comes back, unless it is blocked since.
    fn sticky(&mut self) -> Option<Way> {
        let stick = self.facts.stick?;
        let index = self.facts.egresses.iter().position(|e| e.name == stick)?;
        if self.barred(index) || self.refused_now(index) {
            return None;
        }
        match self.standing(index) {
            Standing::Free | Standing::Share { .. } | Standing::Spent(_) => {
                self.note(
                    "greylist.same",
                    index,
                    format!("greylisted from {stick}: the same address comes back"),
                );
                Some(Way::Send { egress: index, purpose: Purpose::Usual })
            }
            Standing::NoSlot => Some(Way::Wait { until: self.now + Span::secs(5), slot: true }),
            Standing::Busy(until) => Some(Way::Wait { until, slot: false }),
            Standing::Blocked { .. } => None,
        }
    }

    /// Whether this recipient was refused there so lately that asking again is rude.
    fn refused_now(&self, index: usize) -> bool {
        let name = &self.facts.egresses[index].name;
        let gap = self.settings.same_egress_gap;
        self.facts.tried.iter().any(|t| t.egress == *name && self.now.since(t.at) < gap)
    }

    /// Whether rules, a relay's refusal or a sender's missing verification bar this egress.
    fn barred(&mut self, index: usize) -> bool {
        let egress = &self.facts.egresses[index];
        if egress.must_pass && !self.state.may_fly(&egress.name) {
            let name = &egress.name;
            let says = format!("{name} has not passed its pre-flight (postroad egress check {name})");
            self.note("eligible.preflight", index, says);
            // The operator has heard of it; mail waits for the fault's end, it does not fail.
            let again = self.now + Span::mins(5);
            self.wait = Some(self.wait.map_or(again, |w| w.min(again)));
            return true;
        }
        if let Some(reason) = ineligible(egress, index, self.facts.sender) {
            if reason.rule == "eligible.spf" && self.barred.is_none() {
                let domain = self.facts.sender.domain.map_or("", Domain::as_str);
                self.barred =
                    Some(Alert { key: format!("spf:{domain}:{}", egress.name), says: reason.says.clone() });
            }
            self.reasons.push(reason);
            return true;
        }
        if let Some(relay) = self.state.relays.get(&egress.name).filter(|r| r.out_until > self.now.0) {
            let says =
                format!("{} refuses our log-in since {} tries: {}", egress.name, relay.failures, relay.reply);
            self.wait_until(Now(relay.out_until));
            self.note("relay.out", index, says);
            return true;
        }
        let unverified = self.facts.sender.domain.and_then(|d| {
            self.state.senders.get(&egress.name)?.get(d.as_str()).filter(|u| u.until > self.now.0)
        });
        if let Some(u) = unverified {
            let says = format!("{} refuses this sender domain: {}", egress.name, u.reply);
            self.note("eligible.refused", index, says);
            return true;
        }
        false
    }

    fn wait_until(&mut self, at: Now) {
        self.probe_at = Some(self.probe_at.map_or(at, |p| p.min(at)));
    }

    fn consider(&mut self, index: usize) -> Option<Way> {
        if self.barred(index) {
            return None;
        }
        let usual = if index == 0 { Purpose::Usual } else { Purpose::Moved };
        if self.refused_now(index) {
            self.blocked.push(index);
            let name = self.facts.egresses[index].name.clone();
            let last = self.facts.tried.iter().filter(|t| t.egress == name).map(|t| t.at).max();
            self.wait_until(last.unwrap_or(self.now) + self.settings.same_egress_gap);
            self.note("tried", index, format!("{name} was just refused for this recipient"));
            return None;
        }
        match self.standing(index) {
            Standing::Free => Some(Way::Send { egress: index, purpose: usual }),
            Standing::Share { now: true } => Some(Way::Send { egress: index, purpose: Purpose::Step }),
            Standing::Share { now: false } => {
                self.returning.get_or_insert(index);
                None
            }
            Standing::NoSlot => Some(Way::Wait { until: self.now + Span::secs(5), slot: true }),
            Standing::Busy(until) => {
                self.wait = Some(self.wait.map_or(until, |w| w.min(until)));
                // A throttle is answered by patience, not by another address.
                Some(Way::Wait { until, slot: false })
            }
            Standing::Spent(until) => {
                self.wait = Some(self.wait.map_or(until, |w| w.min(until)));
                None
            }
            Standing::Blocked { probe_at, accepts_this, candidate } => {
                // A list with nothing against us refuses them all alike: one of them asks for all.
                let asked = self.denied(index).is_some()
                    && self.blocked.iter().any(|earlier| self.denied(*earlier).is_some());
                self.blocked.push(index);
                if accepts_this {
                    self.resort.get_or_insert(index);
                }
                if candidate
                    && !asked
                    && self.facts.may_probe
                    && probe_at <= self.now
                    && !self.too_late_to_probe()
                {
                    return Some(Way::Send { egress: index, purpose: Purpose::Probe });
                }
                self.wait_until(probe_at.max(self.now + Span::mins(1)));
                None
            }
        }
    }

    /// In its last half hour a held message spares itself for the last call.
    fn too_late_to_probe(&self) -> bool {
        self.facts.first_blocked.is_some_and(|_| {
            let end = self.give_up();
            self.now < end && end.since(self.now) < self.settings.same_egress_gap
        })
    }

    fn give_up(&self) -> Now {
        self.facts.first_blocked.unwrap_or(self.now) + self.hold().0
    }

    /// How long this mail is kept, and the list that says nothing of what a refusal says of it.
    fn hold(&self) -> (Span, Option<String>) {
        let hold = self.settings.hold;
        let denied = self.blocked.iter().find_map(|index| self.denied(*index));
        (if denied.is_some() { hold.max(self.settings.hold_denied) } else { hold }, denied)
    }

    /// The list that says nothing of what a refusal of this egress says of it.
    fn denied(&self, index: usize) -> Option<String> {
        let (facts, name) = (self.facts, &self.facts.egresses[index].name);
        let lists = ListView { state: self.state, settings: self.settings, now: self.now };
        lists.denied(name, self.state.lane(facts.group, name), facts.domain.as_str(), facts.hosts)
    }

    /// No egress was free.
    fn rest(&mut self) -> Way {
        if let Some(index) = self.returning {
            self.note("return.only", index, "it is coming back and nothing else is open".to_owned());
            return Way::Send { egress: index, purpose: Purpose::Step };
        }
        if let Some(index) = self.resort {
            self.note("resort", index, "it accepted mail for this very domain since the block".to_owned());
            return Way::Send { egress: index, purpose: Purpose::Usual };
        }
        if let Some(until) = self.wait {
            return Way::Wait { until: until.min(self.now + Span::hours(1)), slot: false };
        }
        let give_up = self.give_up();
        if self.now >= give_up {
            let gap = self.settings.same_egress_gap;
            let rested = |i: &usize| {
                let name = &self.facts.egresses[*i].name;
                !self.facts.tried.iter().any(|t| t.egress == *name && self.now.since(t.at) < gap)
            };
            if let Some(index) = self.blocked.iter().copied().find(rested) {
                return Way::Send { egress: index, purpose: Purpose::LastCall };
            }
            return Way::GiveUp { says: self.final_words() };
        }
        if let (hold, Some(list)) = self.hold() {
            let says =
                format!("{list}, which refusals cite, has nothing against us: mail is held for {hold}");
            self.reasons.push(Reason::new("list.denied", says).with("list", list));
        }
        let soonest = self.probe_at.unwrap_or(self.now + self.settings.probe_every);
        let until = soonest.max(self.now + Span::secs(30)).min(give_up);
        Way::Hold { until, give_up, alert: self.alert() }
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.blocked.iter().map(|i| self.facts.egresses[*i].name.as_str()).collect();
        names.join(", ")
    }

    fn final_words(&self) -> String {
        if self.blocked.is_empty() {
            let why = self.barred.as_ref().map_or("no egress may carry it", |a| a.says.as_str());
            return format!("No outgoing server may carry this message: {why}.");
        }
        format!(
            "The receiving side ({}) refuses our outgoing servers ({}), not the address you wrote to.",
            self.facts.group,
            self.names()
        )
    }

    fn alert(&self) -> Alert {
        if let Some(barred) = &self.barred {
            return barred.clone();
        }
        let (hold, denied) = self.hold();
        let why = denied.map_or_else(String::new, |list| {
            format!(", since {list}, which they cite, has nothing against us")
        });
        let says = format!(
            "every egress ({}) is refused by {}; mail is held for {hold}{why}",
            self.names(),
            self.facts.group
        );
        Alert { key: format!("all-blocked:{}", self.facts.group), says }
    }

    fn standing(&mut self, index: usize) -> Standing {
        let facts = self.facts;
        let egress = &facts.egresses[index];
        let domain = facts.domain.as_str();
        let lists = ListView { state: self.state, settings: self.settings, now: self.now };
        if let Some((list, until)) = lists.refuses_hosts(&egress.name, facts.hosts) {
            self.note(
                "list.known",
                index,
                format!("{list} lists {}, and this destination obeys it", egress.name),
            );
            return Standing::Blocked { probe_at: until, accepts_this: false, candidate: true };
        }
        let Some(lane) = self.state.lane(facts.group, &egress.name) else {
            return self.warm(egress, None);
        };
        match &lane.mood {
            Mood::Blocked(block) => return self.blocked_lane(index, lane, block),
            Mood::Returning(back) => {
                if let Some(standing) = self.returning_lane(index, lane, back) {
                    return standing;
                }
            }
            Mood::Open => {}
        }
        if let Some(standing) = self.destination(index, lane) {
            return standing;
        }
        if lane.paused_until > self.now.0 {
            return Standing::Busy(Now(lane.paused_until));
        }
        if lane.flying >= lane.slots_now(self.settings) {
            return Standing::NoSlot;
        }
        // The first message to a destination goes alone: a refusal costs one try, not a burst.
        let alone = lane.marks.get(domain).is_none_or(|m| m.ok == 0);
        if alone && lane.flying_to.get(domain).is_some_and(|n| *n > 0) {
            return Standing::NoSlot;
        }
        self.warm(egress, Some(lane))
    }

    fn warm(&self, egress: &Egress, lane: Option<&Lane>) -> Standing {
        let Some((day, allowed)) = egress.allowance(self.facts.group, self.now) else {
            return self.silent(lane);
        };
        let (used, cap) = match lane {
            Some(l) if l.day == day => (l.day_count, l.day_cap.unwrap_or(allowed)),
            _ => (0, allowed),
        };
        if used < cap.min(allowed) {
            return self.silent(lane);
        }
        let since = egress.warm_up.map_or(self.now, |w| w.since);
        Standing::Spent(since + Span((day + 1) * Span::days(1).0))
    }

    /// An egress nobody answers gives way to the next for half an hour, if there is a next.
    fn silent(&self, lane: Option<&Lane>) -> Standing {
        match lane {
            Some(l) if l.silent >= 3 && self.now.since(Now(l.silent_at)) < Span::mins(30) => {
                Standing::Share { now: false }
            }
            _ => Standing::Free,
        }
    }

    fn blocked_lane(&mut self, index: usize, lane: &Lane, block: &Block) -> Standing {
        let domain = self.facts.domain.as_str();
        let mark = lane.marks.get(domain);
        let quote = block.evidence.last().map_or("", |e| e.reply.as_str());
        let says =
            format!("blocked since {} by {} replies, last: {quote}", Now(block.since), block.evidence.len());
        self.note("group.blocked", index, says);
        let accepts_this = !block.is_told(self.now)
            && mark.is_some_and(|m| m.ok > block.since && !m.is_refused() && !m.is_flaky(self.now));
        // A probe proves something only where the block was felt; after an hour without such mail
        // any will do.
        let felt = mark.is_some_and(|m| m.is_refused() && !m.is_flaky(self.now));
        let candidate = felt || self.now.since(Now(block.next_probe)) >= Span::hours(1);
        Standing::Blocked { probe_at: Now(block.next_probe), accepts_this, candidate }
    }

    fn returning_lane(&mut self, index: usize, lane: &Lane, back: &Return) -> Option<Standing> {
        let domain = self.facts.domain.as_str();
        let share = STEPS.get(usize::from(back.step)).copied().unwrap_or(100);
        let mark = lane.marks.get(domain);
        let chosen = if back.step == 0 {
            let felt = mark.is_some_and(|m| m.refusals > 0 && !m.is_flaky(self.now));
            felt && domain != back.by && back.sent == 0
        } else {
            back.sent == 0 || self.facts.draw % 100 < u64::from(share)
        };
        self.note(
            "group.returning",
            index,
            format!("coming back since {}: {share} % of its mail", Now(back.since)),
        );
        if !chosen || back.refused.contains(domain) {
            return Some(Standing::Share { now: false });
        }
        if lane.flying >= lane.slots_now(self.settings) {
            return Some(Standing::Share { now: false });
        }
        Some(Standing::Share { now: lane.paused_until <= self.now.0 })
    }

    /// What this domain and its hosts last said on this lane.
    fn destination(&mut self, index: usize, lane: &Lane) -> Option<Standing> {
        let facts = self.facts;
        let name = &facts.egresses[index].name;
        let lists = ListView { state: self.state, settings: self.settings, now: self.now };
        if let Some(mark) = lane.marks.get(facts.domain.as_str()).filter(|m| lane.holds(m)) {
            let probe_at = lists.mark_until(name, mark)?;
            let says = format!("{} refused {name} at {}: {}", facts.domain, Now(mark.refused), mark.reply);
            self.note("destination.blocked", index, says);
            return Some(Standing::Blocked { probe_at, accepts_this: false, candidate: true });
        }
        let host = facts.hosts.iter().take(2).find_map(|h| {
            let on = self.state.hosts.get(h)?.lanes.get(name)?;
            let live = |at: &&u64| **at > on.ok && **at > lane.void_before;
            (on.refused.values().filter(live).count() >= 2).then_some((h, on.next_probe))
        });
        let (host, probe_at) = host?;
        self.note("host.blocked", index, format!("{host} refused {name} for several domains"));
        Some(Standing::Blocked { probe_at: Now(probe_at), accepts_this: false, candidate: true })
    }
}
