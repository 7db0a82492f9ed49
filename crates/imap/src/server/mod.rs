//! The server machine: one client's conversation.
//!
//! What it is: states, the running command ([`Job`]), and the rules of when what may be said.
//! What it is not: policy and storage; those answer [`Ask`]s.
//! Begin with [`Server::dispatch`]; each family of commands has a file, and [`sync`] has the
//! rules of telling a session what others did.

mod append;
mod extra;
mod fetch;
mod folders;
mod job;
mod listing;
mod login;
mod parcel;
mod render;
mod search;
mod select;
mod settings;
mod store;
mod sync;

pub use parcel::Parcel;
pub use settings::{Limits, Settings};

use crate::ask::{Answer, Ask, Notice, Refusal, Welcome};
use crate::command::{Command, Verb};
use crate::grammar::{self, Fault, Unreadable};
use crate::wire::read::{COMMAND_MAX, Event, Literal, Reader};
use crate::wire::write;
use job::{Job, Tail};
use std::sync::Arc;
use stdx::{Action, Machine, Now, TlsFacts};
use sync::{Asked, Open};
use words::SessionId;

/// Output kept back before it is handed to the loop.
const OUT_MAX: usize = 64 * 1024;
/// Notices about other folders kept while a command runs; more are dropped (they are hints).
const NOTICES_MAX: usize = 500;

/// What the client switched on with ENABLE or by using it.
#[derive(Clone, Copy, Debug, Default)]
struct Enabled {
    utf8: bool,
    rev2: bool,
    condstore: bool,
    qresync: bool,
}

/// One client's session.
pub struct Server {
    settings: Arc<Settings>,
    session: SessionId,
    reader: Reader,
    out: Vec<u8>,
    todo: Option<Action<Ask>>,
    /// A question is open.
    waiting: bool,
    job: Job,
    tls: Option<Box<TlsFacts>>,
    deflated: bool,
    who: Option<Box<Welcome>>,
    enabled: Enabled,
    folder: Option<Box<Open>>,
    notify: Option<Box<Asked>>,
    notices: Vec<Notice>,
    /// The selected folder may have news.
    dirty: bool,
    /// The selected folder is gone.
    gone: bool,
    stopping: bool,
    bye: Option<String>,
    closed: bool,
    opened: Now,
    /// The client's last sign of life.
    heard: Now,
    /// Our last word during IDLE.
    spoke: Now,
    commands: u32,
    bad_commands: u32,
    bad_logins: u32,
}

impl Server {
    pub fn new(settings: Arc<Settings>, session: SessionId) -> Server {
        Server {
            settings,
            session,
            reader: Reader::default(),
            out: Vec::new(),
            todo: None,
            waiting: false,
            job: Job::None,
            tls: None,
            deflated: false,
            who: None,
            enabled: Enabled::default(),
            folder: None,
            notify: None,
            notices: Vec::new(),
            dirty: false,
            gone: false,
            stopping: false,
            bye: None,
            closed: false,
            opened: Now::default(),
            heard: Now::default(),
            spoke: Now::default(),
            commands: 0,
            bad_commands: 0,
            bad_logins: 0,
        }
    }

    /// Folder names and strings go out as UTF-8.
    fn utf8(&self) -> bool {
        self.enabled.utf8 || self.enabled.rev2
    }

    fn ask(&mut self, ask: Ask, job: Job) {
        self.job = job;
        self.todo = Some(Action::Ask(ask));
        self.waiting = true;
    }

    fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn close(&mut self, why: &str) {
        let session = self.session.tagged();
        self.line(&format!("* BYE {why} {session}"));
        self.hang_up();
    }

    fn hang_up(&mut self) {
        self.job = Job::None;
        self.folder = None;
        self.closed = true;
        self.waiting = false;
        self.todo = Some(Action::Close);
    }

