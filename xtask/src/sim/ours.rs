//! The quarter under Postroad's own judgement: `route::plan`, `start`, `learn`, `tick` and the
//! classifier, driven as the sender drives them. Nothing about routes is decided here.

use std::collections::BTreeMap;

use route::dnsbl::{ListFacts, Weight};
use route::{
    Egress, Facts, News, Next, Outcome, Purpose, Refusal, Sender, Settings, Stage, State, Told, Tried, Way,
};
use stdx::{Now, Span};
use words::{Domain, Enhanced};

use super::agenda::Agenda;
use super::moods::{DEAD_ZONE, EGRESSES, World, ZONES};
use super::peers::{ADDRESSES, Answer, Peers};
use super::score::Score;
use super::traffic::{Mail, SENDERS, Traffic};

/// A conversation takes so long.
const TRY: Span = Span::secs(1);
/// The list monitor of the product asks each list so often.
const LIST_ROUND: Span = Span::mins(10);

struct Flight {
    mail: Mail,
    tried: Vec<Tried>,
    first_blocked: Option<Now>,
    stick: Option<String>,
    rounds: u32,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Due,
    Landed {
        egress: usize,
        purpose: u8,
    },
    List {
        zone: usize,
        egress: usize,
        listed: bool,
    },
    /// The monitor's round while a list is dead.
    Dead,
}

const PURPOSES: [Purpose; 6] =
    [Purpose::Usual, Purpose::Moved, Purpose::Probe, Purpose::Step, Purpose::Pinned, Purpose::LastCall];

struct Run<'a> {
    world: &'a World,
    peers: Peers<'a>,
    state: State,
    settings: Settings,
    egresses: Vec<Egress>,
    senders: Vec<Domain>,
    zones: Vec<String>,
    flights: BTreeMap<u64, Flight>,
    agenda: Agenda<What>,
    score: Score,
}

