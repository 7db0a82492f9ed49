//! Mail to other hosts, from the spool to their doors, in virtual time and memory.

mod house;

use std::collections::BTreeMap;
use std::net::IpAddr;

use house::{House, address, house_at};
use role_mail::{Egress, EgressRules, Settings};
use sim::{Manners, Peer, Rule, Stage};
use spool::{Origin, SpoolId};
use stdx::Span;
use words::{AccountId, Domain, Envelope, MessageId, Recipient};

const A: &str = "192.0.2.25";
const B: &str = "198.51.100.30";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn egress(name: &str, source: &str) -> Egress {
    Egress {
        name: name.into(),
        source: Some(ip(source)),
        helo: format!("{}.mx.example", name.to_lowercase()),
        relay: None,
    }
}

struct Farm {
    house: House,
    stop: tokio::sync::watch::Sender<bool>,
}

/// A house with two ways out, and its sender at work.
async fn farm() -> Farm {
    let house = house_at(&[A, B]).await;
    let settings = Settings { egresses: vec![egress("A", A), egress("B", B)], ..Settings::new("mx.example") };
    house.site.reload(settings);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(role_mail::send::run(house.site.clone(), stopped));
    Farm { house, stop }
}

impl Farm {
    async fn neighbour(&self, domain: &str, at: &str, manners: Manners) -> Peer {
        let mx = manners.name.clone();
        let peer = Peer::new(manners, self.house.city.clock(), 7);
        let theirs = self.house.city.world(&[ip(at)]);
        let listener = theirs.net.listen((ip(at), 25).into()).await.expect("listens");
        tokio::spawn(peer.clone().serve(listener));
        self.house.city.zones.mx(domain, 10, &mx).ip(&mx, ip(at));
        peer
    }

    async fn send(&self, to: &[&str]) -> MessageId {
        let site = &self.house.site;
        let id = site.message_id();
        let mut draft = site.store().draft();
        draft
            .write(format!("From: ann@home.example\r\nMessage-ID: <{id}@x>\r\n\r\nHi {id}.\r\n").as_bytes())
            .await
            .expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let envelope = Envelope {
            sender: Some(address("ann@home.example")),
            recipients: to.iter().map(|t| Recipient::new(address(t))).collect(),
            ..Envelope::default()
        };
        let (feed, at) = (site.feed().clone(), site.now());
        let done = site.store().commit(vec![sealed], move |batch| {
            let body = batch.body(0);
            let new = spool::New {
                message: id,
                session: None,
                body,
                size: 60,
                header: None,
                envelope,
                origin: Origin::Submitted(AccountId(1)),
                at,
            };
            spool::add(batch, &feed, &new)
        });
        done.await.expect("is accepted");
        id
    }

    async fn pass(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }

    fn facts(&self, id: MessageId) -> Vec<String> {
        let walk = self.house.site.store().read_now(|conn| ledger::walk(conn, id)).expect("facts");
        walk.iter().map(|f| f.kind.to_string()).collect()
    }

    fn left(&self) -> usize {
        self.house.site.store().read_now(|c| spool::list(c, SpoolId(0), None, 1000)).expect("lists").len()
    }

