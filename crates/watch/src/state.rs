//! The state of a component, in our words, the provider's and Statuspage's.

use serde::{Deserialize, Serialize};

/// From best to worst as clients feel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Operational,
    /// Announced work: not counted against the provider.
    Maintenance,
    /// Nobody has looked, or nobody could: grey, never green.
    #[default]
    NoData,
    Degraded,
    PartialOutage,
    MajorOutage,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Operational,
        State::Maintenance,
        State::NoData,
        State::Degraded,
        State::PartialOutage,
        State::MajorOutage,
    ];

    /// What a client reads.
    pub const fn word(self) -> &'static str {
        match self {
            State::Operational => "Working",
            State::Maintenance => "Maintenance",
            State::NoData => "No data",
            State::Degraded => "Slow or unsteady",
            State::PartialOutage => "Partly down",
            State::MajorOutage => "Down",
        }
    }

    /// The provider's own capitals for the table of systems.
    pub const fn glance(self) -> &'static str {
        match self {
            State::Operational => "OPERATIONAL",
            State::Maintenance => "MAINTENANCE",
            State::NoData => "UNKNOWN",
            State::Degraded => "DEGRADED",
            State::PartialOutage => "PARTLY DOWN",
            State::MajorOutage => "DOWN",
        }
    }

    /// Statuspage's v2 component status. It has no word for "no data"; `degraded_performance` is
    /// the least that is not a claim of health.
    pub const fn statuspage(self) -> &'static str {
        match self {
            State::Operational => "operational",
            State::Maintenance => "under_maintenance",
            State::NoData | State::Degraded => "degraded_performance",
            State::PartialOutage => "partial_outage",
            State::MajorOutage => "major_outage",
        }
    }

    /// Statuspage's v2 indicator for the page as a whole.
    pub const fn indicator(self) -> &'static str {
        match self {
            State::Operational | State::Maintenance => "none",
            State::NoData | State::Degraded => "minor",
            State::PartialOutage => "major",
            State::MajorOutage => "critical",
        }
    }

    pub const fn is_trouble(self) -> bool {
        matches!(self, State::Degraded | State::PartialOutage | State::MajorOutage)
    }

    /// The worst of several; no data if there is none to look at.
    pub fn worst(states: impl IntoIterator<Item = State>) -> State {
        states.into_iter().max().unwrap_or(State::NoData)
    }

    pub fn from_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.key() == word)
    }

    /// Stable name for storage and JSON.
    pub const fn key(self) -> &'static str {
        match self {
            State::Operational => "operational",
            State::Maintenance => "maintenance",
            State::NoData => "no_data",
            State::Degraded => "degraded",
            State::PartialOutage => "partial_outage",
            State::MajorOutage => "major_outage",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_colours_the_whole_and_nothing_is_not_green() {
        assert_eq!(State::worst([State::Operational, State::Degraded, State::Maintenance]), State::Degraded);
        assert_eq!(State::worst([]), State::NoData);
        assert_eq!(State::worst([State::Operational, State::NoData]), State::NoData);
    }

    #[test]
    fn keys_read_back() {
        assert!(State::ALL.into_iter().all(|s| State::from_word(s.key()) == Some(s)));
    }
}
