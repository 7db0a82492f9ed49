//! IMAP and POP3 from the first byte to the store and back, in virtual time and memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mailbox::{New, Pen, deliver};
use role_mail::{Arrival, Front, Settings, Site};
use sim::City;
use stdx::Secret;
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
    let store = Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
    let mut settings = Settings::new("mx.example");
    settings.tolerance.plain_on_trusted_network = true;
    settings.trusted_networks = vec![("198.51.100.0".parse().expect("an address"), 24)];
    let site = Site::new(city.world(&[own]), store, settings);
    let now = site.now();
    let made = site.store().commit(Vec::new(), move |batch| {
        directory::add_domain(batch, &Domain::new("home.example").expect("valid"), now)?;
        for (name, quota) in [("ann@home.example", None), ("bob@home.example", Some(stdx::Bytes(300)))] {
            let new = directory::NewAccount { address: &address(name), name, quota };
            let id = directory::add_account(batch, &new, now)?;
            directory::set_password(batch, id, &[Secret::new("{PLAIN}secret".to_owned())], now)?;
        }
        Ok(())
    });
    made.await.expect("the directory is filled");
    House { site, stop: tokio::sync::watch::channel(false).0 }
}

struct Wire {
    stream: DuplexStream,
    held: Vec<u8>,
    tag: u32,
}

impl House {
    fn call(&self, front: Front) -> Wire {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = SocketAddr::new("198.51.100.7".parse().expect("an address"), 4000);
        let local = "192.0.2.25:143".parse().expect("an address");
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
            farewell: b"",
            meter: Arc::default(),
            limits: drive::Limits::default(),
        };
        let connection = Connection { stream: Box::new(theirs), local, peer };
        let site = self.site.clone();
        match front {
            Front::Pop3 => drop(tokio::spawn(role_mail::pop3::serve(site, arrival, connection, wires))),
            _ => drop(tokio::spawn(role_mail::imap::serve(site, arrival, connection, wires))),
        }
        Wire { stream: ours, held: Vec::new(), tag: 0 }
    }
    async fn imap(&self, user: &str) -> Wire {
        let mut wire = self.call(Front::Imap);
        assert!(wire.line().await.starts_with("* OK"));
        wire.ok(&format!("LOGIN {user}@home.example secret")).await;
        wire
    }
    async fn deliver(&self, account: i64, text: &str) {
        let mut draft = self.site.store().draft();
        draft.write(text.as_bytes()).await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let (pen, now) = (Pen::of_delivery(self.site.hub().clone(), self.site.now()), self.site.now());
        let size = text.len() as u64;
        let put = move |b: &mut store::Batch<'_>| {
            let item = New::arriving(b.body(0), size, now);
            deliver(b, &pen, AccountId(account), None, &item)
        };
        self.site.store().commit(vec![sealed], put).await.expect("delivers");
    }
}

impl Wire {
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.held.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.held.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line).trim_end().to_owned();
            }
            let mut more = [0; 4096];
            let n = self.stream.read(&mut more).await.expect("reads");
            assert!(n > 0, "the session ended after {:?}", String::from_utf8_lossy(&self.held));
            self.held.extend_from_slice(&more[..n]);
        }
    }
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("writes");
    }
    /// A command and everything up to its tagged line.
    async fn say(&mut self, command: &str) -> String {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(&format!("{tag} {command}\r\n")).await;
        let mut all = String::new();
        loop {
            let line = self.line().await;
            let last = line.starts_with(&format!("{tag} "));
            all.push_str(line.strip_prefix(&format!("{tag} ")).unwrap_or(&line));
            all.push('\n');
            if last {
                return all;
            }
        }
    }
    async fn ok(&mut self, command: &str) -> String {
        let said = self.say(command).await;
        assert!(said.lines().last().is_some_and(|l| l.starts_with("OK")), "{command}: {said}");
        said
    }
    async fn append(&mut self, folder: &str, text: &str) -> String {
        self.ok(&format!("APPEND {folder} {{{}+}}\r\n{text}", text.len())).await
    }
}

const LETTER: &str = "From: Eve <eve@out.example>\r\nTo: ann@home.example\r\nSubject: Grapes\r\n\
Message-ID: <1@out.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nripe zanzibarium\r\n\
--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n";

