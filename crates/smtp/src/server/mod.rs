//! The server machine.
//!
//! What it is: one SMTP or submission session as a state machine. Commands are checked in
//! [`hello`], [`mail`], [`rcpt`], [`data`], [`bdat`], [`auth`], [`starttls`] and [`odds`], one
//! `check` (may this command stand here?) and one `proceed` (what follows from the answer?) each.
//! What it is not: policy; see [`ask`] for what it asks. Begin with [`Server`], then [`ask`].

use std::collections::VecDeque;

use stdx::machine::{Action, Machine, TlsFacts};
use stdx::{Now, never};
use words::{Domain, Envelope, MessageId, Reply, SessionId};

use crate::command::{self, Command};
use crate::limits::Limits;
use crate::text::{Newlines, Unstuff};

pub mod ask;
mod auth;
mod bdat;
mod data;
mod hello;
mod mail;
mod odds;
mod rcpt;
mod starttls;

pub use ask::{Answer, Question};

/// What a session offers and demands.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in the greeting, in EHLO and for `<postmaster>`.
    pub host: Domain,
    pub session: SessionId,
    /// Offer STARTTLS.
    pub starttls: bool,
    /// Demand TLS before MAIL and AUTH.
    pub tls_required: bool,
    /// Demand AUTH before MAIL (submission).
    pub auth_required: bool,
    /// What to offer for log-in, if anything (port 25 offers nothing).
    pub offer: Option<sasl::Offer>,
    pub limits: Limits,
}

/// Where the conversation stands.
enum Phase {
    New,
    /// Waiting to greet; the deadline greets.
    Pausing,
    Commands,
    /// The next line is a response in the log-in under way.
    AuthLine,
    Text(Unstuff),
    Chunk(bdat::Chunk),
    Handshake,
    Over,
}

/// The question that is open, with what is needed when its answer comes.
enum Open {
    Hello,
    Name {
        esmtp: bool,
    },
    Sasl,
    Mail(Box<Envelope>),
    Rcpt(Box<words::Recipient>),
    Data,
    ChunkStart(bdat::Chunk),
    Body,
    Commit,
    /// The transaction was dropped; then say this.
    Dropped(Reply),
    Tls,
    Confirmed,
}

/// The transaction under way.
struct Transaction {
    envelope: Envelope,
    /// Text not yet handed on.
    body: Vec<u8>,
    octets: u64,
    started: Now,
    /// By BDAT, and what was seen there.
    chunked: Option<Newlines>,
}

#[derive(Default)]
struct Tally {
    errors: u32,
    idle: u32,
    messages: u32,
    refused: u32,
    auth_failures: u32,
}

/// Octets kept while a question is open. The loop does not read then; what a pipelining client sent
/// before fits easily.
const PENDING_OCTETS_MAX: usize = 1 << 20;

/// One server session.
pub struct Server {
    set: Settings,
    now: Now,
    out: VecDeque<Action<Question>>,
    input: Vec<u8>,
    /// Octets of a line that is too long, dropped so far.
    dropped_line: Option<usize>,
    phase: Phase,
    open: Option<Open>,
    /// What the client called itself, and whether by EHLO.
    named: Option<bool>,
    tls: Option<Box<TlsFacts>>,
    login: Option<Box<sasl::Exchange>>,
    authenticated: bool,
    mail: Option<Box<Transaction>>,
    tally: Tally,
    /// The last wait began here.
    since: Now,
    stopping: bool,
    /// A message saved, its 250 said, and no further command heard since.
    unconfirmed: Option<MessageId>,
    heard: bool,
}

impl Server {
    pub fn new(set: Settings) -> Server {
        Server {
            set,
            now: Now::default(),
            out: VecDeque::new(),
            input: Vec::new(),
            dropped_line: None,
            phase: Phase::New,
            open: None,
            named: None,
            tls: None,
            login: None,
            authenticated: false,
            mail: None,
            tally: Tally::default(),
            since: Now::default(),
            stopping: false,
            unconfirmed: None,
            heard: false,
        }
    }

    fn limits(&self) -> &Limits {
        &self.set.limits
    }

