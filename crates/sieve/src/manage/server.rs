//! The machine: one command after the other, each answered before the next is read.

use std::convert::Infallible;
use std::sync::Arc;

use sasl::{Exchange, Failure, Mechanism, Step};
use stdx::machine::{self, Idle};
use stdx::{Action, Machine, Now, TlsFacts};
use words::SessionId;

use super::read::{Read, Word, command};
use super::{Answer, Ask, Refusal, Settings};
use crate::compile::{Library, compile};

/// Strings before log-in hold SASL responses, nothing larger.
const LITERAL_MAX: u64 = sasl::LINE_MAX as u64;

enum Phase {
    Out { exchange: Option<Box<Exchange>> },
    In,
    Over,
}

/// What the open question is about, for the reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Weak,
    Exchange,
    Enter,
    List,
    Get,
    /// Anything that is done or refused.
    Other,
}

/// One ManageSieve session.
pub struct Server {
    settings: Arc<Settings>,
    session: SessionId,
    tls: Option<Box<TlsFacts>>,
    phase: Phase,
    asked: Asked,
    then: Option<Action<Ask>>,
    out: Vec<u8>,
    input: Vec<u8>,
    /// Octets of a literal that is too large, still to be thrown away.
    skip: u64,
    failures: u32,
    errors: u32,
    stopping: bool,
    greeted: bool,
    idle: Idle,
}

/// At upload, scripts that are included may not be there yet; they are looked for at run time.
struct Trusting;

impl Library for Trusting {
    fn script(&self, _global: bool, _name: &str) -> Option<String> {
        Some(String::new())
    }
}

/// A string for the wire: quoted if it may be, else a literal.
fn string(text: &str) -> String {
    let plain = text.len() <= 1000 && !text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0));
    if plain {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("{{{}}}\r\n{text}", text.len())
    }
}

impl Server {
    pub fn new(settings: Arc<Settings>, session: SessionId) -> Server {
        let idle = Idle::new(Now::default(), settings.login_wait);
        Server {
            settings,
            session,
            tls: None,
            phase: Phase::Out { exchange: None },
            asked: Asked::Nothing,
            then: None,
            out: Vec::new(),
            input: Vec::new(),
            skip: 0,
            failures: 0,
            errors: 0,
            stopping: false,
            greeted: false,
            idle,
        }
    }

    fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
    fn ok(&mut self, text: &str) {
        self.line(&format!("OK {}", string(text)));
    }
    fn no(&mut self, code: &str, text: &str) {
        let code = if code.is_empty() { String::new() } else { format!("({code}) ") };
        self.line(&format!("NO {code}{}", string(text)));
    }
    fn bye(&mut self, code: &str, text: &str) {
        let code = if code.is_empty() { String::new() } else { format!("({code}) ") };
        self.line(&format!("BYE {code}{}", string(text)));
        self.close();
    }
    fn close(&mut self) {
        self.phase = Phase::Over;
        self.then = Some(Action::Close);
    }
    fn ask(&mut self, asked: Asked, question: Ask) {
        self.asked = asked;
        self.then = Some(Action::Ask(question));
    }

    fn mechanisms(&self) -> Vec<Mechanism> {
        sasl::offered(self.tls.as_deref(), &self.settings.offer)
    }

    // RFC 5804 §1.7.
    fn capabilities(&mut self) {
        let names: Vec<_> = self.mechanisms().iter().map(|m| m.name()).collect();
        let mut out = vec![
            "\"IMPLEMENTATION\" \"Postroad\"".to_owned(),
            format!("\"SASL\" {}", string(&names.join(" "))),
            format!("\"SIEVE\" {}", string(&crate::EXTENSIONS.join(" "))),
            format!("\"MAXREDIRECTS\" \"{}\"", self.settings.limits.redirects_max),
            "\"UNAUTHENTICATE\"".to_owned(),
            "\"VERSION\" \"1.0\"".to_owned(),
        ];
        if self.settings.starttls && self.tls.is_none() {
            out.push("\"STARTTLS\"".to_owned());
        }
        out.iter().for_each(|l| self.line(l));
    }

