//! Does an incident begin, change, go public, end? First a draft of facts only; the operator's
//! first word takes it over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stdx::{Now, Span};
use words::{Reason, Verdict};

use crate::State;

/// Where an incident stands, in Statuspage's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Investigating,
    Identified,
    Monitoring,
    Resolved,
    Postmortem,
}

impl Stage {
    pub const fn key(self) -> &'static str {
        match self {
            Stage::Investigating => "investigating",
            Stage::Identified => "identified",
            Stage::Monitoring => "monitoring",
            Stage::Resolved => "resolved",
            Stage::Postmortem => "postmortem",
        }
    }
    pub const fn word(self) -> &'static str {
        match self {
            Stage::Investigating => "Investigating",
            Stage::Identified => "Identified",
            Stage::Monitoring => "Watching",
            Stage::Resolved => "Resolved",
            Stage::Postmortem => "Post-mortem",
        }
    }
    pub fn from_key(key: &str) -> Option<Stage> {
        [Stage::Investigating, Stage::Identified, Stage::Monitoring, Stage::Resolved, Stage::Postmortem]
            .into_iter()
            .find(|s| s.key() == key)
    }
    pub const fn is_open(self) -> bool {
        matches!(self, Stage::Investigating | Stage::Identified | Stage::Monitoring)
    }
}

/// What the judge needs to know of an open incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    pub id: i64,
    /// Component ids.
    pub affected: Vec<String>,
    pub began: Now,
    pub public: bool,
    /// The operator has said something: from then on nothing is written for him but facts.
    pub taken_over: bool,
    /// All its components work since then.
    pub quiet_since: Option<Now>,
}

/// A component's state as judged now.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub name: String,
    pub state: State,
    pub since: Now,
    /// Mail flow decides the verdict; ports and hosts only explain.
    pub decides: bool,
    /// `mail`, `web`: trouble of one cause gathers in one incident.
    pub cause: String,
    /// Evidence in words: `Since 05:05 UTC sending mail fails from 2 of 3 places`.
    pub facts: Vec<String>,
}

pub type Standings = BTreeMap<String, Standing>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Anything less than total loss waits this long for the operator's word.
    pub silent_for: Span,
    /// It is over once everything has worked this long.
    pub quiet_for: Span,
    /// Post-mortem due after the end.
    pub postmortem_in: Span,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule { silent_for: Span::mins(10), quiet_for: Span::secs(45), postmortem_in: Span::hours(48) }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// A new draft.
    Begin {
        title: String,
        text: String,
        affected: Vec<String>,
        began: Now,
        cause: String,
    },
    /// More components joined.
    Widen {
        id: i64,
        affected: Vec<String>,
        text: String,
    },
    Publish {
        id: i64,
    },
    /// All work again: `None` if not yet long enough.
    Quiet {
        id: i64,
        since: Option<Now>,
    },
    Resolve {
        id: i64,
        text: String,
        down: Span,
    },
}

/// What to do now, given all open incidents and all components. Each act has its reason.
pub fn judge(open: &[Open], standings: &Standings, rule: &Rule, now: Now) -> Vec<Verdict<Act>> {
    let mut acts = Vec::new();
    for incident in open {
        acts.extend(widen(incident, open, standings));
        acts.extend(publish(incident, standings, rule, now));
        acts.extend(end(incident, standings, rule, now));
    }
    acts.extend(begin(open, standings));
    acts
}

fn begin(open: &[Open], standings: &Standings) -> Vec<Verdict<Act>> {
    let known = |id: &String| open.iter().any(|o| o.affected.contains(id));
    let mut by_cause: BTreeMap<&str, Vec<(&String, &Standing)>> = BTreeMap::new();
    for (id, s) in standings.iter().filter(|(id, s)| s.decides && s.state.is_trouble() && !known(id)) {
        by_cause.entry(&s.cause).or_default().push((id, s));
    }
    let joined = |cause: &str| {
        open.iter().any(|o| {
            o.affected
                .iter()
                .any(|id| standings.get(id).is_some_and(|s| s.cause == cause && s.state.is_trouble()))
        })
    };
    by_cause
        .into_iter()
        .filter(|(cause, _)| !joined(cause))
        .map(|(cause, found)| {
            let began = found.iter().map(|(_, s)| s.since).min().unwrap_or_default();
            let act = Act::Begin {
                title: title(&found),
                text: text(&found, began),
                affected: found.iter().map(|(id, _)| (*id).clone()).collect(),
                began,
                cause: cause.to_owned(),
            };
            let mut reason =
                Reason::new("incident.begins", "components that decide the verdict are in trouble");
            for (_, s) in &found {
                reason =
                    reason.with("component", format!("{}: {} since {}", s.name, s.state.word(), s.since));
            }
            Verdict::new(act, reason)
        })
        .collect()
}

