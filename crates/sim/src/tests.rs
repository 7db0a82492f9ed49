//! The city by itself: its wires, its names, its hosts' manners.

use super::*;
use std::net::SocketAddr;
use stdx::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Dns, DnsError};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

async fn city_with(manners: Manners) -> (City, Peer) {
    let city = City::new(7);
    let there = city.world(&[ip("192.0.2.25")]);
    let peer = Peer::new(manners, city.clock(), 1);
    let at = SocketAddr::new(ip("192.0.2.25"), 25);
    tokio::spawn(peer.clone().serve(there.net.listen(at).await.expect("listen")));
    (city, peer)
}

/// Sends the lines one by one and returns the replies' codes.
async fn talk(world: &World, from: &str, lines: &[&str]) -> Vec<String> {
    let to = SocketAddr::new(ip("192.0.2.25"), 25);
    let mut wire = world.net.dial(Some(ip(from)), to).await.expect("dial").stream;
    let mut codes = vec![reply(&mut wire).await];
    for line in lines {
        if wire.write_all(format!("{line}\r\n").as_bytes()).await.is_err() {
            codes.push("gone".into());
            break;
        }
        codes.push(reply(&mut wire).await);
    }
    codes
}

async fn reply(wire: &mut Box<dyn world::Stream>) -> String {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            match wire.read_u8().await {
                Ok(b) => line.push(b),
                Err(_) => return "gone".into(),
            }
        }
        text.push_str(&String::from_utf8_lossy(&line));
        if line.get(3) != Some(&b'-') {
            return text.trim_end().to_owned();
        }
    }
}

const SEND: [&str; 4] = ["EHLO me", "MAIL FROM:<a@us.example>", "RCPT TO:<b@them.example>", "DATA"];

#[tokio::test(start_paused = true)]
async fn a_friendly_host_takes_a_message_as_it_was_sent() {
    let (city, peer) = city_with(Manners::friendly("mx.them.example")).await;
    let us = city.world(&[ip("192.0.2.1")]);
    let mut lines = SEND.to_vec();
    lines.push("Subject: x\r\n\r\n..dot\r\n.");
    let replies = talk(&us, "192.0.2.1", &lines).await;
    assert!(replies[0].starts_with("220 mx.them.example") && replies[5].starts_with("250"), "{replies:?}");
    let got = peer.got();
    assert_eq!(got[0].text, b"Subject: x\r\n\r\n.dot\r\n");
    assert_eq!((got[0].sender.as_str(), got[0].recipients[0].as_str()), ("a@us.example", "b@them.example"));
}

