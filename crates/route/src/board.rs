//! Which block lists are to be asked about what, and what their answers come to over time.
//!
//! What it is: the monitor's memory as a value. [`Board::due`] says what is to be asked now: each
//! list's test points first, then each address (or name) of ours, never more than once in
//! [`APART`]. [`Board::take`] takes the answers, has [`dnsbl::judge`] read them, and says what
//! changed. What it is not: a resolver; it asks nobody. Begin with [`Board::due`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use stdx::{Now, Span};

use crate::dnsbl::{self, Answer, Finding, ListFacts, Round, Weight};
use crate::egress::{Egress, Kind};
use crate::lists::News;

/// A round begins so often: a listing and its end are seen within ten minutes.
pub const EVERY: Span = Span::mins(6);
/// No list is asked about one address more often than this, whoever wants to know.
pub const APART: Span = Span::mins(5);
/// Findings remembered.
const SEEN_MAX: usize = 10_000;

/// An address or a name of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Ip(IpAddr),
    Name(String),
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Ip(ip) => write!(f, "{ip}"),
            What::Name(name) => f.write_str(name),
        }
    }
}

/// What is watched, and which ways out it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub what: What,
    pub egresses: Vec<String>,
    /// Whether the world knows it ([`dnsbl::is_public`]).
    pub public: bool,
}

/// Every address and every EHLO name of our ways out, each once.
pub fn subjects(egresses: &[Egress]) -> Vec<Subject> {
    let mut out: Vec<Subject> = Vec::new();
    let mut add = |what: What, egress: &str, public: bool| match out.iter_mut().find(|s| s.what == what) {
        Some(known) => {
            known.egresses.push(egress.to_owned());
            known.public |= public;
        }
        None => out.push(Subject { what, egresses: vec![egress.to_owned()], public }),
    };
    for egress in egresses {
        for ip in &egress.addresses {
            add(What::Ip(*ip), &egress.name, dnsbl::is_public(*ip));
        }
        if let Kind::Address { helo, .. } = &egress.kind
            && !egress.addresses.is_empty()
        {
            let public = egress.addresses.iter().any(|ip| dnsbl::is_public(*ip));
            add(What::Name(helo.clone()), &egress.name, public);
        }
    }
    out
}

/// Questions to one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    pub list: ListFacts,
    /// Names whose A records prove the list alive: the first must be listed, the second must not.
    pub proof: [String; 2],
    /// Their answers, if they were given a moment ago.
    pub proved: Option<[Answer; 2]>,
    /// What we want to know, and the name to ask.
    pub asks: Vec<(Subject, String)>,
}

impl Errand {
    /// Whether these answers prove the list alive; if not, nothing else need be asked.
    pub fn is_proof(&self, proof: &[Answer; 2]) -> bool {
        let [must_be, must_not_be] = proof.clone();
        let round = Round { must_be, must_not_be, ours: Answer::NoName };
        dnsbl::judge(&self.list, &round).decision == Finding::Clean
    }
}

/// What a list says of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Clean,
    Listed,
    /// The list names our neighbours or our network, not us.
    Neighbours,
    /// The list makes no statement: dead, mute, refusing us, or answering for everything.
    Unusable,
}

/// The last word of one list on one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub list: String,
    pub zone: String,
    pub subject: String,
    pub egresses: Vec<String>,
    pub word: Word,
    pub says: String,
    pub rule: &'static str,
    pub counts: bool,
    pub delist: String,
    /// When it began to say so.
    pub since: u64,
    pub at: u64,
}

/// The rule of what another host asked.
const TOLD: &str = "list.told";

/// A list's word that another host of ours passes on.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub zone: &'a str,
    pub subject: &'a str,
    pub listed: bool,
    pub says: &'a str,
    /// The egress of ours that leads through that host.
    pub egress: &'a str,
    pub by: &'a str,
    /// The list, if it is known here.
    pub list: Option<&'a ListFacts>,
}

