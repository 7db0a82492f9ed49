//! Steps with their times, their logs and the closing count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How many tests a step ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
}

impl Counts {
    pub fn one(ok: bool) -> Counts {
        Counts { passed: usize::from(ok), failed: usize::from(!ok) }
    }
    pub fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

pub struct Steps {
    root: PathBuf,
    only: Option<String>,
    total: Counts,
    failed_steps: Vec<String>,
    begun: Instant,
}

impl Steps {
    pub fn new(root: &Path, only: Option<String>) -> Steps {
        Steps {
            root: root.to_path_buf(),
            only,
            total: Counts::default(),
            failed_steps: Vec::new(),
            begun: Instant::now(),
        }
    }

    pub fn ok(&self) -> bool {
        self.failed_steps.is_empty()
    }

    /// Runs one step; its log file lies in `target/test-logs/NAME.log`.
    pub fn step(&mut self, name: &str, work: impl FnOnce(&Path) -> Counts) {
        if self.only.as_deref().is_some_and(|only| only != name && name != "build") {
            return;
        }
        println!("== {name}");
        let log = self.log_path(name);
        let begun = Instant::now();
        let counts = work(&log);
        let took = begun.elapsed().as_secs_f32();
        println!("== {name}: {} passed, {} failed in {took:.1} s", counts.passed, counts.failed);
        if counts.failed > 0 {
            self.failed_steps.push(name.to_owned());
        }
        self.total.add(counts);
    }

    pub fn cargo(&mut self, name: &str, args: &[&str]) {
        let root = self.root.clone();
        self.step(name, |log| {
            let output =
                Command::new(env!("CARGO")).args(args).current_dir(&root).stdin(Stdio::null()).output();
            let Ok(output) = output else {
                println!("cannot start cargo: is it on this machine?");
                return Counts::one(false);
            };
            let text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            );
            if let Err(e) = std::fs::write(log, &text) {
                println!("cannot write {}: {e}", log.display());
            }
            let mut counts = test_counts(&text);
            if !output.status.success() {
                print_failures(&text);
                counts.failed = counts.failed.max(1);
            } else if counts == Counts::default() {
                counts.passed = 1;
            }
            counts
        });
    }

    pub fn finish(self) -> bool {
        println!("took {:.0} s in all", self.begun.elapsed().as_secs_f32());
        if !self.failed_steps.is_empty() {
            println!("failed steps: {} (logs in target/test-logs)", self.failed_steps.join(", "));
        }
        println!("{} passed, {} failed", self.total.passed, self.total.failed);
        self.total.failed == 0
    }

    fn log_path(&self, name: &str) -> PathBuf {
        let dir = self.root.join("target/test-logs");
        if let Err(e) = std::fs::create_dir_all(&dir) {
            println!("cannot make {}: {e}", dir.display());
        }
        dir.join(format!("{name}.log"))
    }
}

/// Adds up libtest's closing lines.
fn test_counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter(|l| l.starts_with("test result:")) {
        let number = |word: &str| -> usize {
            line.split(';')
                .find_map(|part| part.trim().strip_suffix(word)?.rsplit(' ').find_map(|n| n.parse().ok()))
                .unwrap_or(0)
        };
        counts.add(Counts { passed: number(" passed"), failed: number(" failed") });
    }
    counts
}

/// What a person wants to see of a long log: the failures, and the end of it.
fn print_failures(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let telling = |l: &&&str| {
        l.starts_with("error")
            || l.contains("panicked at")
            || l.ends_with("FAILED")
            || l.starts_with("---- ")
            || l.starts_with("  --> ")
    };
    for line in lines.iter().filter(telling).take(60) {
        println!("   {line}");
    }
    for line in lines.iter().rev().take(40).rev() {
        println!(" | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_test_binaries_are_added() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\nx\ntest result: FAILED. 2 passed; 4 failed; 0 ignored";
        assert_eq!(test_counts(text), Counts { passed: 5, failed: 4 });
    }
}