    /// The command is over: news first, as far as `tail` allows, then the tagged line.
    fn finish(&mut self, tail: Tail) {
        match &self.folder {
            Some(open) => {
                self.dirty = false;
                let since = open.modseq;
                self.ask(Ask::Sync { since }, Job::Sync(Box::new(tail)));
            }
            None => self.conclude(tail),
        }
    }

    /// The tagged line, with nothing before it.
    fn conclude(&mut self, tail: Tail) {
        let modseq = self.folder.as_ref().map(|f| f.modseq).filter(|_| tail.modseq);
        tail.write(&mut self.out, modseq);
        self.job = Job::None;
    }

    fn refuse(&mut self, tag: String, refusal: &Refusal) {
        self.finish(Tail::refused(tag, refusal));
    }

    /// BAD at once: nothing was begun.
    fn bad(&mut self, tag: &str, why: &str) {
        self.out.extend_from_slice(tag.as_bytes());
        self.out.extend_from_slice(b" BAD ");
        write::words(&mut self.out, why);
        self.out.extend_from_slice(b"\r\n");
        self.job = Job::None;
        self.bad_commands += 1;
        if self.bad_commands > self.settings.limits.bad_commands {
            self.close("Too many commands in a row cannot be understood; this does not look like IMAP");
        }
    }

    fn unreadable(&mut self, e: &Unreadable) {
        match e.fault {
            Fault::Bad(why) => self.bad(&e.tag, why),
            // RFC 5465 §8: the events we know are listed.
            Fault::No(_, "BADEVENT") => self.conclude(Tail::no(
                e.tag.clone(),
                "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)",
                "One of these events is not known here",
            )),
            Fault::No(code, why) => self.conclude(Tail::refused(e.tag.clone(), &Refusal::new(code, why))),
        }
    }

    /// Does one piece of work; false if there is none without more input.
    fn step(&mut self) -> bool {
        match &self.job {
            Job::None => self.step_command(),
            Job::Idle(_) => self.step_idle(),
            Job::Auth(_) => self.step_auth(),
            Job::Append(_) => self.step_append(),
            _ => false,
        }
    }

    fn step_command(&mut self) -> bool {
        if let Some(why) = self.bye.take() {
            self.close(&why);
            return true;
        }
        if self.gone {
            self.close("The selected folder was deleted; connect again to go on");
            return true;
        }
        if self.stopping {
            self.close("The server is stopping for a moment; connect again");
            return true;
        }
        self.flush_notices();
        if self.wants_to_tell() {
            return self.tell();
        }
        match self.reader.next_event() {
            None if self.reader.is_flooded() => {
                self.close("[TOOBIG] That line has no end");
                true
            }
            None => false,
            Some(Event::Command(text)) => {
                self.command(&text);
                true
            }
            Some(Event::Literal(literal)) => {
                self.literal(literal);
                true
            }
            Some(Event::TooLong(began)) => {
                let tag = grammar::tag(&mut grammar::Cursor::new(&began, true));
                self.bad(tag.as_deref().unwrap_or("*"), "The command is too long");
                true
            }
        }
    }

    /// A literal is announced: part of the command, a message, or too much.
    fn literal(&mut self, literal: Literal) {
        if grammar::append::announces_message(self.reader.head()) {
            return self.begin_append(literal);
        }
        if self.reader.inline(literal) {
            if literal.waits {
                self.line("+ go ahead");
            }
            return;
        }
        let tag = grammar::tag(&mut grammar::Cursor::new(self.reader.head(), true));
        let tag = tag.unwrap_or_else(|| "*".into());
        // RFC 7888 §4: what the client sends without waiting must be swallowed, within reason.
        if literal.waits {
            self.reader.forget();
        } else if literal.size <= COMMAND_MAX as u64 * 4 {
            self.reader.skip(literal);
        } else {
            return self.close("[TOOBIG] That literal is far too long for an argument");
        }
        self.conclude(Tail::bad(tag, "TOOBIG", "This argument is too long"));
    }