fn title(found: &[(&String, &Standing)]) -> String {
    let names: Vec<&str> = found.iter().map(|(_, s)| s.name.as_str()).collect();
    let worst = State::worst(found.iter().map(|(_, s)| s.state));
    let verb = match worst {
        State::MajorOutage => "not working",
        State::PartialOutage => "partly not working",
        _ => "slow or unsteady",
    };
    match names.as_slice() {
        [one] => format!("{one}: {verb}"),
        [one, two] => format!("{one} and {}: {verb}", lower_first(two)),
        [one, rest @ ..] => format!("{one} and {} more: {verb}", rest.len()),
        [] => verb.to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    // `IMAP` stays; `Sending` becomes `sending`.
    match (chars.next(), chars.next()) {
        (Some(a), Some(b)) if b.is_lowercase() => a.to_lowercase().chain([b]).chain(chars).collect(),
        _ => text.to_owned(),
    }
}

fn clock(at: Now) -> String {
    let c = at.civil();
    format!("{:02}:{:02} UTC", c.hour, c.minute)
}

fn text(found: &[(&String, &Standing)], began: Now) -> String {
    let mut lines =
        vec![format!("Since {} we see trouble. These facts were gathered automatically:", clock(began))];
    for (_, s) in found {
        lines.push(format!("- {}: {} since {}", s.name, s.state.word().to_lowercase(), clock(s.since)));
        lines.extend(s.facts.iter().map(|f| format!("  - {f}")));
    }
    lines.join("\n")
}

fn widen(incident: &Open, open: &[Open], standings: &Standings) -> Option<Verdict<Act>> {
    let cause = incident
        .affected
        .iter()
        .find_map(|id| standings.get(id).filter(|s| s.state.is_trouble()).map(|s| &s.cause))?;
    let elsewhere = |id: &String| open.iter().any(|o| o.affected.contains(id));
    let more: Vec<(&String, &Standing)> = standings
        .iter()
        .filter(|(id, s)| s.decides && s.state.is_trouble() && &s.cause == cause && !elsewhere(id))
        .collect();
    let first = more.first()?;
    let began = more.iter().map(|(_, s)| s.since).min().unwrap_or(first.1.since);
    let act = Act::Widen {
        id: incident.id,
        affected: more.iter().map(|(id, _)| (*id).clone()).collect(),
        text: text(&more, began),
    };
    Some(Verdict::new(
        act,
        Reason::new("incident.widens", "more components of the same cause are in trouble")
            .with("cause", cause),
    ))
}

fn publish(incident: &Open, standings: &Standings, rule: &Rule, now: Now) -> Option<Verdict<Act>> {
    if incident.public {
        return None;
    }
    let lost: Vec<&str> = incident
        .affected
        .iter()
        .filter_map(|id| standings.get(id))
        .filter(|s| s.state == State::MajorOutage)
        .map(|s| s.name.as_str())
        .collect();
    let act = Act::Publish { id: incident.id };
    if !lost.is_empty() {
        return Some(Verdict::new(
            act,
            Reason::new("incident.total", "total loss is told at once").with("lost", lost.join(", ")),
        ));
    }
    let silent = now.since(incident.began);
    // A draft whose trouble has passed again needs no publishing.
    (!incident.taken_over && incident.quiet_since.is_none() && silent >= rule.silent_for).then(|| {
        let says = format!("the operator has said nothing for {}", rule.silent_for);
        Verdict::new(act, Reason::new("incident.silent", says).with("began", incident.began))
    })
}

fn end(incident: &Open, standings: &Standings, rule: &Rule, now: Now) -> Option<Verdict<Act>> {
    let troubled = incident
        .affected
        .iter()
        .filter_map(|id| standings.get(id))
        .any(|s| s.state.is_trouble() || s.state == State::NoData);
    match (troubled, incident.quiet_since) {
        (true, None) => None,
        (true, Some(_)) => Some(Verdict::new(
            Act::Quiet { id: incident.id, since: None },
            Reason::new("incident.again", "a component is in trouble again or unseen"),
        )),
        (false, None) => {
            let since = incident
                .affected
                .iter()
                .filter_map(|id| standings.get(id))
                .map(|s| s.since)
                .max()
                .unwrap_or(now);
            let act = Act::Quiet { id: incident.id, since: Some(since) };
            Some(Verdict::new(
                act,
                Reason::new("incident.quiet", "all its components work").with("since", since),
            ))
        }
        (false, Some(since)) if now.since(since) >= rule.quiet_for => {
            let down = since.since(incident.began);
            let text = format!(
                "Everything works again since {}. It lasted from {} to {}, {} minutes.",
                clock(since),
                clock(incident.began),
                clock(since),
                (down.as_secs() + 30) / 60
            );
            let reason = Reason::new(
                "incident.over",
                format!("all its components have worked for {}", rule.quiet_for),
            );
            Some(Verdict::new(Act::Resolve { id: incident.id, text, down }, reason.with("since", since)))
        }
        (false, Some(_)) => None,
    }
}

/// How a promised post-mortem stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postmortem {
    NotDue,
    /// Half the time is gone.
    Remind,
    /// Four hours are left.
    RemindAgain,
    /// Said in public.
    Late,
}

