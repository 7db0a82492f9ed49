//! Mail from other hosts, from the first byte to the mailbox, in virtual time and memory.

mod house;

use house::{address, house};
use stdx::Span;
use words::AccountId;

const TEXT: &str = "From: Eve <eve@out.example>\r\nMessage-ID: <1@out.example>\r\nSubject: hello\r\n\
Authentication-Results: mx.example; dmarc=pass\r\nReturn-Path: <forged@x.example>\r\n\r\nHi.";

#[tokio::test(start_paused = true)]
async fn a_message_lies_in_the_mailbox_with_its_trace_before_the_250() {
    let house = house().await;
    let reply =
        house.call("198.51.100.7").await.send("eve@out.example", &["Ann+tag@home.example"], TEXT).await;
    assert!(reply.starts_with("250 2.0.0 m="), "{reply}");
    let texts = house.texts(1, "INBOX").await;
    assert_eq!(texts.len(), 1);
    let head = texts[0].split("\r\n\r\n").next().expect("a head").replace("\r\n ", " ");
    assert!(
        head.starts_with("Return-Path: <eve@out.example>\r\nDelivered-To: Ann+tag@home.example\r\n"),
        "{head}"
    );
    let id = reply.split("m=").nth(1).and_then(|r| r.split(' ').next()).expect("an id");
    assert!(
        head.contains(&format!("id {id}")) && head.contains("198.51.100.7") && head.contains("ESMTP"),
        "{head}"
    );
    assert!(!head.contains("forged") && !head.contains("dmarc=pass"), "{head}");
    assert!(texts[0].ends_with("\r\n\r\nHi.\r\n"));
    let walk =
        house.site.store().read_now(|conn| ledger::walk(conn, id.parse().expect("an id"))).expect("facts");
    assert_eq!(walk[0].kind, "smtp.accepted");
    assert_eq!(walk[0].header.as_deref(), Some("<1@out.example>"));
}

#[tokio::test(start_paused = true)]
async fn an_alias_reaches_everybody_once_with_one_body() {
    let house = house().await;
    let to = ["team@home.example", "ann@home.example"];
    let reply = house.call("198.51.100.7").await.send("eve@out.example", &to, TEXT).await;
    assert!(reply.starts_with("250"), "{reply}");
    let (ann, bob) = (house.texts(1, "INBOX").await, house.texts(2, "INBOX").await);
    assert_eq!((ann.len(), bob.len()), (1, 1));
    assert_eq!(ann, bob);
    assert!(!ann[0].contains("Delivered-To"), "no recipient is told of another");
}

#[tokio::test(start_paused = true)]
async fn strangers_cannot_relay_and_unknown_names_are_refused() {
    let house = house().await;
    let mut wire = house.call("198.51.100.7").await;
    wire.say("EHLO x\r\n").await;
    wire.say("MAIL FROM:<eve@out.example>\r\n").await;
    let reply = wire.say("RCPT TO:<a@elsewhere.example>\r\n").await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("s="), "{reply}");
    let reply = wire.say("RCPT TO:<nobody@home.example>\r\n").await;
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
    // RFC 5321 §4.5.1.
    assert!(wire.say("RCPT TO:<Postmaster>\r\n").await.starts_with("250"));
    assert!(wire.say("RCPT TO:<postmaster@home.example>\r\n").await.starts_with("250"));
    role_mail::housekeeping::once(&house.site, true).await.expect("written");
    let about = house.site.store().read_now(|conn| ledger::about(conn, &address("nobody@home.example"), 9));
    assert_eq!(about.expect("facts").iter().filter(|f| f.kind == "smtp.recipient_refused").count(), 1);
}

