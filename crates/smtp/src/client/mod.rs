//! The client machine.
//!
//! What it is: one connection to another mail server, from greeting to goodbye, with any number of
//! messages on it: STARTTLS by policy, log-in at relays, pipelined envelopes, DATA or BDAT, and for
//! every recipient the stage and the verbatim reply. What it is not: routing, retries, certificate
//! rules; the desk decides on those when it is asked for the next message with what is known of the
//! server. Begin with [`ask`], then [`Client`].

use std::collections::VecDeque;

use sasl::Mechanism;
use stdx::machine::{Action, Machine, TlsFacts};
use stdx::{Now, Secret, Span, never};
use words::{Envelope, Reply};

use crate::reply::ReplyReader;

pub mod ask;
mod capabilities;
mod delivery;

pub use ask::{Answer, Ask, Break, Failure, Fate, How, Outcome, Ready, Stage, Unfit};
pub use capabilities::Capabilities;
use delivery::{Delivery, Step, is_yes};

/// When to speak TLS. Which certificates are good is decided where TLS is made, and by the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    Never,
    IfOffered,
    Required,
}

/// How long to wait for what: RFC 5321 §4.5.3.2.
#[derive(Clone, Debug)]
pub struct Patience {
    pub greeting: Span,
    /// EHLO, MAIL and RCPT each.
    pub command: Span,
    pub handshake: Span,
    /// The reply to DATA.
    pub data: Span,
    /// The reply to the final dot.
    pub dot: Span,
    /// The reply to QUIT; nothing depends on it.
    pub quit: Span,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            greeting: Span::mins(5),
            command: Span::mins(5),
            handshake: Span::mins(1),
            data: Span::mins(2),
            dot: Span::mins(10),
            quit: Span::secs(5),
        }
    }
}

/// Credentials for a relay, and fresh randomness for SCRAM.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: Secret<String>,
    pub nonce: [u8; 18],
}

/// How to talk to one server.
#[derive(Clone)]
pub struct Settings {
    /// Our name in EHLO.
    pub helo: String,
    pub tls: TlsPolicy,
    pub login: Option<Login>,
    /// Send envelopes in one go where the server offers it. Off for servers known to lie.
    pub pipelining: bool,
    /// Use BDAT where the server offers it.
    pub chunking: bool,
    pub patience: Patience,
}

impl Settings {
    pub fn new(helo: impl Into<String>, tls: TlsPolicy) -> Settings {
        Settings {
            helo: helo.into(),
            tls,
            login: None,
            pipelining: true,
            chunking: false,
            patience: Patience::default(),
        }
    }
}

enum Phase {
    New,
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    /// `None` where no mechanism fits.
    Auth(Option<Box<sasl::client::Client>>),
    /// The desk is asked for a message.
    Ready,
    Envelope,
    Text,
    /// A chunk by BDAT waits for its reply.
    Chunk,
    Dot,
    Quit,
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Next,
    Chunk,
    Done,
    Last,
}

/// One client session.
pub struct Client {
    set: Settings,
    now: Now,
    since: Now,
    out: VecDeque<Action<Ask>>,
    replies: ReplyReader,
    phase: Phase,
    open: Option<Open>,
    banner: Option<Reply>,
    caps: Capabilities,
    tls: Option<TlsFacts>,
    tls_refused: bool,
    delivery: Option<Box<Delivery>>,
    /// The server holds a transaction of ours that must be forgotten first.
    dirty: bool,
    finished: u32,
    stopping: bool,
    /// What is left to be told when the session has ended.
    last: Option<Ask>,
}

