//! The AUTHORIZATION state: USER and PASS, AUTH, STLS, UTF8.

use sasl::{Exchange, Failure, Mechanism, Question, Step};
use stdx::{Action, Secret};

use crate::ask::{Ask, Refusal};
use crate::command::Command;
use crate::server::{Asked, Phase, Server};

/// What is known of a client that has not logged in yet.
#[derive(Default)]
pub(crate) struct Auth {
    pub(crate) user: Option<String>,
    pub(crate) exchange: Option<Box<Exchange>>,
}

/// The reply for a maildrop that cannot be opened (RFC 2449 §8.1.1, RFC 3206 §4).
pub(crate) fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::InUse => "[IN-USE] Another session holds your mailbox; try again when it has ended.",
        Refusal::Unavailable => "[SYS/TEMP] Your mailbox cannot be opened right now; try again shortly.",
    }
}

impl Server {
    pub(crate) fn mechanisms(&self) -> Vec<Mechanism> {
        sasl::offered(self.tls.as_deref(), &self.settings.offer)
    }

    pub(crate) fn passwords_pass(&self) -> bool {
        self.settings.offer.passwords && (self.tls.is_some() || self.settings.offer.without_tls)
    }

    pub(crate) fn authorization(&mut self, command: Command<'_>) {
        match command {
            Command::User(name) if !self.passwords_pass() => {
                let user = Some(sasl::server::text(&name[..name.len().min(sasl::server::USER_MAX)]));
                self.ask(Asked::Password, Ask::Sasl(Question::Unencrypted { user, via: "POP3 USER" }));
            }
            Command::Pass(_) if !self.passwords_pass() => self.failed(Failure::TooWeak),
            Command::User(name) if name.len() > sasl::server::USER_MAX => {
                self.err("[AUTH] That user name is too long.");
            }
            Command::User(name) => {
                let user = Some(sasl::server::text(name));
                self.phase = Phase::Authorization(Auth { user, exchange: None });
                self.ok("Now the password.");
            }
            Command::Pass(password) => self.pass(password),
            Command::Auth("", None) => {
                let names: Vec<_> = self.mechanisms().into_iter().map(Mechanism::name).collect();
                self.ok("These mechanisms:");
                for name in names {
                    self.out.extend_from_slice(format!("{name}\r\n").as_bytes());
                }
                self.out.extend_from_slice(b".\r\n");
            }
            Command::Auth(name, initial) => self.auth(name, initial),
            Command::Stls if self.tls.is_some() => self.err("TLS is on already."),
            Command::Stls if !self.settings.starttls => self.err("TLS cannot be started here."),
            Command::Stls => {
                self.ok("Begin TLS now.");
                self.then = Some(Action::StartTls);
            }
            // RFC 6856 §2: texts are always sent as they are; the client has now been told so.
            Command::Utf8 => self.ok("UTF-8 it is."),
            _ => stdx::never!("a command of another state"),
        }
    }

    fn pass(&mut self, password: &[u8]) {
        let Phase::Authorization(Auth { user, .. }) = &mut self.phase else { return };
        let Some(user) = user.take() else {
            return self.err("USER comes first.");
        };
        if password.len() > sasl::server::PASSWORD_MAX {
            return self.failed(Failure::Wrong);
        }
        let password = Secret::new(sasl::server::text(password));
        self.ask(Asked::Password, Ask::Sasl(Question::password(user, password, "POP3 USER")));
    }

    fn auth(&mut self, name: &str, initial: Option<&[u8]>) {
        let tls = self.tls.as_deref();
        let (mechanism, plus) = match sasl::server::called(name, initial, tls, &self.settings.offer) {
            Ok(called) => called,
            Err(question) => return self.ask(Asked::Password, Ask::Sasl(question)),
        };
        let (exchange, step) = Exchange::begin(mechanism, initial, self.tls.as_deref(), plus);
        self.follow(Box::new(exchange), step);
    }

    /// RFC 5034 §4.
    fn follow(&mut self, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(text) => {
                self.out.extend_from_slice(b"+ ");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
            Step::Ask(question) => self.ask(Asked::Exchange, Ask::Sasl(question)),
            Step::Done => return self.enter(),
            Step::Failed(why) => return self.failed(why),
        }
        self.phase = Phase::Authorization(Auth { user: None, exchange: Some(exchange) });
    }

    fn take_exchange(&mut self) -> Option<Box<Exchange>> {
        match &mut self.phase {
            Phase::Authorization(auth) => auth.exchange.take(),
            _ => None,
        }
    }

    pub(crate) fn exchange_line(&mut self, line: &[u8]) {
        if let Some(mut exchange) = self.take_exchange() {
            let step = exchange.line(line);
            self.follow(exchange, step);
        }
    }

    pub(crate) fn exchange_answered(&mut self, answer: sasl::Answer) {
        if let Some(mut exchange) = self.take_exchange() {
            let step = exchange.answered(answer);
            self.follow(exchange, step);
        }
    }

    pub(crate) fn password_answered(&mut self, answer: sasl::Answer) {
        match answer {
            sasl::Answer::Granted => self.enter(),
            sasl::Answer::Refused(why) => self.failed(why),
            sasl::Answer::Keys { .. } => stdx::never!("keys nobody asked for"),
        }
    }

    fn enter(&mut self) {
        if !matches!(self.phase, Phase::Over) {
            self.ask(Asked::Enter, Ask::Enter);
        }
    }

    /// RFC 3206 §4: AUTH for wrong credentials, SYS for troubles of ours.
    fn failed(&mut self, why: Failure) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.phase = Phase::Authorization(Auth::default());
        let code = match why {
            Failure::Unavailable => "[SYS/TEMP] ",
            Failure::NotAllowed(_) => "[SYS/PERM] ",
            Failure::HeldOff
            | Failure::Wrong
            | Failure::TooWeak
            | Failure::NotOffered(_)
            | Failure::NotHere => "[AUTH] ",
            Failure::Cancelled | Failure::Malformed(_) => "",
        };
        let says = why.says();
        let id = self.session.tagged();
        self.err(&format!("{code}{says} ({id})"));
        self.failures += 1;
        if self.failures >= self.settings.login_failures_max {
            self.close();
        }
    }
}