#[tokio::test(start_paused = true)]
async fn what_is_appended_is_fetched_unchanged_and_in_pieces() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    let said = ann.append("INBOX", LETTER).await;
    assert!(said.contains("[APPENDUID ") && said.contains(" 1]"), "{said}");
    let said = ann.ok("SELECT INBOX").await;
    assert!(
        said.contains("* 1 EXISTS") && said.contains("[UIDNEXT 2]") && said.contains("HIGHESTMODSEQ"),
        "{said}"
    );
    let said = ann.ok("FETCH 1 (UID FLAGS RFC822.SIZE BODY.PEEK[])").await;
    assert!(said.replace('\n', "\r\n").contains(LETTER), "{said}");
    assert!(said.contains(&format!("RFC822.SIZE {}", LETTER.len())));
    for (item, want) in [
        ("BODY.PEEK[1]", "ripe zanzibarium"),
        ("BODY.PEEK[1]<5.4>", "BODY[1]<5> {4}"),
        ("BODY.PEEK[2.MIME]", "Content-Transfer-Encoding: base64"),
        ("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "Subject: Grapes"),
        ("BINARY.PEEK[2]", "hello"),
        ("BINARY.SIZE[2]", "BINARY.SIZE[2] 5"),
        ("BODY.PEEK[7]", "BODY[7] NIL"),
        ("ENVELOPE", "\"Grapes\""),
        ("BODYSTRUCTURE", "\"BASE64\""),
        ("PREVIEW", "ripe zanzibarium"),
        ("(EMAILID THREADID)", "THREADID (T"),
        ("INTERNALDATE", "INTERNALDATE \""),
    ] {
        let said = ann.ok(&format!("FETCH 1 {item}")).await;
        assert!(said.to_uppercase().contains(&want.to_uppercase()), "{item}: {said}");
    }
    let said = ann.ok("FETCH 1 BODY[TEXT]").await;
    assert!(said.contains("\\Seen"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn sessions_on_one_folder_see_each_others_changes() {
    let house = house().await;
    let (mut one, mut two) = (house.imap("ann").await, house.imap("ann").await);
    for wire in [&mut one, &mut two] {
        wire.ok("SELECT INBOX").await;
    }
    two.send("i IDLE\r\n").await;
    assert!(two.line().await.starts_with('+'));
    house.deliver(1, LETTER).await;
    assert_eq!(two.line().await, "* 1 EXISTS");
    let recent = two.line().await;
    assert!(recent.ends_with("RECENT"), "{recent}");
    one.ok("NOOP").await;
    one.ok("STORE 1 +FLAGS (\\Flagged $Work)").await;
    let flags = loop {
        let line = two.line().await;
        if line.contains("FETCH") {
            break line;
        }
    };
    assert!(flags.contains("\\Flagged") && flags.contains("$Work"), "{flags}");
    one.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let said = one.ok("EXPUNGE").await;
    assert!(said.contains("* 1 EXPUNGE"), "{said}");
    loop {
        let line = two.line().await;
        if line == "* 1 EXPUNGE" {
            break;
        }
        assert!(line.contains("FETCH"), "{line}");
    }
    two.send("DONE\r\n").await;
    assert!(two.line().await.starts_with("i OK"));
    assert!(one.ok("STATUS INBOX (MESSAGES UNSEEN)").await.contains("(MESSAGES 0 UNSEEN 0)"));
}

#[tokio::test(start_paused = true)]
async fn searches_sorts_and_threads_answer_from_rows_and_texts() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    for n in 1..=5 {
        let reply = if n == 5 { "In-Reply-To: <1@out.example>\r\nSubject: Re: Grapes 1" } else { "X: y" };
        let text = format!(
            "From: person{n}@out.example\r\nSubject: Grapes {n}\r\nMessage-ID: <{n}@out.example>\r\n{reply}\r\n\
             Date: Sun, {:02} Nov 2026 10:00:00 +0000\r\n\r\nText number {n}\r\n",
            20 - n
        );
        ann.append("INBOX", &text).await;
    }
    ann.ok("SELECT INBOX").await;
    for (command, want) in [
        ("SEARCH TEXT \"number 3\"", "* SEARCH 3"),
        ("SEARCH FROM person2@", "* SEARCH 2"),
        ("SEARCH OR SUBJECT \"grapes 1\" BODY \"NUMBER 4\"", "* SEARCH 1 4"),
        ("SEARCH NOT FROM person UNSEEN", "* SEARCH"),
        ("SEARCH SENTBEFORE 17-Nov-2026", "* SEARCH 4 5"),
        ("SEARCH HEADER X y 2:3", "* SEARCH 2 3"),
        ("UID SEARCH RETURN (COUNT MIN) ALL", "MIN 1 COUNT 5"),
        ("SORT (REVERSE DATE) UTF-8 1:3", "* SORT 1 2 3"),
        ("SORT (DATE) UTF-8 1:3", "* SORT 3 2 1"),
        ("THREAD REFERENCES UTF-8 ALL", "(1 5)"),
    ] {
        let said = ann.ok(command).await;
        assert!(said.contains(want), "{command}: {said}");
    }
}

// RFC 8474 §5.2: one name for the whole thread, and it never changes.
#[tokio::test(start_paused = true)]
async fn a_reply_that_names_its_parent_only_belongs_to_the_parents_thread() {
    let house = house().await;
    let letter =
        |id: &str, more: &str| format!("From: a@out.example\r\nMessage-ID: <{id}@x>\r\n{more}\r\nHi.\r\n");
    let mut ann = house.imap("ann").await;
    let thread = async |ann: &mut Wire, n: u32| {
        let said = ann.ok(&format!("FETCH {n} (THREADID)")).await;
        let at = said.find("THREADID (").expect("an id") + 10;
        said[at..].split(')').next().expect("its end").to_owned()
    };
    ann.append("INBOX", &letter("first", "")).await;
    ann.append("INBOX", &letter("second", "References: <first@x>\r\n")).await;
    ann.ok("SELECT INBOX").await;
    ann.append("INBOX", &letter("third", "In-Reply-To: <second@x>\r\n")).await;
    ann.append("INBOX", &letter("fourth", "In-Reply-To: <third@x>\r\n")).await;
    ann.append("INBOX", &letter("other", "In-Reply-To: <unknown@x>\r\n")).await;
    // Asked for before the background has written anything, and after.
    for written in [false, true] {
        ann.ok("NOOP").await;
        if written {
            mailbox::digest::tend(house.site.store(), house.site.hub()).await.expect("written");
        }
        let root = thread(&mut ann, 1).await;
        for n in 2..=4 {
            assert_eq!(thread(&mut ann, n).await, root, "{n}");
        }
        assert_ne!(thread(&mut ann, 5).await, root);
        let said = ann.ok(&format!("SEARCH THREADID {root}")).await;
        assert!(said.contains("* SEARCH 1 2 3 4\n"), "{said}");
    }
    // The parent that comes late changes nothing that was told.
    let before = thread(&mut ann, 5).await;
    ann.append("INBOX", &letter("unknown", "References: <first@x>\r\n")).await;
    mailbox::digest::tend(house.site.store(), house.site.hub()).await.expect("written");
    assert_eq!(thread(&mut ann, 5).await, before);
    // Nor does it go when the parent goes.
    let root = thread(&mut ann, 4).await;
    ann.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)").await;
    ann.ok("EXPUNGE").await;
    assert_eq!(thread(&mut ann, 2).await, root);
    // What stands in another's mailbox is nobody's parent here.
    let mut bob = house.imap("bob").await;
    bob.append("INBOX", &letter("fifth", "In-Reply-To: <fourth@x>\r\n")).await;
    bob.ok("SELECT INBOX").await;
    assert_ne!(thread(&mut bob, 1).await, root);
}

// RFC 7162 §3.2.5.2: a client that was away is told what changed and what vanished.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_away_resynchronizes() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    for _ in 0..4 {
        ann.append("INBOX", LETTER).await;
    }
    ann.ok("ENABLE QRESYNC").await;
    let said = ann.ok("SELECT INBOX").await;
    let number = |after: &str| {
        let rest = said.split(after).nth(1).expect("there");
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let (validity, modseq) = (number("UIDVALIDITY "), number("HIGHESTMODSEQ "));
    ann.ok("UNSELECT").await;
    let mut other = house.imap("ann").await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 3 +FLAGS (\\Flagged)").await;
    other.ok("STORE 2 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let said = ann.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))")).await;
    assert!(said.contains("* VANISHED (EARLIER) 2\n"), "{said}");
    assert!(said.contains("* 2 FETCH (") && said.contains("UID 3") && !said.contains("UID 4"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn folders_are_made_renamed_listed_and_moved_into() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    ann.ok("CREATE Work/2026").await;
    assert!(ann.say("CREATE Work/2026").await.contains("NO [ALREADYEXISTS]"));
    assert!(ann.say("SELECT Nowhere").await.contains("NO [NONEXISTENT]"));
    assert!(ann.say("APPEND Nowhere {1+}\r\nx").await.contains("NO [TRYCREATE]"));
    ann.append("INBOX", LETTER).await;
    ann.ok("SELECT INBOX").await;
    let said = ann.ok("MOVE 1 Work/2026").await;
    assert!(said.contains("[COPYUID ") && said.contains("* 1 EXPUNGE"), "{said}");
    ann.ok("RENAME Work Job").await;
    let said = ann.ok("LIST \"\" * RETURN (SPECIAL-USE CHILDREN STATUS (MESSAGES))").await;
    assert!(said.contains("\"/\" Job/2026") || said.contains("\"/\" \"Job/2026\""), "{said}");
    assert!(said.contains("\\Trash") && !said.contains("Work"), "{said}");
    assert!(ann.ok("STATUS Job/2026 (MESSAGES SIZE)").await.contains("MESSAGES 1"));
    ann.ok("DELETE Job/2026").await;
    assert!(ann.say("DELETE INBOX").await.contains("NO"));
}

// RFC 4314: what is shared, and with which rights.
#[tokio::test(start_paused = true)]
async fn a_shared_folder_shows_to_whom_it_was_given() {
    let house = house().await;
    let (mut ann, mut bob) = (house.imap("ann").await, house.imap("bob").await);
    ann.ok("CREATE Team").await;
    ann.append("Team", LETTER).await;
    let theirs = "Shared/ann@home.example/Team";
    assert!(bob.say(&format!("SELECT {theirs}")).await.contains("NO"));
    ann.ok("SETACL Team bob@home.example lrs").await;
    assert!(bob.ok("LIST \"\" *").await.contains(theirs));
    let said = bob.ok(&format!("SELECT {theirs}")).await;
    assert!(said.contains("* 1 EXISTS"), "{said}");
    bob.ok("STORE 1 +FLAGS (\\Seen)").await;
    assert!(bob.say(&format!("APPEND {theirs} {{1+}}\r\nx")).await.contains("NO [NOPERM]"));
    assert!(bob.say("EXPUNGE").await.contains("NO"));
    assert!(ann.ok("STATUS Team (UNSEEN)").await.contains("UNSEEN 0"));
    assert!(bob.ok(&format!("MYRIGHTS {theirs}")).await.contains("lrs"));
}

#[tokio::test(start_paused = true)]
async fn a_full_account_refuses_before_the_text_comes() {
    let house = house().await;
    let mut bob = house.imap("bob").await;
    bob.append("INBOX", &format!("Subject: x\r\n\r\n{}", "x".repeat(200))).await;
    let said = bob.say("APPEND INBOX {200}").await;
    assert!(said.contains("NO [OVERQUOTA]"), "{said}");
    assert!(bob.ok("GETQUOTAROOT INBOX").await.contains("STORAGE"));
}

#[tokio::test(start_paused = true)]
async fn several_messages_of_one_command_come_together_and_one_replaces_another() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    let said = ann.ok("APPEND INBOX (\\Seen) {5+}\r\nA: b\r {5+}\r\nC: d\r").await;
    assert!(said.contains(" 1:2]"), "{said}");
    ann.ok("SELECT INBOX").await;
    let said = ann.ok("REPLACE 1 INBOX {5+}\r\nE: f\r").await;
    assert!(
        said.contains("[APPENDUID ") && said.contains("* 1 EXPUNGE") && said.contains("* 2 EXISTS"),
        "{said}"
    );
}

