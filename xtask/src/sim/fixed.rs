//! The same quarter under static Postfix: `smtp` from the first address, `smtp_fallback_relay` on
//! a second host, a transport table kept by hand, and an operator who hears of trouble from
//! clients. `docs/sim-quarter.md` says why each number is what it is.

use std::collections::BTreeMap;

use stdx::{Dice, Now, Span};

use super::agenda::Agenda;
use super::moods::{DAY0, EGRESSES, World};
use super::peers::{Answer, Peers};
use super::score::Score;
use super::traffic::{Mail, Traffic};

/// Postfix's minimal_backoff_time, maximal_backoff_time and maximal_queue_lifetime.
const BACKOFF_MIN: Span = Span::secs(300);
const BACKOFF_MAX: Span = Span::secs(4000);
const LIFETIME: Span = Span::days(5);
const TRY: Span = Span::secs(1);
/// So often a sender of a bounced message calls.
const CALLS: f64 = 0.25;
/// A sender waits up to so long before calling.
const CALL_AFTER: Span = Span::hours(6);
/// The operator needs up to so long from reading to an edited table.
const EDIT: Span = Span::hours(2);
/// An entry is looked at again, and taken out, after so long.
const REVIEW: Span = Span::days(30);

struct Flight {
    mail: Mail,
    /// Handed to another host's queue: it stays there.
    host: Option<usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Due,
    Landed {
        egress: usize,
    },
    /// The operator edits the entry of a domain that was refused on this egress.
    Edit {
        group: usize,
        domain: usize,
        refused: usize,
    },
    Review {
        group: usize,
        domain: usize,
    },
}

struct Run<'a> {
    peers: Peers<'a>,
    dice: Dice,
    /// The transport table: (group, domain) → egress.
    table: BTreeMap<(usize, usize), usize>,
    /// Calls about these are on the operator's desk.
    asked: BTreeMap<(usize, usize), usize>,
    flights: BTreeMap<u64, Flight>,
    agenda: Agenda<What>,
    score: Score,
}

pub fn run(world: &World, seed: u64) -> Score {
    let mut run = Run {
        peers: Peers::new(world),
        dice: Dice::new(seed).fork("clients and operator"),
        table: BTreeMap::new(),
        asked: BTreeMap::new(),
        flights: BTreeMap::new(),
        agenda: Agenda::new(),
        score: Score::default(),
    };
    for (id, mail) in Traffic::new(world, seed).enumerate() {
        run.until(mail.at);
        let at = mail.at;
        run.flights.insert(id as u64, Flight { mail, host: None });
        run.agenda.push(at, id as u64, What::Due);
    }
    run.until(Now(u64::MAX));
    run.score.burnt = run.peers.burnt;
    run.score.close();
    run.score
}

impl Run<'_> {
    fn until(&mut self, until: Now) {
        while let Some((now, id, what)) = self.agenda.before(until) {
            match what {
                What::Due => self.due(id, now),
                What::Landed { egress } => self.landed(id, egress, now),
                What::Edit { group, domain, refused } => self.edit((group, domain), refused, now),
                What::Review { group, domain } => {
                    if self.table.remove(&(group, domain)).is_some() {
                        self.score.operator_actions += 1;
                    }
                }
            }
        }
    }

    fn due(&mut self, id: u64, now: Now) {
        let Some(flight) = self.flights.get(&id) else { return };
        let entry = self.table.get(&(flight.mail.group, flight.mail.domain)).copied();
        let egress = flight.host.or(entry).unwrap_or(0);
        self.agenda.push(now + TRY, id, What::Landed { egress });
    }

    fn landed(&mut self, id: u64, egress: usize, now: Now) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        // A table entry hands the mail to that host; it has a queue of its own.
        if egress != 0 {
            flight.host = Some(egress);
        }
        match self.peers.answer(&flight.mail, egress, now) {
            Answer::Taken => {
                self.score.deliver(&flight.mail, now);
                self.flights.remove(&id);
            }
            // A 5xx is the end, whatever it says.
            Answer::Refused { code, .. } if code >= 500 => self.bounce(id, egress, now),
            _ if now.since(flight.mail.at) >= LIFETIME => self.bounce(id, egress, now),
            // smtp_fallback_relay: after a temporary failure the second host takes it at once.
            _ if flight.host.is_none() => {
                flight.host = Some(1);
                self.agenda.push(now, id, What::Due);
            }
            _ => {
                let age = now.since(flight.mail.at).0;
                let wait = Span(age.clamp(BACKOFF_MIN.0, BACKOFF_MAX.0));
                self.agenda.push(now + wait, id, What::Due);
            }
        }
    }

    fn bounce(&mut self, id: u64, egress: usize, now: Now) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.score.bounce(&flight.mail);
        let place = (flight.mail.group, flight.mail.domain);
        if !flight.mail.valid || self.asked.contains_key(&place) || !self.dice.chance(CALLS) {
            return;
        }
        self.asked.insert(place, egress);
        let call = now + Span((self.dice.unit() * CALL_AFTER.0 as f64) as u64);
        let done = at_work(call) + Span((self.dice.unit() * EDIT.0 as f64) as u64);
        self.agenda.push(done, 0, What::Edit { group: place.0, domain: place.1, refused: egress });
    }

    /// The domain goes to the next host after the one that was refused.
    fn edit(&mut self, place: (usize, usize), refused: usize, now: Now) {
        self.asked.remove(&place);
        self.score.operator_actions += 1;
        let next = (refused + 1) % EGRESSES.len();
        match next {
            0 => drop(self.table.remove(&place)),
            _ => drop(self.table.insert(place, next)),
        }
        self.agenda.push(now + REVIEW, 0, What::Review { group: place.0, domain: place.1 });
    }
}

/// The next moment between eight and six on a working day.
fn at_work(at: Now) -> Now {
    let day = Span::days(1).0;
    let mut at = at;
    for _ in 0..4 {
        let hour = (at.0 % day) / 3_600_000;
        // The first day of the quarter is a Wednesday.
        let weekday = (at.since(DAY0).0 / day + 2) % 7;
        if weekday < 5 && (8..18).contains(&hour) {
            return at;
        }
        let midnight = Now(at.0 - at.0 % day);
        at = if weekday < 5 && hour < 8 { midnight + Span::hours(8) } else { midnight + Span::hours(32) };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_works_from_monday_to_friday() {
        let hours = |n: u64| DAY0 + Span::hours(n);
        assert_eq!(at_work(hours(9)), hours(9), "Wednesday at nine");
        assert_eq!(at_work(hours(3)), hours(8), "before work");
        assert_eq!(at_work(hours(20)), hours(32), "after work");
        assert_eq!(at_work(hours(3 * 24 + 12)), hours(5 * 24 + 8), "Saturday");
    }
}
