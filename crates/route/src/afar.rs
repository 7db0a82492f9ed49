//! What a relay of ours says of its own ways.
//!
//! What it is: a relay takes mail for a destination that refuses it, and holds it; only its own
//! word ([`Word`], over `link`) says so. A group that is closed there is closed for the egress that
//! leads through it; one that is open again comes back step by step. What it is not: a reply to
//! mail of this host, so the relay's 250 proves nothing against it. Begin with [`learn_afar`].

use std::collections::BTreeSet;

use stdx::{Now, Span};

use crate::event::{Event, EventKind};
use crate::settings::Settings;
use crate::state::{Block, Evidence, Mood, Return, State, cut};

/// The relay looks for itself; mail of ours asks again only so long after its last refusal.
const ASK_AGAIN: Span = Span::hours(24);
/// A relay's word stands so long without being said again.
pub(crate) const STANDS: Span = Span::mins(15);
/// Groups that one relay can close.
const CLOSED_MAX: usize = 2_000;
/// Replies kept of one group.
const REPLIES_MAX: usize = 3;
const RULE: &str = "link";

/// One group as the relay sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Afar {
    pub group: String,
    /// No egress of the relay may carry mail there.
    pub closed: bool,
    /// What the destination said to it, verbatim.
    pub replies: Vec<String>,
}

/// A relay's word about all groups with which something is the matter.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// The egress of ours that leads through it.
    pub egress: &'a str,
    /// Who says it: `relay.example`.
    pub by: &'a str,
    pub groups: &'a [Afar],
    /// It named every group: one that is missing is open.
    pub whole: bool,
}

/// Takes a relay's word; each change of mind comes back as an audit line.
pub fn learn_afar(state: &mut State, word: &Word<'_>, settings: &Settings, now: Now) -> Vec<Event> {
    let mut events = Vec::new();
    let mut room = CLOSED_MAX.saturating_sub(told(state, word.egress).len());
    for afar in word.groups.iter().filter(|g| g.closed && !g.group.is_empty()) {
        let known = state.lane(&afar.group, word.egress).is_some_and(|l| matches!(l.mood, Mood::Blocked(_)));
        if known || room > 0 {
            room = room.saturating_sub(usize::from(!known));
            events.extend(close(state, word, afar, now));
        }
    }
    let closed: BTreeSet<&str> = word.groups.iter().filter(|g| g.closed).map(|g| g.group.as_str()).collect();
    let said: BTreeSet<&str> = word.groups.iter().map(|g| g.group.as_str()).collect();
    for group in told(state, word.egress) {
        if !closed.contains(group.as_str()) && (word.whole || said.contains(group.as_str())) {
            events.extend(reopen(state, word, &group, settings, now));
        }
    }
    events
}

/// Groups that stand closed on an egress by its relay's word.
fn told(state: &State, egress: &str) -> Vec<String> {
    let by_word = |lane: &crate::state::Lane| matches!(&lane.mood, Mood::Blocked(b) if b.afar > 0);
    let groups = state.groups.iter().filter(|(_, g)| g.lanes.get(egress).is_some_and(by_word));
    groups.map(|(name, _)| name.clone()).collect()
}

fn close(state: &mut State, word: &Word<'_>, afar: &Afar, now: Now) -> Option<Event> {
    let replies: Vec<String> = afar.replies.iter().take(REPLIES_MAX).map(|r| cut(r)).collect();
    let quote = |reply: &String| Evidence {
        at: now.0,
        domain: word.by.to_owned(),
        reply: reply.clone(),
        rule: RULE.to_owned(),
        ..Evidence::default()
    };
    let next_probe = (now + ASK_AGAIN).0;
    let lane = state.lane_mut(&afar.group, word.egress, now);
    let again = matches!(lane.mood, Mood::Returning(_));
    if let Mood::Blocked(block) = &mut lane.mood {
        if block.afar == 0 {
            // It was felt here as well: what was felt says when to come back.
            return None;
        }
        block.afar = now.0;
        if !block.evidence.iter().map(|e| &e.reply).eq(replies.iter()) {
            (block.evidence, block.next_probe) = (replies.iter().map(quote).collect(), next_probe);
            state.dirty.insert(format!("g/{}", afar.group));
        }
        return None;
    }
    let evidence = replies.iter().map(quote).collect();
    lane.mood = Mood::Blocked(Block { since: now.0, next_probe, afar: now.0, evidence, ..Block::default() });
    state.dirty.insert(format!("g/{}", afar.group));
    let (group, egress) = (&afar.group, word.egress);
    let (kind, once_more) =
        if again { (EventKind::FellBack, " again") } else { (EventKind::GroupBlocked, "") };
    let says = format!(
        "{} says that {group} refuses it{once_more}; the group's mail leaves by another egress than {egress}",
        word.by
    );
    let event = Event::new(kind, says).because(replies).until(next_probe);
    Some(event.undo(format!("postroad route pin group:{group} {egress}")))
}