/// Reads until the text holds `end` at or after `from`; where it begins.
async fn until(wire: &mut Wire, from: usize, end: &[u8]) -> usize {
    loop {
        if let Some(at) = wire.held[from..].windows(end.len()).position(|w| w == end) {
            return from + at;
        }
        let mut more = [0; 65536];
        let n = wire.stream.read(&mut more).await.expect("reads");
        let said = &wire.held[wire.held.len().saturating_sub(200)..];
        assert!(n > 0, "the session ended after {:?}", String::from_utf8_lossy(said));
        wire.held.extend_from_slice(&more[..n]);
    }
}

// The worst mail we could think of, byte for byte.
#[tokio::test(start_paused = true)]
async fn torture_messages_come_back_unchanged() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    ann.ok("SELECT INBOX").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/mime");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("fixtures").map(|f| f.expect("a file").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "eml"));
    files.sort();
    assert!(files.len() >= 180);
    let mut uid = 0;
    for file in &files {
        let text = std::fs::read(file).expect("a message");
        // RFC 3502 §3: an empty message calls APPEND off.
        if text.is_empty() {
            continue;
        }
        uid += 1;
        ann.send(&format!("a APPEND INBOX ~{{{}+}}\r\n", text.len())).await;
        ann.stream.write_all(&text).await.expect("writes");
        ann.send("\r\n").await;
        let at = until(&mut ann, 0, b"\r\na OK [APPENDUID").await;
        until(&mut ann, at + 2, b"\r\n").await;
        ann.held.clear();
        ann.send(&format!("b UID FETCH {uid} (BODY.PEEK[])\r\n")).await;
        if text.contains(&0) {
            // RFC 9051 §4.3: a literal holds no NUL, so such a part was put into base64; a header
            // cannot be, and comes as it is.
            let at = until(&mut ann, 0, b"\r\nb OK").await;
            let unchanged = ann.held.windows(text.len()).any(|w| w == text);
            assert!(unchanged || !ann.held.contains(&0), "{}", file.display());
            until(&mut ann, at + 2, b"\r\n").await;
            ann.held.clear();
            continue;
        }
        let sign = format!("{{{}}}\r\n", text.len());
        let start = until(&mut ann, 0, sign.as_bytes()).await + sign.len();
        let end = until(&mut ann, start + text.len(), b"\r\nb OK").await;
        assert_eq!(ann.held[start..start + text.len()], text[..], "{}", file.display());
        until(&mut ann, end + 2, b"\r\n").await;
        ann.held.clear();
        ann.send(&format!(
            "c UID FETCH {uid} (ENVELOPE BODY BODYSTRUCTURE PREVIEW BODY.PEEK[1] BODY.PEEK[HEADER])\r\n"
        ))
        .await;
        let at = until(&mut ann, 0, b"\r\nc OK").await;
        until(&mut ann, at + 2, b"\r\n").await;
        ann.held.clear();
    }
    mailbox::digest::tend(house.site.store(), house.site.hub()).await.expect("summarises");
    for _ in 0..2 {
        mailbox::text::tend(house.site.store(), house.site.hub()).await.expect("indexes");
    }
    let said = ann.ok("SEARCH RETURN (COUNT) TEXT e").await;
    assert!(said.contains("COUNT "), "{said}");
}

