//! The public suite is run by tests/outside/spf.py; these are the rules that matter most, beside
//! the code.

use super::*;
use crate::zone::{Record, Zone, now};
use proptest::prelude::*;

fn ask(zone: &Zone, ip: &str, sender: &str) -> Spf {
    let question = Question {
        ip: ip.parse().expect("valid"),
        helo: "mx.helo.example",
        sender,
        receiver: "here.example",
        now: Now(0),
    };
    now(check(zone, &question))
}

fn check_policy(policy: &str, ip: &str, expected: SpfResult) {
    let zone = Zone::default()
        .txt("a.example", policy)
        .txt("pass.example", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("loop.example", "v=spf1 include:loop.example -all")
        .txt("two.example", "v=spf1 -all")
        .txt("two.example", "v=spf1 +all")
        .txt("why.example", "%{i} may not send for %{d}")
        .with("mail.example", Record::A("192.0.2.9".parse().expect("valid")))
        .with("mail.example", Record::Aaaa("2001:db8::9".parse().expect("valid")))
        .with("mx.example", Record::Mx(10, "mail.example".into()))
        .with("slow.example", Record::Timeout(String::new()))
        .with("9.2.0.192.in-addr.arpa", Record::Ptr("mail.example".into()));
    let got = ask(&zone, ip, "ann@a.example");
    assert_eq!(got.result, expected, "{policy}: {}", got.reason);
}

#[test]
fn mechanisms_match_as_the_standard_says() {
    use SpfResult::{Fail, Neutral, Pass, PermError, SoftFail, TempError};
    for (policy, ip, expected) in [
        ("v=spf1 ip4:192.0.2.0/24 -all", "192.0.2.1", Pass),
        ("v=spf1 ip4:192.0.2.0/24 -all", "198.51.100.1", Fail),
        ("v=spf1 ip4:192.0.2.0/24 ~all", "::ffff:192.0.2.1", Pass),
        ("v=spf1 a:mail.example ~all", "192.0.2.9", Pass),
        ("v=spf1 a:mail.example ~all", "2001:db8::9", Pass),
        ("v=spf1 a:mail.example//32 ~all", "2001:db8:1::1", Pass),
        ("v=spf1 a:mail.example ~all", "192.0.2.8", SoftFail),
        ("v=spf1 mx:mx.example/28 -all", "192.0.2.1", Pass),
        ("v=spf1 ptr:example -all", "192.0.2.9", PermError),
        ("v=spf1 ptr:mail.example -all", "192.0.2.9", Pass),
        ("v=spf1 exists:%{l}.%{o} -all", "192.0.2.9", Fail),
        ("v=spf1 include:pass.example -all", "192.0.2.1", Pass),
        ("v=spf1 include:pass.example ?all", "198.51.100.1", Neutral),
        ("v=spf1 redirect=pass.example", "198.51.100.1", Fail),
        ("v=spf1 redirect=nothing.example", "198.51.100.1", PermError),
        ("v=spf1 include:nothing.example -all", "198.51.100.1", PermError),
        ("v=spf1 include:loop.example -all", "198.51.100.1", PermError),
        ("v=spf1 include:two.example -all", "198.51.100.1", PermError),
        ("v=spf1 include:slow.example -all", "198.51.100.1", TempError),
        ("v=spf1 a:slow.example -all", "198.51.100.1", TempError),
        ("v=spf1 a:n1.example a:n2.example -all", "198.51.100.1", Fail),
        ("v=spf1 a:n1.example a:n2.example a:n3.example -all", "198.51.100.1", PermError),
        ("v=spf1", "198.51.100.1", Neutral),
        ("v=spf10 -all", "198.51.100.1", SpfResult::None),
    ] {
        check_policy(policy, ip, expected);
    }
}

/// RFC 7208 §4.6.4: the eleventh term that asks DNS ends the check.
#[test]
fn ten_lookups_are_the_limit() {
    let terms = |n: usize| format!("v=spf1 {}-all", "a:mail.example ".repeat(n));
    check_policy(&terms(10), "198.51.100.1", SpfResult::Fail);
    check_policy(&terms(11), "198.51.100.1", SpfResult::PermError);
}

#[test]
fn a_failure_carries_the_owners_words_and_our_reason() {
    let zone = Zone::default()
        .txt("a.example", "v=spf1 exp=why.a.example -all")
        .txt("why.a.example", "%{i} may not send for %{d}, says %{r}");
    let got = ask(&zone, "198.51.100.1", "ann@a.example");
    assert_eq!(
        got.explanation.as_deref(),
        Some("198.51.100.1 may not send for a.example, says here.example")
    );
    assert_eq!(got.reason, "a.example says -all for 198.51.100.1");
    // The null reverse path is checked by the HELO name; a name without a dot is none.
    assert_eq!(ask(&zone, "198.51.100.1", "").domain, "mx.helo.example");
    assert_eq!(ask(&zone, "198.51.100.1", "ann@localhost").result, SpfResult::None);
}

proptest! {
    #[test]
    fn any_policy_has_a_result(policy in "v=spf1( [-~?]?(a|mx|ptr|all|ip4|include|exists|redirect=|exp=)[:/=%{}.a-z0-9]{0,12}){0,8}") {
        let zone = Zone::default().txt("a.example", &policy);
        ask(&zone, "192.0.2.1", "ann@a.example");
    }
}