    /// Notices in Ann's mailbox.
    async fn notices(&self) -> Vec<String> {
        self.house.texts(1, "INBOX").await
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_leaves_and_its_end_is_written() {
    let farm = farm().await;
    let peer = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    let id = farm.send(&["bob@far.example", "eve@far.example"]).await;
    farm.pass(Span::secs(5)).await;
    let got = peer.got();
    assert_eq!((got.len(), got[0].recipients.len(), got[0].source), (1, 2, ip(A)));
    assert!(String::from_utf8_lossy(&got[0].text).contains(&format!("Hi {id}.")));
    assert_eq!(got[0].helo, "a.mx.example");
    assert_eq!((farm.facts(id), farm.left()), (vec!["send.delivered".to_owned()], 0));
    assert!(farm.notices().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_block_moves_the_message_at_once_and_then_the_group() {
    let farm = farm().await;
    let blocked = [ip(A)];
    let mut peers = Vec::new();
    for n in 0..6 {
        let name = format!("b{n}-example.mail.protection.outlook.com");
        let at = format!("203.0.113.{}", 10 + n);
        peers.push(
            farm.neighbour(&format!("b{n}.example"), &at, Manners::microsoft_business(&name, &blocked)).await,
        );
    }
    let far = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    // One Cc to the blocking group does not drag the others along.
    farm.send(&["x@b0.example", "y@far.example"]).await;
    for n in 1..6 {
        farm.send(&[&format!("x@b{n}.example")]).await;
        farm.pass(Span::secs(10)).await;
    }
    let refusals: usize = peers.iter().map(|p| p.refused().len()).sum();
    assert!(refusals <= 3, "{refusals} rejections before the group moved");
    for peer in &peers {
        let got = peer.got();
        assert_eq!((got.len(), got[0].source), (1, ip(B)));
        assert!(got[0].at.since(sim::BEGIN) < Span::mins(2));
    }
    assert_eq!(far.got()[0].source, ip(A));
    assert!(farm.notices().await.is_empty() && farm.left() == 0);
    let show = route::show::rows(&farm.house.site.outbound().routes(), None, farm.house.site.now());
    assert!(
        show.iter().any(|r| r.group == "microsoft-365" && r.egress == "A" && r.state == "blocked"),
        "{show:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn greylisted_mail_comes_back_from_the_same_address() {
    let farm = farm().await;
    let peer = farm
        .neighbour("grey.example", "203.0.113.6", Manners::greylisting("mx.grey.example", Span::mins(4)))
        .await;
    farm.send(&["bob@grey.example"]).await;
    farm.pass(Span::mins(12)).await;
    let got = peer.got();
    assert_eq!((got.len(), got[0].source), (1, ip(A)));
    assert!(farm.notices().await.is_empty() && farm.left() == 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_recipient_ends_with_one_notice_and_the_others_arrive() {
    let farm = farm().await;
    let manners = Manners::friendly("mx.far.example")
        .with(Rule::Unknown { locals: vec!["nobody".into()], reply: "550 5.1.1 no such user here".into() });
    let peer = farm.neighbour("far.example", "203.0.113.5", manners).await;
    let id = farm.send(&["nobody@far.example", "bob@far.example"]).await;
    farm.pass(Span::secs(10)).await;
    assert_eq!(peer.got().len(), 1);
    let notices = farm.notices().await;
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].contains("nobody@far.example") && notices[0].contains("550 5.1.1 no such user here"),
        "{}",
        notices[0]
    );
    assert!(!notices[0].contains("bob@far.example"));
    assert!(notices[0].contains("X-Postroad-Tag: "), "a complaint about the notice finds it");
    let facts = farm.facts(id);
    assert!(
        facts.contains(&"send.delivered".to_owned()) && facts.contains(&"send.failed".to_owned()),
        "{facts:?}"
    );
    assert_eq!(farm.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_word_is_still_explained() {
    for reply in ["550 ", "550", "550-\r\n550 ", "550 5.1.1", "554 5.0.0 "] {
        let farm = farm().await;
        let rule = Rule::Unknown { locals: vec!["nobody".into()], reply: reply.into() };
        farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example").with(rule)).await;
        let id = farm.send(&["nobody@far.example"]).await;
        farm.pass(Span::secs(10)).await;
        let walk = farm.house.site.store().read_now(|conn| ledger::walk(conn, id)).expect("facts");
        let failed = walk.iter().find(|f| f.kind == "send.failed").expect("it failed");
        assert!(
            failed.text("says").len() > 20 && failed.text("status").starts_with("5."),
            "{reply:?}: {failed:?}"
        );
        assert!(
            failed.text("reply").starts_with("A: 55") || failed.text("reply").starts_with("55"),
            "{failed:?}"
        );
        let notices = farm.notices().await;
        assert!(notices.len() == 1 && notices[0].contains(failed.text("says")), "{notices:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forward_leaves_in_our_name_and_its_bounce_finds_the_writer() {
    const TEXT: &str = "From: Eve <eve@out.example>\r\nMessage-ID: <1@out.example>\r\n\r\nHi.";
    let farm = farm().await;
    let far = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    let home = farm.neighbour("out.example", "203.0.113.9", Manners::friendly("mx.out.example")).await;
    let made = farm.house.site.store().commit(Vec::new(), |batch| {
        directory::add_alias(batch, &address("away@home.example"), &address("me@far.example"))
    });
    made.await.expect("an alias");
    let reply =
        farm.house.call("198.51.100.7").await.send("eve@out.example", &["away@home.example"], TEXT).await;
    assert!(reply.starts_with("250"), "{reply}");
    farm.pass(Span::secs(5)).await;
    let got = far.got();
    assert_eq!(got.len(), 1);
    let sender = got[0].sender.trim_matches(['<', '>']).to_owned();
    assert!(sender.starts_with("SRS0=") && sender.ends_with("=out.example=eve@home.example"), "{sender}");
    farm.house
        .city
        .zones
        .ptr(ip("198.51.100.7"), "out.far.example")
        .ip("out.far.example", ip("198.51.100.7"));
    // The far side writes a bounce to it; a stranger's letter to it is refused.
    let mut wire = farm.house.call("198.51.100.7").await;
    wire.say("EHLO mx.far.example\r\n").await;
    wire.say("MAIL FROM:<eve@out.example>\r\n").await;
    let refused = wire.say(&format!("RCPT TO:<{sender}>\r\n")).await;
    assert!(refused.starts_with("550"), "only notices go back: {refused}");
    let forged = sender.replace("=eve@", "=ceo@");
    wire.say("RSET\r\n").await;
    wire.say("MAIL FROM:<>\r\n").await;
    assert!(wire.say(&format!("RCPT TO:<{forged}>\r\n")).await.starts_with("550"), "a forged one");
    let bounce =
        "From: MAILER-DAEMON@far.example\r\nMessage-ID: <b@far.example>\r\nSubject: failed\r\n\r\nNo.";
    let reply = farm.house.call("198.51.100.7").await.send("", &[&sender], bounce).await;
    assert!(reply.starts_with("250"), "{reply}");
    farm.pass(Span::secs(5)).await;
    let back = home.got();
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].recipients, ["eve@out.example"]);
    assert_eq!(back[0].sender.trim_matches(['<', '>']), "");
    farm.pass(Span::days(22)).await;
    let mut late = farm.house.call("198.51.100.7").await;
    late.say("EHLO mx.far.example\r\n").await;
    late.say("MAIL FROM:<>\r\n").await;
    assert!(late.say(&format!("RCPT TO:<{sender}>\r\n")).await.starts_with("550"), "its time is over");
}

#[tokio::test(start_paused = true)]
async fn when_every_way_is_refused_mail_is_held_told_late_and_ends_with_one_notice() {
    let farm = farm().await;
    let manners = Manners::microsoft_consumer("hotmail-com.olc.protection.outlook.com", &[ip(A), ip(B)]);
    let peer = farm.neighbour("hotmail.example", "203.0.113.7", manners).await;
    let id = farm.send(&["bob@hotmail.example"]).await;
    farm.pass(Span::mins(70)).await;
    let notices = farm.notices().await;
    assert_eq!(notices.len(), 1, "the sender hears that it is late");
    assert!(notices[0].contains("delayed"), "{}", notices[0]);
    farm.pass(Span::mins(175)).await;
    let notices = farm.notices().await;
    assert_eq!(notices.len(), 2, "{:?}", farm.facts(id));
    assert!(notices[1].contains("Action: failed"), "{}", notices[1]);
    assert!(
        notices[1].contains("192.0.2.25") && notices[1].contains("198.51.100.30"),
        "both replies: {}",
        notices[1]
    );
    assert!(notices[1].contains("refuses our outgoing servers"), "{}", notices[1]);
    assert_eq!((peer.got_count(), farm.left()), (0, 0));
    assert!(peer.refused().len() <= 2 * 2 * 4 + 2, "{}", peer.refused().len());
}

#[tokio::test(start_paused = true)]
async fn mail_for_nowhere_comes_back_in_plain_words() {
    let farm = farm().await;
    farm.house.city.zones.mx("null.example", 0, "");
    farm.house.city.zones.mx("self.example", 10, "mx.example");
    for (to, words) in [
        ("a@null.example", "accepts no mail"),
        ("a@gone.example", "does not exist"),
        ("a@self.example", "leads back"),
    ] {
        let before = farm.notices().await.len();
        farm.send(&[to]).await;
        farm.pass(Span::secs(5)).await;
        let notices = farm.notices().await;
        assert_eq!(notices.len(), before + 1, "{to}");
        assert!(notices[before].replace("\r\n", " ").contains(words), "{to}: {}", notices[before]);
    }
    assert_eq!(farm.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_host_is_tried_for_five_days() {
    let farm = farm().await;
    farm.house
        .city
        .zones
        .mx("silent.example", 10, "mx.silent.example")
        .ip("mx.silent.example", ip("203.0.113.99"));
    let id = farm.send(&["a@silent.example"]).await;
    farm.pass(Span::hours(2)).await;
    assert_eq!((farm.notices().await.len(), farm.left()), (1, 1), "told once that it is late");
    farm.pass(Span::days(5)).await;
    assert_eq!((farm.notices().await.len(), farm.left()), (2, 0), "{:?}", farm.facts(id));
    assert!(farm.facts(id).contains(&"send.expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_restart_sends_what_was_under_way() {
    let farm = farm().await;
    let peer = farm
        .neighbour(
            "slow.example",
            "203.0.113.8",
            Manners::friendly("mx.slow.example").with(Rule::Hang { at: Stage::Rcpt }),
        )
        .await;
    farm.send(&["a@slow.example"]).await;
    farm.pass(Span::secs(2)).await;
    farm.stop.send(true).expect("runs");
    farm.pass(Span::mins(1)).await;
    peer.behave(Manners::friendly("mx.slow.example"));
    let again = role_mail::Site::new(
        farm.house.city.world(&[ip(A)]),
        farm.house.site.store().clone(),
        farm.house.site.settings().as_ref().clone(),
    );
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(role_mail::send::run(again, stopped));
    farm.pass(Span::mins(30)).await;
    assert_eq!((peer.got_count(), farm.left()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sender_whose_mail_would_fail_its_policy_is_held_not_sent() {
    let farm = farm().await;
    let name = "b0-example.mail.protection.outlook.com";
    let peer =
        farm.neighbour("b0.example", "203.0.113.10", Manners::microsoft_business(name, &[ip(A)])).await;
    farm.house
        .city
        .zones
        .txt("home.example", "v=spf1 ip4:192.0.2.25 -all")
        .txt("_dmarc.home.example", "v=DMARC1; p=reject");
    farm.send(&["x@b0.example"]).await;
    farm.pass(Span::mins(5)).await;
    assert_eq!((peer.got_count(), farm.left()), (0, 1));
    assert!(peer.refused().iter().all(|r| r.source == ip(A)));
    farm.house.city.zones.remove("_dmarc.home.example").remove("home.example");
    farm.pass(Span::hours(1)).await;
    assert_eq!((peer.got_count(), farm.left()), (1, 0), "the records were mended");
}

#[tokio::test(start_paused = true)]
async fn an_egress_carries_only_what_its_rules_allow() {
    let farm = farm().await;
    let peer = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    let verified = Some(vec![Domain::new("other.example").expect("valid")]);
    let rules = BTreeMap::from([("A".to_owned(), EgressRules { verified, ..EgressRules::default() })]);
    let settings = Settings { egress_rules: rules, ..farm.house.site.settings().as_ref().clone() };
    farm.house.site.reload(settings);
    farm.send(&["x@far.example"]).await;
    farm.pass(Span::secs(5)).await;
    assert_eq!(peer.got()[0].source, ip(B));
}

#[tokio::test(start_paused = true)]
async fn held_mail_waits_for_its_release() {
    let farm = farm().await;
    let peer = farm
        .neighbour("grey.example", "203.0.113.6", Manners::greylisting("mx.grey.example", Span::mins(4)))
        .await;
    let id = farm.send(&["bob@grey.example"]).await;
    farm.pass(Span::secs(10)).await;
    let site = &farm.house.site;
    let entry = site.store().read_now(|c| spool::show(c, id)).expect("is there").remove(0).entry.id;
    site.store().commit(vec![], move |b| spool::hold(b, entry, "look at it")).await.expect("holds");
    farm.pass(Span::days(6)).await;
    assert_eq!((peer.got_count(), farm.left()), (0, 1));
    let now = site.now();
    site.store().commit(vec![], move |b| spool::release(b, entry, now)).await.expect("releases");
    site.feed().ring();
    farm.pass(Span::secs(10)).await;
    assert_eq!((peer.got_count(), farm.left()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn many_messages_share_connections() {
    let farm = farm().await;
    let peer = farm.neighbour("far.example", "203.0.113.5", Manners::friendly("mx.far.example")).await;
    for _ in 0..300 {
        farm.send(&["x@far.example"]).await;
    }
    farm.pass(Span::secs(20)).await;
    assert_eq!((peer.got_count(), farm.left()), (300, 0));
    assert!(peer.sessions() <= 25, "{} sessions", peer.sessions());
}
