//! One row per component and day: the seconds spent in each state. For ever; 365 rows a year.

use std::collections::BTreeMap;

use stdx::Now;

use crate::State;

/// Seconds of a day (UTC) in each state. What is missing to 86,400 nobody has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    pub seconds: BTreeMap<State, u64>,
}

/// A UTC day as days since 1970.
pub type DayNumber = u64;

pub const DAY_S: u64 = 86_400;

pub fn number(at: Now) -> DayNumber {
    at.secs() / DAY_S
}

impl Day {
    pub fn add(&mut self, state: State, seconds: u64) {
        *self.seconds.entry(state).or_default() += seconds;
    }

    pub fn of(&self, state: State) -> u64 {
        self.seconds.get(&state).copied().unwrap_or(0)
    }

    /// Share of the watched time without outage; degraded time counts as up, maintenance does not
    /// count at all. `None` if nobody watched.
    pub fn uptime(&self) -> Option<f64> {
        uptime(std::iter::once(self))
    }

    /// What colour the day has: the worst state that lasted a minute or more, else what there is.
    pub fn colour(&self) -> State {
        let long =
            self.seconds.iter().filter(|(s, n)| **n >= 60 && **s != State::NoData).map(|(s, _)| *s).max();
        let any = self.seconds.iter().filter(|(s, n)| **n > 0 && **s != State::NoData).map(|(s, _)| *s).max();
        match long.or(any) {
            Some(State::Maintenance)
                if self.of(State::Operational) > 0 && self.of(State::Maintenance) < 60 =>
            {
                State::Operational
            }
            Some(state) => state,
            None => State::NoData,
        }
    }
}

/// Share of the watched time without outage over many days.
pub fn uptime<'a>(days: impl IntoIterator<Item = &'a Day>) -> Option<f64> {
    let (mut up, mut down) = (0, 0);
    for day in days {
        up += day.of(State::Operational) + day.of(State::Degraded);
        down += day.of(State::PartialOutage) + day.of(State::MajorOutage);
    }
    (up + down > 0).then(|| up as f64 / (up + down) as f64)
}

/// Splits a stretch of one state at the day boundaries: `(day, seconds)`.
pub fn spread(from: Now, to: Now) -> Vec<(DayNumber, u64)> {
    let (mut at, end) = (from.secs(), to.secs());
    let mut out = Vec::new();
    while at < end {
        let day = at / DAY_S;
        let until = ((day + 1) * DAY_S).min(end);
        out.push((day, until - at));
        at = until;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_over_midnight_falls_on_two_days() {
        assert_eq!(spread(Now::from_secs(DAY_S - 10), Now::from_secs(DAY_S + 5)), [(0, 10), (1, 5)]);
        assert_eq!(spread(Now::from_secs(5), Now::from_secs(5)), []);
    }

    #[test]
    fn maintenance_is_not_counted_and_nobody_is_not_up() {
        let mut day = Day::default();
        assert_eq!((day.uptime(), day.colour()), (None, State::NoData));
        day.add(State::Maintenance, 3600);
        assert_eq!(day.uptime(), None);
        day.add(State::Operational, 3600 * 9);
        day.add(State::MajorOutage, 3600);
        assert_eq!(day.uptime(), Some(0.9));
        assert_eq!(day.colour(), State::MajorOutage);
    }

    #[test]
    fn a_second_of_trouble_does_not_colour_a_day() {
        let mut day = Day::default();
        day.add(State::Operational, 80_000);
        day.add(State::MajorOutage, 5);
        assert_eq!(day.colour(), State::Operational);
    }
}