// RFC 5464, RFC 5465.
#[tokio::test(start_paused = true)]
async fn entries_are_kept_and_other_folders_are_told_of() {
    let house = house().await;
    let mut ann = house.imap("ann").await;
    ann.ok("SETMETADATA INBOX (/private/comment \"mine\" /shared/comment \"ours\")").await;
    let said = ann.ok("GETMETADATA INBOX (/private/comment /shared/comment)").await;
    assert!(said.contains("mine") && said.contains("ours"), "{said}");
    ann.ok("SELECT Sent").await;
    ann.ok("NOTIFY SET (PERSONAL (MessageNew MessageExpunge MailboxName))").await;
    ann.send("i IDLE\r\n").await;
    assert!(ann.line().await.starts_with('+'));
    house.deliver(1, LETTER).await;
    let said = ann.line().await;
    assert!(said.starts_with("* STATUS INBOX (") && said.contains("MESSAGES 1"), "{said}");
    house.imap("ann").await.ok("CREATE Fresh").await;
    let said = ann.line().await;
    assert!(said.starts_with("* LIST (") && said.contains("Fresh"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn pop3_serves_and_deletes_what_imap_sees() {
    let house = house().await;
    house.deliver(1, LETTER).await;
    house.deliver(1, "Subject: two\r\n\r\n.dot\r\n").await;
    let mut imap = house.imap("ann").await;
    imap.ok("SELECT INBOX").await;
    let mut pop = house.call(Front::Pop3);
    assert!(pop.line().await.starts_with("+OK"));
    for command in ["USER ann@home.example", "PASS secret"] {
        pop.send(&format!("{command}\r\n")).await;
        let said = pop.line().await;
        assert!(said.starts_with("+OK"), "{said}");
    }
    pop.send("UIDL\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n").await;
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(pop.line().await);
    }
    assert_eq!(all[1].len(), "1 ".len() + 16, "{all:?}");
    assert_eq!(&all[5..8], ["Subject: two", "", "..dot"], "{all:?}");
    assert!(imap.ok("NOOP").await.contains("* 2 EXPUNGE"));
}