    fn send(&mut self, bytes: Vec<u8>) {
        match self.out.back_mut() {
            Some(Action::Send(last)) => last.extend_from_slice(&bytes),
            _ => self.out.push_back(Action::Send(bytes)),
        }
    }

    fn ask(&mut self, open: Open, question: Question) {
        self.open = Some(open);
        self.out.push_back(Action::Ask(question));
    }

    /// Says a reply. A refusal carries the session's id; 421 ends the session.
    fn say(&mut self, mut reply: Reply) {
        let code = reply.code;
        if code >= 400 {
            let tag = self.set.session.tagged();
            match reply.lines.last_mut() {
                Some(line) if !line.contains(&tag) => {
                    line.push(' ');
                    line.push_str(&tag);
                }
                _ => {}
            }
        }
        self.send(reply.wire());
        self.since = self.now;
        if code == 421 {
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        if !matches!(self.phase, Phase::Over) {
            self.out.push_back(Action::Close);
        }
        self.phase = Phase::Over;
        self.mail = None;
        self.input = Vec::new();
    }

    /// Says that a command was wrong, and ends a session that has too many of them.
    fn wrong(&mut self, reply: Reply) {
        self.tally.errors += 1;
        if self.tally.errors > self.limits().errors {
            return self.say(Reply::new(421, (4, 7, 0), "Too many errors; come back with a sound client"));
        }
        self.say(reply);
    }

    fn line(&mut self, line: &[u8]) {
        if matches!(self.phase, Phase::AuthLine) {
            return auth::response(self, line);
        }
        match command::parse(line, &self.set.host) {
            Ok(Command::Ehlo(name)) => hello::check(self, name, true),
            Ok(Command::Helo(name)) => hello::check(self, name, false),
            Ok(Command::Mail(given)) => mail::check(self, given),
            Ok(Command::Rcpt(given)) => rcpt::check(self, given),
            Ok(Command::Data) => data::check(self),
            Ok(Command::Bdat { size, last }) => bdat::check(self, size, last),
            Ok(Command::Auth { mechanism, initial }) => auth::check(self, &mechanism, initial.as_deref()),
            Ok(Command::StartTls) => starttls::check(self),
            Ok(Command::Foreign) => {
                self.say(Reply::new(421, (4, 7, 0), "This is a mail server, no web server"));
            }
            Ok(other) => odds::proceed(self, &other),
            Err(reply) => self.wrong(reply),
        }
    }

    /// Cuts one line off the input. A line that is too long is dropped while it comes.
    fn take_line(&mut self) -> Option<Line> {
        let max = match self.phase {
            Phase::AuthLine => self.limits().auth_octets,
            _ if self.set.offer.is_some() => self.limits().auth_octets.max(self.limits().command_octets),
            _ => self.limits().command_octets,
        };
        // A TLS handshake on a port that begins in the clear.
        if self.input.starts_with(&[0x16, 0x03]) && self.tls.is_none() {
            self.say(Reply::new(421, (4, 7, 0), "This port begins without TLS; use STARTTLS or port 465"));
            return None;
        }
        let Some(n) = memchr::memchr(b'\n', &self.input) else {
            if self.input.len() > max {
                let dropped = self.dropped_line.unwrap_or(0) + self.input.len();
                self.dropped_line = Some(dropped);
                self.input = Vec::new();
                if dropped > 16 * max {
                    self.say(Reply::new(421, (4, 5, 2), "The line does not end"));
                }
            }
            return None;
        };
        let mut line: Vec<u8> = self.input.drain(..=n).collect();
        line.pop();
        if self.dropped_line.take().is_some() || line.len() > max {
            return Some(Line::TooLong);
        }
        // RFC 5321 §2.3.8: a line ends with CR LF and nothing else.
        if line.pop() != Some(b'\r') {
            return Some(Line::BareLf);
        }
        Some(Line::Whole(line))
    }

    fn mechanisms(&self) -> Vec<sasl::Mechanism> {
        match &self.set.offer {
            Some(offer) if !self.authenticated => sasl::offered(self.tls.as_deref(), offer),
            _ => Vec::new(),
        }
    }

    /// Asks for confirmation of the last message once a command, or text after our 354, has come
    /// behind its 250: then the client must have read it.
    fn confirm(&mut self) -> bool {
        let more = match self.phase {
            Phase::Commands | Phase::AuthLine => memchr::memchr(b'\n', &self.input).is_some(),
            _ => !self.input.is_empty(),
        };
        match self.unconfirmed {
            Some(id) if self.heard && more => {
                self.unconfirmed = None;
                self.ask(Open::Confirmed, Question::Confirmed(id));
                true
            }
            _ => false,
        }
    }

    /// Goes on until there is nothing to read or a question is open.
    fn pump(&mut self) {
        while self.open.is_none() && !self.confirm() {
            match self.phase {
                Phase::Commands | Phase::AuthLine => {
                    if self.stopping {
                        return self.say(farewell());
                    }
                    match self.take_line() {
                        None => break,
                        Some(Line::Whole(line)) => self.line(&line),
                        Some(Line::TooLong) => self.wrong(Reply::new(500, (5, 5, 6), "The line is too long")),
                        Some(Line::BareLf) => {
                            self.wrong(Reply::new(
                                500,
                                (5, 5, 2),
                                "End every line with CR LF, not with LF alone",
                            ));
                        }
                    }
                }
                Phase::Text(_) | Phase::Chunk(_) => {
                    if self.input.is_empty() && !self.chunk_is_whole() {
                        break;
                    }
                    let input = std::mem::take(&mut self.input);
                    let used = self.text(&input);
                    if used < input.len() && self.input.is_empty() {
                        self.input = input[used..].to_vec();
                    }
                }
                _ => break,
            }
        }
    }

    fn chunk_is_whole(&self) -> bool {
        matches!(&self.phase, Phase::Chunk(chunk) if chunk.left == 0)
    }

    fn text(&mut self, bytes: &[u8]) -> usize {
        match self.phase {
            Phase::Text(_) => data::text(self, bytes),
            Phase::Chunk(_) => bdat::text(self, bytes),
            _ => never!("text outside of a text"),
        }
    }

    /// Forgets the transaction, and tells the desk.
    fn drop_mail(&mut self, then: Reply) {
        match self.mail.take() {
            Some(_) => self.ask(Open::Dropped(then), Question::Reset),
            None => self.say(then),
        }
    }

    fn greet(&mut self) {
        self.phase = Phase::Commands;
        let host = self.set.host.clone();
        self.say(Reply::plain(220, format!("{host} ESMTP Postroad {}", self.set.session.tagged())));
    }

    fn opened_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Yes if self.limits().greet_pause.as_ms() > 0 && self.tls.is_none() => {
                self.phase = Phase::Pausing;
                self.since = self.now;
            }
            Answer::Yes => self.greet(),
            Answer::Reply(reply) if !reply.is_positive() => {
                self.say(reply);
                self.hang_up();
            }
            _ => self.hang_up(),
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
    BareLf,
}

fn farewell() -> Reply {
    Reply::new(421, (4, 3, 2), "The server is being stopped; please come again in a minute")
}

/// What the desk says where only a refusal or a yes makes sense.
fn verdict(answer: Answer) -> Result<Option<Reply>, Reply> {
    match answer {
        Answer::Yes => Ok(None),
        Answer::Reply(reply) if reply.is_positive() => Ok(Some(reply)),
        Answer::Reply(reply) => Err(reply),
        Answer::Sasl(_) | Answer::Saved(_) => never!("an answer to another question"),
    }
}

impl Machine for Server {
    type Ask = Question;
    type Answer = Answer;
    type Notice = std::convert::Infallible;

