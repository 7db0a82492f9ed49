//! Two sessions on one mailbox, random commands, interleaved at every question: what each client
//! is told must be possible at every moment, and true at the end.

mod model;

use imap::{Flags, Notice, Parcel, Server, Settings};
use model::{Desk, World};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use stdx::{Action, Dice, Machine, Now};
use words::SessionId;

/// What a command allows the server to say.
#[derive(Clone, Debug)]
struct Running {
    tag: String,
    /// A FETCH, STORE or SEARCH by sequence number: no EXPUNGE now.
    by_number: bool,
    idle: bool,
    selects: bool,
}

struct Client {
    name: usize,
    machine: Server,
    desk: Desk,
    /// The question that is open: answered later, so that sessions interleave.
    asked: Option<imap::Ask>,
    said: Vec<u8>,
    running: Option<Running>,
    next_tag: u32,
    /// What a real client would know: UID (once told) per sequence number, and flags.
    shown: Vec<Option<u32>>,
    flags: BTreeMap<u32, Vec<String>>,
    qresync: bool,
    /// Opened with EXAMINE: changes are refused, and told no differently.
    read_only: bool,
    /// On its way to another process.
    parcel: Option<String>,
    log: VecDeque<String>,
}

fn settings() -> Arc<Settings> {
    let mut settings = Settings::default();
    settings.offer.without_tls = true;
    Arc::new(settings)
}

impl Client {
    fn new(name: usize, world: &Rc<RefCell<World>>, dice: &mut Dice) -> Client {
        let mut machine = Server::new(settings(), SessionId(name as u64 + 1));
        machine.opened(Now::from_secs(1));
        let mut desk = Desk::new(world.clone());
        desk.page = 1 + dice.below(5) as usize;
        let mut client = Client {
            name,
            machine,
            desk,
            asked: None,
            said: Vec::new(),
            running: None,
            next_tag: 0,
            shown: Vec::new(),
            flags: BTreeMap::new(),
            qresync: dice.chance(0.4),
            read_only: dice.chance(0.2),
            parcel: None,
            log: VecDeque::new(),
        };
        client.run("LOGIN joe pw");
        if client.qresync {
            client.run("ENABLE QRESYNC");
        }
        client.select();
        client
    }

    fn fail(&self, what: &str) -> ! {
        let log: Vec<&str> = self.log.iter().map(String::as_str).collect();
        panic!("client {}: {what}\nshown {:?}\n{}", self.name, self.shown, log.join("\n"));
    }

    fn note(&mut self, line: String) {
        self.log.push_back(line);
        if self.log.len() > 60 {
            self.log.pop_front();
        }
    }

    /// Sends a command and plays until it is answered.
    fn run(&mut self, command: &str) {
        self.send(command, false, None);
        self.play_out();
    }

    fn select(&mut self) {
        self.send(if self.read_only { "EXAMINE INBOX" } else { "SELECT INBOX" }, false, None);
        if let Some(running) = &mut self.running {
            running.selects = true;
        }
        self.play_out();
        self.run("UID FETCH 1:* (FLAGS)");
    }

    fn play_out(&mut self) {
        for _ in 0..10_000 {
            if !self.turn() {
                break;
            }
        }
        if self.running.as_ref().is_some_and(|r| !r.idle) {
            self.fail("a command is never answered");
        }
    }

    fn send(&mut self, command: &str, by_number: bool, silent: Option<(bool, String, Vec<u32>)>) {
        self.next_tag += 1;
        let tag = format!("t{}", self.next_tag);
        self.note(format!("C: {tag} {command}"));
        let idle = command == "IDLE";
        self.running = Some(Running { tag: tag.clone(), by_number, idle, selects: false });
        // A client takes a silent STORE for done; what it is told afterwards counts more.
        for (adds, flag, uid) in
            silent.iter().flat_map(|(adds, flag, uids)| uids.iter().map(move |u| (adds, flag, u)))
        {
            let Some(known) = self.flags.get_mut(uid) else { continue };
            known.retain(|f| f != flag);
            known.extend(adds.then(|| flag.clone()));
            known.sort();
        }
        self.machine.received(Now::from_secs(2), format!("{tag} {command}\r\n").as_bytes());
    }

