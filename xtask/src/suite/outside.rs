//! Outside tests: each `tests/outside/*.py` starts what it needs on loopback ports of its own,
//! prints `ok NAME` or `not ok NAME: why` per test, and ends by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::steps::Counts;

/// Scripts that run at the same time; the machine to think of has two cores.
const AT_ONCE: usize = 2;
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(600);

pub fn binary(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release/postroad")
}

pub fn run(root: &Path, names: &[String], log: &Path) -> Counts {
    let scripts = scripts(root, names);
    if scripts.is_empty() {
        println!("no outside test of that name in tests/outside");
        return Counts::one(false);
    }
    let queue = Mutex::new(scripts.into_iter().enumerate().collect::<Vec<_>>());
    let done = Mutex::new((Counts::default(), String::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue
                        .lock()
                        .ok()
                        .and_then(|mut q| if q.is_empty() { None } else { Some(q.remove(0)) });
                    let Some((slot, script)) = next else { return };
                    let (counts, text) = one(root, &script, slot);
                    if let Ok(mut done) = done.lock() {
                        done.0.add(counts);
                        done.1.push_str(&text);
                    }
                }
            });
        }
    });
    let Ok((counts, text)) = done.into_inner() else { return Counts::one(false) };
    if let Err(e) = std::fs::write(log, text) {
        println!("cannot write {}: {e}", log.display());
    }
    counts
}

fn scripts(root: &Path, names: &[String]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root.join("tests/outside"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "py"))
        .filter(|p| p.file_stem().is_some_and(|s| !matches!(s.to_str(), Some("lab" | "names" | "serving"))))
        .filter(|p| names.is_empty() || names.iter().any(|n| p.file_stem().is_some_and(|s| s == n.as_str())))
        .collect();
    found.sort();
    found
}

fn one(root: &Path, script: &Path, slot: usize) -> (Counts, String) {
    let name = script.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let out_path = root.join(format!("target/test-logs/outside-{name}.log"));
    let begun = Instant::now();
    let python = root.join("target/outside-venv/bin/python3");
    let python = if python.exists() { python } else { PathBuf::from("python3") };
    let child = std::fs::File::create(&out_path).and_then(|file| {
        Command::new(python)
            .arg(script)
            .env("POSTROAD", binary(root))
            .env("PORT_BASE", (21_000 + slot * 200).to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(root)
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .spawn()
    });
    let ended = child.map(|child| wait(child, begun));
    let text = std::fs::read_to_string(&out_path).unwrap_or_default();
    let mut counts = Counts {
        passed: text.lines().filter(|l| l.starts_with("ok ")).count(),
        failed: text.lines().filter(|l| l.starts_with("not ok ")).count(),
    };
    if !matches!(ended, Ok(true)) || counts == Counts::default() {
        counts.failed = counts.failed.max(1);
    }
    println!(
        "   {name}: {} passed, {} failed in {:.1} s",
        counts.passed,
        counts.failed,
        begun.elapsed().as_secs_f32()
    );
    if counts.failed > 0 {
        for line in text.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev() {
            println!("     | {line}");
        }
    }
    (counts, format!("== {name}\n{text}\n"))
}

fn wait(mut child: std::process::Child, begun: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if begun.elapsed() < SCRIPT_TIME_MAX => std::thread::sleep(Duration::from_millis(100)),
            Ok(None) => {
                println!("   stopped after {} s", SCRIPT_TIME_MAX.as_secs());
                return child.kill().and_then(|()| child.wait()).is_ok_and(|_| false);
            }
            Err(_) => return false,
        }
    }
}
