//! A toy machine that echoes lines, asks about `ask x`, hands on `body x`, and says goodbye.

use super::*;
use std::collections::VecDeque;
use stdx::{Action, Machine, Now, Span, TlsFacts};

#[derive(Default)]
struct Echo {
    buffer: Vec<u8>,
    out: VecDeque<Action<String>>,
    waits: bool,
    deadline: Option<Now>,
}

impl Echo {
    fn say(&mut self, text: &str) {
        self.out.push_back(Action::Send(format!("{text}\r\n").into_bytes()));
    }
    fn lines(&mut self) {
        while !self.waits
            && let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n")
        {
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 2);
            match line.as_str() {
                "tls" => self.out.push_back(Action::StartTls),
                "quit" => self.out.push_back(Action::Close),
                l if l.starts_with("ask ") || l.starts_with("body ") => {
                    self.waits = true;
                    self.out.push_back(Action::Ask(l.to_owned()));
                }
                l => self.say(l),
            }
        }
    }
}

impl Machine for Echo {
    type Ask = String;
    type Answer = String;
    type Notice = String;
    fn opened(&mut self, now: Now) {
        self.deadline = Some(now + Span::mins(5));
        self.say("hello");
    }
    fn received(&mut self, _: Now, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.lines();
    }
    fn answered(&mut self, _: Now, answer: String) {
        self.waits = false;
        if !answer.is_empty() {
            self.say(&answer);
        }
        self.lines();
    }
    fn tls_started(&mut self, _: Now, facts: TlsFacts) {
        self.say(&facts.version);
    }
    fn notified(&mut self, _: Now, notice: String) {
        self.say(&notice);
    }
    fn timed_out(&mut self, _: Now) {
        self.deadline = None;
        self.say("too slow");
    }
    fn closed(&mut self, _: Now) {
        self.out.push_back(Action::Close);
    }
    fn shutdown(&mut self, _: Now) {
        self.say("bye");
    }
    fn next(&mut self) -> Option<Action<String>> {
        self.out.pop_front()
    }
    fn deadline(&self) -> Option<Now> {
        self.deadline
    }
}

struct EchoVoice;
impl Voice for EchoVoice {
    type M = Echo;
    fn machine(&self) -> Echo {
        Echo::default()
    }
    fn show(&self, ask: &String) -> String {
        ask.clone()
    }
    fn answer(&self, _: &str, text: &str) -> String {
        text.to_owned()
    }
    fn notice(&self, text: &str) -> String {
        text.to_owned()
    }
    fn absorb(&self, ask: &String) -> Option<(Vec<u8>, String)> {
        Some((format!("{}\r\n", ask.strip_prefix("body ")?).into_bytes(), String::new()))
    }
}

#[test]
fn a_dialogue_plays_at_every_split() {
    play(
        &EchoVoice,
        "
        # pipelined, with a question in the middle
        S: hello
        C: one
        C: ask two
        C: body text
        C: th‹c3 a9›ree
        S: one
        ? ask two
        ! yes
        S: yes
        B: text
        S: th…ee
        C: tls
        = starttls
        S: TLSv1.3
        @ 4 min
        = quiet
        @ 1 min
        S: too slow
        ~ notice news
        S: news
        ~ shutdown
        S: b…e
        C-: qu
        C-: it
        C:
        = close
        ",
    );
}

#[test]
fn a_wrong_expectation_says_what_came_instead() {
    let failure = play_once(&EchoVoice, "S: hello\nC: one\nS: two", Way::Whole).expect_err("it is wrong");
    assert!(failure.contains("line 3") && failure.contains("\"one\\r\\n\""), "{failure}");
    let failure = play_once(&EchoVoice, "S: hello\nC: one", Way::Bytes).expect_err("something is left");
    assert!(failure.contains("after the last line"), "{failure}");
    let failure = play_once(&EchoVoice, "S: hello\nC: ask me\n? ask you", Way::Bytes).expect_err("wrong");
    assert!(failure.contains("asks instead: ask me"), "{failure}");
    let failure = play_once(&EchoVoice, "S: hello\n? ask me", Way::Bytes).expect_err("wrong");
    assert!(failure.contains("silent"), "{failure}");
}

#[test]
fn a_script_with_a_mistake_names_its_line() {
    let bad = Script::read("C: a\nX: b").expect_err("X is no kind");
    assert_eq!(bad.line, 2);
    assert!(Script::read("@ 5 parsecs").is_err());
    assert!(Script::read("C: ‹zz›").is_err());
}
