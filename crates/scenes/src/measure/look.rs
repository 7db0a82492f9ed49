//! A record through a filter.

use std::collections::BTreeSet;

use stdx::{Now, Span};

use crate::client::Handed;
use crate::letters::Letter;
use crate::record::{Arrival, Contact, Notice, Record, Refusal};
use crate::scene::{Filter, From, Instant, Mark, Scene};

pub struct Look<'r> {
    pub scene: &'r Scene,
    pub record: &'r Record,
    pub filter: &'r Filter,
    domains: BTreeSet<&'r str>,
    peers: BTreeSet<usize>,
    pub groups: BTreeSet<String>,
    pub from: Now,
    pub until: Now,
    /// Tokens of the letters that fit.
    tokens: BTreeSet<&'r str>,
}

impl<'r> Look<'r> {
    pub fn new(scene: &'r Scene, record: &'r Record, filter: &'r Filter) -> Look<'r> {
        let destinations = filter.to.iter().map(|d| &scene.destinations[*d]);
        let mut look = Look {
            scene,
            record,
            filter,
            domains: destinations.clone().flat_map(|d| d.domains.iter().map(String::as_str)).collect(),
            peers: destinations.map(|d| d.peer).chain(filter.peer.iter().copied()).collect(),
            groups: groups(scene, filter),
            from: record.begin,
            until: Now(u64::MAX),
            tokens: BTreeSet::new(),
        };
        look.tokens =
            record.letters.iter().filter(|l| look.letter_fits(l)).map(|l| l.token.as_str()).collect();
        let (from, until) = (look.instant(filter.after.as_ref()), look.instant(filter.until.as_ref()));
        look.from = from.unwrap_or(record.begin);
        look.until = until.unwrap_or(Now(u64::MAX));
        look
    }

    fn letter_fits(&self, letter: &Letter) -> bool {
        let filter = self.filter;
        (filter.traffic.is_empty() || filter.traffic.contains(&letter.traffic))
            && (filter.from.is_empty() || filter.from.iter().any(|f| fits(f, &letter.sender)))
    }

    /// `None`: there is no such instant (yet), or none was asked for.
    fn instant(&self, instant: Option<&Instant>) -> Option<Now> {
        let instant = instant?;
        // What never happened lies after the end.
        let at = match instant.from {
            From::Begin => self.record.begin,
            From::Move => self.moved_at().unwrap_or(Now(u64::MAX / 2)),
            From::Refusal => self.refusals().next().map_or(Now(u64::MAX / 2), |r| r.at),
        };
        Some(at + instant.plus)
    }

    /// When a group that fits is first moved away from an egress that fits.
    pub fn moved_at(&self) -> Option<Now> {
        let blocked = |f: &&ledger::Fact| f.kind == "route.group_blocked" && self.decides(f);
        self.record.facts.iter().find(blocked).map(|f| f.at)
    }

    /// Whether a decision is about a group and an egress that fit.
    pub fn decides(&self, fact: &ledger::Fact) -> bool {
        let says = fact.text("says");
        let word = |w: &str| {
            says.split(|c: char| c.is_whitespace() || c == ':' || c == ',' || c == ';').any(|x| x == w)
        };
        (self.groups.is_empty() || self.groups.iter().any(|g| word(g)))
            && (self.filter.egress.is_empty() || self.filter.egress.iter().any(|e| word(e)))
    }

    pub fn per(&self, usual: Span) -> Span {
        self.filter.per.unwrap_or(usual)
    }

    pub fn within(&self, at: Now) -> bool {
        at >= self.from && at < self.until
    }

    pub fn egress_fits(&self, egress: &str) -> bool {
        self.filter.egress.is_empty() || self.filter.egress.iter().any(|e| e == egress)
    }

    /// Whether a recipient lies in the destinations asked for; where none was named yet, by peer.
    pub fn to_fits(&self, rcpt: &str, peer: Option<usize>) -> bool {
        if self.domains.is_empty() {
            return self.peers.is_empty() || peer.is_none_or(|p| self.peers.contains(&p));
        }
        match rcpt.rsplit_once('@') {
            Some((_, domain)) => self.domains.contains(domain),
            None => peer.is_some_and(|p| self.peers.contains(&p)),
        }
    }

    pub fn is_bulk(&self, letter: &Letter) -> bool {
        self.scene.traffic[letter.traffic].mark == Mark::Bulk
    }

    pub fn handed(&self) -> impl Iterator<Item = (&'r Handed, &'r Letter)> + '_ {
        let letters = &self.record.letters;
        self.record
            .handed
            .iter()
            .map(|h| (h, &letters[h.letter]))
            .filter(|(_, l)| self.tokens.contains(l.token.as_str()))
    }

