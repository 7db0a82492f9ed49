use super::*;
use crate::zone::{Record, Zone, now};

#[test]
fn all_results_print_as_one_field_with_reasons() {
    let ip: IpAddr = "192.0.2.1".parse().expect("valid");
    let zone = Zone::default()
        .txt("a.example", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("mx.a.example", "v=spf1 a -all")
        .with("mx.a.example", Record::A("192.0.2.1".parse().expect("valid")))
        .with(&zone::reverse(ip), Record::Ptr("mx.a.example".into()))
        .txt("_dmarc.a.example", "v=DMARC1; p=reject");
    let sender = Address::parse("ann@a.example").expect("valid");
    let facts = Facts {
        ip,
        helo: "mx.a.example",
        mail_from: Some(&sender),
        message: b"From: ann@a.example\r\n\r\nhi\r\n",
        hashes: None,
        host: "mail.example",
        now: Now(0),
    };
    let results = now(check(&zone, &facts));
    assert_eq!(
        results.to_string(),
        "mail.example; iprev=pass reason=\"mx.a.example leads back to the address\" policy.iprev=192.0.2.1; \
         spf=pass reason=\"a.example says +ip4:192.0.2.0/24 for 192.0.2.1\" smtp.mailfrom=ann@a.example; \
         dkim=none reason=\"the message is not signed\"; \
         dmarc=pass reason=\"a.example is proven by SPF\" header.from=a.example"
    );
    assert_eq!(results.peer.spf_helo.map(|s| s.result), Some(spf::SpfResult::Pass));
    let read = message::authres::parse(results.dmarc.domain.as_bytes()).map(|r| r.host);
    assert_eq!(read.as_deref(), Some("a.example"));
    // The null reverse path is checked by HELO.
    let bounce = Facts { mail_from: None, ..facts };
    let results = now(check(&zone, &bounce));
    assert!(results.to_string().contains("smtp.helo=mx.a.example"), "{results}");
    // Another address: refused by both, and DMARC says what the owner asks for.
    let forged = Facts { ip: "198.51.100.1".parse().expect("valid"), ..facts };
    let results = now(check(&zone, &forged));
    assert_eq!(results.peer.spf.result, spf::SpfResult::Fail);
    assert_eq!(results.peer.iprev.result, iprev::IprevResult::PermError);
    assert_eq!(
        (results.dmarc.result, results.dmarc.policy),
        (dmarc::DmarcResult::Fail, dmarc::Policy::Reject)
    );
}