fn reopen(state: &mut State, word: &Word<'_>, group: &str, settings: &Settings, now: Now) -> Option<Event> {
    let undo = state.keep_away(group, word.egress);
    let lane = state.lane_mut(group, word.egress, now);
    let Mood::Blocked(block) = &lane.mood else { return None };
    let back = Return {
        since: now.0,
        step: 1,
        step_since: now.0,
        by: word.by.to_owned(),
        block: Block { afar: 0, ..block.clone() },
        ..Return::default()
    };
    let felt = block.evidence.last().map_or("a block".to_owned(), |e| e.reply.clone());
    lane.mood = Mood::Returning(back);
    lane.void_before = now.0;
    state.dirty.insert(format!("g/{group}"));
    let says = format!("{} says that {group} takes its mail again; it comes back step by step", word.by);
    Some(
        Event::new(EventKind::Returning, says)
            .because([format!("{} reports {group} as no longer closed, after {felt}", word.by)])
            .until((now + settings.step_min).0)
            .undo(undo),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = "550 5.7.1 Service unavailable; client [127.1.0.23] blocked";

    fn afar(group: &str, closed: bool) -> Afar {
        Afar { group: group.into(), closed, replies: vec![REPLY.into()] }
    }

    fn say(state: &mut State, groups: &[Afar], whole: bool, now: Now) -> Vec<&'static str> {
        let word = Word { egress: "B", by: "relay.example", groups, whole };
        learn_afar(state, &word, &Settings::default(), now).iter().map(|e| e.kind.name()).collect()
    }

    fn mood(state: &State) -> String {
        crate::show::rows(state, Some("far"), Now::from_secs(1))
            .first()
            .map_or("none".into(), |r| r.state.clone())
    }

    #[test]
    fn a_group_that_is_closed_at_the_relay_is_closed_here_once_and_with_its_words() {
        let (mut state, now) = (State::new(), Now::from_secs(1000));
        assert_eq!(say(&mut state, &[afar("far", true)], true, now), ["route.group_blocked"]);
        assert_eq!(say(&mut state, &[afar("far", true)], true, now + Span::secs(30)), [""; 0]);
        assert_eq!(mood(&state), "blocked");
        let rows = crate::show::rows(&state, Some("far"), now);
        assert_eq!(rows[0].evidence.iter().map(|e| e.reply.as_str()).collect::<Vec<_>>(), [REPLY]);
        let (restored, lost) = State::restore(
            state.take_changes().into_iter().filter_map(|(key, row)| row.map(|row| (key, row))),
        );
        assert_eq!((mood(&restored).as_str(), lost.len()), ("blocked", 0));
    }

    #[test]
    fn a_group_comes_back_in_steps_when_it_is_named_open_or_missing_from_a_whole_word() {
        let (mut state, now) = (State::new(), Now::from_secs(1000));
        say(&mut state, &[afar("far", true)], true, now);
        assert_eq!(say(&mut state, &[], false, now), [""; 0], "a word with gaps opens nothing");
        assert_eq!(say(&mut state, &[], true, now), ["route.returning"]);
        assert_eq!(mood(&state), "returning 10 %");
        assert_eq!(say(&mut state, &[afar("far", true)], true, now), ["route.fell_back"]);
        assert_eq!(say(&mut state, &[afar("far", false)], false, now), ["route.returning"]);
    }

    #[test]
    fn what_was_felt_here_is_not_opened_by_a_relays_word() {
        let (mut state, now) = (State::new(), Now::from_secs(1000));
        state.lane_mut("far", "B", now).mood = Mood::Blocked(Block { since: now.0, ..Block::default() });
        assert_eq!(say(&mut state, &[afar("far", true)], true, now), [""; 0]);
        assert_eq!(say(&mut state, &[], true, now), [""; 0]);
        assert_eq!(mood(&state), "blocked");
    }

    #[test]
    fn a_relay_closes_no_more_groups_than_the_limit() {
        let (mut state, now) = (State::new(), Now::from_secs(1000));
        let many: Vec<Afar> = (0..CLOSED_MAX + 9).map(|n| afar(&format!("g{n}"), true)).collect();
        assert_eq!(say(&mut state, &many, true, now).len(), CLOSED_MAX);
        assert_eq!(told(&state, "B").len(), CLOSED_MAX);
    }
}