/// A word that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub seen: Seen,
    pub before: Option<Word>,
    /// Whether routes may hear of it: a list of addresses, not of names.
    pub of_address: bool,
}

type Key = (String, What);

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Board {
    seen: BTreeMap<Key, Seen>,
    asked: BTreeMap<Key, Now>,
    proofs: BTreeMap<(String, u8), (Now, [Answer; 2])>,
}

impl Board {
    /// A list was asked before this board was made (by the run before): it is not asked again at once.
    pub fn was_asked(&mut self, zone: &str, subjects: &[Subject], at: Now) {
        for subject in subjects {
            self.asked.entry((zone.to_owned(), subject.what.clone())).or_insert(at);
        }
    }

    /// What is to be asked now: everything whose last question is `every` ago.
    pub fn due(&mut self, lists: &[ListFacts], subjects: &[Subject], every: Span, now: Now) -> Vec<Errand> {
        let every = every.max(APART);
        let mut out = Vec::new();
        for list in lists {
            for family in 0..3 {
                let fits = |s: &&Subject| fits(list, s) && family_of(&s.what) == family;
                let asks: Vec<(Subject, String)> = subjects
                    .iter()
                    .filter(fits)
                    .filter(|s| {
                        let key = (list.zone.clone(), s.what.clone());
                        self.asked.get(&key).is_none_or(|at| now.since(*at) >= every)
                    })
                    .map(|s| (s.clone(), name_to_ask(&s.what, &list.zone)))
                    .collect();
                if asks.is_empty() {
                    continue;
                }
                for (subject, _) in &asks {
                    self.asked.insert((list.zone.clone(), subject.what.clone()), now);
                }
                let known = self.proofs.get(&(list.zone.clone(), family));
                let proved = known.filter(|(at, _)| now.since(*at) < APART).map(|(_, proof)| proof.clone());
                out.push(Errand { proof: proof_names(list, family), list: list.clone(), proved, asks });
            }
        }
        self.asked.retain(|_, at| now.since(*at) < Span::days(1));
        out
    }

    /// When the next question falls due.
    pub fn next(&self, lists: &[ListFacts], subjects: &[Subject], now: Now) -> Now {
        let of = |list: &ListFacts, s: &Subject| {
            self.asked.get(&(list.zone.clone(), s.what.clone())).map_or(now, |at| *at + EVERY)
        };
        let all =
            lists.iter().flat_map(|l| subjects.iter().filter(move |s| fits(l, s)).map(move |s| of(l, s)));
        all.min().unwrap_or(now + EVERY)
    }

    /// Takes the answers to an errand, `ours` in the order of its questions.
    pub fn take(&mut self, errand: &Errand, proof: [Answer; 2], ours: Vec<Answer>, now: Now) -> Vec<Change> {
        let list = &errand.list;
        if errand.proved.is_none()
            && let Some((first, _)) = errand.asks.first()
        {
            let family = family_of(&first.what);
            self.proofs.insert((list.zone.clone(), family), (now, proof.clone()));
        }
        let mut changes = Vec::new();
        for ((subject, _), ours) in errand.asks.iter().zip(ours) {
            let [must_be, must_not_be] = proof.clone();
            let verdict = dnsbl::judge(list, &Round { must_be, must_not_be, ours });
            let word = match verdict.decision {
                Finding::Clean => Word::Clean,
                Finding::Listed { .. } => Word::Listed,
                Finding::Neighbours { .. } => Word::Neighbours,
                Finding::Unusable => Word::Unusable,
            };
            let reason = verdict.reasons.first();
            let key = (list.zone.clone(), subject.what.clone());
            let before = self.seen.get(&key).map(|s| (s.word, s.since));
            let since = before.filter(|(w, _)| *w == word).map_or(now.0, |(_, since)| since);
            let seen = Seen {
                list: list.id.clone(),
                zone: list.zone.clone(),
                subject: subject.what.to_string(),
                egresses: subject.egresses.clone(),
                word,
                says: reason.says.clone(),
                rule: reason.rule,
                counts: list.weight != Weight::Information,
                delist: list.delist.clone(),
                since,
                at: now.0,
            };
            let before = before.map(|(w, _)| w);
            if before != Some(word) {
                changes.push(Change { seen: seen.clone(), before, of_address: !list.of_domains });
            }
            if self.seen.len() < SEEN_MAX || self.seen.contains_key(&key) {
                self.seen.insert(key, seen);
            }
        }
        changes
    }

