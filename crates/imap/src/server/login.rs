//! Before and around the log-in: STARTTLS, LOGIN, AUTHENTICATE, ENABLE, ID, COMPRESS.

use super::job::{Auth, Job, Tail};
use super::{Enabled, Server};
use crate::ask::{Ask, Code, Welcome};
use crate::wire::read::{BEFORE_LOGIN_MAX, COMMAND_MAX};
use crate::wire::write;
use sasl::{Exchange, Failure, Question, Step};
use stdx::{Action, Secret};

impl Server {
    /// RFC 9051 §6.2.1: what came in the clear behind the command is dropped.
    pub(super) fn start_tls(&mut self, tag: String) {
        if self.tls.is_some() {
            return self.bad(&tag, "TLS is in use already");
        }
        if !self.settings.starttls {
            return self.bad(&tag, "STARTTLS is not offered here; use the port with TLS from the start");
        }
        self.conclude(Tail::ok(tag, "Begin TLS now"));
        self.reader.clear();
        self.todo = Some(Action::StartTls);
    }

    pub(super) fn login(&mut self, tag: String, user: String, password: Secret<String>) {
        if !self.login_allowed() {
            // Asked that it is on record; the answer is no.
            let question = Question::Unencrypted { user: Some(user), via: "IMAP LOGIN" };
            return self.ask(Ask::Sasl(question), Job::AuthAsked { tag, exchange: None });
        }
        let question = Question::password(user, password, "IMAP LOGIN");
        self.ask(Ask::Sasl(question), Job::AuthAsked { tag, exchange: None });
    }

    pub(super) fn authenticate(&mut self, tag: String, name: &str, initial: Option<Vec<u8>>) {
        let tls = self.tls.as_deref();
        let (mechanism, plus) =
            match sasl::server::called(name, initial.as_deref(), tls, &self.settings.offer) {
                Ok(called) => called,
                Err(question) => {
                    return self.ask(Ask::Sasl(question), Job::AuthAsked { tag, exchange: None });
                }
            };
        let (exchange, step) = Exchange::begin(mechanism, initial.as_deref(), self.tls.as_deref(), plus);
        self.auth_step(tag, Box::new(exchange), step);
    }

