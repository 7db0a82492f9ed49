//! Somebody else's mail host, with manners.
//!
//! What it is: a small SMTP receiver that does what its [`Manners`] say (accept, greylist, block
//! a source address with the words a real provider uses, throttle, dawdle, hang up) and keeps
//! what it got. Manners can be changed while it runs: providers change their minds.
//! What it is not: a mail server, or our engine under another name: it is written apart from
//! it, so that the two check each other.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use stdx::{Dice, Now, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Clock, Connection, Later, Listener, Stream};

use crate::script::{Act, Memory, Moment, When};

/// Messages kept; the oldest go first.
const KEPT_MAX: usize = 20_000;
/// A line longer than this ends the conversation.
const LINE_MAX: usize = 64 * 1024;
/// A text longer than this ends the conversation.
const TEXT_MAX: usize = 64 * 1024 * 1024;

/// Where in a conversation something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Connect,
    Ehlo,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// After the final dot.
    Dot,
}

/// One habit of a provider. The first rule that fits a stage speaks.
#[derive(Clone, Debug)]
pub enum Rule {
    /// At this stage says this to clients from these addresses; to all, if there are none.
    /// `{ip}` and `{rcpt}` in the text are filled in.
    Say { at: Stage, sources: Vec<IpAddr>, reply: String },
    /// As `Say`, but only for recipients of these domains.
    SayTo { domains: Vec<String>, sources: Vec<IpAddr>, reply: String },
    /// Defers an unknown (source, sender, recipient) until it comes again after `wait`.
    Greylist { wait: Span, reply: String },
    /// Takes this many messages per source and `per`; then says `reply` at MAIL.
    Throttle { messages: u32, per: Span, reply: String },
    /// Says `reply` at RCPT with this probability (of 1,000).
    Sometimes { of_1000: u32, reply: String },
    /// These local parts do not exist.
    Unknown { locals: Vec<String>, reply: String },
    /// Waits before each reply.
    Slow { each: Span },
    /// Says nothing more from this stage on.
    Hang { at: Stage },
    /// Closes without a word at this stage.
    Close { at: Stage },
    /// Takes the message, and loses its word: closes instead of the last 250.
    LoseWord,
    /// A habit with conditions.
    When(Box<When>),
}

/// How a provider behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// The name in its greeting.
    pub name: String,
    pub rules: Vec<Rule>,
    /// EHLO lines besides the first.
    pub extensions: Vec<String>,
}

impl Manners {
    /// Takes everything.
    pub fn friendly(name: &str) -> Manners {
        let extensions =
            ["PIPELINING", "8BITMIME", "SIZE 52428800", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];
        Manners {
            name: name.to_owned(),
            rules: Vec::new(),
            extensions: extensions.map(str::to_owned).to_vec(),
        }
    }
    pub fn with(mut self, rule: Rule) -> Manners {
        self.rules.push(rule);
        self
    }
    /// Defers the first try, as many hosts do.
    pub fn greylisting(name: &str, wait: Span) -> Manners {
        let reply = "451 4.7.1 Greylisted, please try again later".to_owned();
        Manners::friendly(name).with(Rule::Greylist { wait, reply })
    }
    /// Refuses these source addresses in the words of Microsoft's consumer mail.
    pub fn microsoft_consumer(name: &str, blocked: &[IpAddr]) -> Manners {
        let reply = "550 5.7.1 Unfortunately, messages from [{ip}] weren't sent. Please contact your Internet \
                     service provider since part of their network is on our block list (S3150). You can also \
                     refer your provider to http://mail.live.com/mail/troubleshooting.aspx#errors.";
        Manners::blocking(name, blocked, reply)
    }
    /// Refuses these source addresses in the words of Microsoft's business mail.
    pub fn microsoft_business(name: &str, blocked: &[IpAddr]) -> Manners {
        let reply = "550 5.7.606 Access denied, banned sending IP [{ip}]. To request removal from this list \
                     please visit https://sender.office.com/ and follow the directions. For more information \
                     please go to http://go.microsoft.com/fwlink/?LinkID=526655 AS(1430)";
        Manners::blocking(name, blocked, reply)
    }
    fn blocking(name: &str, blocked: &[IpAddr], reply: &str) -> Manners {
        let manners = Manners::friendly(name);
        // Without an address there is nobody to block; an empty list would mean everybody.
        if blocked.is_empty() {
            return manners;
        }
        manners.with(Rule::Say { at: Stage::Mail, sources: blocked.to_vec(), reply: reply.to_owned() })
    }
}

