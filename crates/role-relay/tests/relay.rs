//! The relay's door in virtual time and memory: who may send, how much, and never twice.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use role_relay::customers::{self, Customer, Price};
use role_relay::{Relay, SCHEMA, desk};
use sim::City;
use spool::SpoolId;
use stdx::{Now, Span};
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use world::Connection;

struct Farm {
    relay: Relay,
    stop: tokio::sync::watch::Sender<bool>,
}

fn farm() -> Farm {
    let city = City::new(5);
    let own: IpAddr = "192.0.2.25".parse().expect("an address");
    let schemas = [ledger::SCHEMA, spool::SCHEMA, SCHEMA];
    let store = Store::in_memory(store::Settings::default(), &schemas).expect("a store");
    let relay = Relay::new(city.world(&[own]), store, spool::Feed::new(1), "relay.example", 50 << 20);
    Farm { relay, stop: tokio::sync::watch::channel(false).0 }
}

struct Wire(DuplexStream);

impl Wire {
    async fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                let Ok(b) = self.0.read_u8().await else { return text };
                line.push(b);
            }
            text.push_str(&String::from_utf8_lossy(&line));
            if line.len() < 4 || line[3] != b'-' {
                return text;
            }
        }
    }
    async fn say(&mut self, text: &str) -> String {
        self.0.write_all(text.as_bytes()).await.expect("written");
        self.reply().await
    }
    async fn send(&mut self, to: &[&str], text: &str) -> String {
        let reply = self.say("MAIL FROM:<boss@acme.example>\r\n").await;
        if !reply.starts_with("250") {
            return reply;
        }
        for to in to {
            let reply = self.say(&format!("RCPT TO:<{to}>\r\n")).await;
            if !reply.starts_with("250") {
                return reply;
            }
        }
        assert!(self.say("DATA\r\n").await.starts_with("354"));
        self.say(&format!("From: boss@acme.example\r\n\r\n{text}\r\n.\r\n")).await
    }
}

impl Farm {
    /// `pin`: what the client has proved under TLS, which is played here by the desk's facts alone.
    async fn call(&self, from: &str) -> Wire {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = SocketAddr::new(from.parse().expect("an address"), 4000);
        let local = "192.0.2.25:587".parse().expect("an address");
        let wires = drive::Wires {
            clock: self.relay.world().clock.clone(),
            tls: drive::Tls::None,
            stop: self.stop.subscribe(),
            farewell: b"421 4.3.0 oops\r\n",
            meter: Arc::default(),
            limits: drive::Limits::default(),
        };
        let connection = Connection { stream: Box::new(theirs), local, peer };
        tokio::spawn(desk::serve(self.relay.clone(), connection, wires, false));
        let mut wire = Wire(ours);
        assert!(wire.reply().await.starts_with("220 relay.example"));
        assert!(wire.say("EHLO server.local\r\n").await.starts_with("250"), "a name of no worth will do");
        wire
    }
    async fn customer(&self, customer: Customer) {
        let made = self.relay.store().commit(Vec::new(), move |b| customers::add(b, &customer, None));
        made.await.expect("a customer");
    }
    async fn change(&self, change: impl FnOnce(&mut Customer) + Send + 'static) {
        let done = self.relay.store().commit(Vec::new(), move |batch| {
            let mut acme = customers::by_name(batch.sql(), "acme")?.expect("a customer");
            change(&mut acme);
            customers::put(batch, &acme)
        });
        done.await.expect("changed");
    }
    fn spooled(&self) -> usize {
        self.relay.store().read_now(|c| spool::list(c, SpoolId(0), None, 1000)).expect("a list").len()
    }
    fn used(&self) -> (u64, u64) {
        let now = self.relay.now();
        self.relay.store().read_now(|c| customers::used_now(c, "acme", now)).expect("numbers")
    }
}

