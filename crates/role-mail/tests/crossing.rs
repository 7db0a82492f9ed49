//! IMAP sessions that leave one host and go on in the next, over one store, in virtual time and memory.
//! The second host knows nothing the first one had in memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mailbox::{New, Pen, deliver};
use role_mail::crossing::{self, Crossing, Landing};
use role_mail::gate::Gate;
use role_mail::{Arrival, Front, Settings, Site};
use sim::City;
use stdx::{Dice, Secret};
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use words::{AccountId, Address, Domain};
use world::Connection;

/// A host with nothing in its memory yet.
struct Host {
    site: Site,
    stop: watch::Sender<bool>,
    gate: Gate,
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

async fn store() -> Store {
    let store = Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
    let now = stdx::Now::from_secs(1_700_000_000);
    let made = store.commit(Vec::new(), move |batch| {
        directory::add_domain(batch, &Domain::new("home.example").expect("valid"), now)?;
        for name in ["ann@home.example", "bob@home.example"] {
            let new = directory::NewAccount { address: &address(name), name, quota: None };
            let id = directory::add_account(batch, &new, now)?;
            directory::set_password(batch, id, &[Secret::new("{PLAIN}secret".to_owned())], now)?;
        }
        Ok(())
    });
    made.await.expect("the directory is filled");
    store
}

impl Host {
    fn new(store: &Store) -> Host {
        let city = City::new(1);
        let own: IpAddr = "192.0.2.25".parse().expect("an address");
        let mut settings = Settings::new("mx.example");
        settings.tolerance.plain_on_trusted_network = true;
        settings.trusted_networks = vec![("198.51.100.0".parse().expect("an address"), 24)];
        let site = Site::new(city.world(&[own]), store.clone(), settings);
        Host { site, stop: watch::channel(false).0, gate: Gate::default() }
    }

    fn call(&self) -> Wire {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = SocketAddr::new("198.51.100.7".parse().expect("an address"), 4000);
        let local = "192.0.2.25:143".parse().expect("an address");
        let arrival = Arrival {
            id: self.site.session_id(),
            front: Front::Imap,
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
            farewell: b"",
            meter: Arc::default(),
            limits: drive::Limits::default(),
        };
        let connection = Connection { stream: Box::new(theirs), local, peer };
        drop(tokio::spawn(role_mail::imap::serve(self.site.clone(), arrival, connection, wires)));
        Wire { stream: ours, held: Vec::new(), tag: 0, over: false }
    }

    async fn imap(&self, user: &str) -> Wire {
        let mut wire = self.call();
        assert!(wire.line().await.starts_with("* OK"));
        wire.ok(&format!("LOGIN {user}@home.example secret")).await;
        wire
    }

    async fn deliver(&self, account: i64) {
        let mut draft = self.site.store().draft();
        draft.write(b"Subject: x\r\n\r\nx\r\n").await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let (pen, now) = (Pen::of_delivery(self.site.hub().clone(), self.site.now()), self.site.now());
        let put = move |b: &mut store::Batch<'_>| {
            let item = New::arriving(b.body(0), 17, now);
            deliver(b, &pen, AccountId(account), None, &item)
        };
        self.site.store().commit(vec![sealed], put).await.expect("delivers");
    }

    /// Stops, and says which sessions wait for another host.
    async fn leave(self) -> Vec<Crossing> {
        self.site.quay().open();
        // An error means that no session is left.
        let _ = self.stop.send(true);
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        self.site.quay().close()
    }

    fn go_on(&self, crossings: Vec<Crossing>) {
        let (sender, receiver) = mpsc::channel(crossings.len().max(1));
        for crossing in crossings {
            assert!(sender.try_send(crossing).is_ok(), "there is room");
        }
        let landing = Landing { site: self.site.clone(), gate: self.gate.clone(), certificates: None };
        drop(tokio::spawn(crossing::resume(landing, receiver, self.stop.subscribe())));
    }
}

struct Wire {
    stream: DuplexStream,
    held: Vec<u8>,
    tag: u32,
    over: bool,
}