/// A message that a peer took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub at: Now,
    pub source: IpAddr,
    pub helo: String,
    pub sender: String,
    pub recipients: Vec<String>,
    pub text: Vec<u8>,
}

/// A refusal that a peer spoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub at: Now,
    pub source: IpAddr,
    pub stage: Stage,
    pub sender: String,
    /// The last one named before; empty if there was none.
    pub recipient: String,
    pub reply: String,
}

/// A connection that a peer was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    pub at: Now,
    pub source: IpAddr,
}

struct Shared {
    manners: Manners,
    got: VecDeque<Got>,
    refused: VecDeque<Refused>,
    /// Refusals ever spoken.
    refusals: u64,
    contacts: VecDeque<Contact>,
    memory: Memory,
    sessions: u64,
    seen: BTreeMap<(IpAddr, String, String), Now>,
    taken: BTreeMap<IpAddr, VecDeque<Now>>,
    dice: Dice,
}

/// Turns a plain stream into one under TLS, as the server.
pub type Wrap = Arc<dyn Fn(Box<dyn Stream>) -> Later<'static, io::Result<Box<dyn Stream>>> + Send + Sync>;

/// One host of a provider; clones share everything.
#[derive(Clone)]
pub struct Peer {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
    tls: Option<Wrap>,
}

impl Peer {
    pub fn new(manners: Manners, clock: Arc<dyn Clock>, seed: u64) -> Peer {
        let shared = Shared {
            manners,
            got: VecDeque::new(),
            refused: VecDeque::new(),
            refusals: 0,
            contacts: VecDeque::new(),
            memory: Memory::default(),
            sessions: 0,
            seen: BTreeMap::new(),
            taken: BTreeMap::new(),
            dice: Dice::new(seed),
        };
        Peer { shared: Arc::new(Mutex::new(shared)), clock, tls: None }
    }
    /// It offers STARTTLS.
    pub fn with_tls(self, wrap: Wrap) -> Peer {
        Peer { tls: Some(wrap), ..self }
    }
    /// The provider changes its mind.
    pub fn behave(&self, manners: Manners) {
        self.lock().manners = manners;
    }
    pub fn got(&self) -> Vec<Got> {
        self.lock().got.iter().cloned().collect()
    }
    pub fn got_count(&self) -> usize {
        self.lock().got.len()
    }
    pub fn refused(&self) -> Vec<Refused> {
        self.lock().refused.iter().cloned().collect()
    }
    pub fn contacts(&self) -> Vec<Contact> {
        self.lock().contacts.iter().copied().collect()
    }
    pub fn sessions(&self) -> u64 {
        self.lock().sessions
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a listener for ever; spawn it.
    pub async fn serve(self, listener: Arc<dyn Listener>) {
        loop {
            match listener.accept().await {
                Ok(connection) => {
                    let peer = self.clone();
                    tokio::spawn(async move {
                        // A conversation that breaks is the other side's affair.
                        let _ = peer.talk(connection).await;
                    });
                }
                Err(_) => {
                    let pause = self.clock.now() + Span::ms(200);
                    self.clock.sleep_until(pause).await;
                }
            }
        }
    }

    fn met(&self, contact: Contact) {
        let mut shared = self.lock();
        shared.sessions += 1;
        if shared.contacts.len() >= KEPT_MAX {
            shared.contacts.pop_front();
        }
        shared.contacts.push_back(contact);
    }

    /// One conversation.
    pub async fn talk(&self, connection: Connection) -> io::Result<()> {
        self.met(Contact { at: self.clock.now(), source: connection.peer.ip() });
        let mut talk = Talk {
            peer: self,
            wire: Wire { stream: connection.stream, held: Vec::new(), at: 0 },
            source: connection.peer.ip(),
            helo: String::new(),
            sender: None,
            recipients: Vec::new(),
            bare: None,
            spoke: false,
            secure: false,
        };
        talk.run().await
    }
}

struct Talk<'p> {
    peer: &'p Peer,
    wire: Wire,
    source: IpAddr,
    helo: String,
    sender: Option<String>,
    recipients: Vec<String>,
    /// The refusal of a sender whose recipient is not known yet, by number.
    bare: Option<u64>,
    /// The last stage ended with a refusal.
    spoke: bool,
    secure: bool,
}