    fn command(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.commands = self.commands.saturating_add(1);
        if self.who.is_none() && self.commands > self.settings.limits.commands_before_login {
            return self.close("Too many commands without a log-in");
        }
        match grammar::parse(text, self.utf8()) {
            Ok(command) => {
                let notify = matches!(command.verb, Verb::Notify(Some(_)));
                self.dispatch(command);
                match &mut self.notify {
                    Some(asked) if notify && asked.said.is_empty() => asked.said = text.to_vec(),
                    _ => {}
                }
            }
            Err(e) => self.unreadable(&e),
        }
    }

    /// Checks the state and starts the command.
    fn dispatch(&mut self, command: Command) {
        let Command { tag, verb } = command;
        match need(&verb) {
            Need::Out if self.who.is_some() => return self.bad(&tag, "You are logged in already"),
            Need::In if self.who.is_none() => return self.bad(&tag, "Log in first"),
            Need::Open if self.who.is_none() => return self.bad(&tag, "Log in first"),
            Need::Open if self.folder.is_none() => return self.bad(&tag, "Select a folder first"),
            _ => {}
        }
        self.bad_commands = 0;
        match verb {
            Verb::Capability => {
                let line = format!("* CAPABILITY {}", self.capabilities());
                self.line(&line);
                self.finish(Tail::ok(tag, "Capability completed"));
            }
            Verb::Noop => self.finish(Tail::ok(tag, "NOOP completed")),
            Verb::Check => self.finish(Tail::ok(tag, "Check completed")),
            Verb::Logout => {
                self.line("* BYE Logging out");
                self.conclude(Tail::ok(tag, "Logout completed"));
                self.hang_up();
            }
            Verb::Idle => self.begin_idle(tag),
            Verb::Namespace => self.namespace(tag),
            Verb::Enable(words) => self.enable(tag, &words),
            verb => self.dispatch_more(tag, verb),
        }
    }

    fn dispatch_more(&mut self, tag: String, verb: Verb) {
        match verb {
            Verb::Fetch { by, which, spec } => self.fetch(tag, by, &which, *spec),
            Verb::Store { by, which, spec } => self.store(tag, by, &which, *spec),
            Verb::Search { by, spec } => self.search(tag, by, *spec),
            Verb::Copy { by, which, to, remove } => self.copy(tag, by, &which, (to, remove)),
            Verb::Expunge(which) => self.expunge(tag, which),
            Verb::Close => self.close_folder(tag),
            Verb::Unselect => self.ask(Ask::Unselect, Job::Unselect(tag)),
            Verb::Select { folder, read_only, params } => self.select(tag, folder, read_only, params),
            Verb::List(spec) => self.ask(Ask::Folders, Job::List(Box::new((tag, spec)))),
            Verb::Status { folder, items } => self.status(tag, folder, items),
            Verb::Create { .. } | Verb::Delete { .. } | Verb::Rename { .. } | Verb::Subscribe { .. } => {
                self.change_folder(tag, verb);
            }
            Verb::Login { user, password } => self.login(tag, user, password),
            Verb::Authenticate { mechanism, initial } => self.authenticate(tag, &mechanism, initial),
            Verb::StartTls => self.start_tls(tag),
            Verb::Unauthenticate => self.ask(Ask::Forget, Job::Unauthenticate(tag)),
            Verb::Id(fields) => self.ask(Ask::Id(fields), Job::Id(tag)),
            Verb::Compress => self.compress(tag),
            Verb::Notify(spec) => self.begin_notify(tag, spec),
            // The grammar makes these two only from `append::opening`.
            Verb::Append { .. } | Verb::Replace { .. } => self.bad(&tag, "This command needs a message"),
            verb => self.dispatch_extra(tag, verb),
        }
    }
}

/// In which state a command may be used.
enum Need {
    Any,
    Out,
    In,
    Open,
}

