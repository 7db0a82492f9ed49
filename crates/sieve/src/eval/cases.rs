use std::collections::BTreeMap;

use super::*;
use crate::actions::Around;
use crate::compile::{Alone, compile};

const MESSAGE: &str = "From: Bob <bob@x.example>\r\nTo: me+shop@z.example\r\nSubject: Hello world\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n";

struct Home;

impl Around for Home {
    fn folder_exists(&self, name: &str) -> bool {
        name == "Work"
    }
    fn special_use_exists(&self, _folder: Option<&str>, special_use: &str) -> bool {
        special_use == "\\Junk"
    }
    fn seen(&self, mark: &str) -> bool {
        mark.ends_with("<seen@x>")
    }
}

fn run_on(script: &str, message: &str) -> Outcome {
    let limits = Limits::default();
    let script = compile(script, &Alone, &limits).expect("no faults");
    let (environment, own) = (BTreeMap::new(), ["me@z.example".to_owned()]);
    let facts = Facts {
        message: message.as_bytes(),
        sender: Some("bob@x.example"),
        recipient: "me+shop@z.example",
        authenticated: None,
        own: &own,
        delimiters: "+",
        zone_min: 120,
        environment: &environment,
        reply_id: "reply",
        around: &Home,
    };
    evaluate(&script, &facts, Now::from_secs(1_795_358_886), &limits)
}

fn folders(script: &str) -> Vec<String> {
    let name = |a: &Action| match a {
        Action::Keep { .. } => "INBOX".to_owned(),
        Action::FileInto { folder, .. } => folder.clone(),
        other => format!("{other:?}"),
    };
    run_on(script, MESSAGE).actions.iter().map(name).collect()
}

#[test]
fn mail_is_kept_unless_something_else_is_done_with_it() {
    assert_eq!(folders(""), ["INBOX"]);
    assert_eq!(folders("require \"fileinto\"; fileinto \"Work\";"), ["Work"]);
    assert_eq!(folders("require [\"fileinto\", \"copy\"]; fileinto :copy \"Work\";"), ["Work", "INBOX"]);
    assert_eq!(folders("require \"fileinto\"; fileinto \"Work\"; fileinto \"Work\"; stop; keep;"), ["Work"]);
    assert_eq!(folders("discard;"), ["Discard"]);
}

#[test]
fn subaddresses_folders_and_dates_are_tested() {
    let yes = |requires: &str, test: &str| {
        let script = format!("require [\"fileinto\", {requires}]; if {test} {{ fileinto \"yes\"; }}");
        folders(&script) == ["yes"]
    };
    assert!(yes("\"envelope\", \"subaddress\"", "envelope :detail \"to\" \"shop\""));
    assert!(yes("\"mailbox\"", "mailboxexists \"Work\""));
    assert!(!yes("\"mailbox\"", "mailboxexists [\"Work\", \"Play\"]"));
    assert!(yes("\"special-use\"", "specialuse_exists \"\\\\Junk\""));
    assert!(yes("\"date\"", "currentdate \"hour\" \"16\""));
    assert!(yes("\"date\"", "currentdate :zone \"-0100\" \"hour\" \"13\""));
    assert!(yes("\"environment\"", "environment :contains \"name\" \"Postroad\""));
}

#[test]
fn a_script_that_fails_keeps_the_message_as_it_came() {
    let outcome =
        run_on("require [\"reject\", \"editheader\"]; addheader \"X\" \"y\"; keep; reject \"no\";", MESSAGE);
    assert_eq!(outcome.actions, [Action::Keep { flags: vec![], implicit: true, version: 0 }]);
    assert!(outcome.versions.is_empty());
    assert_eq!(outcome.trouble.expect("it fails").place.column, 60);
}

#[test]
fn edits_make_versions_and_actions_name_theirs() {
    let outcome = run_on(
        "require [\"editheader\", \"fileinto\"]; fileinto \"a\"; addheader \"X-A\" \"1\"; fileinto \"b\"; deleteheader \"X-A\"; deleteheader \"subject\"; keep;",
        MESSAGE,
    );
    let versions: Vec<usize> = outcome
        .actions
        .iter()
        .map(|a| match a {
            Action::FileInto { version, .. } | Action::Keep { version, .. } => *version,
            _ => 99,
        })
        .collect();
    assert_eq!((versions, outcome.versions.len()), (vec![0, 1, 2], 2));
    assert!(outcome.versions[0].starts_with(b"X-A: 1\r\nFrom"));
    assert!(!String::from_utf8_lossy(&outcome.versions[1]).contains("Subject"));
}

#[test]
fn vacation_answers_people_who_wrote_to_the_owner_and_nobody_else() {
    let script = "require \"vacation\"; vacation :days 3 :addresses \"me@z.example\" \"Ich bin im Süden.\";";
    let reply = |message: &str| match run_on(script, message).actions.first() {
        Some(Action::Vacation(v)) => v.reply.clone(),
        other => panic!("{other:?}"),
    };
    let sent =
        reply("From: Bob <bob@x.example>\r\nTo: me@z.example\r\nSubject: Hi\r\nMessage-ID: <1@x>\r\n\r\n")
            .expect("a reply");
    let text = String::from_utf8(sent.message).expect("text");
    assert_eq!((sent.to.as_str(), sent.from.as_str()), ("bob@x.example", "me@z.example"));
    for line in [
        "To: \"Bob\" <bob@x.example>\r\n",
        "Subject: Auto: Hi\r\n",
        "In-Reply-To: <1@x>\r\n",
        "Auto-Submitted: auto-replied",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for head in [
        "From: Bob <bob@x.example>\r\nTo: other@z.example\r\n\r\n",
        "From: Bob <bob@x.example>\r\nTo: me@z.example\r\nList-Id: <l.example>\r\n\r\n",
        "From: Bob <bob@x.example>\r\nTo: me@z.example\r\nAuto-Submitted: auto-generated\r\n\r\n",
        "From: Bob <bob@x.example>\r\nTo: me@z.example\r\nPrecedence: bulk\r\n\r\n",
    ] {
        assert!(reply(head).is_err(), "{head}");
    }
}

#[test]
fn duplicates_are_found_and_marked() {
    let script = "require \"duplicate\"; if duplicate :seconds 60 { discard; }";
    let first = run_on(script, MESSAGE);
    assert_eq!((first.marks.len(), first.marks[0].seconds), (1, 60));
    let again = run_on(script, "Message-ID: <seen@x>\r\n\r\n");
    assert_eq!((again.actions.as_slice(), again.marks.len()), (&[Action::Discard][..], 0));
}

#[test]
fn a_script_cannot_run_away() {
    let big = format!("Subject: {}\r\n\r\n", "a".repeat(100_000));
    let tests = "header :matches \"subject\" \"*a*a*a*a*a*a*b\", ".repeat(500);
    let script = format!("if anyof({tests}false) {{ stop; }}");
    let started = std::time::Instant::now();
    let outcome = run_on(&script, &big);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(outcome.actions.len(), 1);
}
