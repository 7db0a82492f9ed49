//! Complaints find their account, and nobody learns who complained: R32.

mod house;

use house::{House, Wire, address, house};
use role_mail::{Egress, Front, Settings, complaints};
use stdx::{Secret, Span};
use words::AccountId;

async fn farm() -> (House, Wire) {
    let house = house().await;
    for provider in ["provider.example", "hotmail.example"] {
        house.city.zones.txt(provider, "v=spf1 ip4:198.51.100.0/24 -all");
    }
    let set = Settings { feedback: Some(address("bob@home.example")), ..(*house.site.settings()).clone() };
    house.site.reload(set);
    let password = Secret::new("secret".into());
    role_mail::login::set_password(&house.site, AccountId(1), password).await.expect("set");
    let mut wire = house.connect("203.0.113.5", Front::Submission).await;
    assert!(wire.say("EHLO laptop\r\n").await.contains("AUTH "));
    let reply = wire.say("AUTH PLAIN AGFubkBob21lLmV4YW1wbGUAc2VjcmV0\r\n").await;
    assert!(reply.starts_with("235"), "{reply}");
    (house, wire)
}

/// Sends a message of Ann's, and gives back its header as it leaves.
async fn leaves(house: &House, wire: &mut Wire, n: u32) -> String {
    let text =
        format!("From: Ann <ann@home.example>\r\nTo: victim{n}@far.example\r\nSubject: buy {n}\r\n\r\nHi.");
    let reply = wire.send("ann@home.example", &[&format!("victim{n}@far.example")], &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    let listed =
        house.site.store().read_now(|c| spool::list(c, spool::SpoolId(0), None, 99)).expect("a list");
    let body = listed.last().expect("an entry").entry.body;
    let whole = house.site.store().body(body).await.expect("a body").all().await.expect("bytes");
    let text = String::from_utf8(whole.to_vec()).expect("text");
    assert_eq!(text.matches("X-Postroad-Tag: ").count(), 1, "{text}");
    assert!(!text.contains("ann@home.example\r\nX-"), "{text}");
    text.split("\r\n\r\n").next().expect("a header").to_owned()
}

fn arf(kind: &str, header: &str, n: u32) -> String {
    format!(
        "From: <fbl@provider.example>\r\nTo: bob@home.example\r\nMessage-ID: <r{n}.{kind}@provider.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\n\r\nThis is a report.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: {kind}\r\nUser-Agent: Gen/1\r\nVersion: 1\r\nOriginal-Mail-From: <ann@home.example>\r\n\
         Original-Rcpt-To: <victim{n}@far.example>\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n{header}\r\n\r\nHi.\r\n--b--"
    )
}

async fn report(house: &House, text: &str) {
    let mut wire = house.call("198.51.100.9").await;
    let reply = wire.send("fbl@provider.example", &["bob@home.example"], text).await;
    assert!(reply.starts_with("250"), "{reply}");
    house.site.store().read(|_| Ok(())).await.expect("settled");
}

fn about_ann(house: &House) -> Vec<ledger::Fact> {
    let ann = address("ann@home.example");
    let facts = house.site.store().read_now(|conn| ledger::about(conn, &ann, 100)).expect("facts");
    facts.into_iter().filter(|f| f.kind == "complaint" || f.kind == "account.complaints").collect()
}

#[tokio::test(start_paused = true)]
async fn three_complaints_in_an_hour_raise_the_account_that_sent_the_mail() {
    let (house, mut wire) = farm().await;
    let first = leaves(&house, &mut wire, 1).await;
    report(&house, &arf("abuse", &first, 1)).await;
    // Not everything that comes there is a complaint.
    report(&house, &arf("not-spam", &first, 2)).await;
    report(&house, "From: <fbl@provider.example>\r\nSubject: hello\r\n\r\nwelcome").await;
    assert_eq!(about_ann(&house).len(), 1);
    tokio::time::sleep(Span::mins(3).to_std()).await;
    // A provider that cuts our mark out, and leaves the Message-ID.
    let second = leaves(&house, &mut wire, 3).await;
    let bare: Vec<&str> = second.split("\r\n").filter(|l| !l.starts_with("X-Postroad")).collect();
    report(&house, &arf("abuse", &bare.join("\r\n"), 3)).await;
    assert_eq!(complaints::raised(&house.site, AccountId(1)), None);
    // JMRP's older form, encoded as such mail is.
    let third = leaves(&house, &mut wire, 4).await;
    let jmrp = format!(
        "From: <staff@hotmail.example>\r\nSubject: complaint about message from 192.0.2.25\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: message/rfc822\r\n\r\n\
         X-HmXmrOriginalRecipient: victim4@far.example\r\n{third}\r\n\r\nHi.\r\n--c--"
    );
    report(&house, &jmrp).await;
    let facts = about_ann(&house);
    let kinds: Vec<&str> = facts.iter().map(|f| &*f.kind).collect();
    assert_eq!(kinds.iter().filter(|k| **k == "complaint").count(), 3, "{facts:?}");
    assert!(kinds.contains(&"account.complaints"));
    assert!(complaints::raised(&house.site, AccountId(1)).is_some());
    assert_eq!(complaints::raised(&house.site, AccountId(2)), None);
    for fact in &facts {
        assert!(!fact.to_string().contains("victim"), "nobody learns who complained: {fact}");
        assert!(fact.about.iter().all(|a| !a.contains("victim")), "{fact:?}");
    }
    // The very same report again is one complaint.
    report(&house, &jmrp).await;
    assert_eq!(about_ann(&house).iter().filter(|f| f.kind == "complaint").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_forged_mark_accuses_nobody() {
    let (house, _wire) = farm().await;
    let forged = "X-Postroad-Tag: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nFrom: <ann@home.example>";
    for n in 0..5 {
        report(&house, &arf("abuse", forged, n)).await;
    }
    assert!(about_ann(&house).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_turns_red_is_told() {
    let (house, _wire) = farm().await;
    let source = Some("192.0.2.25".parse().expect("an address"));
    let set = Settings {
        egresses: vec![Egress { name: "A".into(), source, helo: "mx.example".into(), relay: None }],
        ..Settings::new("mx.example")
    };
    house.site.reload(set);
    let day = |colour: &str| format!("192.0.2.25,a,b,9,9,9,{colour},< 0.1%,,,0,mx.example,x,\n");
    assert_eq!(complaints::take_snds(&house.site, &day("GREEN")), (1, vec![]));
    let (_, told) = complaints::take_snds(&house.site, &day("RED"));
    assert_eq!(told, ["SNDS shows 192.0.2.25 (A) red"]);
}
