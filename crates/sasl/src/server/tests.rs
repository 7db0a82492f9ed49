use super::*;
use crate::scram::prove;

fn b64(text: &str) -> Vec<u8> {
    encode(text.as_bytes()).into_bytes()
}

fn challenge(step: Step) -> String {
    match step {
        Step::Challenge(text) => String::from_utf8(decode(text.as_bytes()).expect("base64")).expect("text"),
        Step::Ask(_) => panic!("a question where a challenge was due"),
        Step::Done => panic!("done too early"),
        Step::Failed(why) => panic!("failed: {why:?}"),
    }
}

fn failure(step: Step) -> Failure {
    match step {
        Step::Failed(why) => why,
        _ => panic!("no failure"),
    }
}

fn asked_password(step: Step) -> (String, Option<String>, String) {
    match step {
        Step::Ask(Question::Password { user, acting_as, password, .. }) => {
            (user, acting_as, password.reveal().clone())
        }
        _ => panic!("no password question"),
    }
}

#[test]
fn plain_is_read_with_and_without_an_initial_response() {
    // RFC 4616 §4.
    let (_, step) = Exchange::begin(Mechanism::Plain, Some(&b64("\0tim\0tanstaaftanstaaf")), None, false);
    assert_eq!(asked_password(step), ("tim".into(), None, "tanstaaftanstaaf".into()));
    let (mut ex, step) = Exchange::begin(Mechanism::Plain, None, None, false);
    assert_eq!(challenge(step), "");
    let step = ex.line(&b64("Ursel\0Kurt\0xipj3plmq"));
    assert_eq!(asked_password(step), ("Kurt".into(), Some("Ursel".into()), "xipj3plmq".into()));
    assert!(matches!(ex.answered(Answer::Granted), Step::Done));
}

#[test]
fn login_asks_for_name_and_password_in_turn() {
    let (mut ex, step) = Exchange::begin(Mechanism::Login, None, None, false);
    assert_eq!(challenge(step), "Username:");
    assert_eq!(challenge(ex.line(&b64("tim"))), "Password:");
    assert_eq!(asked_password(ex.line(&b64("secret"))), ("tim".into(), None, "secret".into()));
    assert_eq!(failure(ex.answered(Answer::Refused(Failure::Wrong))), Failure::Wrong);
    let (_, step) = Exchange::begin(Mechanism::Login, Some(&b64("tim")), None, false);
    assert_eq!(challenge(step), "Password:");
}

#[test]
fn broken_and_cancelled_exchanges_end() {
    let begin = |m, line: &[u8]| failure(Exchange::begin(m, Some(line), None, false).1);
    assert_eq!(begin(Mechanism::Plain, b"*"), Failure::Cancelled);
    for line in [&b"!!"[..], b"=", &b64("a\0b"), &b64("a\0b\0c\0d"), &b64("\0\0x"), &b64("\0x\0")] {
        assert!(matches!(begin(Mechanism::Plain, line), Failure::Malformed(_)), "{line:?}");
    }
    let long = b64(&format!("\0u\0{}", "x".repeat(PASSWORD_MAX + 1)));
    assert!(matches!(begin(Mechanism::Plain, &long), Failure::Malformed(_)));
    assert!(matches!(begin(Mechanism::Plain, &vec![b'A'; LINE_MAX + 4]), Failure::Malformed(_)));
}

#[test]
fn a_latin_1_password_is_understood() {
    let (_, step) = Exchange::begin(Mechanism::Plain, Some(encode(b"\0u\0p\xe4ss").as_bytes()), None, false);
    assert_eq!(asked_password(step).2, "päss");
}

/// Runs a whole SCRAM conversation with a client that knows `password`.
fn scram(mechanism: Mechanism, header: &str, tls: Option<&TlsFacts>, password: &str) -> Step {
    let hash = mechanism.scram().expect("SCRAM");
    let bare = "n=bob=2Cx,r=clientnonce";
    let first = format!("{header}{bare}");
    let (mut ex, step) = Exchange::begin(mechanism, Some(&b64(&first)), tls, tls.is_some());
    let Step::Ask(Question::Keys { user, .. }) = step else { return step };
    assert_eq!(user, "bob,x");
    let keys = Keys::derive(hash, "pencil", b"0123456789abcdef", 4096);
    let server_first = challenge(ex.answered(Answer::Keys { keys: vec![keys.clone()], nonce: [7; 18] }));
    let nonce = server_first.strip_prefix("r=").and_then(|r| r.split(',').next()).expect("nonce");
    let mut channel = header.as_bytes().to_vec();
    if header.starts_with("p=tls-exporter") {
        channel.extend_from_slice(b"exported");
    }
    let without = format!("c={},r={nonce}", encode(&channel));
    let auth = format!("{bare},{server_first},{without}");
    let (proof, signature) = prove(hash, password, (&keys.salt, 4096), auth.as_bytes());
    let step = ex.line(&b64(&format!("{without},p={}", encode(&proof))));
    let Step::Ask(Question::Proof { right, .. }) = step else { return step };
    if right.is_none() {
        return ex.answered(Answer::Refused(Failure::Wrong));
    }
    assert_eq!(challenge(ex.answered(Answer::Granted)), format!("v={}", encode(&signature)));
    ex.line(b"")
}

