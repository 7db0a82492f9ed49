//! How dialogue scripts show the server's questions and write its answers.
#![allow(dead_code)]

use sasl::{Answer as SaslAnswer, Failure, Question as SaslQuestion};
use smtp::server::Settings;
use smtp::{Answer, Limits, Question, Server};
use talk::Voice;
use words::{Domain, MessageId, Reply, SessionId};

pub fn settings() -> Settings {
    Settings {
        host: Domain::new("mx.example").expect("valid"),
        session: SessionId(7),
        starttls: true,
        tls_required: false,
        auth_required: false,
        offer: None,
        limits: Limits::default(),
    }
}

pub fn submission() -> Settings {
    Settings {
        tls_required: true,
        auth_required: true,
        offer: Some(sasl::Offer { scram: false, ..sasl::Offer::default() }),
        ..settings()
    }
}

pub struct Ours(pub Settings);

impl Voice for Ours {
    type M = Server;
    fn machine(&self) -> Server {
        Server::new(self.0.clone())
    }
    fn show(&self, ask: &Question) -> String {
        match ask {
            Question::Opened { tls } => format!("opened{}", if tls.is_some() { " tls" } else { "" }),
            Question::Tls(facts) => format!("tls {}", facts.version),
            Question::Name { name, esmtp } => format!("{} {name}", if *esmtp { "ehlo" } else { "helo" }),
            Question::Sasl(SaslQuestion::Password { user, password, via, .. }) => {
                format!("password {user} {} {via}", password.reveal())
            }
            Question::Sasl(SaslQuestion::Unencrypted { user, via }) => {
                format!("unencrypted {via} {}", user.as_deref().unwrap_or("-"))
            }
            Question::Sasl(SaslQuestion::NotHere { user, via }) => {
                format!("not here {via} {}", user.as_deref().unwrap_or("-"))
            }
            Question::Sasl(SaslQuestion::NotOffered { user, via }) => {
                format!("not offered {via} {}", user.as_deref().unwrap_or("-"))
            }
            Question::Sasl(_) => "sasl".to_owned(),
            Question::Mail(e) => {
                let sender = e.sender.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("mail <{sender}> {:?} size={:?}", e.body, e.size)
            }
            Question::Rcpt(r) => format!("rcpt <{}>", r.address),
            Question::Data => "data".to_owned(),
            Question::Body(_) => "body".to_owned(),
            Question::Commit(text) => {
                format!("commit {}", String::from_utf8_lossy(text).escape_debug()).trim_end().to_owned()
            }
            Question::Reset => "reset".to_owned(),
            Question::Confirmed(id) => format!("confirmed {}", id.tagged()),
        }
    }
    fn answer(&self, _ask: &str, text: &str) -> Answer {
        match text.split_once(' ').unwrap_or((text, "")) {
            ("yes", _) => Answer::Yes,
            ("saved", id) => Answer::Saved(MessageId(id.parse().expect("a number"))),
            ("granted", _) => Answer::Sasl(SaslAnswer::Granted),
            ("weak", _) => Answer::Sasl(SaslAnswer::Refused(Failure::TooWeak)),
            ("not-here", _) => Answer::Sasl(SaslAnswer::Refused(Failure::NotHere)),
            ("not-offered", _) => Answer::Sasl(SaslAnswer::Refused(Failure::NotOffered("CRAM-MD5"))),
            ("wrong", _) => Answer::Sasl(SaslAnswer::Refused(Failure::Wrong)),
            (code, rest) => Answer::Reply(Reply::plain(code.parse().expect("a code"), rest)),
        }
    }
    fn notice(&self, text: &str) -> std::convert::Infallible {
        panic!("no notices here: {text}")
    }
}
