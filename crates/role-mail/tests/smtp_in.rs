//! Mail from other hosts, from the first byte to the mailbox, in virtual time and memory.

use std::net::IpAddr;
use std::sync::Arc;

use role_mail::{Arrival, Front, Settings, Site};
use sim::City;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use words::{AccountId, Address, Domain};
use world::Connection;

struct House {
    site: Site,
    stop: tokio::sync::watch::Sender<bool>,
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

async fn house() -> House {
    let city = City::new(1);
    let own: IpAddr = "192.0.2.25".parse().expect("an address");
    let schemas = [directory::SCHEMA, mailbox::SCHEMA, ledger::SCHEMA, role_mail::receipts::SCHEMA];
    let store = Store::in_memory(store::Settings::default(), &schemas).expect("a store");
    let site = Site::new(city.world(&[own]), store, Settings::new("mx.example"));
    let now = site.now();
    let made = site.store().commit(Vec::new(), move |batch| {
        directory::add_domain(batch, &Domain::new("home.example").expect("valid"), now)?;
        for name in ["ann@home.example", "bob@home.example"] {
            let new = directory::NewAccount { address: &address(name), name, quota: None };
            directory::add_account(batch, &new, now)?;
        }
        directory::add_alias(batch, &address("team@home.example"), &address("ann@home.example"))?;
        directory::add_alias(batch, &address("team@home.example"), &address("bob@home.example"))
    });
    made.await.expect("the directory is filled");
    House { site, stop: tokio::sync::watch::channel(false).0 }
}

struct Wire {
    stream: DuplexStream,
}

impl House {
    /// Connects from an address and takes the greeting.
    async fn call(&self, from: &str) -> Wire {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = std::net::SocketAddr::new(from.parse().expect("an address"), 4000);
        let local = "192.0.2.25:25".parse().expect("an address");
        let arrival = Arrival {
            id: self.site.session_id(),
            front: Front::Smtp,
            peer,
            local,
            implicit_tls: false,
            tls_offered: false,
            at: self.site.now(),
        };
        let wires = drive::Wires {
            clock: self.site.world().clock.clone(),
            tls: drive::Tls::None,
            stop: self.stop.subscribe(),
            farewell: b"421 4.3.0 oops\r\n",
            meter: Arc::default(),
            limits: drive::Limits::default(),
        };
        let connection = Connection { stream: Box::new(theirs), local, peer };
        tokio::spawn(role_mail::smtp_in::serve(self.site.clone(), arrival, connection, wires));
        let mut wire = Wire { stream: ours };
        assert!(wire.reply().await.starts_with("220 mx.example"));
        wire
    }

    /// Every message of the account's folder, oldest first.
    async fn texts(&self, account: i64, folder: &str) -> Vec<String> {
        let folder = folder.to_owned();
        let ids = self.site.store().read_now(|conn| {
            let Some(folder) = mailbox::folder::find(conn, AccountId(account), &folder)? else {
                return Ok(Vec::new());
            };
            let view = mailbox::view::begin(conn, &folder)?;
            Ok(view.rows().iter().map(|r| r.body).collect::<Vec<_>>())
        });
        let mut texts = Vec::new();
        for id in ids.expect("the store answers") {
            let body = self.site.store().body(id).await.expect("a body");
            texts.push(String::from_utf8(body.all().await.expect("bytes").to_vec()).expect("text"));
        }
        texts
    }
}

impl Wire {
    async fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let line = self.line().await;
            text.push_str(&line);
            if line.len() < 4 || line.as_bytes()[3] != b'-' {
                return text;
            }
        }
    }
    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let Ok(b) = self.stream.read_u8().await else { break };
            line.push(b);
        }
        String::from_utf8(line).expect("text")
    }
    async fn say(&mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).await.expect("written");
        self.reply().await
    }
    async fn send(&mut self, from: &str, to: &[&str], text: &str) -> String {
        self.say("EHLO client.example\r\n").await;
        assert!(self.say(&format!("MAIL FROM:<{from}>\r\n")).await.starts_with("250"));
        for to in to {
            let reply = self.say(&format!("RCPT TO:<{to}>\r\n")).await;
            assert!(reply.starts_with("250"), "{reply}");
        }
        assert!(self.say("DATA\r\n").await.starts_with("354"));
        self.say(&format!("{text}\r\n.\r\n")).await
    }
}

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
