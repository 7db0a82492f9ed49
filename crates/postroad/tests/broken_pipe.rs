//! Every verb ends quietly when nobody reads its answer (`postroad … | head`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of this test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("postroad-pipe-{name}-{}", std::process::id()));
        // One of an earlier run may lie there.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a verb whose reader has gone; its code and what it said on standard error.
fn unheard(args: &[&str], input: Option<&Path>) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let input = input.map_or_else(Stdio::null, |p| Stdio::from(File::open(p).expect("the input")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad"));
    command.args(args).stdin(input).stdout(writer).stderr(Stdio::piped());
    let done = command.spawn().expect("it starts").wait_with_output().expect("it ends");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn check(args: &[&str], input: Option<&Path>) {
    let (code, said) = unheard(args, input);
    // 0 only where nothing was left to say.
    assert!(matches!(code, Some(0 | 141)), "{args:?} ended with {code:?}: {said}");
    assert!(!said.contains("panicked") && !said.contains("pipe"), "{args:?} said: {said}");
}

#[test]
fn verbs_without_a_host_end_quietly_when_nobody_reads() {
    let folder = Folder::new("local");
    let refusals = folder.0.join("refusals");
    let one =
        r#"{"id": "1", "code": 550, "enhanced": "5.7.1", "text": "blocked", "provider": "", "mx_hint": ""}"#;
    std::fs::write(&refusals, format!("{one}\n").repeat(5000)).expect("the refusals");
    let config = folder.0.join("postroad.toml");
    std::fs::write(&config, "host_name = \"mx.example.org\"\n").expect("the configuration");
    let config = config.to_str().expect("a path");
    for args in [
        &["--help"][..],
        &["--version"],
        &["config", "explain"],
        &["config", "explain", "--markdown"],
        &["config", "check", config],
        &["--config", config, "config", "show", "--all"],
        &["completions", "bash"],
        &["monitor", "grafana"],
        &["monitor", "rules"],
    ] {
        check(args, None);
    }
    check(&["check", "replies"], Some(&refusals));
}

#[test]
fn orders_end_quietly_when_nobody_reads_and_are_carried_out_all_the_same() {
    let folder = Folder::new("orders");
    let data = folder.0.to_str().expect("a path");
    let password = folder.0.join("password");
    std::fs::write(&password, "a long password\n").expect("the password");
    let password = password.to_str().expect("a path");
    std::fs::write(folder.0.join("host-name"), "mx.example.org").expect("the name");
    for args in [
        &["domain", "add", "example.org"][..],
        &["account", "add", "anna@example.org", "--password-file", password],
        &["alias", "add", "info@example.org", "anna@example.org"],
        &["domain", "list"],
        &["domain", "list", "--json"],
        &["domain", "show", "example.org"],
        &["account", "list"],
        &["alias", "list"],
        &["queue", "list"],
        &["route", "show"],
        &["lists", "show"],
        &["egress", "list"],
        &["logins"],
        &["tls", "report"],
        &["why", "anna@example.org"],
        &["verify"],
        &["link", "key"],
        &["customer", "pin"],
    ] {
        check(&[args, &["--data", data]].concat(), None);
    }
    let list = Command::new(env!("CARGO_BIN_EXE_postroad"))
        .args(["account", "list", "--data", data])
        .output()
        .expect("it runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("anna@example.org"), "{list}");
}

#[test]
fn a_verb_whose_complaints_nobody_reads_does_not_panic_either() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad"));
    command.args(["--config", "/nowhere/at/all.toml", "config", "show"]);
    let done = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer).output().expect("it runs");
    // A panic would end with 101.
    assert_eq!(done.status.code(), Some(1));
}
