//! What an outcome teaches, and what becomes of the recipient.
//!
//! [`start`] notes that a way is taken, [`learn`] takes its outcome, [`tick`] lets time pass for
//! a returning group. Each automatic decision comes back as an [`Event`] with its evidence,
//! until when it holds and how to undo it. Begin with [`learn`].

use stdx::{Now, Span};
use words::{Domain, Reason, Verdict};

use crate::egress::Egress;
pub use crate::event::{Event, EventKind};
use crate::lists;
use crate::plan::{Facts, Purpose};
use crate::provider::{self, Isolation};
use crate::refusal::{Class, Reading, Remedy, Stage};
use crate::settings::{Settings, asked_wait};
use crate::state::{
    Block, CITES_MAX, EVIDENCE_MAX, Evidence, FLAKY_FOR, HostLane, Lane, Mood, Return, STEPS, State,
    Unverified, cut,
};

/// How one try ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    pub egress: &'a Egress,
    pub group: &'a str,
    /// The MX host that answered, if one did.
    pub host: Option<&'a str>,
    pub domain: &'a Domain,
    pub sender_domain: Option<&'a Domain>,
    /// Why this way was taken.
    pub purpose: Purpose,
    pub told: Told<'a>,
    /// Zones of the block lists we watch.
    pub zones: &'a [String],
}

#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    Taken,
    Refused {
        stage: Stage,
        reading: Reading,
        permanent: bool,
        reply: &'a str,
    },
    /// No conversation: refused connection, time-out, broken off.
    NoAnswer {
        why: &'a str,
    },
    /// The try was not made after all.
    NotTried,
}

/// What becomes of the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    /// Plan again at once: another egress.
    OtherEgress,
    /// Later; `at` if the remote or we named a time, `stick` if the same egress must come back.
    Later {
        at: Option<Now>,
        stick: bool,
    },
    Bounce,
    /// As before the try.
    Again,
}

/// The outcome's meaning and the automatic decisions it caused.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    pub next: Verdict<Next>,
    pub events: Vec<Event>,
}

/// The way is taken: counts sessions, shares, allowances; spaces probes.
pub fn start(
    state: &mut State,
    facts: &Facts<'_>,
    egress: usize,
    purpose: Purpose,
    settings: &Settings,
    now: Now,
) {
    let Some(out) = facts.egresses.get(egress) else { return };
    let domain = facts.domain.as_str();
    let day = out.allowance(facts.group, now);
    let lane = state.lane_mut(facts.group, &out.name, now);
    lane.flying = lane.flying.saturating_add(1);
    *lane.flying_to.entry(domain.to_owned()).or_default() += 1;
    if let Some((day, _)) = day {
        if lane.day != day {
            (lane.day, lane.day_count, lane.day_cap) = (day, 0, None);
        }
        lane.day_count += 1;
        state.dirty.insert(format!("g/{}", facts.group));
    }
    let lane = state.lane_mut(facts.group, &out.name, now);
    match &mut lane.mood {
        Mood::Blocked(block) => {
            block.probes += 1;
            block.next_probe = (now + settings.probe_gap(now.since(Now(block.since)))).0;
        }
        Mood::Returning(back) => back.sent += 1,
        Mood::Open => {}
    }
    if let Some(mark) = lane.marks.get_mut(domain).filter(|m| m.is_refused()) {
        mark.next_probe = (now + settings.probe_gap(now.since(Now(mark.first_refused)))).0;
    }
    if purpose == Purpose::Probe {
        for host in facts.hosts.iter().take(2) {
            if let Some(on) = state.hosts.get_mut(host).and_then(|h| h.lanes.get_mut(&out.name)) {
                on.next_probe = (now + settings.probe_every).0;
            }
        }
    }
}