pub fn run(world: &World, seed: u64) -> Score {
    let egress = |n: usize| {
        let at = ADDRESSES[n].parse().unwrap_or(std::net::IpAddr::from([192, 0, 2, 1]));
        Egress::address(EGRESSES[n], at, "mail.example")
    };
    let senders = (0..SENDERS).filter_map(|n| Domain::new(&format!("s{n}.example")).ok()).collect();
    let mut run = Run {
        world,
        peers: Peers::new(world),
        state: State::new(),
        settings: Settings::default(),
        egresses: (0..EGRESSES.len()).map(egress).collect(),
        senders,
        zones: ZONES.iter().map(|z| (*z).to_owned()).collect(),
        flights: BTreeMap::new(),
        agenda: Agenda::new(),
        score: Score::default(),
    };
    for l in &world.listings {
        for (at, listed) in [(l.from, true), (l.until, false)] {
            run.agenda.push(at + LIST_ROUND, 0, What::List { zone: l.zone, egress: l.egress, listed });
        }
    }
    for (from, until) in &world.dead {
        let rounds = (1..).map(|n| *from + Span(LIST_ROUND.0 * n)).take_while(|at| at < until);
        rounds.for_each(|at| run.agenda.push(at, 0, What::Dead));
    }
    for (id, mail) in Traffic::new(world, seed).enumerate() {
        run.until(mail.at);
        let at = mail.at;
        let flight = Flight { mail, tried: Vec::new(), first_blocked: None, stick: None, rounds: 0 };
        run.flights.insert(id as u64, flight);
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
                What::Landed { egress, purpose } => {
                    self.landed(id, (egress, PURPOSES[usize::from(purpose)]), now);
                }
                What::List { zone, egress, listed } => {
                    let news = if listed { News::Listed } else { News::Clean };
                    route::learn_list(&mut self.state, ZONES[zone], EGRESSES[egress], news, now);
                }
                What::Dead => self.ask_the_dead(now),
            }
        }
    }

    /// Nobody watches it until a refusal cites it.
    fn ask_the_dead(&mut self, now: Now) {
        let watched: Vec<ListFacts> = ZONES.iter().map(|z| ListFacts::plain(z, Weight::Medium)).collect();
        if route::cited_zones(&self.state, &watched, now).iter().any(|list| list.zone == DEAD_ZONE) {
            for egress in EGRESSES {
                route::learn_list(&mut self.state, DEAD_ZONE, egress, News::World, now);
            }
        }
    }

    fn due(&mut self, id: u64, now: Now) {
        let Some(flight) = self.flights.get(&id) else { return };
        let group = &self.world.groups[flight.mail.group];
        route::tick(&mut self.state, &group.name, &self.settings, now);
        let sender = Sender {
            domain: Some(&self.senders[flight.mail.sender as usize]),
            dkim_aligned: true,
            ..Sender::default()
        };
        let facts = Facts {
            egresses: &self.egresses,
            group: &group.name,
            hosts: &group.hosts[flight.mail.domain],
            domain: &group.domains[flight.mail.domain],
            sender: &sender,
            tried: &flight.tried,
            accepted_at: flight.mail.at,
            first_blocked: flight.first_blocked,
            stick: flight.stick.as_deref(),
            may_probe: true,
            draw: flight.mail.draw,
        };
        match route::plan(&facts, &self.state, &self.settings, now).decision {
            Way::Send { egress, purpose } => {
                route::start(&mut self.state, &facts, egress, purpose, &self.settings, now);
                let purpose = PURPOSES.iter().position(|p| *p == purpose).unwrap_or(0) as u8;
                self.agenda.push(now + TRY, id, What::Landed { egress, purpose });
            }
            Way::Wait { slot: true, .. } => self.agenda.push(now + Span::secs(1), id, What::Due),
            Way::Wait { until, .. } => self.agenda.push(until.max(now + Span::secs(1)), id, What::Due),
            Way::Hold { until, .. } => {
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.first_blocked.get_or_insert(now);
                }
                self.agenda.push(until.max(now + Span::secs(1)), id, What::Due);
            }
            Way::GiveUp { .. } => self.bounce(id),
        }
    }

    fn bounce(&mut self, id: u64) {
        if let Some(flight) = self.flights.remove(&id) {
            self.score.bounce(&flight.mail);
        }
    }

    fn landed(&mut self, id: u64, (egress, purpose): (usize, Purpose), now: Now) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let group = &self.world.groups[flight.mail.group];
        let hosts = &group.hosts[flight.mail.domain];
        let answer = self.peers.answer(&flight.mail, egress, now);
        let outcome = Outcome {
            egress: &self.egresses[egress],
            group: &group.name,
            host: hosts.first().map(String::as_str),
            domain: &group.domains[flight.mail.domain],
            sender_domain: Some(&self.senders[flight.mail.sender as usize]),
            purpose,
            told: told(&answer, &group.name),
            zones: &self.zones,
        };
        let lesson = route::learn(&mut self.state, &outcome, &self.settings, now);
        let name = EGRESSES[egress].to_owned();
        match lesson.next.decision {
            Next::Done => {
                self.score.deliver(&flight.mail, now);
                self.flights.remove(&id);
            }
            Next::Bounce => self.bounce(id),
            Next::OtherEgress => {
                flight.tried.retain(|t| t.egress != name);
                flight.tried.push(Tried { egress: name, at: now });
                flight.first_blocked.get_or_insert(now);
                flight.stick = None;
                self.agenda.push(now, id, What::Due);
            }
            Next::Later { at, stick } => {
                flight.rounds += 1;
                flight.stick = stick.then_some(name);
                let when = at.unwrap_or_else(|| route::retry_at(now, flight.rounds, flight.mail.draw));
                if now.since(flight.mail.at) >= self.settings.expire {
                    return self.bounce(id);
                }
                self.agenda.push(when, id, What::Due);
            }
            Next::Again => self.agenda.push(now + Span::secs(5), id, What::Due),
        }
    }
}

fn told<'a>(answer: &'a Answer, group: &str) -> Told<'a> {
    match answer {
        Answer::Taken => Told::Taken,
        Answer::Silent => Told::NoAnswer { why: "connection timed out" },
        Answer::Refused { code, text, greeting } => {
            let stage = if *greeting { Stage::Greeting } else { Stage::Rcpt };
            let (first, rest) = text.split_once(' ').unwrap_or(("", text));
            let enhanced = first.parse::<Enhanced>().ok();
            let said = if enhanced.is_some() { rest } else { text };
            let provider = route::group::provider_of(group).map(|p| p.id);
            let refusal = Refusal { stage, code: *code, enhanced, text: said, provider, mx_host: None };
            let reading = route::classify(&refusal);
            Told::Refused { stage, reading, permanent: *code >= 500, reply: text }
        }
    }
}
