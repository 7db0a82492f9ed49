//! The machine: reads lines, keeps the states of RFC 1939, and asks.
//!
//! One command is worked off at a time, and nothing is read on while an answer is being sent or
//! a question is open, so a client that pipelines a thousand commands costs no more memory than
//! one that waits. Begin with [`Server::next`](stdx::Machine::next).

use std::convert::Infallible;
use std::sync::Arc;

use memchr::memchr;
use stdx::machine::{self, Idle};
use stdx::{Action, Machine, Now, TlsFacts};
use words::SessionId;

use crate::ask::{Answer, Ask, Refusal, Settings};
use crate::auth::{self, Auth};
use crate::command::{COMMAND_MAX, Command, NoCommand, parse};
use crate::transfer::{Stuffer, Top};

mod maildrop;
use maildrop::{Job, Open};

/// Bytes to send are handed over in portions of about this size.
const SEND: usize = 64 * 1024;

pub(crate) enum Phase {
    /// RFC 1939 §4.
    Authorization(Auth),
    /// RFC 1939 §5.
    Transaction(Box<Open>),
    Over,
}

/// What the open question is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    /// PASS.
    Password,
    /// A step of AUTH.
    Exchange,
    Enter,
    Texts,
    Piece,
    Quit,
}

/// One POP3 session.
pub struct Server {
    pub(crate) settings: Arc<Settings>,
    pub(crate) session: SessionId,
    pub(crate) tls: Option<Box<TlsFacts>>,
    pub(crate) phase: Phase,
    pub(crate) asked: Asked,
    /// Done once `out` has been handed over.
    pub(crate) then: Option<Action<Ask>>,
    pub(crate) out: Vec<u8>,
    pub(crate) failures: u32,
    errors: u32,
    input: Vec<u8>,
    /// How much of `input` is used up.
    used: usize,
    /// How much of an overlong line has been thrown away; its end is still to come.
    skipped: Option<usize>,
    stopping: bool,
    idle: Idle,
}

/// So much of a line without end is read before the session is ended.
const SKIPPED_MAX: usize = 1 << 20;

impl Server {
    pub fn new(settings: Arc<Settings>, session: SessionId) -> Server {
        let idle = Idle::new(Now::default(), settings.login_wait);
        Server {
            settings,
            session,
            tls: None,
            phase: Phase::Authorization(Auth::default()),
            asked: Asked::Nothing,
            then: None,
            out: Vec::new(),
            failures: 0,
            errors: 0,
            input: Vec::new(),
            used: 0,
            skipped: None,
            stopping: false,
            idle,
        }
    }

    pub(crate) fn ok(&mut self, text: &str) {
        self.say("+OK", text);
    }
    pub(crate) fn err(&mut self, text: &str) {
        self.say("-ERR", text);
    }
    fn say(&mut self, status: &str, text: &str) {
        self.out.extend_from_slice(status.as_bytes());
        self.out.push(b' ');
        self.out.extend(text.bytes().map(|b| if b < 0x20 || b == 0x7f { b'?' } else { b }));
        self.out.extend_from_slice(b"\r\n");
    }
    pub(crate) fn ask(&mut self, asked: Asked, question: Ask) {
        self.asked = asked;
        self.then = Some(Action::Ask(question));
    }
    pub(crate) fn close(&mut self) {
        self.phase = Phase::Over;
        self.then = Some(Action::Close);
    }

    /// Works off one line or a portion of a running answer; false if there is nothing to do.
    fn step(&mut self) -> bool {
        if let Phase::Transaction(open) = &mut self.phase
            && open.job.is_some()
        {
            self.work();
            return true;
        }
        if matches!(self.phase, Phase::Over) {
            return false;
        }
        if self.stopping {
            self.err("[SYS/TEMP] The server is stopping; come back in a minute.");
            self.close();
            return true;
        }
        let Some(line) = self.line() else {
            if self.skipped.is_some_and(|n| n > SKIPPED_MAX) {
                self.err("A line without end; goodbye.");
                self.close();
                return true;
            }
            return false;
        };
        match line {
            Ok(line) => self.take(&line),
            Err(()) => self.wrong("That line is too long."),
        }
        true
    }