/// Time passes for a group that comes back: a step that went well for long enough is followed by
/// the next. Call it before planning for the group; it is cheap when nothing returns.
pub fn tick(state: &mut State, group: &str, settings: &Settings, now: Now) -> Vec<Event> {
    let mut events = Vec::new();
    let returning = state.groups.get(group).into_iter().flat_map(|entry| &entry.lanes);
    let returning = returning.filter(|(_, lane)| matches!(lane.mood, Mood::Returning(_)));
    let undo: Vec<(String, String)> =
        returning.map(|(name, _)| (name.clone(), state.keep_away(group, name))).collect();
    for (name, undo) in &undo {
        let Some(lane) = state.groups.get_mut(group).and_then(|g| g.lanes.get_mut(name)) else { continue };
        let Mood::Returning(back) = &mut lane.mood else { continue };
        let long_enough = now.since(Now(back.step_since)) >= settings.step_min;
        // The confirming step ends without news if nobody who could confirm writes.
        let well = back.taken > 0 || (back.step == 0 && back.sent == 0);
        if long_enough && !well && lane.flying == 0 {
            // Its one message ended without a word on the egress: another may ask.
            (back.sent, back.step_since) = (0, now.0);
        }
        if !(long_enough && well) {
            continue;
        }
        let proof =
            format!("{} of {} messages taken since {}", back.taken, back.sent, Now(back.step_since).iso());
        (back.step, back.step_since, back.sent, back.taken) = (back.step + 1, now.0, 0, 0);
        back.refused.clear();
        if usize::from(back.step) >= STEPS.len() {
            events.push(
                Event::new(EventKind::Returned, format!("{group} is back on {name} in full"))
                    .because([proof])
                    .undo(undo),
            );
            lane.mood = Mood::Open;
        } else {
            let share = STEPS[usize::from(back.step)];
            events.push(
                Event::new(
                    EventKind::StepUp,
                    format!("{group}: {share} % of its mail leaves by {name} again"),
                )
                .because([proof])
                .until((now + settings.step_min).0)
                .undo(undo),
            );
        }
        state.dirty.insert(format!("g/{group}"));
    }
    events
}

/// Takes an outcome.
pub fn learn(state: &mut State, outcome: &Outcome<'_>, settings: &Settings, now: Now) -> Lesson {
    land(state, outcome, now);
    learn_also(state, outcome, settings, now)
}

/// As [`learn`], for further recipients of the same try.
pub fn learn_also(state: &mut State, outcome: &Outcome<'_>, settings: &Settings, now: Now) -> Lesson {
    match outcome.told {
        Told::NotTried => lesson(Next::Again, Reason::new("try.none", "the try was not made")),
        Told::Taken => taken(state, outcome, settings, now),
        Told::NoAnswer { why } => no_answer(state, outcome, why, now),
        Told::Refused { reading, permanent, reply, .. } => {
            let quoted = Reason::new("reply.read", format!("read as {} ({})", reading.class, reading.sub))
                .with("rule", reading.rule)
                .with("confidence", format!("{:.2}", reading.confidence))
                .with("reply", reply);
            refused(state, outcome, settings, (reading, permanent, reply, quoted, now))
        }
    }
}

fn lesson(next: Next, reason: Reason) -> Lesson {
    Lesson { next: Verdict::new(next, reason), events: Vec::new() }
}

fn land(state: &mut State, outcome: &Outcome<'_>, now: Now) {
    let lane = state.lane_mut(outcome.group, &outcome.egress.name, now);
    lane.flying = lane.flying.saturating_sub(1);
    let domain = outcome.domain.as_str();
    if let Some(n) = lane.flying_to.get_mut(domain) {
        *n = n.saturating_sub(1);
        if *n == 0 {
            lane.flying_to.remove(domain);
        }
    }
}

