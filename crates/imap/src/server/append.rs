//! APPEND, MULTIAPPEND and REPLACE: messages go to the desk as they come, and are committed
//! together (RFC 9051 §6.3.12, RFC 3502, RFC 8508).

use super::Server;
use super::job::{Job, Tail};
use crate::ask::{Answer, AppendMessage, Ask, Code, Refusal};
use crate::command::{AppendHead, Verb};
use crate::grammar::append::{Opening, head, opening};
use crate::grammar::{Cursor, Fault, Unreadable};
use crate::wire::read::{Event, Literal};

/// Messages in one command.
const MESSAGES_MAX: u32 = 10_000;
/// Octets that are swallowed for a client that does not wait for our refusal.
const SWALLOW_MAX: u64 = 1 << 30;

/// An APPEND under way.
pub(super) struct Append {
    tag: String,
    folder: String,
    replace: Option<u32>,
    is_replace: bool,
    number: u32,
    utf8: bool,
    stage: Stage,
    /// Why it fails; what still comes is swallowed.
    failed: Option<Tail>,
    /// The desk holds messages that it must forget.
    begun: bool,
}

enum Stage {
    /// The desk is asked whether this message may come.
    Ask(Literal),
    /// Octets of a message come from the client.
    Octets,
    /// The desk takes a piece; was it the last?
    Piece(bool),
    /// What follows a message: the end, or the next one.
    Line,
    Commit,
    Abort,
}

impl Server {
    /// The reader stands behind the announcement of a message.
    pub(super) fn begin_append(&mut self, literal: Literal) {
        self.commands = self.commands.saturating_add(1);
        let text = self.reader.head().to_vec();
        let refused = match opening(&text, self.utf8()) {
            Ok(opening) => match self.may_append(&opening, literal) {
                Ok(replace) => return self.append_message(opening, replace, literal),
                Err(tail) => tail,
            },
            Err(Unreadable { tag, fault: Fault::Bad(why) }) => {
                self.bad_commands += 1;
                Tail::bad(tag, "", why)
            }
            Err(Unreadable { tag, fault: Fault::No(code, why) }) => {
                Tail::refused(tag, &Refusal::new(code, why))
            }
        };
        if literal.waits {
            self.reader.forget();
            return self.finish(refused);
        }
        if literal.size > SWALLOW_MAX {
            return self.close("[TOOBIG] That message is far too big");
        }
        self.reader.skip(literal);
        self.finish(refused);
    }

    /// Checks what can be checked here; for REPLACE returns the UID to be replaced.
    fn may_append(&self, opening: &Opening, literal: Literal) -> Result<Option<u32>, Tail> {
        let tag = || opening.tag.clone();
        if self.who.is_none() {
            return Err(Tail::bad(tag(), "", "Log in first"));
        }
        if let Some(tail) = self.size_refused(tag(), literal) {
            return Err(tail);
        }
        let Verb::Replace { by, which, .. } = &opening.verb else { return Ok(None) };
        let Some(open) = &self.folder else { return Err(Tail::bad(tag(), "", "Select a folder first")) };
        if open.read_only {
            return Err(Tail::refused(
                tag(),
                &Refusal::new(Code::NoPerm, "The folder is open for reading only"),
            ));
        }
        match open.resolve(*by, which).map(|uids| uids.first()) {
            Ok(Some(uid)) => Ok(Some(uid)),
            Ok(None) => Err(Tail::refused(
                tag(),
                &Refusal::new(Code::NonExistent, "There is no such message to replace"),
            )),
            Err(why) => Err(Tail::bad(tag(), "", why)),
        }
    }

    fn size_refused(&self, tag: String, literal: Literal) -> Option<Tail> {
        // RFC 3502 §6.3.11: an empty message calls the whole command off.
        if literal.size == 0 {
            return Some(Tail::no(tag, "", "An empty message calls the append off"));
        }
        let limit = self.who.as_ref().and_then(|w| w.append_limit).unwrap_or(self.settings.append_limit);
        if literal.size > limit {
            let why = format!("The message has {} octets; at most {limit} are taken", literal.size);
            return Some(Tail::refused(tag, &Refusal::new(Code::TooBig, why)));
        }
        None
    }

    fn append_message(&mut self, opening: Opening, replace: Option<u32>, literal: Literal) {
        let Opening { tag, verb, head } = opening;
        let is_replace = replace.is_some();
        let (Verb::Append { folder } | Verb::Replace { folder, .. }) = verb else { return };
        let append = Append {
            tag,
            folder,
            replace,
            is_replace,
            number: 0,
            utf8: head.utf8,
            stage: Stage::Ask(literal),
            failed: None,
            begun: false,
        };
        self.ask_message(Box::new(append), head, literal);
    }

    fn ask_message(&mut self, mut append: Box<Append>, head: AppendHead, literal: Literal) {
        let message = AppendMessage {
            folder: append.folder.clone(),
            number: append.number,
            flags: head.flags,
            date: head.date,
            size: literal.size,
            eight: literal.eight || head.utf8,
            replace: append.replace,
        };
        append.utf8 = head.utf8;
        append.stage = Stage::Ask(literal);
        self.ask(Ask::AppendMessage(Box::new(message)), Job::AppendAsked(append));
    }

