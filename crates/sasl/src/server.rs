//! The server side of every mechanism as one machine: the peer's lines and policy's answers go
//! in, challenges and questions come out.
//!
//! The front that embeds it writes each [`Step::Challenge`] behind its own prefix (`334 `,
//! `+ `), hands each [`Step::Ask`] on as its one open question, and ends the command at
//! [`Step::Done`] or [`Step::Failed`]. Begin with [`Exchange`].

use stdx::{Secret, TlsFacts};

use crate::bearer::{self, Bearer};
use crate::mechanism::{Mechanism, Offer, offered, taken};
use crate::scram::{Binding, Final, First, Hash, Keys};
use crate::{decode, encode, same};

/// Longest line of an exchange, in octets of base64 (RFC 4954 §4 asks for 12288).
pub const LINE_MAX: usize = 12_288;
/// Longest user name and password taken. Old crypt schemes need time that grows with the
/// password's length.
pub const USER_MAX: usize = 512;
pub const PASSWORD_MAX: usize = 1024;

/// What only policy can say.
pub enum Question {
    /// Is this the user's password?
    Password {
        user: String,
        /// The account to act as, if another one was named (the authorization identity).
        acting_as: Option<String>,
        password: Secret<String>,
        /// How it came: `PLAIN`, `LOGIN`, `IMAP LOGIN`, `POP3 USER`.
        via: &'static str,
    },
    /// The SCRAM keys of a user. For one who has none: [`Keys::nobody`].
    Keys { user: String, hash: Hash },
    /// A SCRAM proof was checked: right for the keys at this place of [`Answer::Keys`], or wrong.
    /// Asked in both cases, so that wrong ones are counted and may cost time.
    Proof { user: String, acting_as: Option<String>, via: &'static str, right: Option<usize> },
    /// Is this token good, and for this user?
    Token { user: Option<String>, token: Secret<String>, via: &'static str },
    /// A log-in that is not taken without TLS was tried without it. Told so that it is recorded
    /// and its owner can be helped; the answer is [`Failure::TooWeak`].
    Unencrypted { user: Option<String>, via: &'static str },
    /// A mechanism was asked for that is not spoken here. Told for the record; the answer is
    /// [`Failure::NotOffered`].
    NotOffered { user: Option<String>, via: &'static str },
    /// A log-in was tried on a port that takes none. Told for the record; the answer is
    /// [`Failure::NotHere`].
    NotHere { user: Option<String>, via: &'static str },
}

impl Question {
    /// A user name and password that came by a command of the protocol itself.
    pub fn password(user: String, password: Secret<String>, via: &'static str) -> Question {
        Question::Password { user, acting_as: None, password, via }
    }
}

/// Policy's answer.
pub enum Answer {
    /// The log-in stands.
    Granted,
    /// The keys asked for, and fresh randomness for our nonce. An account with several
    /// passwords has several keys; all have the salt and iterations of the first, and there is
    /// always one.
    Keys {
        keys: Vec<Keys>,
        nonce: [u8; 18],
    },
    Refused(Failure),
}

/// Why an exchange ended without a log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client sent `*`.
    Cancelled,
    /// The client's message breaks the mechanism's grammar.
    Malformed(&'static str),
    /// User and password do not fit; which of them is wrong is not told.
    Wrong,
    /// Too many wrong passwords from this address: held off for a while.
    HeldOff,
    /// We cannot tell now; the client should try again.
    Unavailable,
    /// The credentials fit, but the log-in is not allowed; the sentence says why.
    NotAllowed(String),
    /// This mechanism needs TLS here.
    TooWeak,
    /// This mechanism is not spoken here.
    NotOffered(&'static str),
    /// Nobody logs in on this port.
    NotHere,
}

impl Failure {
    /// A sentence for the person who logs in.
    pub fn says(&self) -> String {
        match self {
            Failure::Cancelled => "the client cancelled the log-in".into(),
            Failure::Malformed(what) => format!("the client's log-in message cannot be read: {what}"),
            Failure::Wrong => "user name or password is wrong".into(),
            Failure::HeldOff => {
                "too many wrong passwords came from your address; wait some minutes, then try again".into()
            }
            Failure::Unavailable => "log-ins cannot be checked right now; try again shortly".into(),
            Failure::NotAllowed(why) => why.clone(),
            Failure::TooWeak => "this log-in needs an encrypted connection: switch on TLS".into(),
            Failure::NotOffered(via) => {
                format!("{via} is not offered here: choose \"normal password\" and TLS in your mail program")
            }
            Failure::NotHere => {
                "nobody logs in on this port: send through port 465 (TLS) or 587 (STARTTLS)".into()
            }
        }
    }
}

/// Mechanisms of others, as the record names them.
const FOREIGN: [&str; 7] =
    ["CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "GSS-SPNEGO", "EXTERNAL", "ANONYMOUS"];

/// The mechanism a client names, if it is taken, and whether a -PLUS variant was listed; otherwise
/// the question by which it is recorded that it is not.
pub fn called(
    name: &str,
    initial: Option<&[u8]>,
    tls: Option<&TlsFacts>,
    offer: &Offer,
) -> Result<(Mechanism, bool), Question> {
    let taken = taken(tls, offer);
    let known = Mechanism::parse(name);
    if let Some(mechanism) = known.filter(|m| taken.contains(m)) {
        return Ok((mechanism, offered(tls, offer).iter().any(|m| m.is_plus())));
    }
    let user = known.and_then(|m| shown_user(m, initial?));
    let via = via(name);
    Err(if taken.is_empty() {
        Question::Unencrypted { user, via }
    } else {
        Question::NotOffered { user, via }
    })
}

/// A mechanism's name as the record has it.
pub fn via(name: &str) -> &'static str {
    let foreign =
        || FOREIGN.into_iter().find(|f| f.eq_ignore_ascii_case(name)).unwrap_or("another mechanism");
    Mechanism::parse(name).map_or_else(foreign, Mechanism::name)
}

/// The user that an initial response names, also of a log-in that is not taken.
pub fn shown_user(mechanism: Mechanism, initial: &[u8]) -> Option<String> {
    let message = decode(initial)?;
    match mechanism {
        Mechanism::Plain => name(message.split(|b| *b == 0).nth(1)?),
        Mechanism::Login => name(&message),
        _ => First::parse(&message).map(|first| first.user),
    }
}

/// What comes next.
pub enum Step {
    /// Send this base64 text (it may be empty) and feed the peer's next line.
    Challenge(String),
    /// Ask, then feed the answer.
    Ask(Question),
    Done,
    Failed(Failure),
}

enum State {
    Plain,
    LoginUser,
    LoginPassword {
        user: String,
    },
    Bearer,
    /// RFC 7628 §3.2.3: the client acknowledges the error before it is over.
    BearerRefused(Failure),
    ScramFirst,
    ScramKeys(First),
    ScramFinal(Box<ScramFinal>),
    ScramProof {
        signature: Vec<u8>,
    },
    ScramLast,
    /// The desk is asked for the last word.
    Asked,
    Over,
}

struct ScramFinal {
    first: First,
    keys: Vec<Keys>,
    nonce: String,
    server_first: String,
}

/// One run of one mechanism.
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
    exporter: Option<Vec<u8>>,
    endpoint: Option<Vec<u8>>,
    plus_offered: bool,
}

impl Exchange {
    /// Begins with the initial response, if the client sent one (still in base64; `=` is the
    /// empty one, RFC 4954 §4). `plus_offered` says whether a -PLUS variant was listed.
    pub fn begin(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        tls: Option<&TlsFacts>,
        plus_offered: bool,
    ) -> (Exchange, Step) {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginUser,
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => State::Bearer,
            _ => State::ScramFirst,
        };
        let mut exchange = Exchange {
            mechanism,
            state,
            exporter: tls.and_then(|t| t.exporter.clone()),
            endpoint: tls.and_then(|t| t.endpoint.clone()),
            plus_offered,
        };
        let step = match initial {
            Some(b"=") => exchange.message(b""),
            Some(line) => exchange.line(line),
            None if mechanism == Mechanism::Login => Step::Challenge(encode(b"Username:")),
            None => Step::Challenge(String::new()),
        };
        (exchange, step)
    }

    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The peer's line without its CRLF.
    pub fn line(&mut self, line: &[u8]) -> Step {
        if line == b"*" {
            return self.fail(Failure::Cancelled);
        }
        if line.len() > LINE_MAX {
            return self.fail(Failure::Malformed("the line is too long"));
        }
        match decode(line) {
            Some(message) => self.message(&message),
            None => self.fail(Failure::Malformed("it is not base64")),
        }
    }

    /// Policy's answer to the last question.
    pub fn answered(&mut self, answer: Answer) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), answer) {
            (State::ScramKeys(first), Answer::Keys { keys, nonce }) => {
                self.scram_challenge(first, keys, nonce)
            }
            (State::ScramProof { signature }, Answer::Granted) => {
                self.state = State::ScramLast;
                Step::Challenge(encode(format!("v={}", encode(&signature)).as_bytes()))
            }
            (State::Asked, Answer::Granted) => Step::Done,
            (State::Asked, Answer::Refused(why))
                if matches!(self.mechanism, Mechanism::OAuthBearer | Mechanism::XOAuth2) =>
            {
                self.state = State::BearerRefused(why);
                let body = match self.mechanism {
                    Mechanism::OAuthBearer => r#"{"status":"invalid_token"}"#,
                    _ => r#"{"status":"401","schemes":"bearer","scope":""}"#,
                };
                Step::Challenge(encode(body.as_bytes()))
            }
            (_, Answer::Refused(why)) => Step::Failed(why),
            _ => stdx::never!("an answer that fits no open question"),
        }
    }

    fn fail(&mut self, why: Failure) -> Step {
        self.state = State::Over;
        Step::Failed(why)
    }

    fn ask(&mut self, question: Question) -> Step {
        self.state = State::Asked;
        Step::Ask(question)
    }

    fn message(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => self.plain(message),
            State::LoginUser => match name(message) {
                Some(user) => {
                    self.state = State::LoginPassword { user };
                    Step::Challenge(encode(b"Password:"))
                }
                None => self.fail(Failure::Malformed("the user name is empty or too long")),
            },
            State::LoginPassword { user } => match password(message) {
                Some(password) => {
                    self.ask(Question::Password { user, acting_as: None, password, via: "LOGIN" })
                }
                None => self.fail(Failure::Malformed("the password is empty or too long")),
            },
            State::Bearer => self.bearer(message),
            State::BearerRefused(why) => self.fail(why),
            State::ScramFirst => self.scram_first(message),
            State::ScramFinal(fin) => self.scram_final(*fin, message),
            State::ScramLast if message.is_empty() => Step::Done,
            State::ScramLast => self.fail(Failure::Malformed("something came after the proof")),
            State::ScramKeys(_) | State::ScramProof { .. } | State::Asked | State::Over => {
                stdx::never!("a line came while a question was open or all was over")
            }
        }
    }

