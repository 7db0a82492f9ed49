//! Replies in the manner of many servers are read for what they complain about.

use route::{Class, Refusal, Remedy, Stage, classify};

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

/// Before MAIL FROM a server knows nothing of a client but its address.
#[test]
fn a_refusal_at_the_greeting_that_names_no_cause_is_said_of_the_address() {
    let at = |stage, code, text| classify(&Refusal { stage, code, text, ..Refusal::default() });
    for text in ["Denied", "Message refused by local policy", "Go away"] {
        let reading = at(Stage::Greeting, 554, text);
        assert_eq!(reading.remedy(true), Remedy::OtherEgress, "{text}: {reading:?}");
        assert_ne!(at(Stage::EndOfData, 554, text).class, Class::IpReputation, "{text}");
    }
    assert_eq!(at(Stage::Greeting, 421, "Service not available, try later").class, Class::Transient);
    assert_eq!(at(Stage::Greeting, 554, "Too many connections").class, Class::Rate);
}

#[test]
fn a_status_in_the_text_counts_as_one_beside_it() {
    assert_eq!(read(550, "", "", "sorry, no such thing (#5.1.1)").class, Class::Recipient);
}

/// A documented code of a provider is not outvoted by what the words sound like.
#[test]
fn documented_codes_stand_against_the_fallback() {
    let reading = read(421, "", "yahoo", "[GL01] Message from (192.0.2.7) temporarily deferred");
    assert_eq!((reading.class, reading.rule), (Class::Greylist, "yahoo.greylist"));
}