    pub(super) fn append_answered(&mut self, mut append: Box<Append>, answer: Answer) {
        match (&append.stage, answer) {
            (Stage::Ask(literal), Answer::Done) => {
                if literal.waits {
                    self.line("+ go ahead");
                }
                self.reader.begin_stream(*literal);
                append.begun = true;
                append.stage = Stage::Octets;
                self.job = Job::Append(append);
            }
            (Stage::Ask(literal), Answer::Refused(why)) => {
                let literal = *literal;
                let tail = Tail::refused(append.tag.clone(), &why);
                self.append_refused(append, tail, literal);
            }
            (Stage::Piece(last), Answer::Done) => {
                append.stage = if *last { Stage::Line } else { Stage::Octets };
                self.job = Job::Append(append);
            }
            (Stage::Piece(last), Answer::Refused(why)) => {
                append.failed = Some(Tail::refused(append.tag.clone(), &why));
                append.stage = if *last { Stage::Line } else { Stage::Octets };
                self.job = Job::Append(append);
            }
            (Stage::Commit, Answer::Appended { uid_validity, uids }) => {
                let code = match uids.is_empty() {
                    true => String::new(),
                    false => format!("APPENDUID {uid_validity} {uids}"),
                };
                if append.is_replace {
                    // RFC 8508 §3.4: the new UID comes before the old message's EXPUNGE.
                    self.line(&format!("* OK [{code}] The message was replaced"));
                    return self.finish(Tail::ok(append.tag, "Replace completed"));
                }
                self.finish(Tail::ok(append.tag, "Append completed").with_code(code));
            }
            (Stage::Commit, Answer::Refused(why)) => self.refuse(append.tag, &why),
            (Stage::Abort, _) => {
                let Append { tag, failed, .. } = *append;
                self.finish(failed.unwrap_or_else(|| Tail::no(tag, "", "The append was called off")));
            }
            _ => stdx::never!("an answer that fits no open question of APPEND"),
        }
    }

    /// A message is refused before its first octet.
    fn append_refused(&mut self, mut append: Box<Append>, tail: Tail, literal: Literal) {
        append.failed = Some(tail);
        if literal.waits {
            self.reader.forget();
            return self.append_abort(append);
        }
        if literal.size > SWALLOW_MAX {
            return self.close("[TOOBIG] That message is far too big");
        }
        self.reader.begin_stream(literal);
        append.stage = Stage::Octets;
        self.job = Job::Append(append);
    }

    fn append_abort(&mut self, mut append: Box<Append>) {
        append.stage = Stage::Abort;
        if append.begun {
            return self.ask(Ask::AppendAbort, Job::AppendAsked(append));
        }
        self.append_answered(append, Answer::Done);
    }

    /// Octets or the line behind them.
    pub(super) fn step_append(&mut self) -> bool {
        let Job::Append(append) = &self.job else { return false };
        match append.stage {
            Stage::Octets => self.append_octets(),
            _ => self.append_line(),
        }
    }

    fn append_octets(&mut self) -> bool {
        let Some((bytes, last)) = self.reader.stream() else { return false };
        let Job::Append(mut append) = std::mem::replace(&mut self.job, Job::None) else { return false };
        if append.failed.is_some() {
            append.stage = if last { Stage::Line } else { Stage::Octets };
            self.job = Job::Append(append);
        } else {
            append.stage = Stage::Piece(last);
            self.ask(Ask::AppendBytes { bytes, last }, Job::AppendAsked(append));
        }
        true
    }

    fn append_line(&mut self) -> bool {
        let Some(event) = self.reader.next_event() else { return false };
        let Job::Append(mut append) = std::mem::replace(&mut self.job, Job::None) else { return false };
        match event {
            Event::Command(text) => {
                let text = if append.utf8 { text.strip_prefix(b")").unwrap_or(b"?") } else { &text };
                if !text.trim_ascii().is_empty() && append.failed.is_none() {
                    append.failed =
                        Some(Tail::bad(append.tag.clone(), "", "Something stands behind the message"));
                }
                if append.failed.is_some() {
                    self.append_abort(append);
                } else {
                    append.stage = Stage::Commit;
                    let replace = append.replace;
                    self.ask(Ask::AppendCommit { replace }, Job::AppendAsked(append));
                }
            }
            Event::Literal(literal) => self.append_next(append, literal),
            Event::TooLong(_) => {
                append.failed = Some(Tail::bad(append.tag.clone(), "TOOBIG", "The command is too long"));
                self.append_abort(append);
            }
        }
        true
    }

    /// RFC 3502: another message in the same command.
    fn append_next(&mut self, mut append: Box<Append>, literal: Literal) {
        let text = self.reader.head().to_vec();
        let text = if append.utf8 { text.strip_prefix(b")").unwrap_or(b"?") } else { &text };
        append.number += 1;
        let refused = match head(&mut Cursor::new(text, self.utf8())) {
            _ if append.failed.is_some() => append.failed.clone(),
            _ if append.is_replace => {
                Some(Tail::bad(append.tag.clone(), "", "REPLACE takes exactly one message"))
            }
            _ if append.number >= MESSAGES_MAX => {
                let why = Refusal::new(Code::Limit, "Too many messages in one command");
                Some(Tail::refused(append.tag.clone(), &why))
            }
            Ok(head) => match self.size_refused(append.tag.clone(), literal) {
                None => return self.ask_message(append, head, literal),
                refused => refused,
            },
            Err(Fault::Bad(why)) => Some(Tail::bad(append.tag.clone(), "", why)),
            Err(Fault::No(code, why)) => Some(Tail::refused(append.tag.clone(), &Refusal::new(code, why))),
        };
        if let Some(tail) = refused {
            self.append_refused(append, tail, literal);
        }
    }
}