    // RFC 4616 §2: authzid NUL authcid NUL passwd.
    fn plain(&mut self, message: &[u8]) -> Step {
        let mut parts = message.split(|&b| b == 0);
        let (Some(authzid), Some(authcid), Some(passwd), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return self.fail(Failure::Malformed("it does not have three parts"));
        };
        let (Some(user), Some(password)) = (name(authcid), password(passwd)) else {
            return self.fail(Failure::Malformed("user name or password is empty or too long"));
        };
        let acting_as = name(authzid).filter(|a| *a != user);
        self.ask(Question::Password { user, acting_as, password, via: "PLAIN" })
    }

    fn bearer(&mut self, message: &[u8]) -> Step {
        let read = match self.mechanism {
            Mechanism::OAuthBearer => bearer::read_oauthbearer(message),
            _ => bearer::read_xoauth2(message),
        };
        let via = self.mechanism.name();
        match read {
            Some(Bearer { user, token }) => self.ask(Question::Token { user, token, via }),
            None => self.fail(Failure::Malformed("it holds no bearer token")),
        }
    }

    fn scram_first(&mut self, message: &[u8]) -> Step {
        let Some(first) = First::parse(message) else {
            return self.fail(Failure::Malformed("the first SCRAM message is broken"));
        };
        // RFC 5802 §6: a client that believes we cannot bind while we offered to has been lied to.
        let bound = match &first.binding {
            Binding::None => !self.mechanism.is_plus(),
            Binding::Unasked => !self.mechanism.is_plus() && !self.plus_offered,
            Binding::By(kind) => self.mechanism.is_plus() && self.channel(kind).is_some(),
        };
        if !bound {
            return self.fail(Failure::Malformed("its channel binding does not fit the mechanism"));
        }
        if first.user.len() > USER_MAX {
            return self.fail(Failure::Malformed("the user name is too long"));
        }
        let user = first.user.clone();
        self.state = State::ScramKeys(first);
        Step::Ask(Question::Keys { user, hash: self.hash() })
    }