    /// One action of the machine, or the answer to its open question; false if it rests.
    fn turn(&mut self) -> bool {
        if let Some(ask) = self.asked.take() {
            let answer = self.desk.answer(&ask);
            self.machine.answered(Now::from_secs(2), answer);
            return true;
        }
        match self.machine.next() {
            Some(Action::Send(bytes)) => {
                self.said.extend_from_slice(&bytes);
                self.listen();
                true
            }
            Some(Action::Ask(ask)) => {
                self.asked = Some(ask);
                true
            }
            Some(Action::Close) => self.fail("the server hung up"),
            Some(_) => self.fail("the server wants TLS or DEFLATE"),
            None => false,
        }
    }

    fn listen(&mut self) {
        while let Some(end) = response_end(&self.said) {
            let line: Vec<u8> = self.said.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line[..end]).replace("\r\n", "⏎");
            self.note(format!("S: {line}"));
            self.hear(&line);
        }
    }

    fn hear(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("* ") {
            return self.hear_untagged(rest);
        }
        if line.starts_with("+ ") {
            return;
        }
        let Some(running) = self.running.take() else { self.fail("a tagged line out of nowhere") };
        let Some(rest) = line.strip_prefix(&format!("{} ", running.tag)) else { self.fail("a wrong tag") };
        if rest.starts_with("BAD") {
            self.fail("the server did not understand");
        }
    }

    fn hear_untagged(&mut self, rest: &str) {
        let mut words = rest.split(' ');
        let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if let Ok(n) = first.parse::<usize>() {
            match second {
                "EXISTS" => {
                    if self.running.as_ref().is_some_and(|r| r.selects) {
                        self.shown.clear();
                        self.flags.clear();
                    }
                    if n < self.shown.len() {
                        self.fail("EXISTS became smaller without an EXPUNGE");
                    }
                    self.shown.resize(n, None);
                }
                "EXPUNGE" => {
                    self.may_expunge();
                    if n == 0 || n > self.shown.len() {
                        self.fail("an impossible EXPUNGE");
                    }
                    if let Some(uid) = self.shown.remove(n - 1) {
                        self.flags.remove(&uid);
                    }
                }
                "FETCH" => self.hear_fetch(n, rest),
                "RECENT" => {}
                _ => self.fail("an unknown untagged line"),
            }
        } else if first == "VANISHED" && second != "(EARLIER)" {
            self.may_expunge();
            let set =
                imap::SeqSet::parse(second.as_bytes()).unwrap_or_else(|| self.fail("a broken VANISHED"));
            for uid in set.resolve(0).iter() {
                let at = self.shown.iter().position(|u| *u == Some(uid));
                match at {
                    Some(at) => {
                        self.shown.remove(at);
                        self.flags.remove(&uid);
                    }
                    // The client did not know the UID yet: it is one of the unknown ones that stand
                    // between its neighbours.
                    None if self.shown.contains(&None) => {
                        let above = self.shown.iter().position(|u| u.is_some_and(|u| u > uid));
                        let above = above.unwrap_or(self.shown.len());
                        match self.shown[..above].iter().rposition(Option::is_none) {
                            Some(at) if self.shown[at..above].iter().flatten().all(|u| *u > uid) => {
                                self.shown.remove(at);
                            }
                            _ => self.fail("a UID vanished that cannot have been there"),
                        }
                    }
                    None => self.fail("a UID vanished that never was"),
                }
            }
        }
    }

    fn may_expunge(&self) {
        match &self.running {
            Some(running) if running.by_number => self.fail("an EXPUNGE during a command by sequence number"),
            Some(_) => {}
            None => self.fail("an EXPUNGE without a command"),
        }
    }

    fn hear_fetch(&mut self, seq: usize, line: &str) {
        if seq == 0 || seq > self.shown.len() {
            self.fail("a FETCH of a message that is not there");
        }
        let after = |name: &str| line.find(name).map(|at| &line[at + name.len()..]);
        if let Some(uid) = after("UID ").and_then(|t| t.split([' ', ')']).next()?.parse::<u32>().ok()) {
            match self.shown[seq - 1] {
                Some(known) if known != uid => self.fail("a message changed its UID"),
                _ => self.shown[seq - 1] = Some(uid),
            }
            let known: Vec<u32> = self.shown.iter().copied().flatten().collect();
            if !known.is_sorted() {
                self.fail("UIDs do not rise with sequence numbers");
            }
        }
        if let (Some(uid), Some(flags)) =
            (self.shown[seq - 1], after("FLAGS (").and_then(|t| t.split(')').next()))
        {
            let mut flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
            flags.retain(|f| f != "\\Recent");
            flags.sort();
            self.flags.insert(uid, flags);
        }
    }

    /// Begins a random command; by number only with numbers this client knows to exist.
    fn begin(&mut self, dice: &mut Dice) {
        let count = self.shown.len() as u64;
        let uid_of = |seq: u64| self.shown[seq as usize - 1];
        let (uid, numbers, uids) = {
            let by_uid = dice.chance(0.5);
            let (a, b) = (1 + dice.below(count.max(1)), 1 + dice.below(count.max(1)));
            let (a, b) = (a.min(b), a.max(b));
            let known: Vec<u32> = if count > 0 { (a..=b).filter_map(uid_of).collect() } else { Vec::new() };
            match known.is_empty() || known.len() as u64 != b - a + 1 {
                true => ("UID ", "1:*".to_owned(), None),
                false if by_uid => ("UID ", format!("{}:{}", known[0], known[known.len() - 1]), Some(known)),
                false => ("", format!("{a}:{b}"), Some(known)),
            }
        };
        let by_number = uid.is_empty();
        let flag = ["\\Seen", "\\Flagged", "\\Deleted", "work", "\\Answered"][dice.below(5) as usize];
        let adds = dice.chance(0.6);
        let sign = if adds { '+' } else { '-' };
        match dice.below(14) {
            0 | 1 => self.send(&format!("{uid}FETCH {numbers} (UID FLAGS)"), by_number, None),
            2 => self.send(&format!("{uid}FETCH {numbers} (UID BODY[TEXT])"), by_number, None),
            3 | 4 => self.send(&format!("{uid}STORE {numbers} {sign}FLAGS ({flag})"), by_number, None),
            5 => match uids {
                Some(known) if !self.read_only => {
                    let silent = Some((adds, flag.to_owned(), known));
                    self.send(
                        &format!("{uid}STORE {numbers} {sign}FLAGS.SILENT ({flag})"),
                        by_number,
                        silent,
                    );
                }
                _ => self.send("NOOP", false, None),
            },
            6 => self.send(&format!("{uid}SEARCH {numbers} UNSEEN"), by_number, None),
            7 => self.send("EXPUNGE", false, None),
            8 => self.send(&format!("UID EXPUNGE {}", if by_number { "1:*" } else { &numbers }), false, None),
            9 => self.send("APPEND INBOX (\\Seen) {7+}\r\nA: b\r\n", false, None),
            10 if count < 40 => self.send(&format!("{uid}COPY {numbers} INBOX"), false, None),
            11 if count < 60 => self.send(&format!("{uid}MOVE {numbers} INBOX"), false, None),
            12 => self.send("IDLE", false, None),
            _ => self.send("NOOP", false, None),
        }
    }

    /// The session leaves its process as a parcel, if it may. True if it does.
    fn leave(&mut self) -> bool {
        let parcel = self.machine.parcel().filter(|_| self.asked.is_none());
        let Some(parcel) = parcel else { return false };
        self.parcel = Some(serde_json::to_string(&parcel).expect("it can be written"));
        self.note("leaves".into());
        true
    }

    /// It goes on in another one.
    fn arrive(&mut self) {
        let Some(text) = self.parcel.take() else { return };
        self.note(format!("goes on: {text}"));
        let parcel: Parcel = serde_json::from_str(&text).expect("it reads back");
        let id = SessionId(self.name as u64 + 1);
        let resumed = Server::resume(settings(), id, Box::default(), parcel.clone());
        self.machine = resumed.expect("it can go on");
        assert_eq!(self.machine.parcel(), Some(parcel), "nothing is lost on the way");
        self.machine.opened(Now::from_secs(2));
    }

    fn end_idle(&mut self) {
        if let Some(running) = self.running.as_mut().filter(|r| r.idle) {
            running.idle = false;
            self.note("C: DONE".into());
            self.machine.received(Now::from_secs(2), b"DONE\r\n");
        }
    }
}