/// Judges a post-mortem that is due `due` for an incident resolved at `resolved`.
pub fn postmortem(resolved: Now, due: Now, now: Now) -> Verdict<Postmortem> {
    let half = resolved + Span(due.since(resolved).as_ms() / 2);
    let (decision, says) = if now >= due {
        (Postmortem::Late, "the promised time has passed")
    } else if now >= due - Span::hours(4) {
        (Postmortem::RemindAgain, "four hours are left")
    } else if now >= half {
        (Postmortem::Remind, "half the time is gone")
    } else {
        (Postmortem::NotDue, "there is time")
    };
    Verdict::new(decision, Reason::new("postmortem", says).with("due", due))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, state: State, since_s: u64) -> Standing {
        Standing {
            name: name.into(),
            state,
            since: Now::from_secs(since_s),
            decides: true,
            cause: "mail".into(),
            facts: vec!["sending mail fails from 2 of 3 places".into()],
        }
    }

    fn open(id: i64, affected: &[&str], began_s: u64) -> Open {
        Open {
            id,
            affected: affected.iter().map(|s| s.to_string()).collect(),
            began: Now::from_secs(began_s),
            public: false,
            taken_over: false,
            quiet_since: None,
        }
    }

    fn acts(open: &[Open], standings: &Standings, now_s: u64) -> Vec<Act> {
        judge(open, standings, &Rule::default(), Now::from_secs(now_s))
            .into_iter()
            .map(|v| v.decision)
            .collect()
    }

    #[test]
    fn two_components_of_one_cause_make_one_incident() {
        let standings: Standings = [
            ("in".into(), standing("Receiving mail", State::MajorOutage, 100)),
            ("out".into(), standing("Sending mail", State::Degraded, 110)),
            ("web".into(), Standing { cause: "web".into(), ..standing("Webmail", State::Degraded, 120) }),
        ]
        .into();
        let got = acts(&[], &standings, 130);
        assert_eq!(got.len(), 2, "two causes, two incidents: {got:?}");
        assert!(matches!(&got[0], Act::Begin { title, affected, .. }
            if title == "Receiving mail and sending mail: not working" && affected.len() == 2));
    }

    #[test]
    fn ports_alone_begin_nothing() {
        let s = Standing { decides: false, ..standing("Port 25", State::MajorOutage, 1) };
        assert!(acts(&[], &[("p25".to_string(), s)].into(), 100).is_empty());
    }

    #[test]
    fn total_loss_is_public_at_once_and_the_rest_after_ten_minutes() {
        let lost: Standings = [("in".into(), standing("Receiving mail", State::MajorOutage, 100))].into();
        assert!(acts(&[open(1, &["in"], 100)], &lost, 101).contains(&Act::Publish { id: 1 }));
        let slow: Standings = [("in".into(), standing("Receiving mail", State::Degraded, 100))].into();
        assert!(acts(&[open(1, &["in"], 100)], &slow, 699).is_empty());
        assert!(acts(&[open(1, &["in"], 100)], &slow, 700).contains(&Act::Publish { id: 1 }));
        let taken = Open { taken_over: true, ..open(1, &["in"], 100) };
        assert!(acts(&[taken], &slow, 5000).is_empty(), "his word decides");
    }

    #[test]
    fn it_ends_when_all_has_worked_for_a_while_and_the_minutes_are_counted() {
        let well: Standings = [("in".into(), standing("Receiving mail", State::Operational, 2440))].into();
        let mut incident = Open { public: true, ..open(1, &["in"], 100) };
        assert_eq!(
            acts(&[incident.clone()], &well, 2441),
            [Act::Quiet { id: 1, since: Some(Now::from_secs(2440)) }]
        );
        incident.quiet_since = Some(Now::from_secs(2440));
        assert!(acts(&[incident.clone()], &well, 2450).is_empty());
        let got = acts(&[incident.clone()], &well, 2500);
        assert!(
            matches!(&got[..], [Act::Resolve { text, down, .. }] if text.contains("39 minutes") && *down == Span::secs(2340)),
            "{got:?}"
        );
        let again: Standings = [("in".into(), standing("Receiving mail", State::Degraded, 2445))].into();
        assert_eq!(acts(&[incident], &again, 2446), [Act::Quiet { id: 1, since: None }]);
    }

    #[test]
    fn a_component_that_joins_widens_the_open_incident() {
        let standings: Standings = [
            ("in".into(), standing("Receiving mail", State::Degraded, 100)),
            ("out".into(), standing("Sending mail", State::Degraded, 300)),
        ]
        .into();
        let got = acts(&[open(7, &["in"], 100)], &standings, 310);
        assert!(matches!(&got[..], [Act::Widen { id: 7, affected, .. }] if affected == &["out"]), "{got:?}");
    }

    #[test]
    fn a_promise_is_reminded_of_and_then_late() {
        let (r, due) = (Now::from_secs(0), Now::from_secs(48 * 3600));
        let at = |h: u64| postmortem(r, due, Now::from_secs(h * 3600)).decision;
        assert_eq!(
            (at(23), at(24), at(44), at(48)),
            (Postmortem::NotDue, Postmortem::Remind, Postmortem::RemindAgain, Postmortem::Late)
        );
    }
}
