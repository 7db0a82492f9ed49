//! A habit of a peer with conditions: who, about whom, when, how often.
//!
//! What it is: a [`When`] is data, so that a whole provider can be written down in a file; the
//! same file and seed give the same replies. What it is not: a language; every condition is a
//! field, and all that are given must hold. Begin with [`When`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use stdx::{Dice, Now, Span};

use crate::peer::Stage;

/// What a peer remembers for its habits, at most; the oldest goes first.
const REMEMBERED_MAX: usize = 200_000;

/// One habit. Empty lists and `None` mean "whoever" and "whenever".
#[derive(Clone, Debug)]
pub struct When {
    pub at: Stage,
    pub sources: Vec<IpAddr>,
    /// Addresses, domains, or `*.domain`.
    pub senders: Vec<String>,
    /// As `senders`; looked at from RCPT on.
    pub recipients: Vec<String>,
    pub from: Option<Now>,
    pub until: Option<Now>,
    /// With this probability: anew each time, or with `flips` anew for each recipient's domain
    /// whenever so much time has passed.
    pub share: f64,
    pub flips: Option<Span>,
    pub above: Option<Above>,
    /// Only the first so many times for each source.
    pub first: Option<u64>,
    /// Until an unknown (source, sender, recipient) comes again after so long.
    pub greylist: Option<Span>,
    pub act: Act,
}

/// Only once a source has brought so many recipients in the running period.
#[derive(Clone, Copy, Debug)]
pub struct Above {
    pub recipients: u64,
    pub per: Span,
    /// Twice as many in each period after the first.
    pub doubling: bool,
    /// When the first period begins.
    pub begin: Now,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// `{ip}`, `{rcpt}` and `{sender}` are filled in.
    Say(String),
    Hang,
    Close,
    /// Takes the message and closes in place of the last 250.
    LoseWord,
    /// Waits before each reply.
    Slow(Span),
}

/// What is known at one place of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub at: Stage,
    pub source: IpAddr,
    pub sender: &'a str,
    pub recipient: &'a str,
    pub now: Now,
}

/// What habits remember.
#[derive(Default)]
pub struct Memory {
    brought: BTreeMap<(IpAddr, u64, u64), u64>,
    said: BTreeMap<(usize, IpAddr), u64>,
    seen: BTreeMap<(IpAddr, String, String), Now>,
}

impl When {
    /// A habit that always holds at this stage.
    pub fn always(at: Stage, act: Act) -> When {
        When {
            at,
            sources: Vec::new(),
            senders: Vec::new(),
            recipients: Vec::new(),
            from: None,
            until: None,
            share: 1.0,
            flips: None,
            above: None,
            first: None,
            greylist: None,
            act,
        }
    }

    /// Whether it holds here and now; `number` is its place among the peer's habits.
    pub fn holds(&self, m: &Moment<'_>, number: usize, memory: &mut Memory, dice: &mut Dice) -> bool {
        self.meant(m) && self.due(m, number, memory, dice)
    }

    /// Whether it holds at this time for this source, whatever the stage.
    pub fn runs(&self, source: IpAddr, now: Now) -> bool {
        self.from.is_none_or(|f| now >= f)
            && self.until.is_none_or(|u| now < u)
            && (self.sources.is_empty() || self.sources.contains(&source))
    }

    fn meant(&self, m: &Moment<'_>) -> bool {
        self.at == m.at
            && self.runs(m.source, m.now)
            && (self.senders.is_empty() || self.senders.iter().any(|p| fits(p, m.sender)))
            && (self.recipients.is_empty() || self.recipients.iter().any(|p| fits(p, m.recipient)))
    }

    fn due(&self, m: &Moment<'_>, number: usize, memory: &mut Memory, dice: &mut Dice) -> bool {
        if let Some(above) = &self.above {
            let period = above.period(m.now);
            let limit = if above.doubling { above.recipients << period.min(32) } else { above.recipients };
            let brought = memory.brought.get(&(m.source, above.per.0, period)).copied().unwrap_or(0);
            if brought < limit {
                return false;
            }
        }
        if !self.drawn(m, number, dice) {
            return false;
        }
        if let Some(wait) = self.greylist {
            let key = (m.source, m.sender.to_owned(), m.recipient.to_owned());
            bound(&mut memory.seen);
            if m.now.since(*memory.seen.entry(key).or_insert(m.now)) >= wait {
                return false;
            }
        }
        if let Some(first) = self.first {
            bound(&mut memory.said);
            let said = memory.said.entry((number, m.source)).or_insert(0);
            *said += 1;
            return *said <= first;
        }
        true
    }

    fn drawn(&self, m: &Moment<'_>, number: usize, dice: &mut Dice) -> bool {
        if self.share >= 1.0 {
            return true;
        }
        let Some(every) = self.flips else { return dice.chance(self.share) };
        let domain = m.recipient.rsplit_once('@').map_or(m.recipient, |(_, d)| d);
        let period = m.now.0 / every.0.max(1);
        let mut mood = Dice::new(period ^ (number as u64) << 48).fork(&domain.to_ascii_lowercase());
        mood.chance(self.share)
    }
}

