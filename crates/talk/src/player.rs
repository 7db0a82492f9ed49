//! Playing a script against a machine, as the one loop of the product would drive it.

use std::collections::VecDeque;

use stdx::{Action, Machine, Now};

use crate::Voice;
use crate::script::{Line, Script, match_front};

/// How the peer's bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Neighbouring `C` lines arrive together.
    Whole,
    /// Every byte arrives alone.
    Bytes,
    /// As `Whole`, but cut after this many bytes of the whole conversation.
    SplitAt(usize),
}

/// When the conversation begins.
const START: Now = Now::from_secs(1_800_000_000);
/// A machine that acts this often without being fed is in a loop.
const ACTIONS_MAX: usize = 100_000;

enum Event {
    Sent(Vec<u8>),
    Asked(String),
    StartTls,
    Deflate,
    Close,
}

pub(crate) struct Player<'v, V: Voice> {
    voice: &'v V,
    machine: V::M,
    way: Way,
    now: Now,
    input: VecDeque<u8>,
    fed: usize,
    events: VecDeque<Event>,
    content: Vec<u8>,
    /// The open question as shown, once the script has seen it.
    asked: Option<String>,
    open: bool,
    over: bool,
    begun: bool,
}

impl<'v, V: Voice> Player<'v, V> {
    pub(crate) fn new(voice: &'v V, way: Way) -> Player<'v, V> {
        let machine = voice.machine();
        Player {
            voice,
            machine,
            way,
            now: START,
            input: VecDeque::new(),
            fed: 0,
            events: VecDeque::new(),
            content: Vec::new(),
            asked: None,
            open: false,
            over: false,
            begun: false,
        }
    }

    pub(crate) fn run(mut self, script: &Script) -> Result<(), String> {
        for (number, text, line) in &script.lines {
            if !self.begun && *line != Line::TlsStands {
                self.begin()?;
            }
            self.step(line)
                .map_err(|why| format!("script line {number} ({:?}): {text}\n    {why}", self.way))?;
        }
        self.quiet(true).map_err(|why| format!("after the last line ({:?}): {why}", self.way))
    }

    fn begin(&mut self) -> Result<(), String> {
        self.begun = true;
        if self.voice.opens() {
            self.machine.opened(self.now);
        }
        self.drain()
    }

    fn step(&mut self, line: &Line) -> Result<(), String> {
        match line {
            Line::Client(bytes) => {
                self.input.extend(bytes);
                return Ok(());
            }
            Line::Server(pieces) => return self.expect_sent(pieces),
            Line::Content(pieces) => return self.expect_content(pieces),
            Line::Question(pieces) => return self.expect_question(pieces),
            Line::StartTls => return self.expect(|e| matches!(e, Event::StartTls), "StartTls"),
            Line::Deflate => return self.expect(|e| matches!(e, Event::Deflate), "StartDeflate"),
            Line::Close => return self.expect(|e| matches!(e, Event::Close), "Close"),
            Line::Quiet => return self.quiet(false),
            Line::TlsStands => self.machine.tls_started(self.now, self.voice.tls()),
            Line::Answer(text) => {
                let asked = self.asked.take().ok_or("no question was seen, so none can be answered")?;
                self.open = false;
                self.machine.answered(self.now, self.voice.answer(&asked, text));
            }
            Line::Wait(span) => {
                self.feed_all()?;
                let until = self.now + *span;
                return self.wait(until);
            }
            Line::Closed => {
                self.feed_all()?;
                self.machine.closed(self.now);
            }
            Line::Shutdown => {
                self.feed_all()?;
                self.machine.shutdown(self.now);
            }
            Line::Notice(text) => {
                self.feed_all()?;
                self.machine.notified(self.now, self.voice.notice(text));
            }
        }
        self.drain()
    }

    fn wait(&mut self, until: Now) -> Result<(), String> {
        let mut fired = 0;
        while let Some(at) = self.machine.deadline().filter(|at| *at <= until && !self.over) {
            self.now = self.now.max(at);
            self.machine.timed_out(self.now);
            self.drain()?;
            fired += 1;
            if fired > 10_000 {
                return Err("the deadline fires again and again without moving".into());
            }
        }
        self.now = until;
        Ok(())
    }

    /// Takes actions until there are none, as the loop does.
    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..ACTIONS_MAX {
            let Some(action) = self.machine.next() else { return Ok(()) };
            if self.over {
                return Err("the machine acts after Close".into());
            }
            match action {
                Action::Send(bytes) => match self.events.back_mut() {
                    Some(Event::Sent(before)) => before.extend_from_slice(&bytes),
                    _ => self.events.push_back(Event::Sent(bytes)),
                },
                Action::Ask(ask) => self.asks(&ask)?,
                Action::StartTls => {
                    self.events.push_back(Event::StartTls);
                    self.machine.tls_started(self.now, self.voice.tls());
                }
                Action::StartDeflate => self.events.push_back(Event::Deflate),
                Action::Close => {
                    self.events.push_back(Event::Close);
                    self.over = true;
                }
            }
        }
        Err("the machine acts without end".into())
    }

