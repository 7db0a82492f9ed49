//! `cargo xtask sim quarter --seed N [--json]`: a quarter of a year of mail to destinations whose
//! moods change, once under Postroad's own judgement and once under static Postfix transports with
//! a fallback relay. Same seed, same table.
//!
//! What it is not: a test of the wire; conversations are one answer each. Begin with [`moods`]
//! (what happens to the world), then [`ours`] and [`fixed`]. `docs/sim-quarter.md` has it in words.

mod agenda;
mod fixed;
mod moods;
mod ours;
mod peers;
mod score;
mod texts;
mod traffic;

use std::process::Command;

use moods::{Size, World};
use score::Score;
use serde_json::json;

const USAGE: &str = "cargo xtask sim quarter --seed N [--json] [--groups N] [--days N] [--messages N]";

struct Asked {
    seed: u64,
    json: bool,
    size: Size,
}

pub fn run(args: &[String]) -> bool {
    let asked = match read(args) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\nusage: {USAGE}");
            return false;
        }
    };
    // A million messages want an optimised build.
    if cfg!(debug_assertions) && asked.size.messages > 100_000 {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--release", "--quiet", "-p", "xtask", "--", "sim"]).args(args);
        return cargo.status().is_ok_and(|s| s.success());
    }
    let (ours, fixed) = both(asked.seed, asked.size);
    match asked.json {
        true => println!("{}", json!({ "postroad": ours.json(), "static": fixed.json() })),
        false => print!("{}", table(&asked, &ours, &fixed)),
    }
    true
}

fn read(args: &[String]) -> Result<Asked, String> {
    if args.first().map(String::as_str) != Some("quarter") {
        return Err("there is one simulation: quarter".to_owned());
    }
    let mut asked = Asked { seed: 1, json: false, size: Size::QUARTER };
    let mut rest = args[1..].iter();
    while let Some(arg) = rest.next() {
        if arg == "--json" {
            asked.json = true;
            continue;
        }
        let number = rest.next().and_then(|v| v.parse::<u64>().ok()).filter(|n| *n > 0 || arg == "--seed");
        let number = number.ok_or_else(|| format!("{arg} wants a number"))?;
        match arg.as_str() {
            "--seed" => asked.seed = number,
            "--groups" => asked.size.groups = number.min(10_000) as usize,
            "--days" => asked.size.days = number.min(3_660),
            "--messages" => asked.size.messages = number,
            _ => return Err(format!("{arg} is not known here")),
        }
    }
    Ok(asked)
}

/// Both runs over the same world and the same mail.
fn both(seed: u64, size: Size) -> (Score, Score) {
    let world = World::draw(seed, size);
    (ours::run(&world, seed), fixed::run(&world, seed))
}

fn table(asked: &Asked, ours: &Score, fixed: &Score) -> String {
    let size = asked.size;
    let mut out = format!(
        "{} messages to {} groups in {} days, seed {}\n{:<28}{:>14}{:>14}\n",
        size.messages, size.groups, size.days, asked.seed, "", "Postroad", "static"
    );
    let mut row = |name: &str, a: String, b: String| out += &format!("{name:<28}{a:>14}{b:>14}\n");
    let count = |a: u64, b: u64| (a.to_string(), b.to_string());
    let (a, b) = count(ours.bounced_legitimate, fixed.bounced_legitimate);
    row("bounced legitimate messages", a, b);
    row("delay, median", ours.delay(0.5).to_string(), fixed.delay(0.5).to_string());
    row("delay, p99", ours.delay(0.99).to_string(), fixed.delay(0.99).to_string());
    let (a, b) = count(ours.burnt, fixed.burnt);
    row("mail burnt on a blocked path", a, b);
    let (a, b) = count(ours.operator_actions, fixed.operator_actions);
    row("operator actions", a, b);
    let (a, b) = count(ours.delivered, fixed.delivered);
    row("delivered", a, b);
    let (a, b) = count(ours.bounced_rightly, fixed.bounced_rightly);
    row("unknown recipients, told so", a, b);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: Size = Size { groups: 40, days: 30, messages: 9_000 };

    #[test]
    fn the_same_seed_gives_the_same_table() {
        let one = both(7, Size { messages: 3_000, ..MONTH });
        assert_eq!(one, both(7, Size { messages: 3_000, ..MONTH }));
        assert_ne!(one, both(8, Size { messages: 3_000, ..MONTH }));
    }

    #[test]
    fn every_message_has_one_end() {
        let (ours, fixed) = both(3, MONTH);
        for score in [&ours, &fixed] {
            let ends = score.delivered + score.bounced_legitimate + score.bounced_rightly;
            assert_eq!(ends, MONTH.messages);
        }
        assert!(ours.bounced_rightly > 0, "unknown recipients are told");
    }

    #[test]
    fn the_world_has_teeth_and_the_judgement_spares_the_mail() {
        for seed in [1, 2] {
            let (ours, fixed) = both(seed, MONTH);
            let teeth = MONTH.messages / 150;
            assert!(fixed.bounced_legitimate > teeth, "seed {seed}: {}", fixed.bounced_legitimate);
            assert!(
                ours.bounced_legitimate * 10 <= fixed.bounced_legitimate,
                "seed {seed}: {} against {}",
                ours.bounced_legitimate,
                fixed.bounced_legitimate
            );
            assert!(ours.burnt < fixed.burnt, "seed {seed}: burnt {} against {}", ours.burnt, fixed.burnt);
            assert_eq!(ours.operator_actions, 0);
            assert!(fixed.operator_actions > 0);
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let args = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert!(read(&args(&["half-year"])).is_err());
        assert!(read(&args(&["quarter", "--seed"])).is_err());
        let asked = read(&args(&["quarter", "--json", "--seed", "9"])).map(|a| (a.seed, a.json));
        assert_eq!(asked, Ok((9, true)));
    }
}
