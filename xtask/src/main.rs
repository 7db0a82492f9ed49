//! Developers' commands: `cargo xtask test | tidy | bench | sim`.
//!
//! Not part of the product. Begin with [`suite`] (what the README's test command runs), [`tidy`]
//! (the walls of the house) and [`sim`] (a quarter of a year in a minute).

mod sim;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test [--only STEP] [--fast]   install what the outside tests need, then run everything
  tidy                          check the walls: floors, lengths, banned names, docs
  outside [NAME ...]            only the outside tests (all, or those named), binary built first
  packages                      only install the Debian and Python packages of the outside tests
  suites [--NAME DIR ...]       the public suites imaptest, james, pigeonhole from copies you have
  bench [ARGS ...]              ratios against Postfix + Dovecot, measured in the same run
  sim quarter --seed N [--json] a quarter of a year of moody destinations, against static routing
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    let rest = args.get(1..).unwrap_or_default();
    let ok = match args.first().map(String::as_str) {
        Some("test") => suite::run(&root, rest),
        Some("outside") => suite::outside_only(&root, rest),
        Some("packages") => suite::packages(&root),
        Some("suites") => suite::suites(&root, rest),
        Some("bench") => suite::bench(&root, rest),
        Some("sim") => sim::run(rest),
        Some("tidy") => tidy::run(&root),
        _ => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