    fn asks(&mut self, ask: &<V::M as Machine>::Ask) -> Result<(), String> {
        if self.open {
            return Err(format!("a second question while one is open: {}", self.voice.show(ask)));
        }
        if let Some((bytes, answer)) = self.voice.absorb(ask) {
            self.content.extend_from_slice(&bytes);
            self.machine.answered(self.now, answer);
            return Ok(());
        }
        self.open = true;
        self.events.push_back(Event::Asked(self.voice.show(ask)));
        Ok(())
    }

    /// Feeds the next piece of input. False if there is none or a question is open.
    fn feed(&mut self) -> Result<bool, String> {
        if self.open || self.over || self.input.is_empty() {
            return Ok(false);
        }
        let n = match self.way {
            Way::Whole => self.input.len(),
            Way::Bytes => 1,
            Way::SplitAt(at) if self.fed < at => self.input.len().min(at - self.fed),
            Way::SplitAt(_) => self.input.len(),
        };
        let piece: Vec<u8> = self.input.drain(..n).collect();
        self.fed += n;
        self.machine.received(self.now, &piece);
        self.drain()?;
        Ok(true)
    }

    fn feed_all(&mut self) -> Result<(), String> {
        while self.feed()? {}
        Ok(())
    }

    fn expect_sent(&mut self, pieces: &[Vec<u8>]) -> Result<(), String> {
        loop {
            if let Some(Event::Sent(bytes)) = self.events.front_mut() {
                match match_front(pieces, bytes) {
                    Some(Some(n)) => {
                        bytes.drain(..n);
                        if bytes.is_empty() {
                            self.events.pop_front();
                        }
                        return Ok(());
                    }
                    None => return Err(format!("the machine says instead: {}", show_bytes(bytes))),
                    // More of the same line may still come.
                    Some(None) if self.events.len() > 1 => return Err(self.instead()),
                    Some(None) => {}
                }
            } else if !self.events.is_empty() {
                return Err(self.instead());
            }
            if !self.feed()? {
                return Err(self.instead());
            }
        }
    }

    fn expect_content(&mut self, pieces: &[Vec<u8>]) -> Result<(), String> {
        loop {
            match match_front(pieces, &self.content) {
                Some(Some(n)) => {
                    self.content.drain(..n);
                    return Ok(());
                }
                None => return Err(format!("the content is instead: {}", show_bytes(&self.content))),
                Some(None) => {}
            }
            if !self.feed()? {
                return Err(format!(
                    "no more content; there is {}, and {}",
                    show_bytes(&self.content),
                    self.instead()
                ));
            }
        }
    }

    fn expect_question(&mut self, pieces: &[Vec<u8>]) -> Result<(), String> {
        loop {
            match self.events.front() {
                Some(Event::Asked(shown)) => {
                    // A question ends where its text ends.
                    let want: Vec<Vec<u8>> = closed(pieces);
                    let have = [shown.as_bytes(), b"\r\n"].concat();
                    if match_front(&want, &have) != Some(Some(have.len())) {
                        return Err(format!("the machine asks instead: {shown}"));
                    }
                    self.asked = Some(shown.clone());
                    self.events.pop_front();
                    return Ok(());
                }
                Some(_) => return Err(self.instead()),
                None => {
                    if !self.feed()? {
                        return Err(self.instead());
                    }
                }
            }
        }
    }

    fn expect(&mut self, is: impl Fn(&Event) -> bool, what: &str) -> Result<(), String> {
        loop {
            match self.events.front() {
                Some(event) if is(event) => {
                    self.events.pop_front();
                    return Ok(());
                }
                Some(_) => return Err(format!("{what} was expected; {}", self.instead())),
                None => {
                    if !self.feed()? {
                        return Err(format!("{what} was expected; {}", self.instead()));
                    }
                }
            }
        }
    }

    fn quiet(&mut self, at_end: bool) -> Result<(), String> {
        self.feed_all()?;
        if !self.events.is_empty() {
            return Err(self.instead());
        }
        if at_end && !self.content.is_empty() {
            return Err(format!("content nobody asked about: {}", show_bytes(&self.content)));
        }
        if !at_end && self.open {
            return Err("a question is still open".into());
        }
        Ok(())
    }

    fn instead(&self) -> String {
        match self.events.front() {
            Some(Event::Sent(bytes)) => format!("the machine says: {}", show_bytes(bytes)),
            Some(Event::Asked(shown)) => format!("the machine asks: {shown}"),
            Some(Event::StartTls) => "the machine starts TLS".into(),
            Some(Event::Deflate) => "the machine starts DEFLATE".into(),
            Some(Event::Close) => "the machine closes".into(),
            None if self.open => "the machine waits for an answer".into(),
            None => "the machine is silent".into(),
        }
    }
}

fn closed(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut want = pieces.to_vec();
    if let Some(last) = want.last_mut() {
        last.extend_from_slice(b"\r\n");
    }
    want
}

/// Bytes as a script writes them, at most the first few hundred.
fn show_bytes(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 600;
    let head = &bytes[..bytes.len().min(SHOWN_MAX)];
    let mut out = String::from("\"");
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                c if c.is_control() => out.push_str(&format!("‹{:02x}›", c as u32)),
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("‹{b:02x}›"));
        }
    }
    out.push('"');
    if bytes.len() > SHOWN_MAX {
        out.push_str(&format!(" and {} bytes more", bytes.len() - SHOWN_MAX));
    }
    out
}
