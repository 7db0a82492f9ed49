//! The judge's settings and the retry timetable, limits beside what they limit.

use stdx::{Now, Span};

/// How routes are chosen, moved, probed and held. Defaults are meant to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A probe of a blocked path at most so often.
    pub probe_every: Span,
    /// Refusals older than this are no evidence.
    pub evidence_window: Span,
    /// Distinct domains that must refuse before a group moves while others accept.
    pub move_domains: usize,
    /// A step of the return lasts at least so long.
    pub step_min: Span,
    /// How long mail is kept when every way is refused, before one DSN.
    pub hold: Span,
    /// The same where a refusal cites a list that says nothing of the kind itself: the fault is over
    /// there, and passes when they notice.
    pub hold_denied: Span,
    /// When the sender hears that mail is late.
    pub delay_notice: Span,
    /// When the sender hears that mail failed (RFC 5321 §4.5.4.1: four to five days).
    pub expire: Span,
    /// One message tries one blocked egress at most so often.
    pub same_egress_gap: Span,
    /// Concurrent sessions of one egress to one group that is not proven yet.
    pub slots_first: u16,
    /// And at most.
    pub slots_max: u16,
    /// A list's citation moves other hosts after so many distinct hosts have named it.
    pub list_hosts: usize,
    /// Without news from a list monitor, a citation holds so long.
    pub list_trust: Span,
    /// Failed log-ins at a relay before it leaves the pool for longer than five minutes.
    pub relay_failures: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            probe_every: Span::mins(15),
            evidence_window: Span::hours(1),
            move_domains: 3,
            step_min: Span::mins(3),
            hold: Span::hours(4),
            hold_denied: Span::hours(24),
            delay_notice: Span::hours(1),
            expire: Span::days(5),
            same_egress_gap: Span::mins(30),
            slots_first: 5,
            slots_max: 20,
            list_hosts: 3,
            list_trust: Span::hours(24),
            relay_failures: 3,
        }
    }
}

impl Settings {
    /// Probes thin out while a block lasts: every quarter of an hour for six hours, then half
    /// hours, after two days hours.
    pub fn probe_gap(&self, blocked_for: Span) -> Span {
        match blocked_for {
            b if b < Span::hours(6) => self.probe_every,
            b if b < Span::days(2) => Span(self.probe_every.0 * 2),
            _ => Span(self.probe_every.0 * 4),
        }
    }
}

/// Minutes after the n-th failed round; the last repeats until the mail expires.
const TIMETABLE_MINS: &[u64] = &[5, 10, 15, 30, 60, 60, 120, 120, 240];
/// A remote that asks for a wait gets it, within these bounds.
const ASKED_MIN: Span = Span::secs(30);
const ASKED_MAX: Span = Span::hours(2);

/// RFC 5321 §4.5.4.1: when to try again after `rounds` failed rounds. `draw` spreads up to a
/// tenth, so that a queue does not come back in one second.
pub fn retry_at(now: Now, rounds: u32, draw: u64) -> Now {
    let index = (rounds.max(1) as usize - 1).min(TIMETABLE_MINS.len() - 1);
    let base = TIMETABLE_MINS[index] * 60_000;
    now + Span(base + draw % (base / 10))
}

/// The wait a greylisting or throttling reply asks for, if it says one: a number before
/// "seconds", "minutes" or "hours".
pub fn asked_wait(text: &str) -> Option<Span> {
    let folded = crate::text::Text::fold(text);
    let unit = |t: &str| match t {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1000),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60_000),
        "h" | "hour" | "hours" => Some(3_600_000),
        _ => None,
    };
    folded.tokens.windows(2).find_map(|w| {
        let number: u64 = w[0].parse().ok().filter(|n| (1..100_000).contains(n))?;
        let span = Span(number * unit(&w[1])?);
        Some(span.clamp(ASKED_MIN, ASKED_MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_thin_out_and_never_stop_before_the_end() {
        let t0 = Now::from_secs(1_000_000);
        let mut last = Span::ZERO;
        for rounds in 1..40 {
            let wait = retry_at(t0, rounds, 0).since(t0);
            assert!(wait >= last && wait <= Span::hours(4), "{rounds}: {wait}");
            last = wait;
        }
        assert!(retry_at(t0, 1, u64::MAX) <= t0 + Span::mins(6));
    }

    #[test]
    fn a_wait_is_read_from_the_reply() {
        for (text, want) in [
            ("Greylisted, come back in 300 seconds", Some(Span::mins(5))),
            ("try again in 5 minutes", Some(Span::mins(5))),
            ("greylisted for 1 second", Some(Span::secs(30))),
            ("see 40 minutes of nothing", Some(Span::mins(40))),
            ("try again later", None),
            ("99999 hours", Some(Span::hours(2))),
        ] {
            assert_eq!(asked_wait(text), want, "{text}");
        }
    }
}
