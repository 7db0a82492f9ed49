use super::*;
use crate::zone::{Record as Rr, Zone, now};

fn ask(zone: &Zone, from: &str, spf: Option<&str>, dkim: &[&str]) -> Dmarc {
    let mail = format!("From: {from}\r\n\r\n");
    let proven = Proven { spf, dkim: dkim.to_vec() };
    now(check(zone, &Head::parse(mail.as_bytes()), &proven))
}

fn zone() -> Zone {
    Zone::default()
        .txt(
            "_dmarc.example.com",
            "v=DMARC1; p=reject; sp=quarantine; np=reject; rua=mailto:d@example.com!10m",
        )
        .with("sub.example.com", Rr::A("192.0.2.1".parse().expect("valid")))
        .txt("_dmarc.strict.example.org", "v=DMARC1; p=quarantine; adkim=s; aspf=s")
        .txt("_dmarc.bank", "v=DMARC1; p=reject; psd=y")
        .txt("_dmarc.giant.bank", "v=DMARC1; p=none; rua=mailto:a@b.c")
        .txt("_dmarc.testing.example.net", "v=DMARC1; p=reject; t=y")
        .txt("_dmarc.own.example.com", "v=DMARC1; p=none; psd=n")
}

fn check_one(from: &str, spf: Option<&str>, dkim: &[&str], expected: (DmarcResult, Policy)) {
    let got = ask(&zone(), from, spf, dkim);
    assert_eq!((got.result, got.policy), expected, "{from} {spf:?} {dkim:?}: {}", got.reason);
}

#[test]
fn alignment_decides() {
    use DmarcResult::{Fail, None, Pass, PermError};
    use Policy::{Quarantine, Reject};
    let no = Policy::None;
    check_one("a@example.com", Option::None, &[], (Fail, Reject));
    check_one("a@example.com", Some("example.com"), &[], (Pass, no));
    check_one("a@example.com", Some("bounce.example.com"), &[], (Pass, no));
    check_one("a@example.com", Some("example.org"), &["mailer.example"], (Fail, Reject));
    check_one("a@sub.example.com", Option::None, &["example.com"], (Pass, no));
    check_one("a@sub.example.com", Option::None, &[], (Fail, Quarantine));
    check_one("a@missing.example.com", Option::None, &[], (Fail, Reject));
    check_one("a@strict.example.org", Option::None, &["x.strict.example.org"], (Fail, Quarantine));
    check_one("a@strict.example.org", Option::None, &["strict.example.org"], (Pass, no));
    check_one("a@testing.example.net", Option::None, &[], (Fail, Quarantine));
    check_one("a@elsewhere.example", Option::None, &[], (None, no));
    // RFC 9989 §4.10.2: a public suffix that says so is nobody's organization.
    check_one("a@mail.giant.bank", Option::None, &["giant.bank"], (Pass, no));
    check_one("a@small.bank", Option::None, &["giant.bank"], (Fail, Reject));
    // psd=n cuts the tree: the parent does not prove the child.
    check_one("a@own.example.com", Option::None, &["example.com"], (Fail, no));
    for from in ["nobody", "", "a@example.com, b@example.org", "a@example.com\r\nFrom: b@example.org"] {
        check_one(from, Option::None, &[], (PermError, no));
    }
}

#[test]
fn a_walk_asks_eight_times_at_most() {
    let deep = "a.b.c.d.e.f.g.h.i.j.k.example.com";
    let got = ask(&zone(), &format!("x@{deep}"), None, &[]);
    // From thirteen labels it goes on at seven, and reaches example.com.
    assert_eq!(got.record_at, "example.com");
    assert_eq!(got.result, DmarcResult::Fail);
}

#[test]
fn records_are_read_generously_and_refused_where_they_must() {
    let r = Record::parse("v=DMARC1; p=none; rua=mailto:a@b.c!5m, https://d.e; pct=50; unknown=x")
        .expect("valid");
    assert_eq!(r.rua, ["mailto:a@b.c", "https://d.e"]);
    assert!(!r.testing);
    assert!(Record::parse("v=DMARC1; p=reject; pct=0").expect("valid").testing);
    assert_eq!(Record::parse("v=DMARC1; p=bogus; rua=mailto:a@b.c").map(|r| r.policy), Some(Policy::None));
    assert_eq!(Record::parse("v=DMARC1; p=bogus"), None);
    assert_eq!(Record::parse("p=none; v=DMARC1"), None);
    assert_eq!(Record::parse("v=dmarc1; p=none"), None);
    // Two records are no record.
    let two = Zone::default()
        .txt("_dmarc.x.example", "v=DMARC1; p=none")
        .txt("_dmarc.x.example", "v=DMARC1; p=none");
    assert_eq!(ask(&two, "a@x.example", None, &[]).result, DmarcResult::None);
    let slow = Zone::default().with("_dmarc.x.example", Rr::Timeout(String::new()));
    assert_eq!(ask(&slow, "a@x.example", None, &[]).result, DmarcResult::TempError);
}