fn taken(state: &mut State, outcome: &Outcome<'_>, settings: &Settings, now: Now) -> Lesson {
    let (group, name, domain) = (outcome.group, outcome.egress.name.as_str(), outcome.domain.as_str());
    if outcome.egress.is_relay() && state.relays.remove(name).is_some() {
        state.dirty.insert(format!("r/{name}"));
    }
    host_took(state, outcome.host, name, now);
    let undo = state.keep_away(group, name);
    let mut events = Vec::new();
    let lane = state.lane_mut(group, name, now);
    lane.score.add(1.0, 0.0, now);
    (lane.pauses, lane.silent) = (0, 0);
    let grown = lane.slots_now(settings) + 1;
    lane.slots = grown.min(settings.slots_max);
    let mark = lane.mark_mut(domain);
    let felt = mark.is_refused();
    mark.ok = now.0;
    let mut dirty = felt;
    match &mut lane.mood {
        // Only a deliberate try proves anything; a straggler from before the block does not.
        Mood::Blocked(block)
            if !block.is_told(now)
                && matches!(outcome.purpose, Purpose::Probe | Purpose::LastCall | Purpose::Pinned) =>
        {
            let felt = block.evidence.last().map_or("a block".to_owned(), |e| e.reply.clone());
            let others = block.evidence.iter().any(|e| e.domain != domain);
            let step = u8::from(!others);
            let back = Return {
                since: now.0,
                step,
                step_since: now.0,
                by: domain.to_owned(),
                block: block.clone(),
                ..Return::default()
            };
            lane.mood = Mood::Returning(back);
            lane.void_before = now.0;
            dirty = true;
            events.push(
                Event::new(
                    EventKind::Returning,
                    format!("{domain} took mail of {name} again; {group} comes back step by step"),
                )
                .because([format!("{domain} took a message from {name} after {felt}")])
                .until((now + settings.step_min).0)
                .undo(undo),
            );
        }
        Mood::Returning(back) => {
            back.taken += 1;
            // A second destination confirms: the share may begin to grow.
            if back.step == 0 && domain != back.by {
                (back.step, back.step_since, back.sent, back.taken) = (1, now.0, 0, 0);
                dirty = true;
            }
        }
        _ => {}
    }
    if dirty {
        state.dirty.insert(format!("g/{group}"));
    }
    Lesson {
        events,
        ..lesson(Next::Done, Reason::new("reply.taken", format!("{domain} took it from {name}")))
    }
}

/// An MX host accepted: its refusals are over, and it is no witness for a list any more.
fn host_took(state: &mut State, host: Option<&str>, name: &str, now: Now) {
    let at = host.unwrap_or_default();
    if let Some(host) = state.hosts.get_mut(at) {
        host.cites.retain(|list, _| {
            let listing = state.lists.get_mut(list).and_then(|l| l.egresses.get_mut(name));
            // It takes mail although the list stands: it obeys it no longer. Else it is only
            // no witness any more; that it obeys the list stays known.
            listing.is_none_or(|l| {
                l.cited_by.remove(at);
                l.listed != Some(true)
            })
        });
        if let Some(on) = host.lanes.get_mut(name) {
            on.ok = now.0;
            on.refused.clear();
        }
    }
}

fn no_answer(state: &mut State, outcome: &Outcome<'_>, why: &str, now: Now) -> Lesson {
    let name = outcome.egress.name.as_str();
    let lane = state.lane_mut(outcome.group, name, now);
    lane.silent = lane.silent.saturating_add(1);
    lane.silent_at = now.0;
    lane.score.add(0.0, 0.2, now);
    let reason = Reason::new("reply.none", format!("no conversation with {}: {why}", outcome.domain))
        .with("egress", name);
    if outcome.egress.is_relay() {
        return lesson(Next::OtherEgress, reason);
    }
    lesson(Next::Later { at: None, stick: false }, reason)
}

type Said<'a> = (Reading, bool, &'a str, Reason, Now);

fn refused(state: &mut State, outcome: &Outcome<'_>, settings: &Settings, said: Said<'_>) -> Lesson {
    let (reading, permanent, reply, reason, now) = said;
    if outcome.egress.is_relay()
        && let Some(lesson) =
            relay_refused(state, outcome, settings, (reading, permanent, reply, reason.clone(), now))
    {
        return lesson;
    }
    match reading.remedy(permanent) {
        Remedy::OtherEgress => {
            let events =
                egress_refused(state, outcome, settings, (reading, permanent, reply, reason.clone(), now));
            Lesson { next: Verdict::new(Next::OtherEgress, reason), events }
        }
        Remedy::SameEgressLater => {
            let wait = asked_wait(reply).unwrap_or(Span::mins(5));
            lesson(Next::Later { at: Some(now + wait), stick: true }, reason)
        }
        Remedy::Later if reading.class == Class::Rate => throttled(state, outcome, reply, reason, now),
        Remedy::Later => lesson(Next::Later { at: asked_wait(reply).map(|w| now + w), stick: false }, reason),
        Remedy::Bounce => {
            let mut out = lesson(Next::Bounce, reason);
            if reading.class == Class::SenderAuth {
                let who = outcome.sender_domain.map_or("the sender", Domain::as_str);
                let says = format!(
                    "{} says that mail of {who} fails its own authentication from {}",
                    outcome.domain, outcome.egress.name
                );
                out.events.push(
                    Event::new(EventKind::SenderMisconfigured, says)
                        .because([cut(reply)])
                        .undo("correct SPF or DKIM of the domain"),
                );
            }
            out
        }
    }
}

