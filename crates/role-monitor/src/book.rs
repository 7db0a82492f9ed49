//! What was seen: the last tries of each probe by point, the hour's tries packed, the day's sums.
//! Bounded per probe; a thousand probes take a few megabytes.

use std::collections::BTreeMap;

use link::Look;
use stdx::{Now, Ring, Span};
use watch::agree::{self, Agreed, Outcome, Rule, Seen};

use crate::probe::Target;

/// Tries kept per probe and point for judging.
const TRIES_MAX: usize = 32;
/// Points a probe is seen from.
const POINTS_MAX: usize = 9;
/// Octets of one hour's tries: six each, one every three seconds at most.
const HOUR_BYTES_MAX: usize = 6 * 1200;

/// A point's last word on a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    pub at: Now,
    pub look: Look,
    pub ms: u64,
    pub says: String,
    pub topic: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    pub good: u64,
    pub slow: u64,
    pub failed: u64,
    pub unsure: u64,
    pub ms_sum: u64,
    pub ms_max: u64,
}

impl Day {
    fn add(&mut self, look: Look, ms: u64) {
        match look {
            Look::Good => self.good += 1,
            Look::Slow => self.slow += 1,
            Look::Failed => self.failed += 1,
            Look::Unsure => self.unsure += 1,
        }
        if matches!(look, Look::Good | Look::Slow) {
            self.ms_sum += ms;
            self.ms_max = self.ms_max.max(ms);
        }
    }
}

/// A probe and everything known of it.
pub struct Page {
    pub target: Target,
    pub last: BTreeMap<String, Last>,
    seen: BTreeMap<String, (String, Ring<Seen>)>,
    pub expires: Option<Now>,
    pub listed: Vec<(String, bool)>,
    pub agreed: Agreed,
    pub since: Now,
    /// Why it is judged so, in words.
    pub why: String,
    hour: u64,
    tries: Vec<u8>,
    day: u64,
    sums: Day,
    /// Something is not yet written down.
    fresh: bool,
}

/// What must be written down.
pub struct Written {
    pub target: String,
    pub hour: u64,
    pub tries: Vec<u8>,
    pub day: u64,
    pub sums: Day,
}

/// How tries become a finding, for a probe that is carried out this often.
pub fn rule(every: Span, points_min: usize) -> Rule {
    let usual = Rule::default();
    Rule {
        points_min,
        window: usual.window.max(Span(every.as_ms().saturating_mul(3))),
        fresh: usual.fresh.max(Span(every.as_ms().saturating_mul(5) / 2)),
        ..usual
    }
}

impl Page {
    pub fn new(target: Target, now: Now) -> Page {
        Page {
            target,
            last: BTreeMap::new(),
            seen: BTreeMap::new(),
            expires: None,
            listed: Vec::new(),
            agreed: Agreed::NoData,
            since: now,
            why: "nobody has looked yet".into(),
            hour: 0,
            tries: Vec::new(),
            day: 0,
            sums: Day::default(),
            fresh: false,
        }
    }

    /// Notes a try. `ours`: made by this point, so that it counts in hours and days here. What
    /// belongs to an hour or a day that is over comes back to be written down.
    pub fn note(&mut self, point: &str, region: &str, last: Last, ours: bool) -> Option<Written> {
        if !self.seen.contains_key(point) && self.seen.len() >= POINTS_MAX {
            return None;
        }
        let outcome = match last.look {
            Look::Good | Look::Slow => Outcome::Good { ms: last.ms },
            Look::Failed => Outcome::Failed { cause: last.says.clone() },
            Look::Unsure => Outcome::Unsure,
        };
        let seen = Seen { point: point.to_owned(), region: region.to_owned(), at: last.at, outcome };
        let ring =
            self.seen.entry(point.to_owned()).or_insert_with(|| (region.to_owned(), Ring::new(TRIES_MAX)));
        ring.1.push(seen);
        let full = if ours { self.count(&last) } else { None };
        self.last.insert(point.to_owned(), last);
        full
    }

    fn count(&mut self, last: &Last) -> Option<Written> {
        let (hour, day) = (last.at.secs() / 3600, last.at.secs() / 86_400);
        let over = self.fresh && (hour != self.hour || day != self.day);
        let full = if over { self.write() } else { None };
        if hour != self.hour {
            (self.hour, self.tries) = (hour, Vec::new());
        }
        if day != self.day {
            (self.day, self.sums) = (day, Day::default());
        }
        if self.tries.len() < HOUR_BYTES_MAX {
            pack(&mut self.tries, last);
        }
        self.sums.add(last.look, last.ms);
        self.fresh = true;
        full
    }

    /// Takes up the sums of a day that began before a restart.
    pub fn resume(&mut self, day: u64, sums: Day, hour: u64, tries: Vec<u8>) {
        (self.day, self.sums, self.hour, self.tries) = (day, sums, hour, tries);
    }

    /// What is to be written down now, if anything is new.
    pub fn write(&mut self) -> Option<Written> {
        if !std::mem::take(&mut self.fresh) {
            return None;
        }
        Some(Written {
            target: self.target.id.clone(),
            hour: self.hour,
            tries: self.tries.clone(),
            day: self.day,
            sums: self.sums,
        })
    }