    fn opened(&mut self, now: Now) {
        (self.now, self.since) = (now, now);
        let tls = self.tls.as_deref().cloned();
        self.ask(Open::Hello, Question::Opened { tls });
    }

    fn received(&mut self, now: Now, bytes: &[u8]) {
        self.now = now;
        if self.unconfirmed.is_some() {
            self.heard = true;
        }
        match self.phase {
            Phase::Over | Phase::Handshake => {}
            // RFC 5321 §4.3.1: a client waits for the greeting.
            Phase::Pausing => {
                self.say(Reply::new(554, (5, 5, 1), "You spoke before the greeting"));
                self.hang_up();
            }
            Phase::Text(_) | Phase::Chunk(_)
                if self.open.is_none() && self.input.is_empty() && self.unconfirmed.is_none() =>
            {
                let used = self.text(bytes);
                if used < bytes.len() {
                    self.input.extend_from_slice(&bytes[used..]);
                }
                self.pump();
            }
            _ => {
                self.input.extend_from_slice(bytes);
                if self.input.len() > PENDING_OCTETS_MAX {
                    return self.say(Reply::new(421, (4, 7, 0), "Wait for replies; too much came at once"));
                }
                self.pump();
            }
        }
    }

    fn answered(&mut self, now: Now, answer: Answer) {
        self.now = now;
        self.since = now;
        let Some(open) = self.open.take() else { never!("an answer without a question") };
        if matches!(self.phase, Phase::Over) {
            return;
        }
        match open {
            Open::Hello => self.opened_answer(answer),
            Open::Name { esmtp } => hello::proceed(self, esmtp, answer),
            Open::Sasl => auth::proceed(self, answer),
            Open::Mail(envelope) => mail::proceed(self, *envelope, answer),
            Open::Rcpt(recipient) => rcpt::proceed(self, *recipient, answer),
            Open::Data => data::proceed(self, answer),
            Open::ChunkStart(chunk) => bdat::proceed(self, chunk, answer),
            Open::Body => data::handed_on(self, answer),
            Open::Commit => data::committed(self, answer),
            Open::Dropped(reply) => self.say(reply),
            Open::Tls | Open::Confirmed => {
                if let Err(reply) = verdict(answer) {
                    self.say(reply);
                    self.hang_up();
                }
            }
        }
        self.pump();
    }