impl Client {
    pub fn new(set: Settings) -> Client {
        Client {
            set,
            now: Now::default(),
            since: Now::default(),
            out: VecDeque::new(),
            replies: ReplyReader::default(),
            phase: Phase::New,
            open: None,
            banner: None,
            caps: Capabilities::default(),
            tls: None,
            tls_refused: false,
            delivery: None,
            dirty: false,
            finished: 0,
            stopping: false,
            last: None,
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        match self.out.back_mut() {
            Some(Action::Send(last)) => last.extend_from_slice(&bytes),
            _ => self.out.push_back(Action::Send(bytes)),
        }
        self.since = self.now;
    }

    fn go(&mut self, phase: Phase, line: String) {
        self.phase = phase;
        self.send(line.into_bytes());
    }

    fn ask(&mut self, open: Open, ask: Ask) {
        self.open = Some(open);
        self.out.push_back(Action::Ask(ask));
    }

    fn stage(&self) -> Stage {
        match self.phase {
            Phase::New | Phase::Greeting => Stage::Greeting,
            Phase::Ehlo | Phase::Helo => Stage::Ehlo,
            Phase::StartTls | Phase::Handshake => Stage::StartTls,
            Phase::Auth(_) => Stage::Auth,
            Phase::Text | Phase::Chunk => Stage::Data,
            Phase::Dot => Stage::Dot,
            Phase::Envelope => match self.delivery.as_ref().and_then(|d| d.awaited.front()) {
                Some(Step::Rcpt(_)) => Stage::Rcpt,
                Some(Step::Data) => Stage::Data,
                _ => Stage::Mail,
            },
            Phase::Ready | Phase::Quit | Phase::Over => Stage::Mail,
        }
    }

    /// The session is over: tells what became of the message, or that none was begun.
    fn fail(&mut self, how: How) {
        let stage = self.stage();
        if matches!(self.phase, Phase::Over | Phase::Quit) {
            return self.close();
        }
        let last = match self.delivery.take() {
            Some(mut delivery) => {
                delivery.settle(&match how {
                    How::Refused(reply) => Fate::Refused { stage, reply },
                    How::Broken(why) => Fate::Broken { stage, why },
                });
                Ask::Done(delivery.outcome(true))
            }
            None => Ask::Failed(Failure { stage, how }),
        };
        self.phase = Phase::Over;
        // Nothing goes out any more. A question still queued is void; one already out is waited for.
        let out = self.open.is_some() && !self.out.iter().any(|a| matches!(a, Action::Ask(_)));
        self.out.clear();
        self.last = Some(last);
        if !out {
            self.say_last();
        }
    }

    fn say_last(&mut self) {
        if let Some(last) = self.last.take() {
            self.ask(Open::Last, last);
            self.out.push_back(Action::Close);
        }
    }

    fn close(&mut self) {
        if !matches!(self.phase, Phase::Over) {
            self.phase = Phase::Over;
            self.out.push_back(Action::Close);
        }
    }

    fn hello(&mut self) {
        let line = format!("EHLO {}\r\n", self.set.helo);
        self.go(Phase::Ehlo, line);
    }

    fn reply(&mut self, reply: Reply) {
        // RFC 5321 §3.8: 421 may come at any time; the server goes.
        if reply.code == 421 && !matches!(self.phase, Phase::Quit) {
            return self.fail(How::Refused(reply));
        }
        match self.phase {
            Phase::Greeting => self.greeted(reply),
            Phase::Ehlo | Phase::Helo => self.named(reply),
            Phase::StartTls => self.starttls_replied(reply),
            Phase::Auth(_) => self.auth_replied(reply),
            Phase::Envelope => self.envelope_replied(reply),
            Phase::Chunk => self.chunk_replied(&reply),
            Phase::Dot => self.dot_replied(&reply),
            Phase::Quit => self.close(),
            _ => self.fail(How::Broken(Break::OutOfStep(reply))),
        }
    }

    fn greeted(&mut self, reply: Reply) {
        if !is_yes(&reply) {
            return self.fail(How::Refused(reply));
        }
        self.banner = Some(reply);
        self.hello();
    }

    fn named(&mut self, reply: Reply) {
        let by_ehlo = matches!(self.phase, Phase::Ehlo);
        match (is_yes(&reply), by_ehlo) {
            (true, true) => self.caps = Capabilities::read(&reply),
            (true, false) => self.caps = Capabilities::default(),
            // RFC 5321 §3.2: a server that does not know EHLO is asked with HELO.
            (false, true) if reply.is_permanent() => {
                let line = format!("HELO {}\r\n", self.set.helo);
                return self.go(Phase::Helo, line);
            }
            _ => return self.fail(How::Refused(reply)),
        }
        self.secure();
    }

    fn secure(&mut self) {
        let wanted = self.set.tls != TlsPolicy::Never && self.tls.is_none() && !self.tls_refused;
        match (wanted && self.caps.starttls, self.set.tls) {
            (true, _) => self.go(Phase::StartTls, "STARTTLS\r\n".to_owned()),
            (false, TlsPolicy::Required) if self.tls.is_none() => {
                self.phase = Phase::StartTls;
                self.fail(How::Broken(Break::NotOffered));
            }
            _ => self.log_in(),
        }
    }

    fn starttls_replied(&mut self, reply: Reply) {
        if reply.code == 220 {
            // RFC 3207 §6: what an eavesdropper put behind the 220 is dropped.
            self.replies.clear();
            self.phase = Phase::Handshake;
            self.since = self.now;
            return self.out.push_back(Action::StartTls);
        }
        if self.set.tls == TlsPolicy::Required {
            return self.fail(How::Refused(reply));
        }
        self.tls_refused = true;
        self.log_in();
    }

    fn log_in(&mut self) {
        let Some(login) = &self.set.login else { return self.ready() };
        let offered: Vec<_> = self.caps.auth.iter().filter_map(|name| Mechanism::parse(name)).collect();
        let Some(mechanism) = sasl::client::choose(&offered, self.tls.as_ref()) else {
            self.phase = Phase::Auth(None);
            return self.fail(How::Broken(Break::NotOffered));
        };
        let (password, tls) = (login.password.clone(), self.tls.as_ref());
        let mut client = sasl::client::Client::new(mechanism, &login.user, password, login.nonce, tls);
        let line = match client.initial() {
            Some(text) if text.is_empty() => format!("AUTH {mechanism} =\r\n"),
            Some(text) => format!("AUTH {mechanism} {text}\r\n"),
            None => format!("AUTH {mechanism}\r\n"),
        };
        self.go(Phase::Auth(Some(Box::new(client))), line);
    }

    fn auth_replied(&mut self, reply: Reply) {
        let Phase::Auth(Some(client)) = &mut self.phase else { return };
        match reply.code {
            334 => match client.challenge(&reply.text()) {
                Ok(response) => self.send(format!("{response}\r\n").into_bytes()),
                Err(why) => self.fail(How::Broken(Break::LoginFailed(why.to_string()))),
            },
            _ if is_yes(&reply) => self.ready(),
            _ => self.fail(How::Refused(reply)),
        }
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        if self.stopping {
            return self.quit();
        }
        let banner = self.banner.clone().unwrap_or_else(|| Reply::plain(220, ""));
        let ready =
            Ready { banner, capabilities: self.caps.clone(), tls: self.tls.clone(), finished: self.finished };
        self.ask(Open::Next, Ask::Next(Box::new(ready)));
    }

    fn quit(&mut self) {
        self.go(Phase::Quit, "QUIT\r\n".to_owned());
    }

    fn begin(&mut self, envelope: Envelope) {
        let chunked = self.caps.chunking
            && (self.set.chunking || (envelope.body == words::Body::BinaryMime && self.caps.binary));
        let pipelined = self.caps.pipelining && self.set.pipelining;
        let mut delivery = Box::new(Delivery::new(envelope, &self.caps, (chunked, pipelined)));
        if let Some(unfit) = delivery.unfit(&self.caps) {
            delivery.settle(&Fate::Unfit(unfit));
            let outcome = delivery.outcome(false);
            return self.ask(Open::Done, Ask::Done(outcome));
        }
        if self.dirty {
            delivery.to_send.push_front(Step::Rset);
            self.dirty = false;
        }
        self.delivery = Some(delivery);
        self.phase = Phase::Envelope;
        self.send_steps();
    }

    /// Sends the next command, or all of them if the server takes them in one go.
    fn send_steps(&mut self) {
        let Some(delivery) = &mut self.delivery else { return };
        let mut lines = String::new();
        while let Some(step) = delivery.to_send.pop_front() {
            lines.push_str(&delivery.line(step, &self.caps));
            delivery.awaited.push_back(step);
            if !delivery.pipelined {
                break;
            }
        }
        if !lines.is_empty() {
            self.send(lines.into_bytes());
        }
    }

    fn envelope_replied(&mut self, reply: Reply) {
        self.since = self.now;
        let Some(delivery) = &mut self.delivery else { return };
        let step = delivery.awaited.pop_front();
        match step {
            Some(Step::Rset) if !is_yes(&reply) => return self.fail(How::Refused(reply)),
            Some(Step::Data) => return self.data_replied(reply),
            Some(step) => delivery.replied(step, &reply),
            None => return self.fail(How::Broken(Break::OutOfStep(reply))),
        }
        if !delivery.awaited.is_empty() {
            return;
        }
        if !delivery.to_send.is_empty() {
            return self.send_steps();
        }
        // Everything is answered and there is no DATA: either BDAT follows, or nobody takes it.
        if delivery.chunked && delivery.any_taken() {
            self.phase = Phase::Text;
            return self.ask(Open::Chunk, Ask::Chunk);
        }
        self.dirty = true;
        self.finish();
    }

    fn data_replied(&mut self, reply: Reply) {
        let Some(delivery) = &mut self.delivery else { return };
        match reply.code {
            354 if delivery.any_taken() => {
                self.phase = Phase::Text;
                self.ask(Open::Chunk, Ask::Chunk);
            }
            // RFC 2920 §3.1: nobody takes it, yet the server wants text: a dot alone.
            354 => self.go(Phase::Dot, ".\r\n".to_owned()),
            code if code < 400 => self.fail(How::Broken(Break::OutOfStep(reply))),
            _ => {
                delivery.text_replied(Stage::Data, &reply);
                self.dirty = true;
                self.finish();
            }
        }
    }

    fn chunk(&mut self, piece: &[u8]) {
        let Some(delivery) = &mut self.delivery else { return };
        let mut wire = Vec::new();
        delivery.text.feed(piece, &mut wire);
        if piece.is_empty() {
            delivery.text.finish(&mut wire);
            delivery.ended = true;
        }
        let (ended, chunked) = (delivery.ended, delivery.chunked);
        if chunked {
            let last = if ended { " LAST" } else { "" };
            self.send(format!("BDAT {}{last}\r\n", wire.len()).into_bytes());
            self.send(wire);
            self.phase = if ended { Phase::Dot } else { Phase::Chunk };
        } else {
            self.send(wire);
            if ended {
                self.phase = Phase::Dot;
            } else {
                self.ask(Open::Chunk, Ask::Chunk);
            }
        }
    }

    fn chunk_replied(&mut self, reply: &Reply) {
        if is_yes(reply) {
            self.phase = Phase::Text;
            return self.ask(Open::Chunk, Ask::Chunk);
        }
        if let Some(delivery) = &mut self.delivery {
            delivery.text_replied(Stage::Data, reply);
        }
        self.dirty = true;
        self.finish();
    }

    fn dot_replied(&mut self, reply: &Reply) {
        if let Some(delivery) = &mut self.delivery {
            delivery.text_replied(Stage::Dot, reply);
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.finished += 1;
        self.phase = Phase::Ready;
        if let Some(delivery) = self.delivery.take() {
            self.ask(Open::Done, Ask::Done(delivery.outcome(false)));
        }
    }

    fn pump(&mut self) {
        while self.open.is_none() && !matches!(self.phase, Phase::Over | Phase::Handshake | Phase::New) {
            match self.replies.take() {
                Ok(Some(reply)) => self.reply(reply),
                Ok(None) => return,
                Err(why) => return self.fail(How::Broken(Break::Garbage(why))),
            }
        }
    }
}

impl Machine for Client {
    type Ask = Ask;
    type Answer = Answer;
    type Notice = std::convert::Infallible;

    fn opened(&mut self, now: Now) {
        (self.now, self.since) = (now, now);
        self.phase = Phase::Greeting;
        self.pump();
    }

    fn received(&mut self, now: Now, bytes: &[u8]) {
        self.now = now;
        if !matches!(self.phase, Phase::Over | Phase::Handshake) {
            self.replies.push(bytes);
            self.pump();
        }
    }

    fn answered(&mut self, now: Now, answer: Answer) {
        (self.now, self.since) = (now, now);
        let Some(open) = self.open.take() else { never!("an answer without a question") };
        match (open, answer) {
            (Open::Last, _) => {}
            _ if matches!(self.phase, Phase::Over) => self.say_last(),
            (Open::Next, Answer::Send(envelope)) => self.begin(*envelope),
            (Open::Next, _) => self.quit(),
            (Open::Chunk, Answer::Chunk(piece)) => self.chunk(&piece),
            // RFC 5321 §4.1.1.4: without the final dot the server must not take the text.
            (Open::Chunk, _) => self.fail(How::Broken(Break::Aborted)),
            (Open::Done, _) => self.ready(),
        }
        self.pump();
    }

    fn tls_started(&mut self, now: Now, facts: TlsFacts) {
        (self.now, self.since) = (now, now);
        self.tls = Some(facts);
        if matches!(self.phase, Phase::Handshake) {
            // RFC 3207 §4.2: begin again.
            self.replies.clear();
            self.hello();
        }
    }

    fn notified(&mut self, _now: Now, notice: Self::Notice) {
        match notice {}
    }

    fn timed_out(&mut self, now: Now) {
        self.now = now;
        if self.deadline().is_some_and(|at| now >= at) {
            self.fail(How::Broken(Break::TimedOut));
        }
    }

    fn closed(&mut self, now: Now) {
        self.now = now;
        self.fail(How::Broken(Break::Closed));
    }

    fn shutdown(&mut self, now: Now) {
        self.now = now;
        self.stopping = true;
        // A message under way is finished; before one there is nothing to lose.
        if self.open.is_none() && self.delivery.is_none() {
            self.fail(How::Broken(Break::Aborted));
        }
    }

    fn next(&mut self) -> Option<Action<Ask>> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Now> {
        if self.open.is_some() {
            return None;
        }
        let patience = &self.set.patience;
        let span = match &self.phase {
            Phase::New | Phase::Ready | Phase::Text | Phase::Over => return None,
            // RFC 5321 §4.5.3.2.1 to §4.5.3.2.6.
            Phase::Greeting => patience.greeting,
            Phase::Ehlo | Phase::Helo | Phase::StartTls | Phase::Auth(_) => patience.command,
            Phase::Envelope if self.stage() == Stage::Data => patience.data,
            Phase::Envelope => patience.command,
            Phase::Handshake => patience.handshake,
            Phase::Chunk => patience.command,
            Phase::Dot => patience.dot,
            Phase::Quit => patience.quit,
        };
        Some(self.since + span)
    }
}