#[tokio::test(start_paused = true)]
async fn a_greylisting_host_takes_the_second_try_after_its_wait() {
    let (city, _) = city_with(Manners::greylisting("mx", Span::mins(5))).await;
    let us = city.world(&[ip("192.0.2.1"), ip("192.0.2.2")]);
    let begin = us.now();
    assert!(talk(&us, "192.0.2.1", &SEND[..3]).await[3].starts_with("451"));
    assert!(talk(&us, "192.0.2.1", &SEND[..3]).await[3].starts_with("451"));
    us.clock.sleep_until(begin + Span::mins(5)).await;
    assert!(talk(&us, "192.0.2.1", &SEND[..3]).await[3].starts_with("250"));
    assert!(talk(&us, "192.0.2.2", &SEND[..3]).await[3].starts_with("451"), "another address begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_blocking_host_refuses_one_address_and_takes_another() {
    let (city, peer) = city_with(Manners::microsoft_business("mx", &[ip("192.0.2.1")])).await;
    let us = city.world(&[ip("192.0.2.1"), ip("192.0.2.2")]);
    let replies = talk(&us, "192.0.2.1", &SEND).await;
    assert!(
        replies[2].contains("banned sending IP [192.0.2.1]") && replies[3].starts_with("503"),
        "{replies:?}"
    );
    assert!(talk(&us, "192.0.2.2", &SEND).await[4].starts_with("354"));
    assert_eq!((peer.refused()[0].stage, peer.refused().len()), (Stage::Mail, 1));
    peer.behave(Manners::friendly("mx"));
    assert!(talk(&us, "192.0.2.1", &SEND).await[4].starts_with("354"), "it changed its mind");
}

#[tokio::test(start_paused = true)]
async fn hosts_throttle_dawdle_close_and_lose_their_word() {
    let throttle = Rule::Throttle { messages: 1, per: Span::hours(1), reply: "421 4.7.0 Too fast".into() };
    let (city, peer) = city_with(Manners::friendly("mx").with(throttle)).await;
    let us = city.world(&[ip("192.0.2.1")]);
    let mut lines = SEND.to_vec();
    lines.push("x\r\n.");
    assert!(talk(&us, "192.0.2.1", &lines).await[5].starts_with("250"));
    assert!(talk(&us, "192.0.2.1", &lines).await[2].starts_with("421"));
    peer.behave(Manners::friendly("mx").with(Rule::Slow { each: Span::secs(10) }));
    let begin = us.now();
    talk(&us, "192.0.2.1", &SEND[..2]).await;
    assert_eq!(us.now().since(begin), Span::secs(30));
    peer.behave(Manners::friendly("mx").with(Rule::Close { at: Stage::Rcpt }));
    assert_eq!(talk(&us, "192.0.2.1", &SEND).await[3], "gone");
    peer.behave(Manners::friendly("mx").with(Rule::LoseWord));
    let before = peer.got_count();
    assert_eq!(talk(&us, "192.0.2.1", &lines).await[5], "gone");
    assert_eq!(peer.got_count(), before + 1, "it was taken all the same");
}

#[tokio::test(start_paused = true)]
async fn wires_refuse_stay_silent_and_break() {
    let (city, _) = city_with(Manners::friendly("mx")).await;
    let us = city.world(&[ip("192.0.2.1")]);
    let there = ip("192.0.2.25");
    let to = SocketAddr::new(there, 25);
    assert!(us.net.dial(Some(ip("192.0.2.9")), to).await.is_err(), "not our address");
    assert!(us.net.dial(None, SocketAddr::new(there, 26)).await.is_err(), "nobody listens");
    city.network.fault(there, Some(Fault::Refused));
    assert!(us.net.dial(None, to).await.is_err());
    city.network.fault(there, Some(Fault::Silent));
    let dial = tokio::time::timeout(Span::hours(1).to_std(), us.net.dial(None, to));
    assert!(dial.await.is_err(), "silence");
    city.network.fault(there, Some(Fault::BreaksAfter(12)));
    assert_eq!(
        talk(&us, "192.0.2.1", &["EHLO me", "MAIL FROM:<>"]).await.last().map(String::as_str),
        Some("gone")
    );
    city.network.fault(there, None);
    assert!(talk(&us, "192.0.2.1", &["EHLO me"]).await[1].starts_with("250"));
}

#[tokio::test(start_paused = true)]
async fn names_can_be_asked_changed_and_made_to_fail() {
    let zones = Zones::new();
    zones
        .mx("A.example", 10, "mx.a.example")
        .ip("mx.a.example", ip("192.0.2.25"))
        .cname("alias.example", "mx.a.example");
    assert_eq!(Dns::mx(&zones, "a.example.").await.expect("mx").records[0].host, "mx.a.example");
    assert_eq!(Dns::ip(&zones, "alias.example").await.expect("alias").records, [ip("192.0.2.25")]);
    assert_eq!(Dns::txt(&zones, "a.example").await, Err(DnsError::NoData));
    assert_eq!(Dns::mx(&zones, "b.example").await, Err(DnsError::NoName));
    zones.fails("a.example", true);
    assert!(matches!(Dns::mx(&zones, "a.example").await, Err(DnsError::Failed(_))));
    let beyond = Zones::new();
    beyond.txt("far.example", "hello");
    let both = Zones::new().beyond(Arc::new(beyond));
    assert_eq!(Dns::txt(&both, "far.example").await.expect("beyond").records, ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_world() {
    let draw = |seed| {
        let world = City::new(seed).world(&[]);
        [world.random.next_u64(), world.random.next_u64()]
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}