/// What a rule makes of a stage.
enum Turn {
    Go,
    Say(String),
    Hang,
    Close,
    /// As `Close`, after the message is kept.
    Lose,
}

impl Talk<'_> {
    async fn run(&mut self) -> io::Result<()> {
        let name = self.peer.lock().manners.name.clone();
        if !self.stage(Stage::Connect, &format!("220 {name} ESMTP")).await? {
            return self.wire.stream.shutdown().await;
        }
        while let Some(line) = self.wire.line().await? {
            if !self.command(&line).await? {
                return self.wire.stream.shutdown().await;
            }
        }
        Ok(())
    }

    async fn command(&mut self, line: &str) -> io::Result<bool> {
        let upper = line.to_ascii_uppercase();
        let verb = upper.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" | "HELO" => {
                self.helo = line[4..].trim().to_owned();
                self.forget();
                let reply = self.ehlo(verb == "EHLO");
                self.stage(Stage::Ehlo, &reply).await
            }
            "STARTTLS" if self.offers_tls() => self.start_tls().await,
            "AUTH" => self.auth(line).await,
            "MAIL" if self.helo.is_empty() => self.say("503 5.5.1 Say EHLO first").await,
            "MAIL" => {
                self.forget();
                self.sender = Some(path(line));
                let passed = self.stage(Stage::Mail, "250 2.1.0 Sender ok").await?;
                Ok(passed)
            }
            "RCPT" if self.sender.is_none() => {
                self.meant(path(line));
                self.say("503 5.5.1 MAIL first").await
            }
            "RCPT" => self.recipient(path(line)).await,
            "DATA" if self.recipients.is_empty() => self.say("554 5.5.1 No valid recipients").await,
            "DATA" => self.data().await,
            "RSET" => {
                self.forget();
                self.say("250 2.0.0 Ok").await
            }
            "NOOP" => self.say("250 2.0.0 Ok").await,
            "QUIT" => {
                self.say("221 2.0.0 Bye").await?;
                Ok(false)
            }
            _ => self.say("500 5.5.2 Unknown command").await,
        }
    }

    fn ehlo(&self, extended: bool) -> String {
        let shared = self.peer.lock();
        let mut lines = vec![format!("{} greets {}", shared.manners.name, self.helo)];
        if extended {
            lines.extend(shared.manners.extensions.iter().cloned());
            lines.extend(self.offers_tls().then(|| "STARTTLS".to_owned()));
        }
        let last = lines.len() - 1;
        let line = |(i, l): (usize, &String)| format!("250{}{l}", if i == last { ' ' } else { '-' });
        lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
    }

    fn offers_tls(&self) -> bool {
        self.peer.tls.is_some() && !self.secure
    }

    async fn start_tls(&mut self) -> io::Result<bool> {
        self.say("220 2.0.0 Go ahead").await?;
        let Some(wrap) = self.peer.tls.clone() else { return Ok(false) };
        let plain = std::mem::replace(&mut self.wire.stream, Box::new(tokio::io::duplex(1).0));
        self.wire = Wire { stream: wrap(plain).await?, held: Vec::new(), at: 0 };
        // RFC 3207 §4.2: what was said before is forgotten.
        (self.secure, self.helo) = (true, String::new());
        self.forget();
        Ok(true)
    }

    /// Any password will do, unless a rule says otherwise.
    async fn auth(&mut self, line: &str) -> io::Result<bool> {
        if line.split_whitespace().count() < 3 {
            self.say("334 ").await?;
            if self.wire.line().await?.is_none() {
                return Ok(false);
            }
        }
        self.stage(Stage::Auth, "235 2.7.0 Welcome").await
    }

    async fn recipient(&mut self, rcpt: String) -> io::Result<bool> {
        self.recipients.push(rcpt);
        let on = self.stage(Stage::Rcpt, "250 2.1.5 Recipient ok").await?;
        if self.spoke {
            self.recipients.pop();
        }
        Ok(on)
    }

    async fn data(&mut self) -> io::Result<bool> {
        if !self.stage(Stage::Data, "354 Go ahead").await? {
            return Ok(false);
        }
        if self.spoke {
            return Ok(true);
        }
        let text = self.wire.text().await?;
        let now = self.peer.clock.now();
        let turn = self.turn(Stage::Dot, now);
        if !matches!(turn, Turn::Say(_)) {
            self.keep(now, text);
        }
        let loses = self.peer.lock().manners.rules.iter().any(|r| matches!(r, Rule::LoseWord));
        let on = !loses && self.carry_out(turn, Stage::Dot, "250 2.0.0 Ok, taken").await?;
        self.forget();
        Ok(on)
    }

    fn keep(&mut self, at: Now, text: Vec<u8>) {
        let got = Got {
            at,
            source: self.source,
            helo: self.helo.clone(),
            sender: self.sender.clone().unwrap_or_default(),
            recipients: self.recipients.clone(),
            text,
        };
        let mut shared = self.peer.lock();
        let shared = &mut *shared;
        for rule in &shared.manners.rules {
            if let Rule::When(when) = rule
                && let Some(above) = &when.above
            {
                shared.memory.brought(above, self.source, got.recipients.len() as u64, at);
            }
        }
        if shared.got.len() >= KEPT_MAX {
            shared.got.pop_front();
        }
        shared.got.push_back(got);
        shared.taken.entry(self.source).or_default().push_back(at);
    }

    /// A recipient sent along with a sender that was refused: now it is known who was meant.
    fn meant(&mut self, rcpt: String) {
        let Some(number) = self.bare.take() else { return };
        let mut shared = self.peer.lock();
        let back = shared.refusals.saturating_sub(number) as usize;
        let at = shared.refused.len().checked_sub(back + 1);
        if let Some(refused) = at.and_then(|at| shared.refused.get_mut(at)) {
            refused.recipient = rcpt;
        }
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    /// Says `good` unless a rule has something else to say. False: the conversation is over.
    async fn stage(&mut self, stage: Stage, good: &str) -> io::Result<bool> {
        let turn = self.turn(stage, self.peer.clock.now());
        self.carry_out(turn, stage, good).await
    }

    async fn carry_out(&mut self, turn: Turn, stage: Stage, good: &str) -> io::Result<bool> {
        self.spoke = matches!(turn, Turn::Say(_));
        match turn {
            Turn::Go => self.say(good).await,
            Turn::Say(reply) => {
                let refused = Refused {
                    at: self.peer.clock.now(),
                    source: self.source,
                    stage,
                    sender: self.sender.clone().unwrap_or_default(),
                    recipient: self.recipients.last().cloned().unwrap_or_default(),
                    reply: reply.clone(),
                };
                {
                    let mut shared = self.peer.lock();
                    if shared.refused.len() >= KEPT_MAX {
                        shared.refused.pop_front();
                    }
                    shared.refused.push_back(refused);
                    shared.refusals += 1;
                    self.bare = (stage == Stage::Mail).then_some(shared.refusals);
                }
                if stage == Stage::Mail {
                    self.sender = None;
                }
                self.say(&reply).await?;
                // RFC 5321 §3.1: after a refusing greeting there is nothing left to say.
                Ok(stage != Stage::Connect && !reply.starts_with("421"))
            }
            Turn::Hang => std::future::pending().await,
            Turn::Close | Turn::Lose => Ok(false),
        }
    }

    fn turn(&self, stage: Stage, now: Now) -> Turn {
        let mut shared = self.peer.lock();
        let rules = shared.manners.rules.clone();
        for (number, rule) in rules.iter().enumerate() {
            if let Some(turn) = self.by_rule(&mut shared, (number, rule), stage, now) {
                return match turn {
                    Turn::Say(reply) => Turn::Say(self.fill(&reply)),
                    turn => turn,
                };
            }
        }
        Turn::Go
    }

    fn by_rule(
        &self,
        shared: &mut Shared,
        (number, rule): (usize, &Rule),
        stage: Stage,
        now: Now,
    ) -> Option<Turn> {
        let from_here = |sources: &[IpAddr]| sources.is_empty() || sources.contains(&self.source);
        let rcpt = self.recipients.last().map_or("", String::as_str);
        match rule {
            Rule::Say { at, sources, reply } if *at == stage && from_here(sources) => {
                Some(Turn::Say(reply.clone()))
            }
            Rule::SayTo { domains, sources, reply } if stage == Stage::Rcpt && from_here(sources) => {
                let domain = rcpt.rsplit_once('@').map_or("", |(_, d)| d);
                let meant = domains.iter().any(|d| d.eq_ignore_ascii_case(domain));
                meant.then(|| Turn::Say(reply.clone()))
            }
            Rule::Greylist { wait, reply } if stage == Stage::Rcpt => {
                let sender = self.sender.clone().unwrap_or_default();
                let first = *shared.seen.entry((self.source, sender, rcpt.to_owned())).or_insert(now);
                (now.since(first) < *wait).then(|| Turn::Say(reply.clone()))
            }
            Rule::Throttle { messages, per, reply } if stage == Stage::Mail => {
                let taken = shared.taken.entry(self.source).or_default();
                while taken.front().is_some_and(|at| now.since(*at) >= *per) {
                    taken.pop_front();
                }
                (taken.len() >= *messages as usize).then(|| Turn::Say(reply.clone()))
            }
            Rule::Sometimes { of_1000, reply } if stage == Stage::Rcpt => {
                (shared.dice.below(1000) < u64::from(*of_1000)).then(|| Turn::Say(reply.clone()))
            }
            Rule::Unknown { locals, reply } if stage == Stage::Rcpt => {
                let local = rcpt.split('@').next().unwrap_or_default();
                locals.iter().any(|l| l.eq_ignore_ascii_case(local)).then(|| Turn::Say(reply.clone()))
            }
            Rule::When(when) => self.by_habit(shared, (number, when), stage, now),
            Rule::Hang { at } if *at == stage => Some(Turn::Hang),
            Rule::Close { at } if *at == stage => Some(Turn::Close),
            _ => None,
        }
    }

    fn by_habit(
        &self,
        shared: &mut Shared,
        (number, when): (usize, &When),
        at: Stage,
        now: Now,
    ) -> Option<Turn> {
        let (sender, recipient) = self.about();
        let moment = Moment { at, source: self.source, sender, recipient, now };
        if matches!(when.act, Act::Slow(_))
            || !when.holds(&moment, number, &mut shared.memory, &mut shared.dice)
        {
            return None;
        }
        Some(match &when.act {
            Act::Say(reply) => Turn::Say(reply.clone()),
            Act::Hang => Turn::Hang,
            Act::LoseWord => Turn::Lose,
            Act::Close | Act::Slow(_) => Turn::Close,
        })
    }

    fn about(&self) -> (&str, &str) {
        (self.sender.as_deref().unwrap_or(""), self.recipients.last().map_or("", String::as_str))
    }

    fn fill(&self, reply: &str) -> String {
        let (sender, rcpt) = self.about();
        reply
            .replace("{ip}", &self.source.to_string())
            .replace("{rcpt}", rcpt)
            .replace("{sender_domain}", sender.rsplit_once('@').map_or("", |(_, d)| d))
            .replace("{sender}", sender)
    }

    async fn say(&mut self, reply: &str) -> io::Result<bool> {
        let now = self.peer.clock.now();
        let slow = self.peer.lock().manners.rules.iter().find_map(|rule| match rule {
            Rule::Slow { each } => Some(*each),
            Rule::When(when) => match when.act {
                Act::Slow(each) if when.runs(self.source, now) => Some(each),
                _ => None,
            },
            _ => None,
        });
        if let Some(each) = slow {
            let clock = self.peer.clock.clone();
            clock.sleep_until(clock.now() + each).await;
        }
        self.wire.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        self.wire.stream.flush().await?;
        Ok(true)
    }
}