/// What a relay says about us: a refused log-in takes it out of the pool, a refused sender domain
/// is remembered for that domain. Anything else is said of the destination.
fn relay_refused(
    state: &mut State,
    outcome: &Outcome<'_>,
    settings: &Settings,
    said: Said<'_>,
) -> Option<Lesson> {
    let (reading, _, reply, reason, now) = said;
    let name = outcome.egress.name.clone();
    let log_in = matches!(outcome.told, Told::Refused { stage: Stage::Auth, .. })
        || (reading.class == Class::Policy && matches!(reading.sub, "auth" | "relay"));
    if log_in {
        let relay = state.relays.entry(name.clone()).or_default();
        relay.failures += 1;
        let wait = if relay.failures >= settings.relay_failures { Span::hours(1) } else { Span::mins(5) };
        relay.out_until = (now + wait).0;
        relay.reply = cut(reply);
        let says = format!("{name} refuses our log-in ({} times); it leaves the pool", relay.failures);
        let event = Event::new(EventKind::RelayOut, says)
            .because([cut(reply)])
            .until(relay.out_until)
            .undo("correct its user and password; it is tried again by itself");
        state.dirty.insert(format!("r/{name}"));
        return Some(Lesson { next: Verdict::new(Next::OtherEgress, reason), events: vec![event] });
    }
    let unverified = reading.class == Class::Sender && matches!(reading.sub, "unverified" | "blocked");
    let domain = outcome.sender_domain.filter(|_| unverified)?;
    let until = (now + Span::hours(24)).0;
    let row = Unverified { since: now.0, until, reply: cut(reply) };
    state.senders.entry(name.clone()).or_default().insert(domain.as_str().to_owned(), row);
    state.dirty.insert(format!("s/{name}"));
    let says = format!(
        "{name} does not take mail of {domain}; verify the domain there (its DNS records are missing)"
    );
    let event = Event::new(EventKind::SenderUnverified, says)
        .because([cut(reply)])
        .until(until)
        .undo(format!("verify {domain} at the relay; it is tried again after a day, or at once by: postroad route pin {domain} {name}"));
    Some(Lesson { next: Verdict::new(Next::OtherEgress, reason), events: vec![event] })
}

fn throttled(state: &mut State, outcome: &Outcome<'_>, reply: &str, reason: Reason, now: Now) -> Lesson {
    let warming = outcome.egress.allowance(outcome.group, now).is_some();
    let lane = state.lane_mut(outcome.group, &outcome.egress.name, now);
    lane.slots = (lane.slots.max(2) / 2).max(1);
    let doubled = Span(Span::mins(1).0 << lane.pauses.min(5));
    let wait = asked_wait(reply).unwrap_or(doubled).min(Span::mins(30));
    lane.pauses = lane.pauses.saturating_add(1);
    lane.paused_until = (now + wait).0;
    if warming {
        lane.day_cap = Some(lane.day_count.saturating_sub(1));
    }
    let event = (lane.pauses == 1).then(|| {
        let says = format!(
            "{} asks {} for less: {} sessions, nothing for {wait}",
            outcome.group, outcome.egress.name, lane.slots
        );
        Event::new(EventKind::Throttled, says)
            .because([cut(reply)])
            .until(lane.paused_until)
            .undo("passes by itself")
    });
    let at = Some(Now(lane.paused_until));
    Lesson {
        next: Verdict::new(Next::Later { at, stick: false }, reason),
        events: event.into_iter().collect(),
    }
}