    fn auth_step(&mut self, tag: String, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(text) => {
                self.line(&format!("+ {text}"));
                self.job = Job::Auth(Box::new(Auth { tag, exchange: *exchange }));
            }
            Step::Ask(question) => {
                self.ask(Ask::Sasl(question), Job::AuthAsked { tag, exchange: Some(exchange) });
            }
            Step::Done => self.ask(Ask::Enter, Job::Enter(tag)),
            Step::Failed(why) => self.login_failed(tag, &why),
        }
    }

    pub(super) fn step_auth(&mut self) -> bool {
        let Some(line) = self.reader.line() else { return false };
        let Job::Auth(auth) = std::mem::replace(&mut self.job, Job::None) else { return false };
        let Auth { tag, mut exchange } = *auth;
        match line {
            Ok(line) => {
                let step = exchange.line(&line);
                self.auth_step(tag, Box::new(exchange), step);
            }
            Err(()) => self.bad(&tag, "The log-in's line is too long"),
        }
        true
    }

    pub(super) fn auth_answered(
        &mut self,
        tag: String,
        exchange: Option<Box<Exchange>>,
        answer: sasl::Answer,
    ) {
        match exchange {
            Some(mut exchange) => {
                let step = exchange.answered(answer);
                self.auth_step(tag, exchange, step);
            }
            None => match answer {
                sasl::Answer::Granted => self.ask(Ask::Enter, Job::Enter(tag)),
                sasl::Answer::Refused(why) => self.login_failed(tag, &why),
                sasl::Answer::Keys { .. } => self.login_failed(tag, &Failure::Unavailable),
            },
        }
    }

    fn login_failed(&mut self, tag: String, why: &Failure) {
        let code = match why {
            Failure::Cancelled | Failure::Malformed(_) | Failure::NotOffered(_) | Failure::NotHere => "",
            Failure::Wrong => Code::AuthenticationFailed.name(),
            Failure::HeldOff | Failure::Unavailable => Code::Unavailable.name(),
            Failure::NotAllowed(_) => Code::AuthorizationFailed.name(),
            Failure::TooWeak => Code::PrivacyRequired.name(),
        };
        let text = format!("{} {}", why.says(), self.session.tagged());
        let tail = match why {
            Failure::Cancelled | Failure::Malformed(_) => Tail::bad(tag, code, &text),
            _ => Tail::no(tag, code, &text),
        };
        self.conclude(tail);
        self.bad_logins += 1;
        if self.bad_logins >= self.settings.limits.bad_logins {
            self.close("Too many failed log-ins; check user name and password, then connect again");
        }
    }

    pub(super) fn welcome(&mut self, tag: String, welcome: Box<Welcome>) {
        self.who = Some(welcome);
        self.reader.limit = COMMAND_MAX;
        let code = format!("CAPABILITY {}", self.capabilities());
        self.conclude(Tail::ok(tag, "Logged in").with_code(code));
    }

    /// RFC 8437: as before the log-in; TLS and compression stay.
    pub(super) fn unauthenticated(&mut self, tag: String) {
        self.who = None;
        self.folder = None;
        self.notify = None;
        self.notices = Vec::new();
        self.enabled = Enabled::default();
        (self.dirty, self.gone, self.commands) = (false, false, 0);
        self.opened = self.heard;
        self.reader.limit = BEFORE_LOGIN_MAX;
        self.conclude(Tail::ok(tag, "Logged out; you may log in again"));
    }

    pub(super) fn enable(&mut self, tag: String, words: &[String]) {
        let before = self.enabled;
        let mut now = String::new();
        for word in words {
            let flag = match word.as_str() {
                "CONDSTORE" => &mut self.enabled.condstore,
                "QRESYNC" => &mut self.enabled.qresync,
                "UTF8=ACCEPT" => &mut self.enabled.utf8,
                "IMAP4REV2" => &mut self.enabled.rev2,
                _ => continue,
            };
            if !*flag {
                *flag = true;
                now.push(' ');
                now.push_str(if word == "IMAP4REV2" { "IMAP4rev2" } else { word });
            }
        }
        self.line(&format!("* ENABLED{now}"));
        // RFC 7162 §3.2.3: QRESYNC brings CONDSTORE along.
        self.enabled.condstore |= self.enabled.qresync;
        if self.enabled.condstore && !before.condstore {
            self.enabled.condstore = false;
            self.use_condstore();
        }
        self.finish(Tail::ok(tag, "Enabled"));
    }

    /// RFC 7162 §3.1: the first use of CONDSTORE tells the state of the open folder.
    pub(super) fn use_condstore(&mut self) {
        if self.enabled.condstore {
            return;
        }
        self.enabled.condstore = true;
        if let Some(open) = &self.folder {
            let modseq = open.modseq;
            self.line(&format!("* OK [HIGHESTMODSEQ {modseq}] Changes are counted"));
        }
    }

    /// RFC 2971 §3.2.
    pub(super) fn id_answered(&mut self, tag: String) {
        let fields = self.settings.id.clone();
        self.out.extend_from_slice(b"* ID ");
        if fields.is_empty() {
            self.out.extend_from_slice(b"NIL");
        } else {
            for (n, (name, value)) in fields.iter().enumerate() {
                self.out.push(if n == 0 { b'(' } else { b' ' });
                write::string(&mut self.out, name.as_bytes(), false);
                self.out.push(b' ');
                write::string(&mut self.out, value.as_bytes(), false);
            }
            self.out.push(b')');
        }
        self.out.extend_from_slice(b"\r\n");
        self.finish(Tail::ok(tag, "ID completed"));
    }

    /// RFC 4978 §3.
    pub(super) fn compress(&mut self, tag: String) {
        if self.deflated {
            return self.conclude(Tail::no(tag, "COMPRESSIONACTIVE", "DEFLATE is in use already"));
        }
        self.deflated = true;
        self.conclude(Tail::ok(tag, "DEFLATE begins now"));
        self.todo = Some(Action::StartDeflate);
    }

    /// RFC 9051 §6.3.10.
    pub(super) fn namespace(&mut self, tag: String) {
        let utf8 = self.utf8();
        let who = self.who.as_deref().cloned().unwrap_or_default();
        self.out.extend_from_slice(b"* NAMESPACE ((\"\" \"/\"))");
        for prefixes in [&who.others, &who.shared] {
            self.out.push(b' ');
            if prefixes.is_empty() {
                self.out.extend_from_slice(b"NIL");
                continue;
            }
            self.out.push(b'(');
            for prefix in prefixes {
                self.out.push(b'(');
                let prefix = if utf8 { prefix.clone() } else { crate::wire::utf7::encode(prefix) };
                write::string(&mut self.out, prefix.as_bytes(), utf8);
                self.out.extend_from_slice(b" \"/\")");
            }
            self.out.push(b')');
        }
        self.out.extend_from_slice(b"\r\n");
        self.finish(Tail::ok(tag, "Namespace completed"));
    }
}