    /// Recipients that were accepted within the time asked for: token, recipient, when.
    pub fn accepted(&self) -> impl Iterator<Item = (&'r str, &'r str, Now)> + '_ {
        self.handed()
            .filter_map(|(h, l)| h.accepted.map(|at| (l, at)))
            .filter(|(_, at)| self.within(*at))
            .flat_map(|(l, at)| l.recipients.iter().map(move |r| (l.token.as_str(), r.as_str(), at)))
            .filter(|(_, r, _)| self.to_fits(r, None))
    }

    /// Copies of the scene's letters at peers, of the letters that fit.
    pub fn arrivals(&self) -> impl Iterator<Item = &'r Arrival> + '_ {
        self.record.arrivals.iter().filter(|a| {
            a.token.as_deref().is_some_and(|t| self.tokens.contains(t))
                && self.within(a.at)
                && self.egress_fits(&a.egress)
                && self.to_fits(&a.rcpt, Some(a.peer))
        })
    }

    pub fn refusals(&self) -> impl Iterator<Item = &'r Refusal> + '_ {
        self.record.refusals.iter().filter(|r| {
            self.within(r.at)
                && self.egress_fits(&r.egress)
                && self.to_fits(&r.rcpt, Some(r.peer))
                && (self.filter.from.is_empty() || self.filter.from.iter().any(|f| fits(f, &r.sender)))
                && self.filter.text.as_ref().is_none_or(|t| r.reply.contains(t.as_str()))
        })
    }

    pub fn contacts(&self) -> impl Iterator<Item = &'r Contact> + '_ {
        self.record.contacts.iter().filter(|c| {
            self.within(c.at)
                && self.egress_fits(&c.egress)
                && (self.peers.is_empty() || self.peers.contains(&c.peer))
        })
    }

    fn notices(&self) -> impl Iterator<Item = &'r Notice> + '_ {
        self.record
            .notices
            .iter()
            .filter(|n| self.within(n.at) && n.token.as_deref().is_some_and(|t| self.tokens.contains(t)))
    }

    pub fn failures(&self) -> impl Iterator<Item = &'r Notice> + '_ {
        self.notices().filter(|n| n.failed.iter().any(|r| self.to_fits(r, None)))
    }

    pub fn delays(&self) -> impl Iterator<Item = &'r Notice> + '_ {
        self.notices().filter(|n| n.delayed.iter().any(|r| self.to_fits(r, None)))
    }

    /// Facts of the kind asked for.
    pub fn facts(&self) -> impl Iterator<Item = &'r ledger::Fact> + '_ {
        self.record.facts.iter().filter(|f| {
            self.within(f.at)
                && self.filter.kind.as_ref().is_none_or(|k| f.kind.starts_with(k.as_str()))
                && self.filter.text.as_ref().is_none_or(|t| holds(f, t))
        })
    }
}

fn holds(fact: &ledger::Fact, text: &str) -> bool {
    fact.about.iter().any(|a| a.contains(text))
        || fact
            .detail
            .values()
            .any(|v| v.as_str().map_or_else(|| v.to_string().contains(text), |s| s.contains(text)))
}

fn fits(pattern: &str, sender: &str) -> bool {
    pattern.eq_ignore_ascii_case(sender)
        || sender.rsplit_once('@').is_some_and(|(_, d)| d.eq_ignore_ascii_case(pattern))
}

/// The groups of the destinations asked for, as the judge names them.
fn groups(scene: &Scene, filter: &Filter) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = filter.group.iter().cloned().collect();
    for destination in filter.to.iter().map(|d| &scene.destinations[*d]) {
        for domain in &destination.domains {
            if let Ok(name) = words::Domain::new(domain) {
                all.insert(route::group_of(&name, &destination.hosts(domain), &route::Banners::new()));
            }
        }
    }
    all
}

/// Most instants within any span of this length.
pub fn densest(times: impl Iterator<Item = Now>, per: Span) -> usize {
    let mut times: Vec<Now> = times.collect();
    times.sort();
    let (mut most, mut first) = (0, 0);
    for last in 0..times.len() {
        while times[last].since(times[first]) >= per {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_densest_span_is_found() {
        let at = |s: &[u64]| densest(s.iter().map(|s| Now::from_secs(*s)), Span::secs(10));
        assert_eq!((at(&[]), at(&[5]), at(&[0, 9, 10, 30]), at(&[0, 5, 9, 12, 14])), (0, 1, 2, 4));
    }
}