impl Wire {
    /// The next line; empty once the session is over.
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.held.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.held.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line).trim_end().to_owned();
            }
            let mut more = [0; 4096];
            let n = self.stream.read(&mut more).await.expect("reads");
            if n == 0 {
                self.over = true;
                return String::new();
            }
            self.held.extend_from_slice(&more[..n]);
        }
    }
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("writes");
    }
    async fn until(&mut self, tag: &str) -> String {
        let mut all = String::new();
        loop {
            let line = self.line().await;
            assert!(!self.over, "the session ended after {all}");
            all.push_str(&line);
            all.push('\n');
            if line.starts_with(&format!("{tag} ")) {
                return all;
            }
        }
    }
    async fn ok(&mut self, command: &str) -> String {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(&format!("{tag} {command}\r\n")).await;
        let said = self.until(&tag).await;
        assert!(said.contains(&format!("{tag} OK")), "{command}: {said}");
        said
    }
    async fn idle(&mut self) {
        self.send("i IDLE\r\n").await;
        assert!(self.line().await.starts_with('+'));
    }
    /// All that is said within a second.
    async fn hears(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Ok(line) = tokio::time::timeout(std::time::Duration::from_secs(1), self.line()).await {
            if self.over {
                break;
            }
            said.push(line);
        }
        said
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_hears_in_the_next_host_what_happened_meanwhile() {
    let store = store().await;
    let old = Host::new(&store);
    for _ in 0..4 {
        old.deliver(1).await;
    }
    let mut ann = old.imap("ann").await;
    ann.ok("SELECT INBOX").await;
    ann.idle().await;
    let gone = old.leave().await;
    assert_eq!(gone.len(), 1);
    assert_eq!(ann.hears().await, Vec::<String>::new(), "nothing is said on the way");
    // The next host is busy before the session arrives.
    let new = Host::new(&store);
    let mut other = new.imap("ann").await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("STORE 3 +FLAGS.SILENT (\\Flagged $Work)").await;
    other.ok("EXPUNGE").await;
    new.deliver(1).await;
    other.ok("NOOP").await;
    new.go_on(gone);
    let said = ann.hears().await.join("\n");
    assert!(said.contains("* 3 FETCH (FLAGS (\\Flagged $Work") && said.contains("* FLAGS ("), "{said}");
    let (expunge, exists) = (said.find("* 2 EXPUNGE"), said.find("* 4 EXISTS"));
    assert!(expunge.is_some() && expunge < exists, "{said}");
    new.deliver(1).await;
    assert_eq!(ann.hears().await.first().map(String::as_str), Some("* 5 EXISTS"), "and it goes on to hear");
    ann.send("DONE\r\n").await;
    assert!(ann.until("i").await.ends_with("i OK Idle completed\n"));
    let said = ann.ok("UID FETCH 1:* (FLAGS)").await;
    for (n, uid) in [(1, 1), (2, 3), (3, 4), (4, 5), (5, 6)] {
        assert!(said.contains(&format!("* {n} FETCH (UID {uid} ")), "{said}");
    }
    assert_eq!(new.gate.open(), 1, "it has its place in the count of sessions");
}

#[tokio::test(start_paused = true)]
async fn a_session_to_which_nothing_happened_hears_nothing() {
    let store = store().await;
    let old = Host::new(&store);
    old.deliver(1).await;
    let (mut ann, mut bob) = (old.imap("ann").await, old.imap("bob").await);
    ann.ok("EXAMINE INBOX").await;
    ann.idle().await;
    // Bob has no folder open, and half a command said.
    bob.send("b STATUS INBOX (MES").await;
    let gone = old.leave().await;
    assert_eq!(gone.len(), 2);
    let new = Host::new(&store);
    new.go_on(gone);
    assert!(ann.hears().await.is_empty() && bob.hears().await.is_empty());
    bob.send("SAGES)\r\n").await;
    assert!(bob.until("b").await.contains("(MESSAGES 0)"));
    ann.send("DONE\r\n").await;
    ann.until("i").await;
    ann.tag += 1;
    ann.send("x STORE 1 +FLAGS (\\Seen)\r\n").await;
    assert!(ann.until("x").await.contains("x NO"), "what was opened to read stays so");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_folder_or_account_is_gone_hears_bye() {
    let store = store().await;
    let old = Host::new(&store);
    let (mut ann, mut bob) = (old.imap("ann").await, old.imap("bob").await);
    ann.ok("CREATE Work").await;
    ann.ok("SELECT Work").await;
    for wire in [&mut ann, &mut bob] {
        wire.idle().await;
    }
    let gone = old.leave().await;
    let new = Host::new(&store);
    let mut other = new.imap("ann").await;
    other.ok("DELETE Work").await;
    let lock = |b: &mut store::Batch<'_>| directory::set_state(b, AccountId(2), directory::State::Locked);
    new.site.store().commit(Vec::new(), lock).await.expect("locks");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    new.go_on(gone);
    for wire in [&mut ann, &mut bob] {
        let said = wire.hears().await;
        assert!(said.len() == 1 && said[0].starts_with("* BYE ") && wire.over, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_next_host_and_in_the_middle_of_something_sessions_hear_bye() {
    let store = store().await;
    let old = Host::new(&store);
    let mut stranger = old.call();
    stranger.line().await;
    let mut ann = old.imap("ann").await;
    ann.send("a APPEND INBOX {50}\r\n").await;
    assert!(ann.line().await.starts_with('+'));
    assert!(old.leave().await.is_empty());
    assert!(stranger.line().await.starts_with("* BYE"));
    let last = Host::new(&store);
    let mut ann = last.imap("ann").await;
    ann.idle().await;
    last.stop.send(true).expect("it listens");
    assert!(ann.line().await.starts_with("* BYE"), "an ordinary stop waits for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_at_once_passes_its_sessions_on() {
    let store = store().await;
    let mut host = Host::new(&store);
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut ann = host.imap("ann").await;
        ann.ok("SELECT INBOX").await;
        ann.idle().await;
        wires.push(ann);
    }
    for turn in 0..6 {
        let gone = host.leave().await;
        assert_eq!(gone.len(), wires.len(), "turn {turn}");
        host = Host::new(&store);
        host.go_on(gone);
        // Between none of them being looked at and all of them going on.
        for _ in 0..turn * 7 {
            tokio::task::yield_now().await;
        }
    }
    host.deliver(1).await;
    for ann in &mut wires {
        assert_eq!(ann.line().await, "* 1 EXISTS");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_parcel_is_answered_and_harms_nobody() {
    let store = store().await;
    let new = Host::new(&store);
    for parcel in [&b""[..], b"{}", b"{\"kind\":1}", b"\xff\xff", b"[1,2,3]"] {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        new.go_on(vec![Crossing { parcel: parcel.to_vec(), stream: Box::new(theirs) }]);
        let mut wire = Wire { stream: ours, held: Vec::new(), tag: 0, over: false };
        assert!(wire.line().await.starts_with("* BYE"));
    }
}

/// Random changes before, during and after: the client's count, by what it was told, is what the
/// mailbox holds, and so are its UIDs.
#[tokio::test(start_paused = true)]
async fn after_any_changes_the_client_knows_its_mailbox() {
    for seed in 0..12 {
        let mut dice = Dice::new(seed);
        let store = store().await;
        let mut host = Host::new(&store);
        for _ in 0..dice.below(10) {
            host.deliver(1).await;
        }
        let mut ann = host.imap("ann").await;
        if dice.chance(0.3) {
            ann.ok("ENABLE QRESYNC").await;
        }
        let mut client = Known::default();
        client.hear_all(ann.ok("SELECT INBOX").await.lines());
        let read = ann.ok("UID FETCH 1:* (UID)").await;
        client.hear_all(read.lines());
        for _ in 0..4 {
            ann.idle().await;
            change(&host, &mut dice).await;
            client.hear_all(ann.hears().await.iter().map(String::as_str));
            let gone = host.leave().await;
            assert_eq!(gone.len(), 1, "seed {seed}");
            host = Host::new(&store);
            change(&host, &mut dice).await;
            host.go_on(gone);
            change(&host, &mut dice).await;
            client.hear_all(ann.hears().await.iter().map(String::as_str));
            ann.send("DONE\r\n").await;
            client.hear_all(ann.until("i").await.lines());
            let read = ann.ok("UID FETCH 1:* (UID)").await;
            let now: Vec<u32> = read.lines().filter_map(uid).collect();
            assert_eq!(client.uids.len(), now.len(), "seed {seed}: {:?} {now:?}", client.uids);
            for (known, is) in client.uids.iter().zip(&now) {
                assert!(known.is_none_or(|k| k == *is), "seed {seed}: {:?} {now:?}", client.uids);
            }
            client.uids = now.into_iter().map(Some).collect();
        }
    }
}

fn uid(line: &str) -> Option<u32> {
    let rest = line.split_once("FETCH (UID ")?.1;
    rest.split([' ', ')']).next()?.parse().ok()
}

/// Other programs' work on the same mailbox.
async fn change(host: &Host, dice: &mut Dice) {
    let mut other = host.imap("ann").await;
    other.ok("SELECT INBOX").await;
    for _ in 0..dice.below(4) {
        match dice.below(3) {
            0 => host.deliver(1).await,
            1 => {
                let n = 1 + dice.below(12);
                other.send(&format!("s STORE {n} +FLAGS.SILENT (\\Deleted)\r\n")).await;
                other.until("s").await;
                other.ok("EXPUNGE").await;
            }
            _ => {
                other.send(&format!("s STORE {} +FLAGS (\\Seen)\r\n", 1 + dice.below(12))).await;
                other.until("s").await;
            }
        }
    }
    other.ok("LOGOUT").await;
}

/// What a client knows by what it was told.
#[derive(Default)]
struct Known {
    uids: Vec<Option<u32>>,
}

impl Known {
    fn hear_all<'l>(&mut self, lines: impl Iterator<Item = &'l str>) {
        lines.for_each(|line| self.hear(line));
    }
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["*", n, "EXISTS"] => {
                let n = n.parse().expect("a number");
                assert!(n >= self.uids.len(), "EXISTS became smaller");
                self.uids.resize(n, None);
            }
            ["*", n, "EXPUNGE"] => drop(self.uids.remove(n.parse::<usize>().expect("a number") - 1)),
            ["*", "VANISHED", set] => {
                for uid in imap::SeqSet::parse(set.as_bytes()).expect("a set").resolve(0).iter() {
                    let known = self.uids.iter().position(|u| *u == Some(uid));
                    let at = known.or_else(|| self.uids.iter().position(Option::is_none));
                    self.uids.remove(at.expect("it was there"));
                }
            }
            ["*", n, "FETCH", ..] => {
                let seq: usize = n.parse().expect("a number");
                assert!(seq >= 1 && seq <= self.uids.len(), "{line}");
                if let Some(uid) = uid(line) {
                    assert!(self.uids[seq - 1].is_none_or(|known| known == uid), "{line}");
                    self.uids[seq - 1] = Some(uid);
                }
            }
            ["*", "BYE", ..] => panic!("{line}"),
            _ => {}
        }
    }
}