fn need(verb: &Verb) -> Need {
    match verb {
        Verb::Capability | Verb::Noop | Verb::Logout | Verb::Id(_) => Need::Any,
        Verb::StartTls | Verb::Login { .. } | Verb::Authenticate { .. } => Need::Out,
        Verb::Check
        | Verb::Close
        | Verb::Unselect
        | Verb::Expunge(_)
        | Verb::Search { .. }
        | Verb::Fetch { .. }
        | Verb::Store { .. }
        | Verb::Copy { .. }
        | Verb::Replace { .. } => Need::Open,
        _ => Need::In,
    }
}

impl Machine for Server {
    type Ask = Ask;
    type Answer = Answer;
    type Notice = Notice;

    fn opened(&mut self, now: Now) {
        self.opened = now;
        if self.who.is_some() {
            // It goes on with a client that was greeted long ago.
            return;
        }
        self.heard = now;
        let (capabilities, session) = (self.capabilities(), self.session.tagged());
        let line = format!("* OK [CAPABILITY {capabilities}] {} is ready {session}", self.settings.host);
        self.line(&line);
    }

    fn received(&mut self, now: Now, bytes: &[u8]) {
        self.heard = now;
        if !self.closed {
            self.reader.received(bytes);
        }
    }

    fn answered(&mut self, now: Now, answer: Answer) {
        self.heard = now;
        self.waiting = false;
        let job = std::mem::replace(&mut self.job, Job::None);
        self.proceed(job, answer);
        if matches!(self.job, Job::Idle(_)) {
            self.spoke = now;
        }
    }

    fn tls_started(&mut self, now: Now, facts: TlsFacts) {
        self.heard = now;
        self.reader.clear();
        self.tls = Some(Box::new(facts));
    }

    fn notified(&mut self, _now: Now, notice: Notice) {
        match notice {
            Notice::Changed => self.dirty = self.folder.is_some(),
            Notice::Gone => self.gone = self.folder.is_some(),
            Notice::Bye(why) => self.bye = Some(why),
            other if self.notify.is_some() && self.notices.len() < NOTICES_MAX => self.notices.push(other),
            _ => {}
        }
    }

    fn timed_out(&mut self, now: Now) {
        if self.closed || self.waiting || self.deadline().is_none_or(|d| d > now) {
            return;
        }
        let limits = &self.settings.limits;
        match self.job {
            Job::Idle(_) if self.heard + limits.idle > now => {
                self.line("* OK Still here");
                self.spoke = now;
            }
            _ if self.who.is_none() => self.close("You did not log in; connect again when you want to"),
            _ => self.close("Nothing was heard of you for too long"),
        }
    }

    fn closed(&mut self, _now: Now) {
        self.hang_up();
        self.out = Vec::new();
        self.todo = None;
    }

    fn shutdown(&mut self, _now: Now) {
        self.stopping = true;
    }

    fn next(&mut self) -> Option<Action<Ask>> {
        loop {
            let hold_on = self.todo.is_some() || self.waiting || self.out.len() > OUT_MAX;
            if hold_on && !self.out.is_empty() {
                return Some(Action::Send(std::mem::take(&mut self.out)));
            }
            if let Some(action) = self.todo.take() {
                return Some(action);
            }
            if self.waiting || self.closed || !self.step() {
                if self.out.is_empty() {
                    return None;
                }
                return Some(Action::Send(std::mem::take(&mut self.out)));
            }
        }
    }

    fn deadline(&self) -> Option<Now> {
        if self.waiting || self.closed {
            return None;
        }
        let limits = &self.settings.limits;
        Some(match self.job {
            Job::Idle(_) => (self.heard + limits.idle).min(self.spoke + limits.idle_word),
            Job::Append(_) => self.heard + limits.message_pause,
            _ if self.who.is_none() => self.opened + limits.before_login,
            _ => self.heard + limits.silence,
        })
    }
}

#[cfg(test)]
mod tests;
