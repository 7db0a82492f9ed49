//! The client side: what the mail host needs to log in at a relay.

use stdx::{Secret, TlsFacts};

use crate::mechanism::Mechanism;
use crate::scram::{self, ITERATIONS_MAX};
use crate::{decode, encode, same};

/// Why the client gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The server's challenge cannot be read.
    BadChallenge(&'static str),
    /// RFC 5802 §3: the server could not prove that it knows the password either.
    ServerUnproven,
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::BadChallenge(what) => write!(f, "the relay's challenge cannot be read: {what}"),
            ClientError::ServerUnproven => f.write_str(
                "the relay could not prove that it knows the password; somebody may stand between",
            ),
        }
    }
}
impl std::error::Error for ClientError {}

/// The best mechanism we can speak among those a server lists. Without TLS none: a relay's
/// password never goes over an open line.
pub fn choose(offered: &[Mechanism], tls: Option<&TlsFacts>) -> Option<Mechanism> {
    let tls = tls?;
    let can = |m: &Mechanism| match m {
        Mechanism::OAuthBearer | Mechanism::XOAuth2 => false,
        m if m.is_plus() => tls.exporter.is_some(),
        _ => true,
    };
    Mechanism::ALL.into_iter().filter(can).find(|m| offered.contains(m))
}

enum State {
    Start,
    LoginUser,
    LoginPassword,
    ScramChallenge,
    ScramVerify { signature: Vec<u8> },
    Over,
}

/// One log-in at a server.
pub struct Client {
    mechanism: Mechanism,
    user: String,
    password: Secret<String>,
    nonce: String,
    exporter: Option<Vec<u8>>,
    state: State,
}

impl Client {
    pub fn new(
        mechanism: Mechanism,
        user: &str,
        password: Secret<String>,
        nonce: [u8; 18],
        tls: Option<&TlsFacts>,
    ) -> Client {
        let exporter = tls.and_then(|t| t.exporter.clone());
        Client {
            mechanism,
            user: user.into(),
            password,
            nonce: encode(&nonce),
            exporter,
            state: State::Start,
        }
    }

    /// What to send with the command itself, in base64; `None` where the server speaks first.
    pub fn initial(&mut self) -> Option<String> {
        match self.mechanism {
            Mechanism::Plain => {
                self.state = State::Over;
                Some(encode(format!("\0{}\0{}", self.user, self.password.reveal()).as_bytes()))
            }
            Mechanism::Login => {
                self.state = State::LoginUser;
                None
            }
            _ => {
                self.state = State::ScramChallenge;
                Some(encode(format!("{}{}", self.header(), self.bare()).as_bytes()))
            }
        }
    }