fn acme() -> Customer {
    Customer {
        name: "acme".into(),
        networks: vec![("203.0.113.0".parse().expect("an address"), 24)],
        hour_max: Some(5),
        day_max: Some(8),
        prices: vec![Price::parse("30.00 USD").expect("a price")],
        since: Now::from_secs(1).0,
        ..Customer::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_address_may_send_and_a_stranger_may_not() {
    let farm = farm();
    farm.customer(acme()).await;
    let mut wire = farm.call("203.0.113.9").await;
    let reply = wire.send(&["x@far.example", "y@far.example"], "hello").await;
    assert!(reply.starts_with("250 2.0.0 m="), "{reply}");
    assert_eq!((farm.spooled(), farm.used()), (1, (2, 2)));
    let mut stranger = farm.call("198.51.100.9").await;
    let reply = stranger.send(&["x@far.example"], "hello").await;
    assert!(reply.starts_with("530 5.7.0"), "{reply}");
    let listed = farm.relay.store().read_now(|c| spool::list(c, SpoolId(0), None, 9)).expect("a list");
    let body =
        farm.relay.store().body(listed[0].entry.body).await.expect("a body").all().await.expect("bytes");
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(text.starts_with("Received: from server.local") && text.contains("\r\n\r\nhello\r\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn quotas_hold_and_a_stop_works_at_once_and_can_be_taken_back() {
    let farm = farm();
    farm.customer(acme()).await;
    let mut wire = farm.call("203.0.113.9").await;
    for n in 0..5 {
        assert!(wire.send(&["x@far.example"], &format!("{n}")).await.starts_with("250"), "{n}");
    }
    let reply = wire.send(&["x@far.example"], "6").await;
    assert!(reply.starts_with("450 4.7.1") && reply.contains("hour"), "{reply}");
    tokio::time::sleep(Span::mins(61).to_std()).await;
    let mut wire = farm.call("203.0.113.9").await;
    for n in 0..3 {
        assert!(wire.send(&["x@far.example"], &format!("b{n}")).await.starts_with("250"), "{n}");
    }
    assert!(wire.send(&["x@far.example"], "9").await.contains("day"));
    farm.change(|acme| acme.day_max = None).await;
    farm.change(|acme| acme.stopped = Some("sends spam".into())).await;
    // The session that stands feels it too.
    let reply = wire.send(&["x@far.example"], "x").await;
    assert!(reply.starts_with("450 4.7.1") && reply.contains("sends spam"), "{reply}");
    farm.change(|acme| acme.stopped = None).await;
    assert!(wire.send(&["x@far.example"], "x").await.starts_with("250"));
    assert_eq!(farm.spooled(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_250_was_lost_comes_again_and_is_one_message() {
    let farm = farm();
    farm.customer(Customer { hour_max: None, day_max: None, ..acme() }).await;
    let mut wire = farm.call("203.0.113.9").await;
    let first = wire.send(&["x@far.example"], "once").await;
    // The wire breaks before the client has said anything more; it sends all of it again.
    drop(wire);
    let mut wire = farm.call("203.0.113.9").await;
    let again = wire.send(&["x@far.example"], "once").await;
    assert_eq!(first, again);
    assert_eq!((farm.spooled(), farm.used()), (1, (1, 1)));
    // It says QUIT behind the 250: from now on the same text is a new message.
    assert!(wire.say("NOOP\r\n").await.starts_with("250"));
    tokio::time::sleep(Span::secs(1).to_std()).await;
    let third = wire.send(&["x@far.example"], "once").await;
    assert!(third.starts_with("250") && third != first, "{third}");
    assert_eq!(farm.spooled(), 2);
}

fn about(kind: &'static str, at: Now, message: u64) -> ledger::Fact {
    let bob = words::Address::parse("bob@far.example").expect("an address");
    ledger::Fact::new(kind, at).message(words::MessageId(message)).about(&bob)
}

#[tokio::test(start_paused = true)]
async fn what_became_of_mail_is_told_once_to_the_host_it_came_from() {
    let farm = farm();
    let (store, at) = (farm.relay.store().clone(), farm.relay.now());
    let theirs = words::MessageId(77).to_string();
    let noted = store.commit(Vec::new(), move |batch| {
        let came = about("relay.accepted", at, 1).with("from_host", "mx.home.example");
        ledger::note(batch, &came.with("from_message", theirs.clone()))?;
        ledger::note(batch, &about("relay.accepted", at, 2))?;
        let refused = about("send.refused", at, 1).with("egress", "B").with("host", "mx.far.example");
        ledger::note(batch, &refused.with("said", "550 5.7.1 blocked"))?;
        ledger::note(batch, &about("send.delivered", at, 2).with("said", "250 ok"))
    });
    noted.await.expect("noted");
    let due = |peer: &'static str| {
        let now = farm.relay.now();
        farm.relay.store().read_now(move |conn| role_relay::outcomes::due(conn, peer, now)).expect("read")
    };
    assert!(due("mx.home.example").0.is_empty(), "the mail host may not have noted our 250 yet");
    tokio::time::sleep(Span::secs(3).to_std()).await;
    assert!(due("other.example").0.is_empty(), "it is nobody else's mail");
    let (facts, mark) = due("mx.home.example");
    let expected = link::Fact::Outcome {
        at: at.ms(),
        message: words::MessageId(77).to_string(),
        recipient: "bob@far.example".into(),
        egress: "B".into(),
        mx: "mx.far.example".into(),
        code: 550,
        reply: "550 5.7.1 blocked".into(),
        became: "refused".into(),
    };
    assert_eq!(facts, [expected]);
    let told = store.commit(Vec::new(), move |b| role_relay::outcomes::told(b, "mx.home.example", mark));
    told.await.expect("told");
    assert!(due("mx.home.example").0.is_empty());
}
