//! The moods of the destinations: drawn from the seed before any mail flows, so that they owe
//! nothing to the code under test. `docs/sim-quarter.md` says each draw in words.
//!
//! Begin with [`World::draw`].

use stdx::{Dice, Now, Span};
use words::Domain;

use super::texts;

/// A Wednesday in November; the quarter begins at its midnight, UTC.
pub const DAY0: Now = Now(1_700_006_400_000);
/// Ways out: ours, the fallback relay's, and a third.
pub const EGRESSES: [&str; 3] = ["A", "B", "C"];
/// Block lists in use among the destinations.
pub const ZONES: [&str; 5] = [
    "bl.first.example",
    "dnsbl.second.example",
    "truncate.third.example",
    "psbl.fourth.example",
    "ix.fifth.example",
];

/// The list that dies; [`texts::DEAD`] cites it.
pub const DEAD_ZONE: &str = "dead.list.example";

/// How big.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub groups: usize,
    pub days: u64,
    pub messages: u64,
}

impl Size {
    pub const QUARTER: Size = Size { groups: 200, days: 91, messages: 1_000_000 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every domain of the group.
    Whole,
    /// Only some of its domains, the same ones all the time.
    Some,
    /// Some domains, changing their mind every five minutes.
    Flips,
}

/// The group refuses one egress.
#[derive(Clone, Debug)]
pub struct Block {
    pub egress: usize,
    pub from: Now,
    pub until: Now,
    pub reach: Reach,
    pub text: usize,
    pub permanent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers.
    Silent,
    /// 421 or 451 for everybody.
    Busy,
    /// So many messages a minute per egress, then a 4xx; or a 5xx.
    Throttle { per_minute: u32, permanent: bool },
    /// The recipient's own list look-up is broken and refuses everybody.
    Resolver,
    /// A list that has shut down lists the whole world, and this group obeys it.
    DeadList,
}

#[derive(Clone, Debug)]
pub struct Spell {
    pub from: Now,
    pub until: Now,
    pub trouble: Trouble,
}

#[derive(Clone, Debug)]
pub struct Listing {
    pub zone: usize,
    pub egress: usize,
    pub from: Now,
    pub until: Now,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub domains: Vec<Domain>,
    pub hosts: Vec<Vec<String>>,
    pub weight: f64,
    pub blocks: Vec<Block>,
    pub spells: Vec<Spell>,
    /// Lists it obeys.
    pub obeys: Vec<usize>,
    /// Greylisting, from this day on.
    pub greylists_from: Option<Now>,
}

pub struct World {
    pub size: Size,
    pub groups: Vec<Group>,
    pub listings: Vec<Listing>,
    /// When a list is dead and lists the world.
    pub dead: Vec<(Now, Now)>,
}

impl World {
    pub fn draw(seed: u64, size: Size) -> World {
        let mut dice = Dice::new(seed);
        let mut lists = dice.fork("listings");
        let listings = draw_listings(&mut lists, size.days);
        let dead = draw_spans(&mut dice.fork("dead lists"), 2.0, size.days, (12.0, 72.0));
        let groups = (0..size.groups).map(|n| group(n, &mut dice.fork("group"), size.days, &dead)).collect();
        World { size, groups, listings, dead }
    }
}

/// Beginnings are even over the time; `mean` of them a quarter; lengths are log-normal around the
/// middle of `hours`, within its bounds.
fn draw_spans(dice: &mut Dice, mean: f64, days: u64, hours: (f64, f64)) -> Vec<(Now, Now)> {
    let mean = mean * days as f64 / 91.0;
    let mut left = (-mean).exp();
    let (mut count, mut p) = (0, dice.unit());
    while p > left && count < 20 {
        count += 1;
        p *= dice.unit();
        left = (-mean).exp();
    }
    let middle = (hours.0 * hours.1).sqrt();
    let wide = (hours.1 / hours.0).ln() / 4.0;
    let mut out: Vec<(Now, Now)> = (0..count)
        .map(|_| {
            let from = DAY0 + Span((dice.unit() * days as f64 * 86_400_000.0) as u64);
            let length = (middle.ln() + wide * bell(dice)).exp().clamp(hours.0, hours.1);
            (from, from + Span((length * 3_600_000.0) as u64))
        })
        .collect();
    out.sort();
    out
}

/// Nearly normal: mean 0, deviation 1.
fn bell(dice: &mut Dice) -> f64 {
    (0..12).map(|_| dice.unit()).sum::<f64>() - 6.0
}

fn draw_listings(dice: &mut Dice, days: u64) -> Vec<Listing> {
    let mut out = Vec::new();
    for (egress, mean) in [(0, 1.0), (1, 0.4), (2, 0.3)] {
        for zone in 0..ZONES.len() {
            for (from, until) in draw_spans(dice, mean, days, (6.0, 60.0)) {
                out.push(Listing { zone, egress, from, until });
            }
        }
    }
    out.sort_by_key(|l| (l.from, l.egress, l.zone));
    out
}

fn group(n: usize, dice: &mut Dice, days: u64, dead: &[(Now, Now)]) -> Group {
    let (name, domains, hosts) = names(n);
    let mut blocks = Vec::new();
    for (egress, mean) in [(0, 1.2), (1, 0.5), (2, 0.4)] {
        for (from, until) in draw_spans(dice, mean, days, (1.0, 14.0 * 24.0)) {
            let reach = match dice.unit() {
                p if p < 0.60 => Reach::Whole,
                p if p < 0.85 => Reach::Some,
                _ => Reach::Flips,
            };
            let (text, permanent) = (dice.below(texts::BLOCKS.len() as u64) as usize, dice.chance(0.88));
            blocks.push(Block { egress, from, until, reach, text, permanent });
        }
    }
    let mut spells = Vec::new();
    let mut add = |spans: Vec<(Now, Now)>, dice: &mut Dice, trouble: &dyn Fn(&mut Dice) -> Trouble| {
        for (from, until) in spans {
            spells.push(Spell { from, until, trouble: trouble(dice) });
        }
    };
    let spans = draw_spans(dice, 2.0, days, (0.1, 10.0));
    add(spans, dice, &|d| if d.chance(0.5) { Trouble::Silent } else { Trouble::Busy });
    let spans = draw_spans(dice, 2.0, days, (1.0, 24.0));
    add(spans, dice, &|d| Trouble::Throttle { per_minute: 2 + d.below(19) as u32, permanent: d.chance(0.2) });
    let spans = draw_spans(dice, 0.3, days, (2.0, 20.0));
    add(spans, dice, &|_| Trouble::Resolver);
    // A tenth of the groups uses a list on the day it dies; their operators notice within a day.
    for (from, until) in dead {
        if dice.chance(0.1) {
            let noticed = *from + Span((dice.unit() * 20.0 * 3_600_000.0) as u64 + 3_600_000);
            spells.push(Spell { from: *from, until: noticed.min(*until), trouble: Trouble::DeadList });
        }
    }
    let obeys = (0..ZONES.len()).filter(|_| dice.chance(0.25)).collect();
    let greylists_from = dice.chance(0.2).then(|| DAY0 + Span::days(dice.below(days)));
    Group { name, domains, hosts, weight: 1.0 / (n as f64 + 4.0), blocks, spells, obeys, greylists_from }
}

/// The first three are families of one big company and a webmailer, with a host name per tenant;
/// the others are hosters with one pair of hosts each.
fn names(n: usize) -> (String, Vec<Domain>, Vec<Vec<String>>) {
    let count = 1 + 60 / (n + 2);
    let family = ["mail.protection.outlook.com", "olc.protection.outlook.com", "google.com"].get(n);
    let mut domains = Vec::new();
    let mut hosts = Vec::new();
    for d in 0..count {
        let Ok(domain) = Domain::new(&format!("d{d}-g{n}.example")) else { continue };
        hosts.push(match family {
            Some(suffix) => vec![format!("d{d}-g{n}-example.{suffix}")],
            None => vec![format!("mx1.g{n}-hoster.example"), format!("mx2.g{n}-hoster.example")],
        });
        domains.push(domain);
    }
    let none = route::Banners::new();
    let name = domains.first().map_or(String::new(), |d| route::group_of(d, &hosts[0], &none));
    (name, domains, hosts)
}