    fn header(&self) -> &'static str {
        match (self.mechanism.is_plus(), &self.exporter) {
            (true, _) => "p=tls-exporter,,",
            // We could bind, but the server did not offer it.
            (false, Some(_)) => "y,,",
            (false, None) => "n,,",
        }
    }

    fn bare(&self) -> String {
        format!("n={},r={}", scram::escape_name(&scram::prepare(&self.user)), self.nonce)
    }

    /// Answers one base64 challenge with a base64 response.
    pub fn challenge(&mut self, challenge: &str) -> Result<String, ClientError> {
        let message =
            decode(challenge.trim().as_bytes()).ok_or(ClientError::BadChallenge("it is not base64"))?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::LoginUser => {
                self.state = State::LoginPassword;
                Ok(encode(self.user.as_bytes()))
            }
            State::LoginPassword => Ok(encode(self.password.reveal().as_bytes())),
            State::ScramChallenge => self.scram(&message),
            State::ScramVerify { signature } => {
                let text = String::from_utf8_lossy(&message);
                let sent = text.strip_prefix("v=").and_then(|v| decode(v.as_bytes()));
                match sent {
                    Some(v) if same(&v, &signature) => Ok(String::new()),
                    _ => Err(ClientError::ServerUnproven),
                }
            }
            State::Start | State::Over => Err(ClientError::BadChallenge("none was due")),
        }
    }

    fn scram(&mut self, message: &[u8]) -> Result<String, ClientError> {
        let bad = ClientError::BadChallenge;
        let hash = self.mechanism.scram().ok_or(bad("the mechanism has no challenge"))?;
        let server_first = std::str::from_utf8(message).map_err(|_| bad("it is no text"))?;
        let mut fields = server_first.split(',');
        let mut field = |prefix| fields.next().and_then(|f| f.strip_prefix(prefix));
        let (Some(nonce), Some(salt), Some(count)) = (field("r="), field("s="), field("i=")) else {
            return Err(bad("a field is missing"));
        };
        let salt = decode(salt.as_bytes()).ok_or(bad("its salt is not base64"))?;
        let count: u32 = count.parse().map_err(|_| bad("its iteration count is no number"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(bad("its nonce does not continue ours"));
        }
        if !(1..=ITERATIONS_MAX).contains(&count) {
            return Err(bad("its iteration count is out of bounds"));
        }
        let mut channel = self.header().as_bytes().to_vec();
        if self.mechanism.is_plus() {
            channel.extend_from_slice(self.exporter.as_deref().unwrap_or_default());
        }
        let without = format!("c={},r={nonce}", encode(&channel));
        let auth = format!("{},{server_first},{without}", self.bare());
        let (proof, signature) = scram::prove(hash, self.password.reveal(), (&salt, count), auth.as_bytes());
        self.state = State::ScramVerify { signature };
        Ok(encode(format!("{without},p={}", encode(&proof)).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scram::Keys;
    use crate::server::{Answer, Exchange, Question, Step};

    #[test]
    fn our_client_logs_in_at_our_server_with_every_mechanism() {
        let tls = TlsFacts { exporter: Some(vec![9; 32]), ..TlsFacts::default() };
        for m in
            Mechanism::ALL.into_iter().filter(|m| !matches!(m, Mechanism::OAuthBearer | Mechanism::XOAuth2))
        {
            let plus = m.is_plus();
            let facts = plus.then_some(&tls);
            let mut client = Client::new(m, "bob=x", Secret::new("pencil".into()), [3; 18], facts);
            let initial = client.initial();
            let (mut server, mut step) =
                Exchange::begin(m, initial.as_deref().map(str::as_bytes), facts, plus);
            for _ in 0..6 {
                step = match step {
                    Step::Challenge(c) => server.line(client.challenge(&c).expect("readable").as_bytes()),
                    Step::Ask(Question::Keys { user, hash }) => {
                        assert_eq!(user, "bob=x");
                        let keys = Keys::derive(hash, "pencil", b"salty salt", 4096);
                        let other = Keys::derive(hash, "another", b"salty salt", 4096);
                        server.answered(Answer::Keys { keys: vec![other, keys], nonce: [5; 18] })
                    }
                    Step::Ask(Question::Password { user, password, .. }) => {
                        assert_eq!((user.as_str(), password.reveal().as_str()), ("bob=x", "pencil"));
                        server.answered(Answer::Granted)
                    }
                    Step::Ask(Question::Proof { right, .. }) => {
                        assert_eq!(right, Some(1));
                        server.answered(Answer::Granted)
                    }
                    step => step,
                };
            }
            assert!(matches!(step, Step::Done), "{m}");
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut client =
            Client::new(Mechanism::ScramSha256, "bob", Secret::new("pencil".into()), [3; 18], None);
        client.initial();
        let nonce = encode(&[3; 18]);
        let first = encode(format!("r={nonce}abc,s=AAAA,i=4096").as_bytes());
        client.challenge(&first).expect("readable");
        let last = encode(format!("v={}", encode(&[0; 32])).as_bytes());
        assert_eq!(client.challenge(&last), Err(ClientError::ServerUnproven));
    }

    #[test]
    fn nothing_is_chosen_without_tls() {
        let tls = TlsFacts::default();
        let all = Mechanism::ALL;
        assert_eq!(choose(&all, None), None);
        assert_eq!(choose(&all, Some(&tls)), Some(Mechanism::ScramSha256));
        assert_eq!(choose(&[Mechanism::Login, Mechanism::Plain], Some(&tls)), Some(Mechanism::Plain));
    }
}