/// Where a whole response ends, its literals included.
fn response_end(said: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + said[from..].windows(2).position(|w| w == b"\r\n")?;
        let Some(brace) = said[from..end].iter().rposition(|&b| b == b'{').filter(|_| said[end - 1] == b'}')
        else {
            return Some(end);
        };
        let digits = String::from_utf8_lossy(&said[from + brace + 1..end - 1]);
        from = end + 2 + digits.parse::<usize>().ok()?;
        if from > said.len() {
            return None;
        }
    }
}

fn play(seed: u64, steps: usize, moves: &mut u32) {
    let mut dice = Dice::new(seed);
    let world = Rc::new(RefCell::new(World::new()));
    for n in 0..dice.below(12) {
        world.borrow_mut().deliver("INBOX", &format!("Subject: {n}\r\n\r\nbody"), Flags::NONE);
    }
    let mut clients: Vec<Client> =
        (0..2 + dice.below(2) as usize).map(|n| Client::new(n, &world, &mut dice)).collect();
    for _ in 0..steps {
        let at = dice.below(clients.len() as u64) as usize;
        let client = &mut clients[at];
        if client.parcel.is_some() {
            // What the others do meanwhile is told when it goes on.
            if dice.chance(0.3) {
                client.arrive();
            }
            continue;
        }
        if dice.chance(0.05) && client.leave() {
            *moves += 1;
            continue;
        }
        match &client.running {
            None => client.begin(&mut dice),
            Some(running) if running.idle && dice.chance(0.1) => client.end_idle(),
            Some(_) => {
                client.turn();
            }
        }
        if dice.chance(0.05) {
            world.borrow_mut().deliver("INBOX", "Subject: new\r\n\r\nbody", Flags::NONE);
        }
        if dice.chance(0.3) {
            let at = dice.below(clients.len() as u64) as usize;
            clients[at].machine.notified(Now::from_secs(2), Notice::Changed);
        }
    }
    for client in &mut clients {
        client.arrive();
        client.end_idle();
        client.play_out();
    }
    for client in &mut clients {
        client.run("NOOP");
        client.run("UID FETCH 1:* (UID)");
        let world = world.borrow();
        let inbox = &world.folders["INBOX"];
        let uids: Vec<u32> = client.shown.iter().copied().flatten().collect();
        if uids != inbox.uids().iter().collect::<Vec<_>>() {
            client.fail(&format!("the mailbox holds {}", inbox.uids()));
        }
        for message in &inbox.messages {
            let mut out = Vec::new();
            imap::flags::write_flags(&mut out, message.flags, false, &inbox.keywords);
            let mut want: Vec<String> =
                String::from_utf8_lossy(&out).split_whitespace().map(str::to_owned).collect();
            want.sort();
            if let Some(known) = client.flags.get(&message.uid).filter(|k| **k != want) {
                client.fail(&format!("UID {} has {want:?}, the client was told {known:?}", message.uid));
            }
        }
    }
}

#[test]
fn what_sessions_are_told_is_possible_and_true() {
    let mut moves = 0;
    for seed in 0..400 {
        play(seed, 400, &mut moves);
    }
    assert!(moves > 1_000, "{moves} sessions went on in another process");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut dice = Dice::new(5);
        let world = Rc::new(RefCell::new(World::new()));
        let mut client = Client::new(0, &world, &mut dice);
        for _ in 0..300 {
            if client.running.is_none() {
                client.begin(&mut dice);
            }
            client.end_idle();
            client.turn();
        }
        client.log
    };
    assert_eq!(run(), run());
}