    fn hash(&self) -> Hash {
        self.mechanism.scram().expect("SCRAM states are only entered for SCRAM mechanisms")
    }

    // RFC 9266: tls-exporter; RFC 5929 §4: tls-server-end-point.
    fn channel(&self, kind: &str) -> Option<&[u8]> {
        match kind {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-server-end-point" => self.endpoint.as_deref(),
            _ => None,
        }
    }

    fn scram_challenge(&mut self, first: First, keys: Vec<Keys>, nonce: [u8; 18]) -> Step {
        let Some(shown) = keys.first() else { stdx::never!("an answer without keys") };
        let nonce = format!("{}{}", first.nonce, encode(&nonce));
        let server_first = format!("r={nonce},s={},i={}", encode(&shown.salt), shown.iterations);
        let challenge = encode(server_first.as_bytes());
        self.state = State::ScramFinal(Box::new(ScramFinal { first, keys, nonce, server_first }));
        Step::Challenge(challenge)
    }

    fn scram_final(&mut self, fin: ScramFinal, message: &[u8]) -> Step {
        let Some(last) = Final::parse(message) else {
            return self.fail(Failure::Malformed("the final SCRAM message is broken"));
        };
        let mut channel = fin.first.header.clone().into_bytes();
        if let Binding::By(kind) = &fin.first.binding {
            channel.extend_from_slice(self.channel(kind).unwrap_or_default());
        }
        if last.nonce != fin.nonce {
            return self.fail(Failure::Malformed("its nonce is not the one agreed on"));
        }
        let hash = self.hash();
        let auth = format!("{},{},{}", fin.first.bare, fin.server_first, last.without_proof);
        let auth = auth.as_bytes();
        let bound = same(&channel, &last.channel);
        let fits = |k: &Keys| bound && k.proof_fits(hash, auth, &last.proof);
        let right = fin.keys.iter().position(fits);
        let signature = fin.keys[right.unwrap_or(0)].server_signature(hash, auth);
        self.state = State::ScramProof { signature };
        let user = fin.first.user;
        let acting_as = fin.first.authzid.filter(|a| *a != user);
        Step::Ask(Question::Proof { user, acting_as, via: self.mechanism.name(), right })
    }
}

/// Text as UTF-8, or, from clients older than that, as Latin-1.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty() && bytes.len() <= USER_MAX && !bytes.contains(&0)).then(|| text(bytes))
}

fn password(bytes: &[u8]) -> Option<Secret<String>> {
    (!bytes.is_empty() && bytes.len() <= PASSWORD_MAX && !bytes.contains(&0))
        .then(|| Secret::new(text(bytes)))
}

#[cfg(test)]
mod tests;
