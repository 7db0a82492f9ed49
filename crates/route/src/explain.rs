//! A dry run for people: what would happen to one recipient now, and why, way by way.
//!
//! What it is: [`plan`] asked once for all ways and once for each, and what the state remembers of
//! each towards this destination. It changes nothing. Begin with [`explain`].

use serde::Serialize;
use stdx::Now;
use words::Verdict;

use crate::plan::{Facts, Purpose, Way, plan};
use crate::settings::Settings;
use crate::show::{self, Row};
use crate::state::State;

/// One way, seen alone.
#[derive(Clone, Debug, Serialize)]
pub struct Leg {
    pub egress: String,
    /// What would happen if this were the only way.
    pub would: String,
    pub because: Vec<String>,
    /// What is remembered of it towards the group.
    pub known: Option<Row>,
    /// Successes against refusals, fading: 0 to 1.
    pub score: f32,
    /// Undoes what was learned, by hand.
    pub by_hand: String,
}

/// The dry run.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub group: String,
    pub now: String,
    pub because: Vec<String>,
    pub legs: Vec<Leg>,
}

/// Explains. The facts are those of a fresh message.
pub fn explain(facts: &Facts<'_>, state: &State, settings: &Settings, now: Now) -> Explained {
    let whole = plan(facts, state, settings, now);
    let rows = show::rows(state, Some(facts.group), now);
    let legs = (0..facts.egresses.len()).map(|at| leg(at, facts, (state, &rows), settings, now)).collect();
    Explained { group: facts.group.to_owned(), now: words_of(&whole, facts), because: reasons(&whole), legs }
}

fn leg(at: usize, facts: &Facts<'_>, (state, rows): (&State, &[Row]), settings: &Settings, now: Now) -> Leg {
    let egress = &facts.egresses[at];
    let spf = facts.sender.spf.get(at..=at).unwrap_or_default();
    let sender = crate::Sender { spf, ..facts.sender.clone() };
    let alone = Facts { egresses: &facts.egresses[at..=at], sender: &sender, ..*facts };
    let verdict = plan(&alone, state, settings, now);
    let known = rows.iter().find(|row| row.egress == egress.name).cloned();
    Leg {
        egress: egress.name.clone(),
        would: words_of(&verdict, &alone),
        because: reasons(&verdict),
        score: known.as_ref().map_or(0.5, |row| row.score),
        known,
        by_hand: format!("postroad route pin {} {}", facts.domain, egress.name),
    }
}

fn reasons(verdict: &Verdict<Way>) -> Vec<String> {
    verdict.reasons.iter().map(|r| r.says.clone()).collect()
}

fn words_of(verdict: &Verdict<Way>, facts: &Facts<'_>) -> String {
    let name = |at: usize| facts.egresses.get(at).map_or("?", |e| e.name.as_str());
    match &verdict.decision {
        Way::Send { egress, purpose } => {
            let why = match purpose {
                Purpose::Usual => "",
                Purpose::Moved => ", in place of the ways before it",
                Purpose::Probe => ", as a probe: refused, it goes elsewhere at once",
                Purpose::Step => ", as its share of a way that comes back",
                Purpose::Pinned => ", pinned by hand",
                Purpose::LastCall => ", as a last call before it ends",
            };
            format!("it would leave by {} at once{why}", name(*egress))
        }
        Way::Wait { slot: true, .. } => "it would wait for a session to end".to_owned(),
        Way::Wait { until, .. } => format!("it would wait until {}", until.iso()),
        Way::Hold { until, give_up, .. } => {
            format!("it would be held: next try {}, end {}", until.iso(), give_up.iso())
        }
        Way::GiveUp { says } => format!("it would end with a report: {says}"),
    }
}