    /// The next line without its end. RFC 1939 §3 ends lines with CRLF; a bare LF is understood.
    fn line(&mut self) -> Option<Result<Vec<u8>, ()>> {
        let waiting = &self.input[self.used..];
        let limit = match &self.phase {
            Phase::Authorization(auth) if auth.exchange.is_some() => sasl::LINE_MAX,
            Phase::Authorization(_) => sasl::LINE_MAX + 32,
            _ => COMMAND_MAX,
        };
        let Some(end) = memchr(b'\n', waiting) else {
            if self.skipped.is_some() || waiting.len() > limit {
                self.skipped = Some(self.skipped.unwrap_or(0) + waiting.len());
                self.input = Vec::new();
                self.used = 0;
            } else if self.used > 0 {
                self.input.drain(..self.used);
                self.input.shrink_to(1024);
                self.used = 0;
            }
            return None;
        };
        let line = &waiting[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let fits = self.skipped.is_none() && line.len() <= limit;
        let line = if fits { Ok(line.to_vec()) } else { Err(()) };
        self.skipped = None;
        self.used += end + 1;
        if self.used == self.input.len() {
            self.input = Vec::new();
            self.used = 0;
        }
        Some(line)
    }

    fn take(&mut self, line: &[u8]) {
        if let Phase::Authorization(Auth { exchange: Some(_), .. }) = &self.phase {
            return self.exchange_line(line);
        }
        match parse(line) {
            Ok(command) => {
                self.errors = 0;
                self.command(command);
            }
            Err(NoCommand::Unknown) => self.wrong("That is no POP3 command I know."),
            Err(NoCommand::Form(form)) => self.wrong(&format!("The form is: {form}")),
        }
    }

    fn wrong(&mut self, text: &str) {
        self.errors += 1;
        self.err(text);
        if self.errors >= self.settings.errors_max {
            let id = self.session.tagged();
            self.err(&format!("Too many commands that cannot be understood; goodbye ({id})."));
            self.close();
        }
    }

    fn command(&mut self, command: Command<'_>) {
        let authorized = matches!(self.phase, Phase::Transaction(_));
        match command {
            Command::Capa => self.capa(),
            Command::Quit if authorized => self.quit(),
            Command::Quit => {
                self.ok("Goodbye.");
                self.close();
            }
            Command::User(_) | Command::Pass(_) | Command::Auth(..) | Command::Stls | Command::Utf8 => {
                if authorized {
                    self.err("You are logged in already.");
                } else {
                    self.authorization(command);
                }
            }
            _ if !authorized => self.err("Log in first: AUTH, or USER and PASS."),
            command => self.transaction(command),
        }
    }

    // RFC 2449 §5; RFC 6856 §2.
    fn capa(&mut self) {
        let mechanisms = self.mechanisms();
        let mut lines = vec!["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>();
        if self.settings.starttls && self.tls.is_none() {
            lines.push("STLS".into());
        }
        if self.passwords_pass() {
            lines.push("USER".into());
            lines.push("UTF8 USER".into());
        } else {
            lines.push("UTF8".into());
        }
        if !mechanisms.is_empty() {
            let names: Vec<_> = mechanisms.iter().map(|m| m.name()).collect();
            lines.push(format!("SASL {}", names.join(" ")));
        }
        lines.push("IMPLEMENTATION Postroad".into());
        self.ok("This server can:");
        for line in lines {
            self.out.extend_from_slice(line.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b".\r\n");
    }
}

impl Machine for Server {
    type Ask = Ask;
    type Answer = Answer;
    type Notice = Infallible;

    fn opened(&mut self, now: Now) {
        self.idle.set(now, self.settings.login_wait);
        let greeting = format!("{} Postroad POP3 ready ({})", self.settings.host, self.session.tagged());
        self.ok(&greeting);
    }

    fn received(&mut self, now: Now, bytes: &[u8]) {
        self.idle.touch(now);
        if !matches!(self.phase, Phase::Over) {
            self.input.extend_from_slice(bytes);
        }
    }

    fn answered(&mut self, now: Now, answer: Answer) {
        self.idle.touch(now);
        match (std::mem::replace(&mut self.asked, Asked::Nothing), answer) {
            (Asked::Password, Answer::Sasl(answer)) => self.password_answered(answer),
            (Asked::Exchange, Answer::Sasl(answer)) => self.exchange_answered(answer),
            (Asked::Enter, Answer::Drop(maildrop)) => {
                let open = Open::new(maildrop);
                let (count, octets) = open.stat();
                self.phase = Phase::Transaction(Box::new(open));
                self.idle.set(now, self.settings.idle);
                self.ok(&format!("{count} messages ({octets} octets)"));
            }
            (Asked::Enter, Answer::Refused(why)) => {
                self.phase = Phase::Authorization(Auth::default());
                self.err(auth::refusal(why));
            }
            (Asked::Texts, Answer::Texts(texts)) => self.texts(texts),
            (Asked::Piece, Answer::Piece(piece)) => self.piece(piece),
            (Asked::Texts | Asked::Piece, Answer::Refused(_)) => self.text_failed(),
            (Asked::Quit, Answer::Done) => {
                self.ok("Goodbye.");
                self.close();
            }
            (Asked::Quit, Answer::Refused(Refusal::InUse | Refusal::Unavailable)) => {
                // RFC 1939 §6: then none of them may be removed.
                self.err("[SYS/TEMP] The deleted messages could not be removed; they are all still there.");
                self.close();
            }
            _ => stdx::never!("an answer that fits no open question"),
        }
    }

    fn tls_started(&mut self, now: Now, facts: TlsFacts) {
        self.idle.touch(now);
        // RFC 2595 §4: what was said before is forgotten, also bytes that wait.
        self.input = Vec::new();
        self.used = 0;
        self.phase = Phase::Authorization(Auth::default());
        self.tls = Some(Box::new(facts));
    }

    fn notified(&mut self, _now: Now, notice: Infallible) {
        match notice {}
    }

    fn timed_out(&mut self, _now: Now) {
        if !matches!(self.phase, Phase::Over) {
            // RFC 1939 §3: the session ends without the UPDATE state; nothing is removed.
            self.err("[SYS/TEMP] You were silent too long; goodbye.");
            self.close();
        }
    }

    fn closed(&mut self, _now: Now) {
        self.phase = Phase::Over;
        self.input = Vec::new();
        self.used = 0;
        if self.asked == Asked::Nothing {
            self.then = Some(Action::Close);
        }
    }

    fn shutdown(&mut self, _now: Now) {
        self.stopping = true;
    }

    fn next(&mut self) -> Option<Action<Ask>> {
        loop {
            if let Some(action) = machine::ready(&mut self.out, &mut self.then, SEND) {
                return Some(action);
            }
            if self.asked != Asked::Nothing || !self.step() {
                return machine::written(&mut self.out);
            }
        }
    }

    fn deadline(&self) -> Option<Now> {
        (self.asked == Asked::Nothing && !matches!(self.phase, Phase::Over)).then(|| self.idle.at())
    }
}

/// A text that is being sent.
pub(crate) struct Sending {
    pub(crate) index: usize,
    offset: u64,
    stuffer: Stuffer,
    top: Option<Top>,
}

impl Sending {
    pub(crate) fn new(index: usize, lines: Option<u32>) -> Sending {
        Sending { index, offset: 0, stuffer: Stuffer::new(), top: lines.map(Top::new) }
    }
    /// Takes the next piece; true once TOP has enough.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> bool {
        self.offset += piece.len() as u64;
        let Some(top) = &mut self.top else {
            self.stuffer.push(piece, out);
            return false;
        };
        let len = top.take(piece);
        self.stuffer.push(&piece[..len], out);
        top.is_over()
    }
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        self.stuffer.finish(out);
    }
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }
}

impl From<Sending> for Job {
    fn from(sending: Sending) -> Job {
        Job::Text(sending)
    }
}

#[cfg(test)]
mod tests;