impl Above {
    fn period(&self, now: Now) -> u64 {
        now.since(self.begin).0 / self.per.0.max(1)
    }
}

impl Memory {
    /// A message was taken.
    pub fn brought(&mut self, above: &Above, source: IpAddr, recipients: u64, now: Now) {
        bound(&mut self.brought);
        *self.brought.entry((source, above.per.0, above.period(now))).or_insert(0) += recipients;
    }
}

fn bound<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>) {
    if map.len() >= REMEMBERED_MAX {
        map.pop_first();
    }
}

/// `a@b.example`, `b.example`, `*.example`.
fn fits(pattern: &str, address: &str) -> bool {
    if pattern.contains('@') {
        return pattern.eq_ignore_ascii_case(address);
    }
    let domain = address.rsplit_once('@').map_or(address, |(_, d)| d).to_ascii_lowercase();
    match pattern.strip_prefix("*.") {
        Some(parent) => domain.ends_with(&format!(".{}", parent.to_ascii_lowercase())),
        None => pattern.eq_ignore_ascii_case(&domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment<'a>(recipient: &'a str, secs: u64) -> Moment<'a> {
        let source = IpAddr::from([127, 1, 0, 36]);
        Moment { at: Stage::Rcpt, source, sender: "a@s.example", recipient, now: Now::from_secs(secs) }
    }

    fn holds(when: &When, m: &Moment<'_>, memory: &mut Memory) -> bool {
        when.holds(m, 0, memory, &mut Dice::new(1))
    }

    #[test]
    fn all_conditions_must_hold() {
        let mut when = When::always(Stage::Rcpt, Act::Hang);
        when.recipients = vec!["*.r.example".into(), "x@y.example".into()];
        when.from = Some(Now::from_secs(10));
        when.until = Some(Now::from_secs(20));
        let mut memory = Memory::default();
        for (rcpt, secs, want) in [
            ("u@a.r.example", 10, true),
            ("u@a.R.example", 19, true),
            ("u@a.r.example", 20, false),
            ("u@a.r.example", 9, false),
            ("u@r.example", 15, false),
            ("x@y.example", 15, true),
            ("z@y.example", 15, false),
        ] {
            assert_eq!(holds(&when, &moment(rcpt, secs), &mut memory), want, "{rcpt} at {secs}");
        }
        when.sources = vec![[127, 1, 0, 23].into()];
        assert!(!holds(&when, &moment("x@y.example", 15), &mut memory));
    }

    #[test]
    fn greylisting_ends_when_the_same_comes_again_after_the_wait() {
        let when = When { greylist: Some(Span::mins(5)), ..When::always(Stage::Rcpt, Act::Hang) };
        let mut memory = Memory::default();
        assert!(holds(&when, &moment("u@r.example", 0), &mut memory));
        assert!(holds(&when, &moment("u@r.example", 299), &mut memory));
        assert!(!holds(&when, &moment("u@r.example", 300), &mut memory));
        assert!(holds(&when, &moment("v@r.example", 300), &mut memory));
    }

    #[test]
    fn a_limit_that_doubles_lets_twice_as_many_in_on_the_second_day() {
        let above = Above { recipients: 2, per: Span::days(1), doubling: true, begin: Now(0) };
        let when = When { above: Some(above), ..When::always(Stage::Rcpt, Act::Hang) };
        let (mut memory, m) = (Memory::default(), moment("u@r.example", 5));
        let mut taken = 0;
        while !holds(&when, &m, &mut memory) {
            memory.brought(&above, m.source, 1, m.now);
            taken += 1;
        }
        let m = moment("u@r.example", 86_400);
        let mut more = 0;
        while !holds(&when, &m, &mut memory) {
            memory.brought(&above, m.source, 1, m.now);
            more += 1;
        }
        assert_eq!((taken, more), (2, 4));
    }

    #[test]
    fn a_mood_holds_for_its_time_and_then_is_drawn_anew() {
        let when = When { share: 0.5, flips: Some(Span::mins(5)), ..When::always(Stage::Rcpt, Act::Hang) };
        let mut memory = Memory::default();
        let moods: Vec<bool> =
            (0..100).map(|n| holds(&when, &moment("u@r.example", n * 300), &mut memory)).collect();
        assert!(moods.contains(&true) && moods.contains(&false));
        for (n, mood) in moods.iter().enumerate() {
            let later = moment("v@r.example", n as u64 * 300 + 299);
            assert_eq!(holds(&when, &later, &mut memory), *mood);
        }
        let first = When { first: Some(2), ..When::always(Stage::Rcpt, Act::Hang) };
        let said: Vec<bool> = (0..4).map(|n| holds(&first, &moment("u@r.example", n), &mut memory)).collect();
        assert_eq!(said, [true, true, false, false]);
    }
}
