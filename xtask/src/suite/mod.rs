//! What the README's test command runs, step by step, each with its time and a clear failure.
//!
//! Begin with [`run`]. Steps: packages, tidy, clippy, build, cargo (unit, talk, law, cut, fuzz
//! corpora, scenes), outside (real clients and peers on the wire).

mod outside;
mod packages;
mod public;
mod steps;

use std::path::Path;

use steps::{Counts, Steps};

pub fn run(root: &Path, args: &[String]) -> bool {
    let only = args.iter().position(|a| a == "--only").and_then(|at| args.get(at + 1)).cloned();
    let fast = args.iter().any(|a| a == "--fast");
    let mut steps = Steps::new(root, only);
    steps.step("packages", |_| packages::install(root));
    steps.step("tidy", |_| Counts::one(crate::tidy::run(root)));
    if !fast {
        steps.cargo("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    }
    steps.cargo("build", &["build", "--release", "-p", "postroad"]);
    steps.cargo("cargo", &["test", "--workspace", "--no-fail-fast"]);
    if !fast {
        steps.step("outside", |log| outside::run(root, &[], log));
    }
    steps.finish()
}

pub fn outside_only(root: &Path, names: &[String]) -> bool {
    let mut steps = Steps::new(root, None);
    steps.step("packages", |_| packages::install(root));
    steps.cargo("build", &["build", "--release", "-p", "postroad"]);
    steps.step("outside", |log| outside::run(root, names, log));
    steps.finish()
}

/// The public conformance suites from folders the user has.
pub fn suites(root: &Path, args: &[String]) -> bool {
    public::run(root, args)
}

pub fn packages(root: &Path) -> bool {
    packages::install(root).failed == 0
}

/// The bench is a script of its own beside the outside tests: it needs root, a C compiler and
/// Debian's Postfix and Dovecot as the peer.
pub fn bench(root: &Path, args: &[String]) -> bool {
    let mut steps = Steps::new(root, None);
    steps.cargo("build", &["build", "--release", "-p", "postroad"]);
    let mut command = std::process::Command::new("python3");
    command.arg(root.join("tests/bench/bench.py")).args(args).env("POSTROAD", outside::binary(root));
    command.current_dir(root);
    steps.ok() && command.status().is_ok_and(|s| s.success())
}