/// The 250 is lost; the same peer sends again; one copy. A further command, another peer or another
/// octet: a new message.
#[tokio::test(start_paused = true)]
async fn a_message_sent_again_after_a_lost_250_is_kept_once() {
    let house = house().await;
    let send = async |from: &str, text: &str| {
        let mut wire = house.call(from).await;
        let reply = wire.send("eve@out.example", &["ann@home.example"], text).await;
        assert!(reply.starts_with("250"), "{reply}");
        (wire, reply)
    };
    let (_, first) = send("198.51.100.7", TEXT).await;
    let (_, again) = send("198.51.100.7", TEXT).await;
    assert_eq!(first, again, "the first one's id");
    assert_eq!(house.texts(1, "INBOX").await.len(), 1);
    send("198.51.100.8", TEXT).await;
    send("198.51.100.7", &TEXT.replace("Hi", "Ho")).await;
    assert_eq!(house.texts(1, "INBOX").await.len(), 3);
    let (mut wire, reply) = send("198.51.100.7", TEXT).await;
    assert_eq!(reply, first);
    assert!(wire.say("QUIT\r\n").await.starts_with("221"), "this confirms");
    let (_, reply) = send("198.51.100.7", TEXT).await;
    assert_ne!(reply, first);
    assert_eq!(house.texts(1, "INBOX").await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_goes_round_is_refused() {
    let house = house().await;
    let round = format!("{}{TEXT}", "Received: from a by b; Sun, 22 Nov 2026 10:00:00 +0000\r\n".repeat(51));
    let reply = house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], &round).await;
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    let again = format!("Delivered-To: ann@home.example\r\n{TEXT}");
    let reply = house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], &again).await;
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    assert!(house.texts(1, "INBOX").await.is_empty());
}

const PLAIN: &str =
    "From: Ann <ann@strict.example>\r\nMessage-ID: <7@strict.example>\r\nSubject: x\r\n\r\nHi.";

#[tokio::test(start_paused = true)]
async fn what_spf_proved_stands_in_the_header() {
    let house = house().await;
    house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], TEXT).await;
    let texts = house.texts(1, "INBOX").await;
    assert!(texts[0].contains("spf=pass"), "{}", texts[0]);
}

#[tokio::test(start_paused = true)]
async fn a_spoof_goes_where_the_domain_wants_it() {
    let house = house().await;
    for (policy, want, junk) in [("reject", "550 5.7.1", 0), ("quarantine", "250", 1)] {
        house.city.zones.remove("_dmarc.strict.example");
        house.city.zones.txt("_dmarc.strict.example", &format!("v=DMARC1; p={policy}"));
        let reply =
            house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], PLAIN).await;
        assert!(reply.starts_with(want), "{policy}: {reply}");
        assert_eq!(house.texts(1, "Junk").await.len(), junk, "{policy}");
    }
    assert!(house.texts(1, "INBOX").await.is_empty());
}

