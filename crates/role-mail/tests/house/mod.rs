//! A mail host in memory and virtual time, and a wire to talk to it.
#![allow(dead_code)]

use std::net::IpAddr;
use std::sync::Arc;

use role_mail::{Arrival, Front, Settings, Site};
use sim::City;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use words::{AccountId, Address, Domain};
use world::Connection;

pub struct House {
    pub site: Site,
    pub city: City,
    stop: tokio::sync::watch::Sender<bool>,
}

pub fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

/// Ann and Bob at home.example, and team@ for both; Eve's SPF names 198.51.100.0/24.
pub async fn house() -> House {
    house_at(&["192.0.2.25"]).await
}

/// As [`house`], at these addresses.
pub async fn house_at(own: &[&str]) -> House {
    let city = City::new(1);
    let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().expect("an address")).collect();
    let schemas = role_mail::schemas();
    let store = Store::in_memory(store::Settings::default(), &schemas).expect("a store");
    let mut settings = Settings::new("mx.example");
    // Clients on this network log in without TLS; that is how submission is played here.
    settings.trusted_networks = vec![("203.0.113.0".parse().expect("an address"), 24)];
    settings.tolerance.plain_on_trusted_network = true;
    city.zones.txt("out.example", "v=spf1 ip4:198.51.100.0/24 -all");
    let site = Site::new(city.world(&own), store, settings);
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
    House { site, city, stop: tokio::sync::watch::channel(false).0 }
}

pub struct Wire {
    stream: DuplexStream,
}

impl House {
    /// Connects from an address and takes the greeting.
    pub async fn call(&self, from: &str) -> Wire {
        self.connect(from, Front::Smtp).await
    }

    /// Connects to one of the two doors.
    pub async fn connect(&self, from: &str, front: Front) -> Wire {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = std::net::SocketAddr::new(from.parse().expect("an address"), 4000);
        let local = "192.0.2.25:25".parse().expect("an address");
        let arrival = Arrival {
            id: self.site.session_id(),
            front,
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
        match front {
            Front::Smtp => {
                tokio::spawn(role_mail::smtp_in::serve(self.site.clone(), arrival, connection, wires));
            }
            _ => {
                tokio::spawn(role_mail::submission::serve(self.site.clone(), arrival, connection, wires));
            }
        }
        let mut wire = Wire { stream: ours };
        assert!(wire.reply().await.starts_with("220 mx.example"));
        wire
    }

    /// Every message of the account's folder, oldest first.
    pub async fn texts(&self, account: i64, folder: &str) -> Vec<String> {
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
    pub async fn reply(&mut self) -> String {
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
    pub async fn say(&mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).await.expect("written");
        self.reply().await
    }
    pub async fn send(&mut self, from: &str, to: &[&str], text: &str) -> String {
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