    /// Works off one command; false if there is none.
    fn step(&mut self) -> bool {
        if matches!(self.phase, Phase::Over) {
            return false;
        }
        if self.stopping {
            self.bye("TRYLATER", "The server is stopping; come back in a minute.");
            return true;
        }
        let gone = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.input.len());
        if gone > 0 {
            self.input.drain(..gone);
            self.skip -= gone as u64;
        }
        if self.skip > 0 || self.input.is_empty() {
            return false;
        }
        let literal_max = match self.phase {
            Phase::In => self.settings.limits.script_max as u64,
            _ => LITERAL_MAX,
        };
        match command(&self.input, literal_max) {
            Read::Wait => return false,
            Read::Command(words, used) => {
                self.used(used);
                self.words(words);
            }
            Read::Broken(why, used) => {
                self.used(used);
                self.wrong(why);
            }
            Read::TooLarge(size) => {
                self.skip = size;
                self.no(
                    "QUOTA/MAXSIZE",
                    &format!("A string of more than {literal_max} octets is too large."),
                );
                self.errors += 1;
            }
        }
        true
    }

    fn used(&mut self, used: usize) {
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    fn wrong(&mut self, why: &str) {
        self.errors += 1;
        if self.errors >= self.settings.errors_max {
            return self.bye("", "Too many commands that cannot be understood; goodbye.");
        }
        self.no("", why);
    }

    fn words(&mut self, words: Vec<Word>) {
        if let Phase::Out { exchange } = &mut self.phase
            && let Some(mut exchange) = exchange.take()
        {
            let line = match words.as_slice() {
                [Word::Text(text)] => text.clone(),
                [Word::Atom(text)] => text.clone().into_bytes(),
                _ => b"*".to_vec(),
            };
            let step = exchange.line(&line);
            return self.follow(exchange, step);
        }
        let mut words = words.into_iter();
        let Some(first) = words.next() else { return };
        let Word::Atom(verb) = first else {
            return self.wrong("A command begins with a word.");
        };
        let rest: Vec<Word> = words.collect();
        match self.phase {
            Phase::In => self.inside(&verb, &rest),
            _ => self.outside(&verb, &rest),
        }
    }

    /// Commands that can be given in both states.
    fn anywhere(&mut self, verb: &str, rest: &[Word]) {
        match (verb, rest) {
            ("CAPABILITY", []) => {
                self.capabilities();
                self.ok("That is what this server can do.");
            }
            ("NOOP", []) => self.ok("Still here."),
            ("NOOP", [Word::Text(tag)]) => {
                let tag = string(&String::from_utf8_lossy(tag));
                self.line(&format!("OK (TAG {tag}) \"Still here.\""));
            }
            ("LOGOUT", []) => {
                self.ok("Goodbye.");
                self.close();
            }
            _ => self.wrong("That is no command I know, or it cannot be given now or in this form."),
        }
    }

    fn outside(&mut self, verb: &str, rest: &[Word]) {
        match (verb, rest) {
            ("STARTTLS", []) if self.tls.is_some() => self.no("", "TLS is on already."),
            ("STARTTLS", []) if !self.settings.starttls => self.no("", "TLS cannot be started here."),
            ("STARTTLS", []) => {
                self.ok("Begin TLS now.");
                self.then = Some(Action::StartTls);
            }
            ("AUTHENTICATE", [Word::Text(name)]) => self.authenticate(name, None),
            ("AUTHENTICATE", [Word::Text(name), Word::Text(initial)]) => {
                self.authenticate(name, Some(initial))
            }
            (
                "PUTSCRIPT" | "LISTSCRIPTS" | "SETACTIVE" | "GETSCRIPT" | "DELETESCRIPT" | "RENAMESCRIPT"
                | "CHECKSCRIPT" | "HAVESPACE" | "UNAUTHENTICATE",
                _,
            ) => self.no("", "Log in first: AUTHENTICATE."),
            _ => self.anywhere(verb, rest),
        }
    }

    fn authenticate(&mut self, name: &[u8], initial: Option<&[u8]>) {
        let name = String::from_utf8_lossy(name);
        // RFC 5804 §2.1: an empty initial response is an empty string.
        let initial = initial.map(|i| if i.is_empty() { b"=" } else { i });
        let tls = self.tls.as_deref();
        match sasl::server::called(&name, initial, tls, &self.settings.offer) {
            Ok((mechanism, plus)) => {
                let (exchange, step) = Exchange::begin(mechanism, initial, tls, plus);
                self.follow(Box::new(exchange), step);
            }
            Err(question) => self.ask(Asked::Weak, Ask::Sasl(question)),
        }
    }

    fn follow(&mut self, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(text) => self.line(&format!("\"{text}\"")),
            Step::Ask(question) => self.ask(Asked::Exchange, Ask::Sasl(question)),
            Step::Done => return self.ask(Asked::Enter, Ask::Enter),
            Step::Failed(why) => return self.failed(&why),
        }
        self.phase = Phase::Out { exchange: Some(exchange) };
    }

    fn failed(&mut self, why: &Failure) {
        let code = match why {
            Failure::Unavailable => "TRYLATER",
            Failure::TooWeak => "ENCRYPT-NEEDED",
            _ => "",
        };
        self.phase = Phase::Out { exchange: None };
        self.failures += 1;
        let says = format!("{} ({})", why.says(), self.session.tagged());
        self.no(code, &says);
        if self.failures >= self.settings.login_failures_max {
            self.bye("", "Too many log-ins have failed; goodbye.");
        }
    }

    fn inside(&mut self, verb: &str, rest: &[Word]) {
        let text = |word: &Word| match word {
            Word::Text(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        };
        let texts: Vec<Option<String>> = rest.iter().map(text).collect();
        match (verb, texts.as_slice(), rest) {
            ("AUTHENTICATE" | "STARTTLS", ..) => self.no("", "You are logged in already."),
            ("UNAUTHENTICATE", [], _) => {
                self.phase = Phase::Out { exchange: None };
                self.ask(Asked::Other, Ask::Forget);
            }
            ("LISTSCRIPTS", [], _) => self.ask(Asked::List, Ask::List),
            ("CHECKSCRIPT", [Some(script)], _) => {
                if self.sound(script) {
                    self.ok("The script has no faults.");
                }
            }
            ("PUTSCRIPT", [Some(name), Some(script)], _) => {
                if self.name_fits(name) && self.sound(script) {
                    self.ask(Asked::Other, Ask::Put { name: name.clone(), script: script.clone() });
                }
            }
            ("HAVESPACE", [Some(name), None], [_, Word::Number(size)]) => {
                if *size > self.settings.limits.script_max as u64 {
                    self.no("QUOTA/MAXSIZE", "A script of that size is too large.");
                } else if self.name_fits(name) {
                    self.ask(Asked::Other, Ask::HaveSpace { name: name.clone(), size: *size });
                }
            }
            ("SETACTIVE", [Some(name)], _) => {
                let name = Some(name.clone()).filter(|n| !n.is_empty());
                self.ask(Asked::Other, Ask::SetActive { name });
            }
            ("GETSCRIPT", [Some(name)], _) => self.ask(Asked::Get, Ask::Get { name: name.clone() }),
            ("DELETESCRIPT", [Some(name)], _) => self.ask(Asked::Other, Ask::Delete { name: name.clone() }),
            ("RENAMESCRIPT", [Some(from), Some(to)], _) => {
                if self.name_fits(to) {
                    self.ask(Asked::Other, Ask::Rename { from: from.clone(), to: to.clone() });
                }
            }
            ("PUTSCRIPT" | "CHECKSCRIPT", texts, words)
                if texts.contains(&None) && words.iter().all(|w| matches!(w, Word::Text(_))) =>
            {
                self.no("", "Scripts and their names are UTF-8; this is not.");
            }
            _ => self.anywhere(verb, rest),
        }
    }

    // RFC 5804 §1.6: at most 128 characters, without controls and a few others.
    fn name_fits(&mut self, name: &str) -> bool {
        let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '/');
        let fits = !name.is_empty() && name.chars().count() <= 128 && !name.chars().any(odd);
        if !fits {
            self.no("", "That cannot be a script's name: use 1 to 128 characters, no / and no controls.");
        }
        fits
    }

    fn sound(&mut self, script: &str) -> bool {
        match compile(script, &Trusting, &self.settings.limits) {
            Ok(_) => true,
            Err(faults) => {
                let text: Vec<String> = faults.iter().take(20).map(ToString::to_string).collect();
                self.no("", &text.join("\r\n"));
                false
            }
        }
    }

    fn refused(&mut self, why: Refusal) {
        match why {
            Refusal::NonExistent => self.no("NONEXISTENT", "There is no script of that name."),
            Refusal::AlreadyExists => self.no("ALREADYEXISTS", "There is a script of that name already."),
            Refusal::Active => {
                self.no("ACTIVE", "The active script cannot be deleted; make another one active first.")
            }
            Refusal::TooMany => self.no("QUOTA/MAXSCRIPTS", "There are too many scripts; delete one first."),
            Refusal::TooLarge => self.no("QUOTA/MAXSIZE", "There is no room for a script of that size."),
            Refusal::TryLater => self.no("TRYLATER", "That cannot be done right now; try again shortly."),
        }
    }
}