    /// Takes what another host of ours says of a list and an address or name of its own. What this
    /// host asked itself goes before it. The change, if it is one.
    pub fn take_told(&mut self, told: &Told<'_>, now: Now) -> Option<Change> {
        let what = told.subject.parse().map_or_else(|_| What::Name(told.subject.to_owned()), What::Ip);
        let of_address = matches!(what, What::Ip(_));
        let key = (told.zone.to_owned(), what);
        let before = self.seen.get(&key);
        let fresh = before.filter(|s| s.rule != TOLD && now.since(Now(s.at)) < Span::hours(1));
        if fresh.is_some() || (before.is_none() && self.seen.len() >= SEEN_MAX) {
            return None;
        }
        let before = before.map(|s| (s.word, s.since));
        let word = if told.listed { Word::Listed } else { Word::Clean };
        let since = before.filter(|(w, _)| *w == word).map_or(now.0, |(_, since)| since);
        let seen = Seen {
            list: told.list.map_or(told.zone, |l| &l.id).to_owned(),
            zone: told.zone.to_owned(),
            subject: told.subject.to_owned(),
            egresses: vec![told.egress.to_owned()],
            word,
            says: format!("{} reports: {}", told.by, told.says),
            rule: TOLD,
            counts: told.list.is_none_or(|l| l.weight != Weight::Information),
            delist: told.list.map_or(String::new(), |l| l.delist.clone()),
            since,
            at: now.0,
        };
        self.seen.insert(key, seen.clone());
        let before = before.map(|(w, _)| w);
        (before != Some(word)).then_some(Change { seen, before, of_address })
    }

    /// Everything known, by list and subject; what is watched no longer is left out.
    pub fn rows(&self, now: Now) -> Vec<Seen> {
        self.seen.values().filter(|s| now.since(Now(s.at)) < Span::hours(1)).cloned().collect()
    }

    /// What routes are to hear of one list and one way out.
    pub fn news_on(&self, zone: &str, egress: &str) -> Option<News> {
        let of = |seen: &Seen| seen.zone == zone && seen.egresses.iter().any(|e| e == egress);
        let world = || self.seen.values().any(|s| of(s) && s.rule == dnsbl::LISTS_THE_WORLD);
        Some(match self.word_on(zone, egress)? {
            Word::Listed => News::Listed,
            Word::Clean => News::Clean,
            Word::Unusable if world() => News::World,
            // A list that names neighbours says nothing of us: only replies that cite it count.
            Word::Neighbours | Word::Unusable => News::Unusable,
        })
    }

    /// What lists say of one way out, worst first: `Listed` if any of its addresses is.
    pub fn word_on(&self, zone: &str, egress: &str) -> Option<Word> {
        let words = self.seen.iter().filter(|((z, what), seen)| {
            z == zone && matches!(what, What::Ip(_)) && seen.egresses.iter().any(|e| e == egress)
        });
        let rank = |w: Word| match w {
            Word::Listed => 3,
            Word::Unusable => 2,
            Word::Neighbours => 1,
            Word::Clean => 0,
        };
        words.map(|(_, s)| s.word).max_by_key(|w| rank(*w))
    }
}