    /// Judges from all points' tries. True if the verdict changed.
    pub fn judge(&mut self, points_min: usize, now: Now) -> bool {
        let all: Vec<Seen> = self.seen.values().flat_map(|(_, ring)| ring.iter().cloned()).collect();
        let verdict = agree::judge(&all, &rule(self.target.every, points_min), now);
        let reason = verdict.reasons.first();
        self.why = reason.says.clone();
        for (name, value) in reason.facts.iter().filter(|(name, _)| *name == "point") {
            self.why.push_str(&format!("; {name} {value}"));
        }
        let changed = std::mem::discriminant(&verdict.decision) != std::mem::discriminant(&self.agreed);
        if changed {
            self.since = match &verdict.decision {
                Agreed::Down { since } | Agreed::DegradedFor { since, .. } => *since,
                _ => now,
            };
        }
        self.agreed = verdict.decision;
        changed
    }

    /// The newest failing words, or the newest words.
    pub fn says(&self) -> &str {
        let newest = |failed: bool| {
            let fits = self.last.values().filter(|l| !failed || l.look == Look::Failed);
            fits.max_by_key(|l| l.at).map(|l| l.says.as_str())
        };
        newest(true).or(newest(false)).unwrap_or_default()
    }
}

/// Seconds within the hour (2 octets), look (1), milliseconds (3).
fn pack(out: &mut Vec<u8>, last: &Last) {
    let ms = (last.ms.min(0xFF_FFFF) as u32).to_be_bytes();
    out.extend_from_slice(&((last.at.secs() % 3600) as u16).to_be_bytes());
    out.push(match last.look {
        Look::Good => 0,
        Look::Slow => 1,
        Look::Failed => 2,
        Look::Unsure => 3,
    });
    out.extend_from_slice(&ms[1..]);
}

/// The tries of an hour, as they were packed.
pub fn unpack(hour: u64, bytes: &[u8]) -> Vec<(Now, Look, u64)> {
    let one = |six: &[u8]| {
        let at = Now::from_secs(hour * 3600 + u64::from(u16::from_be_bytes([six[0], six[1]])));
        let look = match six[2] {
            0 => Look::Good,
            1 => Look::Slow,
            2 => Look::Failed,
            _ => Look::Unsure,
        };
        (at, look, u64::from(u32::from_be_bytes([0, six[3], six[4], six[5]])))
    };
    bytes.chunks_exact(6).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Kind;
    use crate::wire::{Family, Place};

    fn page() -> Page {
        let to = Place { host: "h".into(), port: 1 };
        let target = Target {
            id: "x".into(),
            kind: Kind::Tcp { to, family: Family::Any },
            component: "ports".into(),
            host: "h".into(),
            every: Span::mins(1),
            limit: Span::secs(10),
            slow: Span::secs(5),
        };
        Page::new(target, Now(0))
    }

    fn last(secs: u64, look: Look) -> Last {
        Last { at: Now::from_secs(secs), look, ms: 70_000, says: "w".into(), topic: String::new() }
    }

    #[test]
    fn what_is_packed_unpacks() {
        let mut bytes = Vec::new();
        for look in [Look::Good, Look::Slow, Look::Failed, Look::Unsure] {
            pack(&mut bytes, &last(7205, look));
        }
        let tries = unpack(2, &bytes);
        assert_eq!(tries.len(), 4);
        assert_eq!(tries[2], (Now::from_secs(7205), Look::Failed, 70_000));
    }

    #[test]
    fn an_hour_that_is_over_is_handed_out_with_the_days_sums() {
        let mut page = page();
        assert!(page.note("m1", "r", last(3590, Look::Good), true).is_none());
        assert!(page.note("m2", "r", last(3595, Look::Good), false).is_none());
        let full = page.note("m1", "r", last(3601, Look::Failed), true).expect("an hour is over");
        assert_eq!((full.hour, full.tries.len(), full.day, full.sums.good), (0, 6, 0, 1));
        let now = page.write().expect("something is new");
        assert_eq!((now.hour, now.sums.good, now.sums.failed), (1, 1, 1));
        assert!(page.write().is_none());
    }

    #[test]
    fn a_rare_probe_is_not_forgotten_between_two_looks() {
        let hourly = rule(Span::hours(1), 2);
        assert!(hourly.fresh > Span::hours(2) && hourly.window >= Span::hours(3));
        assert_eq!(rule(Span::secs(20), 2), Rule::default());
    }

    #[test]
    fn the_memory_of_a_probe_is_bounded() {
        let mut page = page();
        for point in 0..50 {
            for s in 0..200 {
                page.note(&format!("m{point}"), "r", last(s, Look::Good), true);
            }
        }
        assert_eq!(page.seen.len(), POINTS_MAX);
        assert!(page.seen.values().all(|(_, ring)| ring.len() <= TRIES_MAX));
        assert!(page.tries.len() <= HOUR_BYTES_MAX);
    }
}