/// The egress is refused: marks the destination and its host, perhaps the group.
fn egress_refused(
    state: &mut State,
    outcome: &Outcome<'_>,
    settings: &Settings,
    said: Said<'_>,
) -> Vec<Event> {
    let (reading, _, reply, _, now) = said;
    let (group, name, domain) = (outcome.group, outcome.egress.name.as_str(), outcome.domain.as_str());
    let list = (reading.class == Class::IpReputation).then(|| lists::cited(reply, outcome.zones)).flatten();
    let mut events = Vec::new();
    if reading.class == Class::Policy {
        let says = format!("{domain} finds fault with how {name} presents itself ({})", reading.sub);
        events.push(
            Event::new(EventKind::EgressMisconfigured, says)
                .because([cut(reply)])
                .undo("correct the reverse name, the HELO name or the address family"),
        );
    }
    if let Some(host) = outcome.host {
        let on = state.host_mut(host, now).lanes.entry(name.to_owned()).or_default();
        refuse_host(on, domain, settings, now);
        if let Some(list) = &list {
            events.extend(cite(state, list, (host, name), settings, now));
        }
        state.dirty.insert(format!("h/{host}"));
    }
    let own = reading.sub == "recipient_local" || is_per_tenant(group);
    let evidence = Evidence {
        at: now.0,
        domain: domain.to_owned(),
        host: outcome.host.unwrap_or("").to_owned(),
        reply: cut(reply),
        rule: reading.rule.to_owned(),
    };
    if reading.class == Class::IpReputation {
        let contradicted = state.enter_dossier((name, group), &evidence, now);
        if contradicted {
            let says = format!("{group} answered that {name} is not refused, and refuses it still");
            let undo = format!("postroad dossier {name} {group}");
            let event = Event::new(EventKind::StillRefused, says);
            events.push(event.because([evidence.reply.clone()]).undo(undo));
        }
    }
    let lane = state.lane_mut(group, name, now);
    lane.score.add(0.0, 1.0, now);
    let first = refuse_mark(lane, domain, (own, list, &evidence.reply), settings, now);
    if first {
        let until = lane.marks.get(domain).map_or(now.0, |m| m.next_probe);
        events.push(
            Event::new(
                EventKind::DestinationBlocked,
                format!("{domain} refuses {name}; its mail leaves by another egress"),
            )
            .because([evidence.reply.clone()])
            .until(until)
            .undo(format!("postroad route pin {domain} {name}")),
        );
    }
    events.extend(weigh(lane, (group, name), evidence, settings, now));
    state.dirty.insert(format!("g/{group}"));
    events
}

fn is_per_tenant(group: &str) -> bool {
    provider::by_id(group).is_some_and(|p| p.isolation == Isolation::PerTenant)
}

fn refuse_host(on: &mut HostLane, domain: &str, settings: &Settings, now: Now) {
    if on.refused.len() < 8 || on.refused.contains_key(domain) {
        on.refused.insert(domain.to_owned(), now.0);
    }
    on.next_probe = on.next_probe.max((now + settings.probe_every).0);
}

fn cite(
    state: &mut State,
    list: &str,
    (host, name): (&str, &str),
    settings: &Settings,
    now: Now,
) -> Option<Event> {
    let cites = &mut state.host_mut(host, now).cites;
    cites.insert(list.to_owned(), now.0);
    if cites.len() > CITES_MAX {
        let oldest = cites.iter().min_by_key(|(_, at)| **at).map(|(list, _)| list.clone());
        cites.remove(&oldest.unwrap_or_default());
    }
    state.room_for_list(list);
    let listing =
        state.lists.entry(list.to_owned()).or_default().egresses.entry(name.to_owned()).or_default();
    let known = listing.cited_by.insert(host.to_owned(), now.0).is_some();
    if listing.cited_by.len() > 256 {
        let oldest = listing.cited_by.iter().min_by_key(|(_, at)| **at).map(|(h, _)| h.clone());
        listing.cited_by.remove(&oldest.unwrap_or_default());
    }
    state.dirty.insert(format!("l/{list}"));
    (!known && listing.cited_by.len() == settings.list_hosts).then(|| {
        let says = format!(
            "{} hosts cite {list} against {name}; every host known to obey it is moved ahead of time",
            settings.list_hosts
        );
        Event::new(EventKind::ListMoved, says)
            .because(listing.cited_by.keys().map(|host| format!("{host} refused {name} citing {list}")))
            .until((now + settings.list_trust).0)
            .undo("ends when the list clears; route pin overrides it per destination")
    })
}