#[test]
fn scram_grants_the_right_password_only() {
    for m in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
        assert!(matches!(scram(m, "n,,", None, "pencil"), Step::Done));
        assert_eq!(failure(scram(m, "n,,", None, "wrong")), Failure::Wrong);
        assert!(matches!(scram(m, "y,,", None, "pencil"), Step::Done));
    }
}

#[test]
fn scram_plus_binds_to_the_channel() {
    let tls = TlsFacts { exporter: Some(b"exported".to_vec()), ..TlsFacts::default() };
    let other = TlsFacts { exporter: Some(b"another".to_vec()), ..TlsFacts::default() };
    let plus = Mechanism::ScramSha256Plus;
    assert!(matches!(scram(plus, "p=tls-exporter,,", Some(&tls), "pencil"), Step::Done));
    assert_eq!(failure(scram(plus, "p=tls-exporter,,", Some(&other), "pencil")), Failure::Wrong);
    // RFC 5802 §6: no binding under -PLUS, an unknown kind, and a stripped offer are refused.
    for (m, header) in [
        (plus, "n,,"),
        (plus, "p=tls-unique,,"),
        (Mechanism::ScramSha256, "y,,"),
        (Mechanism::ScramSha256, "p=tls-exporter,,"),
    ] {
        assert!(matches!(failure(scram(m, header, Some(&tls), "pencil")), Failure::Malformed(_)), "{header}");
    }
}

#[test]
fn the_conversation_of_rfc_7677_section_3_fits() {
    let salt = decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let (proof, signature) = prove(Hash::Sha256, "pencil", (&salt, 4096), auth.as_bytes());
    assert_eq!(encode(&proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_eq!(encode(&signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    let keys = Keys::derive(Hash::Sha256, "pencil", &salt, 4096);
    assert!(keys.proof_fits(Hash::Sha256, auth.as_bytes(), &proof));
}

#[test]
fn a_refused_token_is_told_in_the_mechanisms_way() {
    let hello = "user=bob@x.example\x01auth=Bearer abc\x01\x01";
    let (mut ex, step) = Exchange::begin(Mechanism::XOAuth2, Some(&b64(hello)), None, false);
    assert!(matches!(step, Step::Ask(Question::Token { .. })));
    assert!(challenge(ex.answered(Answer::Refused(Failure::Wrong))).contains("\"status\":\"401\""));
    assert_eq!(failure(ex.line(b"")), Failure::Wrong);
}

#[test]
fn no_input_panics() {
    let mut dice = stdx::Dice::new(11);
    let pieces: [&[u8]; 9] = [
        b"n,,",
        b"p=tls-exporter,,",
        b"n=a,r=b",
        b"\0",
        b"\x01",
        b"a=",
        b"auth=Bearer x\x01\x01",
        b"c=biws,r=b,p=AA==",
        b"\xff=",
    ];
    for _ in 0..20_000 {
        let m = *dice.pick(&Mechanism::ALL).expect("some");
        let mut line = Vec::new();
        for _ in 0..dice.below(6) {
            line.extend_from_slice(dice.pick(&pieces).expect("some"));
        }
        let (mut ex, mut step) = Exchange::begin(m, Some(encode(&line).as_bytes()), None, false);
        for _ in 0..4 {
            step = match step {
                Step::Challenge(_) => ex.line(encode(&line).as_bytes()),
                Step::Ask(Question::Keys { hash, user }) => {
                    ex.answered(Answer::Keys { keys: vec![Keys::nobody(hash, b"s", &user)], nonce: [1; 18] })
                }
                Step::Ask(_) => ex.answered(Answer::Refused(Failure::Wrong)),
                Step::Done | Step::Failed(_) => break,
            };
        }
    }
}

#[test]
fn who_asks_for_what_is_not_taken_is_recorded_with_the_name_he_showed() {
    let asked = |name: &str, initial: Option<&[u8]>, tls: bool| {
        let facts = TlsFacts::default();
        match called(name, initial, tls.then_some(&facts), &Offer::default()) {
            Ok((mechanism, _)) => format!("taken {mechanism}"),
            Err(Question::Unencrypted { user, via }) => format!("unencrypted {via} {user:?}"),
            Err(Question::NotOffered { user, via }) => format!("not offered {via} {user:?}"),
            Err(_) => "another question".to_owned(),
        }
    };
    let plain = encode(b"\0bob@x.example\0pw");
    assert_eq!(asked("plain", None, true), "taken PLAIN");
    assert_eq!(asked("PLAIN", Some(plain.as_bytes()), false), "unencrypted PLAIN Some(\"bob@x.example\")");
    assert_eq!(
        asked("SCRAM-SHA-256", Some(encode(b"n,,n=bob,r=x").as_bytes()), false),
        "unencrypted SCRAM-SHA-256 Some(\"bob\")"
    );
    assert_eq!(asked("cram-md5", None, true), "not offered CRAM-MD5 None");
    assert_eq!(asked("CRAM-MD5", Some(b"!"), false), "unencrypted CRAM-MD5 None");
    assert_eq!(asked("X-EVIL\u{7}", None, true), "not offered another mechanism None");
}
