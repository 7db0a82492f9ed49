//! Server and client joined in memory: whatever text goes in comes out, in pieces of any size.

mod voice;

use bytes::Bytes;
use proptest::prelude::*;
use smtp::client::{self, Ask, Fate, Outcome, Settings, TlsPolicy};
use smtp::{Answer, Client, Question, Server, Stage};
use stdx::machine::{Action, Machine};
use stdx::{Dice, Now, TlsFacts};
use words::{Address, Envelope, MessageId, Recipient, Reply};

/// What a joined run gave.
#[derive(Default)]
struct Run {
    texts: Vec<Vec<u8>>,
    outcomes: Vec<Outcome>,
    envelopes: Vec<Envelope>,
    failed: Option<client::Failure>,
}

struct Pair {
    server: Server,
    client: Client,
    dice: Dice,
    run: Run,
    text: Vec<u8>,
    to_send: Vec<(Envelope, Vec<u8>)>,
    sent: usize,
    over: bool,
    commit: fn() -> Answer,
}

const NOW: Now = Now(1_000_000);

impl Pair {
    fn new(server: Server, client: Client, to_send: Vec<(Envelope, Vec<u8>)>, seed: u64) -> Pair {
        Pair {
            server,
            client,
            dice: Dice::new(seed),
            run: Run::default(),
            text: Vec::new(),
            to_send,
            sent: 0,
            over: false,
            commit: || Answer::Saved(MessageId(1)),
        }
    }
    fn go(mut self) -> Run {
        self.server.opened(NOW);
        self.client.opened(NOW);
        for _ in 0..2_000_000 {
            let (a, b) = (self.server.next(), self.client.next());
            if a.is_none() && b.is_none() {
                return self.run;
            }
            if let Some(action) = a {
                self.of_server(action);
            }
            if let Some(action) = b {
                self.of_client(action);
            }
        }
        panic!("the two talk for ever");
    }
    fn cut(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = (1 + self.dice.below(97) as usize).min(rest.len());
            pieces.push(rest[..n].to_vec());
            rest = &rest[n..];
        }
        pieces
    }
    fn of_server(&mut self, action: Action<Question>) {
        match action {
            Action::Send(bytes) => {
                for piece in self.cut(&bytes) {
                    self.client.received(NOW, &piece);
                }
            }
            Action::Ask(question) => {
                let answer = self.answer(question);
                self.server.answered(NOW, answer);
            }
            Action::StartTls => {
                self.server.tls_started(NOW, TlsFacts::default());
            }
            Action::Close => {
                if !self.over {
                    self.over = true;
                    self.client.closed(NOW);
                }
            }
            Action::StartDeflate => panic!("no deflate in SMTP"),
        }
    }
    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Mail(envelope) => self.run.envelopes.push(envelope),
            Question::Rcpt(recipient) if recipient.address.local() == "nobody" => {
                return Answer::Reply(Reply::new(550, (5, 1, 1), "Nobody of that name"));
            }
            Question::Rcpt(recipient) => {
                self.run.envelopes.last_mut().expect("MAIL came first").recipients.push(recipient);
            }
            Question::Body(piece) => self.text.extend(piece),
            Question::Commit(piece) => {
                self.text.extend(piece);
                self.run.texts.push(std::mem::take(&mut self.text));
                return (self.commit)();
            }
            _ => {}
        }
        Answer::Yes
    }
    fn of_client(&mut self, action: Action<Ask>) {
        match action {
            Action::Send(bytes) if !self.over => {
                for piece in self.cut(&bytes) {
                    self.server.received(NOW, &piece);
                }
            }
            Action::Ask(ask) => {
                let answer = self.client_answer(ask);
                self.client.answered(NOW, answer);
            }
            Action::StartTls => self.client.tls_started(NOW, TlsFacts::default()),
            Action::Close if !self.over => {
                self.over = true;
                self.server.closed(NOW);
            }
            Action::Close | Action::Send(_) => {}
            Action::StartDeflate => panic!("no deflate in SMTP"),
        }
    }
    fn client_answer(&mut self, ask: Ask) -> client::Answer {
        match ask {
            Ask::Next(_) => match self.to_send.get(self.run.outcomes.len()) {
                Some((envelope, _)) => {
                    self.sent = 0;
                    client::Answer::Send(Box::new(envelope.clone()))
                }
                None => client::Answer::Quit,
            },
            Ask::Chunk => {
                let text = &self.to_send[self.run.outcomes.len()].1;
                let n = (1 + self.dice.below(5000) as usize).min(text.len() - self.sent);
                let piece = Bytes::copy_from_slice(&text[self.sent..self.sent + n]);
                self.sent += n;
                client::Answer::Chunk(piece)
            }
            Ask::Done(outcome) => {
                self.run.outcomes.push(outcome);
                client::Answer::Noted
            }
            Ask::Failed(failure) => {
                self.run.failed = Some(failure);
                client::Answer::Noted
            }
        }
    }
}

