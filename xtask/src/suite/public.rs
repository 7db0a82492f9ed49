//! The public conformance suites, played from folders the user has: imaptest's scripted groups, James'
//! transcripts, Pigeonhole's `.svtest` files.
//!
//! The scripts are other projects' and not in this repository; what they hold us to is held by tests of
//! our own too (docs/conformance.md says where). Begin with [`run`].

use std::path::{Path, PathBuf};
use std::process::Command;

use super::steps::{Counts, Steps};

const HELP: &str = "\
cargo xtask suites [--imaptest DIR] [--james DIR] [--pigeonhole DIR]

  --imaptest DIR     a copy of github.com/dovecot/imaptest
  --james DIR        a copy of github.com/apache/james-project (its mpt folder is enough)
  --pigeonhole DIR   a copy of github.com/dovecot/pigeonhole
";
/// Where in each project the scripts lie.
const IMAPTEST: &str = "src/tests";
const JAMES: &str = "mpt/impl/imap-mailbox/core/src/main/resources/org/apache/james/imap/scripts";
const PIGEONHOLE: &str = "tests";

pub fn run(root: &Path, args: &[String]) -> bool {
    let folder = |name: &str, below: &str| -> Option<PathBuf> {
        let at = args.iter().position(|a| a == name)?;
        let given = args.get(at + 1).map(PathBuf::from)?;
        let inside = given.join(below);
        Some(if inside.is_dir() { inside } else { given })
    };
    let suites = [
        ("imaptest", folder("--imaptest", IMAPTEST)),
        ("james", folder("--james", JAMES)),
        ("pigeonhole", folder("--pigeonhole", PIGEONHOLE)),
    ];
    if suites.iter().all(|(_, folder)| folder.is_none()) {
        print!("{HELP}");
        return false;
    }
    let mut steps = Steps::new(root, None);
    steps.cargo("build", &["build", "--release", "-p", "postroad"]);
    for (name, folder) in suites {
        let Some(folder) = folder else { continue };
        steps.step(name, |log| match name {
            "pigeonhole" => pigeonhole(root, &folder, log),
            _ => script(root, name, &folder, log),
        });
    }
    steps.finish()
}

/// A runner of ours in `tests/suites`, against the release binary.
fn script(root: &Path, name: &str, folder: &Path, log: &Path) -> Counts {
    let output = Command::new("python3")
        .arg(root.join(format!("tests/suites/{name}.py")))
        .arg(folder)
        .env("POSTROAD", super::outside::binary(root))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root)
        .output();
    told(output, log, |text| {
        let last = text.lines().last().unwrap_or_default();
        let number = |word: &str| {
            let before = last.split([',', ':']).find(|part| part.contains(word))?;
            before.split_whitespace().next()?.parse::<usize>().ok()
        };
        Some(Counts { passed: number(" passed")?, failed: number(" failed")? })
    })
}

/// The `.svtest` files are played inside the crate: their `testsuite` extension needs its inner parts.
fn pigeonhole(root: &Path, folder: &Path, log: &Path) -> Counts {
    let output = Command::new(env!("CARGO"))
        .args(["test", "-q", "-p", "sieve", "--lib", "pigeonhole", "--", "--nocapture"])
        .env("PIGEONHOLE_TESTS", folder)
        .current_dir(root)
        .output();
    told(output, log, |text| {
        let line = text.lines().find(|l| l.contains(" files pass whole"))?;
        let mut words = line.split_whitespace().filter_map(|w| w.parse::<usize>().ok());
        let (whole, all) = (words.next()?, words.next()?);
        Some(Counts { passed: whole, failed: all - whole })
    })
}

fn told(
    output: std::io::Result<std::process::Output>,
    log: &Path,
    count: impl Fn(&str) -> Option<Counts>,
) -> Counts {
    let output = match output {
        Ok(output) => output,
        Err(e) => {
            println!("cannot start the runner ({e})");
            return Counts::one(false);
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let both = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if let Err(e) = std::fs::write(log, &both) {
        println!("cannot write {}: {e}", log.display());
    }
    print!("{text}");
    count(&text).unwrap_or_else(|| {
        println!("{both}");
        Counts::one(false)
    })
}