/// Notes the refusal; says whether it begins a new run.
fn refuse_mark(
    lane: &mut Lane,
    domain: &str,
    (own, list, reply): (bool, Option<String>, &str),
    settings: &Settings,
    now: Now,
) -> bool {
    let void = lane.void_before;
    let mark = lane.mark_mut(domain);
    let first = !mark.is_refused() || mark.refused <= void;
    if first {
        if mark.ok > 0 {
            let fresh = now.since(Now(mark.dropped_at)) < FLAKY_FOR;
            mark.drops = if fresh { mark.drops.saturating_add(1) } else { 1 };
            mark.dropped_at = now.0;
        }
        mark.first_refused = now.0;
    }
    mark.refused = now.0.max(mark.ok + 1);
    mark.refusals = mark.refusals.saturating_add(1);
    mark.next_probe = mark.next_probe.max((now + settings.probe_gap(now.since(Now(mark.first_refused)))).0);
    (mark.own, mark.list, mark.reply) = (own, list, reply.to_owned());
    first
}

/// Whether the evidence is enough to move the group, or ends its return.
fn weigh(
    lane: &mut Lane,
    (group, name): (&str, &str),
    evidence: Evidence,
    settings: &Settings,
    now: Now,
) -> Option<Event> {
    let domain = evidence.domain.clone();
    let undo = format!("postroad route pin group:{group} {name}");
    match &mut lane.mood {
        Mood::Blocked(block) => {
            block.evidence.push(evidence);
            if block.evidence.len() > EVIDENCE_MAX {
                block.evidence.remove(1);
            }
            None
        }
        Mood::Returning(back) => {
            back.refused.insert(domain.clone());
            let flaky = lane.marks.get(&domain).is_some_and(|m| m.is_flaky(now) || m.own);
            let falls = back.step == 0 || back.refused.len() >= 2 || (back.taken == 0 && !flaky);
            if !falls {
                return None;
            }
            let mut block = std::mem::take(&mut back.block);
            let by = std::mem::take(&mut back.by);
            block.false_returns = block.false_returns.saturating_add(1);
            block.next_probe = (now + settings.probe_gap(now.since(Now(block.since)))).0;
            block.evidence.push(evidence.clone());
            let until = block.next_probe;
            lane.mood = Mood::Blocked(block);
            if by != domain {
                lane.mark_mut(&by).flaky_until = (now + FLAKY_FOR).0;
            }
            let says = format!("{domain} refuses {name} again; {group} stays on the other egress");
            Some(Event::new(EventKind::FellBack, says).because([evidence.reply]).until(until).undo(undo))
        }
        Mood::Open => count(lane, (group, name), &evidence, settings, now),
    }
}

/// Whether enough distinct domains refuse for the group to move.
fn count(
    lane: &mut Lane,
    (group, name): (&str, &str),
    evidence: &Evidence,
    settings: &Settings,
    now: Now,
) -> Option<Event> {
    let felt: Vec<(&String, &crate::state::Mark)> = lane
        .marks
        .iter()
        .filter(|(_, m)| {
            m.is_refused()
                && m.refused > lane.void_before
                && !m.own
                && !m.is_flaky(now)
                && now.since(Now(m.refused)) < settings.evidence_window
        })
        .collect();
    let since = felt.iter().map(|(_, m)| m.first_refused).min().unwrap_or(now.0);
    let against = lane.marks.values().filter(|m| !m.is_refused() && m.ok >= since).count();
    let enough = (felt.len() >= settings.move_domains && felt.len() * 4 >= against)
        || (felt.len() >= settings.move_domains.min(2) && against == 0);
    if !enough {
        return None;
    }
    let replies: Vec<String> = felt.iter().map(|(d, m)| format!("{d}: {}", m.reply)).collect();
    let kept = felt
        .iter()
        .take(EVIDENCE_MAX)
        .map(|(d, m)| Evidence {
            at: m.refused,
            domain: (*d).clone(),
            reply: m.reply.clone(),
            host: evidence.host.clone(),
            rule: evidence.rule.clone(),
        })
        .collect();
    let next_probe = (now + settings.probe_every).0;
    let says = format!(
        "{group} refuses {name}: {} domains in {}, {against} still accept; the group's mail leaves by another egress",
        felt.len(),
        settings.evidence_window
    );
    lane.mood = Mood::Blocked(Block { since: now.0, next_probe, evidence: kept, ..Block::default() });
    Some(
        Event::new(EventKind::GroupBlocked, says)
            .because(replies)
            .until(next_probe)
            .undo(format!("postroad route pin group:{group} {name}")),
    )
}