/// `MAIL FROM:<a@b> SIZE=5` → `a@b`.
fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside
        .map(|(path, _)| path)
        .or_else(|| line.split_once(':').map(|(_, p)| p.trim()))
        .unwrap_or("")
        .to_owned()
}

/// Lines and texts from a stream.
struct Wire {
    stream: Box<dyn Stream>,
    held: Vec<u8>,
    at: usize,
}

impl Wire {
    async fn more(&mut self) -> io::Result<bool> {
        if self.at > 0 {
            self.held.drain(..self.at);
            self.at = 0;
        }
        let n = self.stream.read_buf(&mut self.held).await?;
        Ok(n > 0)
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let held = &self.held[self.at..];
            if let Some(end) = held.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&held[..end]).into_owned();
                self.at += end + 2;
                return Ok(Some(line));
            }
            if held.len() > LINE_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless line"));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// RFC 5321 §4.5.2: up to CRLF.CRLF, without the dots put before dots.
    async fn text(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let held = &self.held[self.at..];
            if let Some(end) = held.windows(2).position(|w| w == b"\r\n") {
                let line = &held[..end];
                if line == b"." {
                    self.at += 3;
                    return Ok(text);
                }
                text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
                text.extend_from_slice(b"\r\n");
                self.at += end + 2;
                if text.len() > TEXT_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless text"));
                }
            } else if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
