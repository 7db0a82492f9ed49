//! The state for people: groups × egresses, pins, and what one refusal would mean.

use serde::Serialize;
use stdx::Now;

use crate::state::{EVIDENCE_MAX, Evidence, Lane, Mark, Mood, Pin, STEPS, State};

/// One egress towards one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub group: String,
    pub egress: String,
    /// `open`, `blocked`, `returning 25 %`, `throttled`.
    pub state: String,
    pub since: Option<String>,
    pub next_probe: Option<String>,
    pub score: f32,
    pub refused_domains: Vec<String>,
    pub evidence: Vec<Evidence>,
}

/// All rows that are not simply open, or all rows of one group.
pub fn rows(state: &State, group: Option<&str>, now: Now) -> Vec<Row> {
    let mut out = Vec::new();
    for (name, g) in &state.groups {
        if group.is_some_and(|want| want != name) {
            continue;
        }
        for (egress, lane) in &g.lanes {
            let row = row(name, egress, lane, now);
            if group.is_some() || row.state != "open" || !row.refused_domains.is_empty() {
                out.push(row);
            }
        }
    }
    out
}

fn row(group: &str, egress: &str, lane: &Lane, now: Now) -> Row {
    let (state, since, next_probe, evidence) = match &lane.mood {
        Mood::Blocked(b) => ("blocked".to_owned(), Some(b.since), Some(b.next_probe), b.evidence.clone()),
        Mood::Returning(r) => {
            let share = STEPS.get(usize::from(r.step)).copied().unwrap_or(100);
            (format!("returning {share} %"), Some(r.since), None, r.block.evidence.clone())
        }
        Mood::Open if lane.paused_until > now.0 => {
            ("throttled".to_owned(), None, Some(lane.paused_until), Vec::new())
        }
        Mood::Open => ("open".to_owned(), None, None, Vec::new()),
    };
    let held: Vec<_> = lane.marks.iter().filter(|(_, m)| lane.holds(m)).collect();
    let open = matches!(lane.mood, Mood::Open) && !held.is_empty();
    let (since, next_probe, evidence) = match open {
        true => (
            held.iter().map(|(_, m)| m.first_refused).min(),
            next_probe.or(held.iter().map(|(_, m)| m.next_probe).min()),
            held.iter().take(EVIDENCE_MAX).map(|(d, m)| said(d, m)).collect(),
        ),
        false => (since, next_probe, evidence),
    };
    let refused = held.iter().map(|(d, _)| (*d).clone()).take(20).collect();
    Row {
        group: group.to_owned(),
        egress: egress.to_owned(),
        state,
        since: since.map(|s| Now(s).iso()),
        next_probe: next_probe.map(|s| Now(s).iso()),
        score: lane.score.value(),
        refused_domains: refused,
        evidence,
    }
}

fn said(domain: &str, mark: &Mark) -> Evidence {
    Evidence { at: mark.refused, domain: domain.to_owned(), reply: mark.reply.clone(), ..Evidence::default() }
}

/// Pins that still hold.
pub fn pins(state: &State, now: Now) -> Vec<Pin> {
    state.pins().iter().filter(|p| p.until.is_none_or(|u| u > now.0)).cloned().collect()
}