fn fits(list: &ListFacts, subject: &Subject) -> bool {
    let named = matches!(subject.what, What::Name(_));
    list.of_domains == named && (subject.public || !list.public_only)
}

fn family_of(what: &What) -> u8 {
    match what {
        What::Ip(IpAddr::V4(_)) => 0,
        What::Ip(IpAddr::V6(_)) => 1,
        What::Name(_) => 2,
    }
}

// RFC 5782 §5: 127.0.0.2 and, for IPv6, ::FFFF:7F00:2 are listed; the ones below them are not.
fn proof_names(list: &ListFacts, family: u8) -> [String; 2] {
    let of = |text: &str| text.parse().map_or_else(|_| String::new(), |ip| dnsbl::question(ip, &list.zone));
    match family {
        0 => [of("127.0.0.2"), of("127.0.0.1")],
        1 => [of("::ffff:7f00:2"), of("::ffff:7f00:1")],
        _ => [&list.test_names.0, &list.test_names.1].map(|name| format!("{name}.{}", list.zone)),
    }
}

fn name_to_ask(what: &What, zone: &str) -> String {
    match what {
        What::Ip(ip) => dnsbl::question(*ip, zone),
        What::Name(name) => format!("{name}.{zone}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn subject(ip: &str, egress: &str) -> Subject {
        Subject {
            what: What::Ip(ip.parse().expect("an address")),
            egresses: vec![egress.to_owned()],
            public: false,
        }
    }
    fn yes() -> Answer {
        Answer::Records(vec![Ipv4Addr::new(127, 0, 0, 2)])
    }
    fn alive() -> [Answer; 2] {
        [yes(), Answer::NoName]
    }

    #[test]
    fn no_list_is_asked_twice_within_five_minutes() {
        let lists = [ListFacts::plain("bl.example", Weight::Medium)];
        let subjects = [subject("192.0.2.1", "A")];
        let mut board = Board::default();
        let mut asked = 0;
        for second in (0..3600).step_by(10) {
            // Somebody asks all the time; every answer comes at once.
            for errand in board.due(&lists, &subjects, Span::ZERO, Now::from_secs(second)) {
                asked += errand.asks.len();
                let ours = errand.asks.iter().map(|_| Answer::NoName).collect();
                board.take(&errand, alive(), ours, Now::from_secs(second));
            }
        }
        assert_eq!(asked, 12);
    }

    #[test]
    fn a_listing_and_its_end_are_news_once() {
        let lists = [ListFacts::plain("bl.example", Weight::Medium)];
        let subjects = [subject("192.0.2.1", "A")];
        let mut board = Board::default();
        let mut words = Vec::new();
        let answers = [Answer::NoName, yes(), yes(), Answer::Failed("mute".into()), Answer::NoName];
        for (n, ours) in answers.into_iter().enumerate() {
            let now = Now::from_secs(1_000_000 + n as u64 * 360);
            let errand = board.due(&lists, &subjects, EVERY, now).pop().expect("is due");
            assert_eq!(errand.asks[0].1, "1.2.0.192.bl.example");
            let changes = board.take(&errand, alive(), vec![ours], now);
            words.extend(changes.into_iter().map(|c| c.seen.word));
        }
        assert_eq!(words, [Word::Clean, Word::Listed, Word::Unusable, Word::Clean]);
        assert_eq!(board.word_on("bl.example", "A"), Some(Word::Clean));
    }

    #[test]
    fn a_zone_that_answers_for_everything_lists_nobody() {
        let lists = [ListFacts::plain("bl.example", Weight::Medium)];
        let mut board = Board::default();
        let now = Now::from_secs(9);
        let errand = board.due(&lists, &[subject("192.0.2.1", "A")], EVERY, now).pop().expect("is due");
        assert!(!errand.is_proof(&[yes(), yes()]));
        let changes = board.take(&errand, [yes(), yes()], vec![yes()], now);
        assert_eq!(changes[0].seen.word, Word::Unusable);
    }
}