// RFC 7505 §4.2.
#[tokio::test(start_paused = true)]
async fn a_sender_whose_domain_takes_no_mail_is_refused() {
    let house = house().await;
    house.city.zones.mx("out.example", 0, "");
    let reply = house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], TEXT).await;
    assert!(reply.starts_with("550 5.7.27"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_nameless_stranger_without_any_proof_is_refused_with_the_ways_out() {
    let house = house().await;
    let reply = house.call("192.0.2.99").await.send("x@nowhere.example", &["ann@home.example"], PLAIN).await;
    assert!(reply.starts_with("550 5.7.25") && reply.contains("PTR"), "{reply}");
    // A name leads back to the address: welcome.
    house.city.zones.ptr("192.0.2.99".parse().expect("an address"), "mail.nowhere.example");
    house.city.zones.ip("mail.nowhere.example", "192.0.2.99".parse().expect("an address"));
    let reply = house.call("192.0.2.99").await.send("x@nowhere.example", &["ann@home.example"], PLAIN).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_forward_leaves_by_the_spool_with_its_mark() {
    let house = house().await;
    let made = house.site.store().commit(Vec::new(), |batch| {
        directory::add_alias(batch, &address("away@home.example"), &address("me@elsewhere.example"))
    });
    made.await.expect("an alias");
    let reply = house.call("198.51.100.7").await.send("eve@out.example", &["away@home.example"], TEXT).await;
    assert!(reply.starts_with("250"), "{reply}");
    let listed =
        house.site.store().read_now(|conn| spool::list(conn, spool::SpoolId(0), None, 9)).expect("a list");
    let [one] = &listed[..] else { panic!("{} entries", listed.len()) };
    assert_eq!(one.entry.origin, spool::Origin::Forwarded { of: address("away@home.example") });
    assert_eq!(one.entry.rcpts[0].address, address("me@elsewhere.example"));
    let body = house.site.store().body(one.entry.body).await.expect("a body").all().await.expect("bytes");
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(
        text.starts_with("Delivered-To: away@home.example\r\n") && !text.contains("Return-Path"),
        "{text}"
    );
}

// RFC 3461 §5.2.3.
#[tokio::test(start_paused = true)]
async fn who_asks_for_it_hears_that_the_message_arrived() {
    let house = house().await;
    let mut wire = house.call("198.51.100.7").await;
    wire.say("EHLO client.example\r\n").await;
    wire.say("MAIL FROM:<eve@out.example> ENVID=me1\r\n").await;
    wire.say("RCPT TO:<ann@home.example> NOTIFY=SUCCESS ORCPT=rfc822;A@x.example\r\n").await;
    wire.say("RCPT TO:<bob@home.example>\r\n").await;
    wire.say("DATA\r\n").await;
    assert!(wire.say(&format!("{TEXT}\r\n.\r\n")).await.starts_with("250"));
    let listed =
        house.site.store().read_now(|conn| spool::list(conn, spool::SpoolId(0), None, 9)).expect("a list");
    let [one] = &listed[..] else { panic!("{} entries", listed.len()) };
    assert_eq!((one.entry.sender.clone(), one.entry.origin.clone()), (None, spool::Origin::Notice));
    let body = house.site.store().body(one.entry.body).await.expect("a body").all().await.expect("bytes");
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(text.contains("Action: delivered") && text.contains("Original-Envelope-Id: me1"), "{text}");
    assert!(text.contains("ann@home.example") && !text.contains("bob@home.example"), "{text}");
    assert_eq!(text.matches("X-Postroad-Tag: ").count(), 1, "{text}");
    assert_eq!((house.texts(1, "INBOX").await.len(), house.texts(2, "INBOX").await.len()), (1, 1));
}

// RFC 1870 §6.1: a size that was said is judged before the text; one that was not, after it.
#[tokio::test(start_paused = true)]
async fn a_message_that_would_cross_the_quota_is_put_off_before_its_text_or_after_it() {
    let house = house().await;
    let settled = async || {
        tokio::time::sleep(Span::secs(5).to_std()).await;
        house.site.store().read(|_| Ok(())).await.expect("settled");
    };
    let set = house
        .site
        .store()
        .commit(Vec::new(), |batch| directory::set_quota(batch, AccountId(1), Some(stdx::Bytes(20_000))));
    set.await.expect("set");
    let long = |octets: usize, n: u32| {
        format!(
            "From: <eve@out.example>\r\nMessage-ID: <{n}.{octets}@out.example>\r\n\r\n{}",
            "seventy octets in each of these lines, the last two being CR and LF..\r\n".repeat(octets / 71)
        )
    };
    settled().await;
    let mut wire = house.call("198.51.100.7").await;
    wire.say("EHLO client.example\r\n").await;
    for (size, want) in [(30_000, "552 5.2.2"), (19_000, "250 ")] {
        wire.say(&format!("MAIL FROM:<eve@out.example> SIZE={size}\r\n")).await;
        let reply = wire.say("RCPT TO:<ann@home.example>\r\n").await;
        assert!(reply.starts_with(want), "{size}: {reply}");
        wire.say("RSET\r\n").await;
    }
    let reply = wire.send("eve@out.example", &["ann@home.example"], &long(12_000, 1)).await;
    assert!(reply.starts_with("250"), "{reply}");
    settled().await;
    wire.say("MAIL FROM:<eve@out.example> SIZE=10000\r\n").await;
    let reply = wire.say("RCPT TO:<ann@home.example>\r\n").await;
    assert!(reply.starts_with("452 4.2.2"), "{reply}");
    // What was not said, or said too small, is judged by what came.
    let reply = wire.send("eve@out.example", &["ann@home.example"], &long(10_000, 2)).await;
    assert!(reply.starts_with("452 4.2.2"), "{reply}");
    let reply = wire.send("eve@out.example", &["ann@home.example"], &long(25_000, 3)).await;
    assert!(reply.starts_with("552 5.2.2"), "{reply}");
    assert_eq!(house.texts(1, "INBOX").await.len(), 1);
    // Nobody loses mail for another's quota; and what fits still comes.
    let both = wire.send("eve@out.example", &["team@home.example"], &long(3_000, 4)).await;
    assert!(both.starts_with("250"), "{both}");
    settled().await;
    let both = wire.send("eve@out.example", &["ann@home.example", "bob@home.example"], &long(9_000, 5)).await;
    assert!(both.starts_with("250"), "{both}");
    assert_eq!((house.texts(1, "INBOX").await.len(), house.texts(2, "INBOX").await.len()), (3, 2));
}