impl Machine for Server {
    type Ask = Ask;
    type Answer = Answer;
    type Notice = Infallible;

    fn opened(&mut self, now: Now) {
        self.idle.set(now, self.settings.login_wait);
        self.greeted = true;
        self.capabilities();
        let greeting = format!("Postroad ManageSieve ready ({})", self.session.tagged());
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
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        if matches!(self.phase, Phase::Over) {
            return;
        }
        match (asked, answer) {
            (Asked::Weak, Answer::Sasl(sasl::Answer::Refused(why))) => self.failed(&why),
            (Asked::Weak, _) => self.failed(&Failure::TooWeak),
            (Asked::Exchange, Answer::Sasl(answer)) => {
                if let Phase::Out { exchange } = &mut self.phase
                    && let Some(mut exchange) = exchange.take()
                {
                    let step = exchange.answered(answer);
                    self.follow(exchange, step);
                }
            }
            (Asked::Enter, Answer::Done) => {
                self.phase = Phase::In;
                self.idle.set(now, self.settings.idle);
                self.ok("Logged in.");
            }
            (Asked::Enter, Answer::Refused(_)) => {
                self.phase = Phase::Out { exchange: None };
                self.no("TRYLATER", "Your scripts cannot be reached right now; try again shortly.");
            }
            (Asked::List, Answer::Scripts(list)) => {
                for (name, active) in list {
                    self.line(&format!("{}{}", string(&name), if active { " ACTIVE" } else { "" }));
                }
                self.ok("That is all.");
            }
            (Asked::Get, Answer::Script(script)) => {
                self.line(&format!("{{{}}}\r\n{script}", script.len()));
                self.ok("That is it.");
            }
            (Asked::Other, Answer::Done) => self.ok("Done."),
            (Asked::List | Asked::Get | Asked::Other, Answer::Refused(why)) => self.refused(why),
            _ => stdx::never!("an answer that fits no open question"),
        }
    }

    fn tls_started(&mut self, now: Now, facts: TlsFacts) {
        self.idle.touch(now);
        self.input = Vec::new();
        self.phase = Phase::Out { exchange: None };
        self.tls = Some(Box::new(facts));
        // RFC 5804 §2.2: after STARTTLS the capabilities are told anew.
        if self.greeted {
            self.capabilities();
            self.ok("TLS is on.");
        }
    }

    fn notified(&mut self, _now: Now, notice: Infallible) {
        match notice {}
    }

    fn timed_out(&mut self, _now: Now) {
        if !matches!(self.phase, Phase::Over) {
            self.bye("", "You were silent too long; goodbye.");
        }
    }

    fn closed(&mut self, _now: Now) {
        self.phase = Phase::Over;
        self.input = Vec::new();
        if self.asked == Asked::Nothing {
            self.then = Some(Action::Close);
        }
    }

    fn shutdown(&mut self, _now: Now) {
        self.stopping = true;
    }

    fn next(&mut self) -> Option<Action<Ask>> {
        loop {
            if let Some(action) = machine::ready(&mut self.out, &mut self.then, usize::MAX) {
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

#[cfg(test)]
mod tests;
