//! The mail: one message after the other in the order of time, the same for both runs.

use stdx::{Dice, Now, Span};

use super::moods::{DAY0, World};

/// Our senders' domains.
pub const SENDERS: u32 = 300;
/// So many of a hundred recipients do not exist; their bounces are right.
const DEAD_RECIPIENTS: f64 = 0.01;

#[derive(Clone, Debug)]
pub struct Mail {
    pub at: Now,
    pub group: usize,
    pub domain: usize,
    pub sender: u32,
    pub valid: bool,
    pub draw: u64,
}

pub struct Traffic<'a> {
    world: &'a World,
    dice: Dice,
    sums: Vec<f64>,
    left: u64,
    at: f64,
    pace: f64,
}

impl<'a> Traffic<'a> {
    pub fn new(world: &'a World, seed: u64) -> Traffic<'a> {
        let mut sum = 0.0;
        let sums = world.groups.iter().map(|g| {
            sum += g.weight;
            sum
        });
        let pace = world.size.days as f64 * 86_400_000.0 / world.size.messages as f64;
        Traffic {
            world,
            dice: Dice::new(seed).fork("traffic"),
            sums: sums.collect(),
            left: world.size.messages,
            at: 0.0,
            pace,
        }
    }
}

impl Iterator for Traffic<'_> {
    type Item = Mail;

    fn next(&mut self) -> Option<Mail> {
        self.left = self.left.checked_sub(1)?;
        // Gaps are exponential; by day mail comes three times as fast as by night.
        let hour = (self.at / 3_600_000.0) % 24.0;
        let speed = if (8.0..18.0).contains(&hour) { 1.636 } else { 0.545 };
        self.at += -self.dice.unit().max(1e-12).ln() * self.pace / speed;
        let total = self.sums.last().copied().unwrap_or(1.0);
        let spot = self.dice.unit() * total;
        let group = self.sums.partition_point(|s| *s < spot).min(self.sums.len().saturating_sub(1));
        let domains = self.world.groups[group].domains.len() as u64;
        // The first domains of a group have more of its mail.
        let domain = self.dice.below(domains).min(self.dice.below(domains)) as usize;
        Some(Mail {
            at: DAY0 + Span(self.at as u64),
            group,
            domain,
            sender: self.dice.below(u64::from(SENDERS)) as u32,
            valid: !self.dice.chance(DEAD_RECIPIENTS),
            draw: self.dice.next_u64(),
        })
    }
}