    fn tls_started(&mut self, now: Now, facts: TlsFacts) {
        self.now = now;
        self.tls = Some(Box::new(facts.clone()));
        if !matches!(self.phase, Phase::New) {
            starttls::proceed(self, facts);
        }
    }

    fn notified(&mut self, _now: Now, notice: Self::Notice) {
        match notice {}
    }

    fn timed_out(&mut self, now: Now) {
        self.now = now;
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        match self.phase {
            Phase::Pausing => self.greet(),
            Phase::Handshake => self.hang_up(),
            Phase::Text(_) | Phase::Chunk(_) => {
                self.say(Reply::new(421, (4, 4, 2), "The text came too slowly; nothing of it was kept"));
            }
            _ => self.say(Reply::new(421, (4, 4, 2), "Nothing came for too long")),
        }
    }

    fn closed(&mut self, now: Now) {
        self.now = now;
        self.hang_up();
    }

    fn shutdown(&mut self, now: Now) {
        self.now = now;
        self.stopping = true;
        // What is promised is finished: a text under way is read to its end and answered.
        if self.open.is_none() && !matches!(self.phase, Phase::Text(_) | Phase::Chunk(_) | Phase::Over) {
            self.say(farewell());
        }
    }

    fn next(&mut self) -> Option<Action<Question>> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Now> {
        if self.open.is_some() {
            return None;
        }
        let limits = self.limits();
        match self.phase {
            Phase::New | Phase::Over => None,
            Phase::Pausing => Some(self.since + limits.greet_pause),
            Phase::Handshake => Some(self.since + limits.handshake_wait),
            // RFC 5321 §4.5.3.2.7.
            Phase::Commands | Phase::AuthLine => Some(self.since + limits.command_wait),
            Phase::Text(_) | Phase::Chunk(_) => {
                let mail = self.mail.as_ref();
                let (started, octets) = mail.map_or((self.since, 0), |m| (m.started, m.octets));
                let earned = stdx::Span::ms(octets.saturating_mul(1000) / limits.text_rate.max(1));
                let whole = started + limits.text_grace + earned;
                Some(whole.min(self.since + limits.text_wait))
            }
        }
    }
}