fn envelope(to: &[&str]) -> Envelope {
    Envelope {
        sender: Some(Address::parse("a@a.example").expect("valid")),
        recipients: to.iter().map(|t| Recipient::new(Address::parse(t).expect("valid"))).collect(),
        ..Envelope::default()
    }
}

fn client(chunking: bool, pipelining: bool) -> Client {
    Client::new(Settings { chunking, pipelining, ..Settings::new("c.example", TlsPolicy::IfOffered) })
}

fn ours() -> Server {
    Server::new(voice::settings())
}

/// What the wire makes of a text: every newline CR LF, and one at the end.
fn mended(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        match b {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend(b"\r\n");
            }
            b'\n' => out.extend(b"\r\n"),
            b => out.push(b),
        }
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend(b"\r\n");
    }
    out
}

#[test]
fn several_messages_go_over_one_connection_with_a_fate_for_each_recipient() {
    for (chunking, pipelining) in [(false, false), (false, true), (true, false), (true, true)] {
        let big = b"0123456789 line\r\n.\r\n..\r\n".repeat(20_000);
        let to_send = vec![
            (envelope(&["b@mx.example", "nobody@mx.example"]), b"one\r\n".to_vec()),
            (envelope(&["nobody@mx.example"]), b"none\r\n".to_vec()),
            (envelope(&["b@mx.example"]), big.clone()),
            (envelope(&["b@mx.example"]), Vec::new()),
        ];
        let run = Pair::new(ours(), client(chunking, pipelining), to_send, 3).go();
        assert_eq!(run.failed, None);
        assert_eq!(run.texts, [b"one\r\n".to_vec(), big, Vec::new()], "{chunking} {pipelining}");
        let codes: Vec<Vec<(u16, Stage)>> =
            run.outcomes.iter().map(|o| o.fates.iter().map(code).collect()).collect();
        let yes = (250, Stage::Dot);
        let no = (550, Stage::Rcpt);
        assert_eq!(codes, [vec![yes, no], vec![no], vec![yes], vec![yes]]);
    }
}

fn code(fate: &Fate) -> (u16, Stage) {
    match fate {
        Fate::Accepted { reply, .. } => (reply.code, Stage::Dot),
        Fate::Refused { stage, reply } => (reply.code, *stage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_at_the_dot_reaches_every_recipient_taken() {
    let to_send = vec![(envelope(&["b@mx.example", "c@mx.example"]), b"x\r\n".to_vec())];
    let mut pair = Pair::new(ours(), client(false, true), to_send, 1);
    pair.commit = || Answer::Reply(Reply::new(554, (5, 7, 1), "Not this"));
    let run = pair.go();
    assert_eq!(run.outcomes[0].fates.iter().map(code).collect::<Vec<_>>(), [(554, Stage::Dot); 2]);
}

#[test]
fn a_relay_is_logged_in_to_before_mail() {
    let mut settings = Settings::new("c.example", TlsPolicy::Required);
    settings.login =
        Some(client::Login { user: "u".into(), password: stdx::Secret::new("p".into()), nonce: [1; 18] });
    let run =
        Pair::new(ours(), Client::new(settings), vec![(envelope(&["b@mx.example"]), b"x".to_vec())], 1).go();
    let failed = run.failed.expect("port 25 offers no log-in");
    assert_eq!((failed.stage, failed.how), (Stage::Auth, client::How::Broken(client::Break::NotOffered)));
}

#[test]
fn the_parameters_of_an_envelope_arrive_as_they_left() {
    let mut sent = envelope(&["b@mx.example"]);
    sent.envid = Some("id+1=x".into());
    sent.ret = Some(words::Ret::Headers);
    sent.size = Some(3);
    sent.body = words::Body::EightBitMime;
    sent.recipients[0].orcpt = Some("rfc822;B+x@other.example".into());
    sent.recipients[0].notify =
        Some(words::Notify { success: true, delay: true, ..words::Notify::default() });
    let run = Pair::new(ours(), client(false, true), vec![(sent.clone(), b"x\r\n".to_vec())], 1).go();
    assert_eq!(run.envelopes, [sent]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_text_arrives_with_nothing_but_its_newlines_mended(
        text in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..400),
        chunking in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let to_send = vec![(envelope(&["b@mx.example"]), text.clone())];
        let run = Pair::new(ours(), client(chunking, true), to_send, seed).go();
        prop_assert_eq!(&run.texts, &vec![mended(&text)]);
        prop_assert_eq!(code(&run.outcomes[0].fates[0]), (250, Stage::Dot));
    }
}
