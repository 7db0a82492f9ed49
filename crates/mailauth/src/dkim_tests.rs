use super::*;
use crate::zone::{Zone, now};
use proptest::prelude::*;

const MAIL: &[u8] = b"From: Ann <ann@a.example>\r\nTo: bob@b.example\r\nSubject:  Hi \r\n there\r\n\
    Date: Sun, 22 Nov 2026 14:48:06 +0000\r\nMessage-ID: <1@a.example>\r\n\r\nHello  Bob.\r\n\r\n\r\n";

/// Not secret at all: the same bytes each time.
struct Counting;

impl world::Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = i as u8 + 1;
        }
    }
}

fn signer() -> (Signer, Zone) {
    let pem = SigningKey::generate(Algorithm::Ed25519, &Counting).expect("a key").into_inner();
    let key = SigningKey::from_pem(&pem).expect("reads back");
    let zone = Zone::default().txt("s1._domainkey.a.example", &key.record());
    (Signer { domain: Domain::new("a.example").expect("valid"), selector: "s1".into(), key }, zone)
}

fn signed(mail: &[u8]) -> (Vec<u8>, Zone) {
    let (signer, zone) = signer();
    let field = sign_message(&[signer], mail, Now::from_secs(1000)).expect("signs");
    ([field.as_bytes(), mail].concat(), zone)
}

fn check(zone: &Zone, mail: &[u8]) -> String {
    let all = now(verify(zone, mail, Now::from_secs(2000)));
    all.iter().map(|d| d.result.to_string()).collect::<Vec<_>>().join(" ")
}

fn change(mail: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(mail.to_vec()).expect("ASCII");
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn what_we_sign_we_verify() {
    let (mail, zone) = signed(MAIL);
    assert_eq!(check(&zone, &mail), "pass");
    assert!(
        Head::parse(&mail)
            .get("DKIM-Signature")
            .is_some_and(|f| f.bytes().split(|b| *b == b'\n').all(|l| l.len() < 80))
    );
}

#[test]
fn only_changes_of_form_are_forgiven() {
    let (mail, zone) = signed(MAIL);
    for (from, to, want) in [
        ("Subject:  Hi", "subject: Hi", "pass"),
        ("Hello  Bob.", "Hello Bob. ", "pass"),
        ("Bob.\r\n\r\n\r\n", "Bob.", "pass"),
        ("Hello", "Hallo", "fail"),
        ("Subject:  Hi", "Subject: Ho", "fail"),
        // A second From above or below the first: oversigned.
        ("From:", "From: eve@e.example\r\nFrom:", "fail"),
        ("Message-ID:", "From: eve@e.example\r\nMessage-ID:", "fail"),
        ("Subject:", "X-New: 1\r\nSubject:", "pass"),
        ("d=a.example", "d=b.example", "permerror"),
        ("a=ed25519-sha256", "a=rsa-sha1", "policy"),
        ("a=ed25519-sha256", "a=rsa-sha256", "permerror"),
        ("v=1;", "v=2;", "neutral"),
        ("t=1000;", "t=1000; x=1500;", "neutral"),
        ("t=1000;", "t=1000; i=x@other.example;", "permerror"),
        ("t=1000;", "t=1000; l=99999;", "fail"),
    ] {
        assert_eq!(check(&zone, &change(&mail, from, to)), want, "{from} -> {to}");
    }
    assert_eq!(check(&zone, MAIL), "");
    let gone = Zone::default();
    assert_eq!(check(&gone, &mail), "permerror");
    let slow = Zone::default().with("s1._domainkey.a.example", crate::zone::Record::Timeout(String::new()));
    assert_eq!(check(&slow, &mail), "temperror");
    let revoked = Zone::default().txt("s1._domainkey.a.example", "v=DKIM1; k=ed25519; p=");
    assert_eq!(check(&revoked, &mail), "permerror");
}

/// RFC 8463 appendix A: a message signed with both kinds of keys by others.
#[test]
fn the_example_of_the_standard_verifies() {
    let zone = Zone::default()
        .txt("brisbane._domainkey.football.example.com", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        .txt(
            "test._domainkey.football.example.com",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        );
    let mail = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\n d=football.example.com; i=@football.example.com;\n \
        q=dns/txt; s=brisbane; t=1528637909; h=from : to :\n subject : date : message-id : from : subject : date;\n \
        bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\n \
        Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\n d=football.example.com; \
        i=@football.example.com;\n q=dns/txt; s=test; t=1528637909; h=from : to : subject :\n date : message-id : from : \
        subject : date;\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\n \
        b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\n \
        DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\n \
        dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\nFrom: Joe SixPack <joe@football.example.com>\n\
        To: Suzie Q <suzie@shopping.example.net>\nSubject: Is dinner ready?\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\n\
        Message-ID: <20030712040037.46341.5F8J@football.example.com>\n\nHi.\n\nWe lost the game.  Are you hungry yet?\n\nJoe.\n";
    let mail = mail.replace('\n', "\r\n");
    assert_eq!(check(&zone, mail.as_bytes()), "pass pass");
}

#[test]
fn an_rsa_key_is_made_published_and_used() {
    /// A generator with a long period, so that primes are found.
    struct Seeded(std::sync::Mutex<stdx::Dice>);
    impl world::Random for Seeded {
        fn fill(&self, bytes: &mut [u8]) {
            let mut dice = self.0.lock().expect("never poisoned");
            for b in bytes {
                *b = dice.next_u64() as u8;
            }
        }
    }
    let random = Seeded(std::sync::Mutex::new(stdx::Dice::new(1)));
    let pem = SigningKey::generate(Algorithm::Rsa, &random).expect("a key").into_inner();
    let key = SigningKey::from_pem(&pem).expect("reads back");
    let record = key.record();
    let published = Published::parse(&record).expect("valid");
    assert_eq!((published.algorithm, published.bits), (Algorithm::Rsa, 2048));
    let zone = Zone::default().txt("r._domainkey.a.example", &record);
    let signer = Signer { domain: Domain::new("a.example").expect("valid"), selector: "r".into(), key };
    let field = sign_message(&[signer], MAIL, Now::from_secs(1)).expect("signs");
    assert_eq!(check(&zone, &[field.as_bytes(), MAIL].concat()), "pass");
    assert!(crate::keys::zone_strings(&record).split("\" \"").all(|s| s.len() < 255));
}

proptest! {
    #[test]
    fn any_signature_field_is_read(tags in "[vabdhlstxciq]{0,2}[=; \r\n]{0,3}([a-z0-9=;:/. ]|\r\n ){0,80}") {
        let (_, zone) = signer();
        let mail = [b"DKIM-Signature: ", tags.as_bytes(), b"\r\n", MAIL].concat();
        now(verify(&zone, &mail, Now(0)));
    }
    #[test]
    fn any_body_that_is_signed_verifies(body: Vec<u8>, subject in "[ -~]{0,80}") {
        let mail = [b"From: a@a.example\r\nSubject: ", subject.as_bytes(), b"\r\n\r\n", &body].concat();
        let (mail, zone) = signed(&mail);
        prop_assert_eq!(check(&zone, &mail), "pass");
    }
}
