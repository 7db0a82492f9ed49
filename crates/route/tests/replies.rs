//! Replies in the manner of many servers are read for what they complain about.

use route::{Class, Refusal, Remedy, classify};

fn cases() -> impl Iterator<Item = (Class, u16, &'static str, &'static str, &'static str)> {
    include_str!("replies.txt").lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(|line| {
        let mut parts = line.splitn(5, '|');
        let mut next = || parts.next().expect("five fields");
        let label = next().parse().expect("a label");
        (label, next().parse().expect("a code"), next(), next(), next())
    })
}

fn read(code: u16, enhanced: &str, provider: &'static str, text: &str) -> route::Reading {
    let provider = Some(provider).filter(|p| !p.is_empty());
    classify(&Refusal { code, enhanced: enhanced.parse().ok(), text, provider, ..Refusal::default() })
}

#[test]
fn replies_are_read_for_their_cause() {
    let mut wrong = Vec::new();
    for (want, code, enhanced, provider, text) in cases() {
        let got = read(code, enhanced, provider, text);
        if got.class != want {
            wrong.push(format!(
                "{want} read as {} [{} {:.2}]: {code} {enhanced} {text}",
                got.class, got.rule, got.confidence
            ));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_final_refusal_of_recipient_or_content_never_goes_to_another_egress() {
    for (label, code, enhanced, provider, text) in cases() {
        if matches!(label, Class::Recipient | Class::Content) && code >= 500 {
            assert_eq!(read(code, enhanced, provider, text).remedy(true), Remedy::Bounce, "{text}");
        }
    }
}

#[test]
fn a_refused_address_is_never_a_bounce_whatever_the_code() {
    for (label, code, enhanced, provider, text) in cases() {
        if label == Class::IpReputation {
            assert_eq!(
                read(code, enhanced, provider, text).remedy(code >= 500),
                Remedy::OtherEgress,
                "{text}"
            );
        }
    }
}

#[test]
fn one_line_in_gives_one_line_out() {
    let input = b"{\"id\":\"a\",\"code\":\"550\",\"enhanced\":\"5.1.1\",\"text\":\"User unknown\",\"provider\":\"other\",\"mx_hint\":\"\"}\n\n{\"id\":2,\"code\":554,\"text\":\"blocked using zen.spamhaus.org; Error: open resolver\"}\n";
    let mut out = Vec::new();
    assert_eq!(route::check_replies(&input[..], &mut out).expect("reads"), 2);
    let lines: Vec<serde_json::Value> = String::from_utf8(out)
        .expect("text")
        .lines()
        .map(|l| serde_json::from_str(l).expect("json"))
        .collect();
    assert_eq!((lines[0]["id"].as_str(), lines[0]["label"].as_str()), (Some("a"), Some("recipient")));
    assert_eq!((lines[1]["id"].as_i64(), lines[1]["label"].as_str()), (Some(2), Some("transient")));
    assert!(route::check_replies(&b"nonsense\n"[..], &mut Vec::new()).is_err());
}
