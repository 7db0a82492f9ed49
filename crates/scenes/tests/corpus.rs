//! Replays the fuzz corpora: each seed whole, cut short everywhere, and with seeded changes.

#[path = "../../../fuzz/entries.rs"]
mod entries;

use std::path::Path;

use stdx::Dice;

/// Changed copies of each seed.
const CHANGES: usize = 400;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(dir).expect("a corpus").flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.iter().map(|p| std::fs::read(p).expect("readable")).collect()
}

/// A few bytes put, changed, taken or doubled.
fn change(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(out.len() as u64 + 1) as usize;
        let len = dice.below(8).min((out.len() - at) as u64) as usize;
        match dice.below(4) {
            0 => out.insert(at, dice.next_u64() as u8),
            1 if at < out.len() => out[at] ^= 1 << dice.below(8),
            2 => drop(out.drain(at..at + len)),
            _ => {
                let copy = out[at..at + len].to_vec();
                out.splice(at..at, copy);
            }
        }
    }
    out
}

fn replay(name: &str) {
    let (_, entry) = entries::ENTRIES.iter().find(|(n, _)| *n == name).expect("an entry");
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let mut dice = Dice::new(1);
    for seed in &seeds {
        entry(seed);
        for end in (0..seed.len()).step_by(1 + seed.len() / 200) {
            entry(&seed[..end]);
        }
        for _ in 0..CHANGES {
            entry(&change(seed, &mut dice));
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*
        #[test]
        fn every_entry_is_replayed() {
            assert_eq!(entries::ENTRIES.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [$(stringify!($name)),*]);
        }
    };
}

replays! { smtp_server smtp_client imap_server pop3_server managesieve_server sieve_script message mailauth reply link }
