//! The destinations as they answer one try. What they remember (greylists, counts) belongs to one
//! run; what they feel stands in the [`World`].

use std::collections::HashMap;

use stdx::{Dice, Now, Span};

use super::moods::{Reach, Trouble, World, ZONES};
use super::texts;
use super::traffic::Mail;

pub const ADDRESSES: [&str; 3] = ["192.0.2.36", "198.51.100.23", "203.0.113.20"];
/// A greylist lets a sender in after so long, and forgets it after so many days.
const GREY: Span = Span::mins(5);
const GREY_KEPT: Span = Span::days(35);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    Refused { code: u16, text: String, greeting: bool },
    Silent,
}

pub struct Peers<'a> {
    world: &'a World,
    first_seen: HashMap<(usize, usize, usize, u32), Now>,
    /// (group, egress) → minute and messages in it.
    minutes: HashMap<(usize, usize), (u64, u32)>,
    /// Tries on a path that was blocked for the egress's sake.
    pub burnt: u64,
}

impl<'a> Peers<'a> {
    pub fn new(world: &'a World) -> Peers<'a> {
        Peers { world, first_seen: HashMap::new(), minutes: HashMap::new(), burnt: 0 }
    }

    pub fn answer(&mut self, mail: &Mail, egress: usize, now: Now) -> Answer {
        let group = &self.world.groups[mail.group];
        let live = |from: Now, until: Now| from <= now && now < until;
        let spells: Vec<Trouble> =
            group.spells.iter().filter(|s| live(s.from, s.until)).map(|s| s.trouble).collect();
        if spells.contains(&Trouble::Silent) {
            return Answer::Silent;
        }
        let pick = |from: &[&'static str]| from[mail.group % from.len()];
        let say = |code: u16, text: &str, zone: &str, greeting: bool| Answer::Refused {
            code,
            text: text.replace("{ip}", ADDRESSES[egress]).replace("{zone}", zone),
            greeting,
        };
        if spells.contains(&Trouble::Busy) {
            return say(451, pick(texts::BUSY), "", false);
        }
        if let Some(block) = group
            .blocks
            .iter()
            .find(|b| b.egress == egress && live(b.from, b.until) && felt(b.reach, mail, b.from, now))
        {
            self.burnt += 1;
            let text = texts::BLOCKS[block.text];
            let code = if block.permanent && !text.starts_with('4') { 550 } else { 421 };
            let text = if code == 421 { text.replacen("5.7.", "4.7.", 1) } else { text.to_owned() };
            return say(code, &text, "", block.text % 4 == 3);
        }
        let listed = self
            .world
            .listings
            .iter()
            .find(|l| l.egress == egress && live(l.from, l.until) && group.obeys.contains(&l.zone));
        if let Some(listing) = listed {
            self.burnt += 1;
            return say(554, pick(texts::CITES), ZONES[listing.zone], false);
        }
        for trouble in spells {
            match trouble {
                Trouble::Resolver => return say(554, texts::RESOLVER, "", false),
                Trouble::DeadList => {
                    self.burnt += 1;
                    return say(554, texts::DEAD, "", false);
                }
                Trouble::Throttle { per_minute, permanent }
                    if self.too_fast(mail.group, egress, per_minute, now) =>
                {
                    return match permanent {
                        true => say(550, pick(texts::RATES_FINAL), "", false),
                        false => say(421, pick(texts::RATES), "", false),
                    };
                }
                _ => {}
            }
        }
        if group.greylists_from.is_some_and(|from| from <= now) && self.greylisted(mail, egress, now) {
            return say(451, texts::GREYLISTED, "", false);
        }
        match mail.valid {
            true => Answer::Taken,
            false => say(550, pick(texts::UNKNOWN), "", false),
        }
    }

    fn too_fast(&mut self, group: usize, egress: usize, per_minute: u32, now: Now) -> bool {
        let minute = now.0 / 60_000;
        let seen = self.minutes.entry((group, egress)).or_insert((minute, 0));
        if seen.0 != minute {
            *seen = (minute, 0);
        }
        seen.1 += 1;
        seen.1 > per_minute
    }

    fn greylisted(&mut self, mail: &Mail, egress: usize, now: Now) -> bool {
        let key = (mail.group, mail.domain, egress, mail.sender);
        let first = *self.first_seen.entry(key).or_insert(now);
        if now.since(first) > GREY_KEPT {
            self.first_seen.insert(key, now);
            return true;
        }
        now.since(first) < GREY
    }
}

/// Whether this domain feels the block now.
fn felt(reach: Reach, mail: &Mail, from: Now, now: Now) -> bool {
    let draw = |salt: u64| Dice::new(from.0 ^ ((mail.domain as u64 + 1) << 40) ^ salt).unit();
    match reach {
        Reach::Whole => true,
        Reach::Some => draw(0) < 0.55,
        Reach::Flips => draw(now.0 / 300_000) < 0.5,
    }
}
