//! What is fuzzed: each entry takes any bytes and must neither panic nor run away.
//!
//! Used twice: by the targets of cargo-fuzz here, and by a plain test that replays the corpora
//! (`crates/scenes/tests/corpus.rs`). The first byte says how the rest is cut into pieces.

use std::sync::Arc;

use stdx::machine::{Action, Machine};
use stdx::{Now, TlsFacts};
use words::{Domain, MessageId, Reply, SessionId};

/// Steps after which a machine has run away.
const STEPS_MAX: usize = 1_000_000;

/// What is fuzzed, by the name of its corpus folder.
type Entry = (&'static str, fn(&[u8]));

pub const ENTRIES: &[Entry] = &[
    ("smtp_server", smtp_server),
    ("smtp_client", smtp_client),
    ("imap_server", imap_server),
    ("pop3_server", pop3_server),
    ("managesieve_server", managesieve_server),
    ("sieve_script", sieve_script),
    ("message", message_any),
    ("mailauth", mailauth_any),
    ("reply", reply_any),
    ("link", link_any),
];

/// Feeds a machine with all bytes, cut as the first one says, and answers each question at once.
fn drive<M: Machine>(mut machine: M, data: &[u8], mut answer: impl FnMut(M::Ask) -> M::Answer) {
    let (cut, bytes) = data.split_first().map_or((7, data), |(c, rest)| (usize::from(*c).max(1), rest));
    let mut pieces = bytes.chunks(cut);
    let mut now = Now(1_795_305_600_000);
    machine.opened(now);
    for _ in 0..STEPS_MAX {
        now += stdx::Span::ms(1);
        match machine.next() {
            Some(Action::Ask(ask)) => {
                let answer = answer(ask);
                machine.answered(now, answer);
            }
            Some(Action::StartTls) => machine.tls_started(now, TlsFacts::default()),
            Some(Action::Send(_) | Action::StartDeflate) => {}
            Some(Action::Close) => return,
            None => match pieces.next() {
                Some(piece) => machine.received(now, piece),
                None => break,
            },
        }
    }
    machine.closed(now);
    for _ in 0..STEPS_MAX {
        match machine.next() {
            Some(Action::Ask(ask)) => {
                let answer = answer(ask);
                machine.answered(now, answer);
            }
            Some(Action::Close) | None => return,
            Some(_) => {}
        }
    }
    panic!("the machine runs away");
}

pub fn smtp_server(data: &[u8]) {
    let settings = smtp::server::Settings {
        host: Domain::new("mx.example").expect("a domain"),
        session: SessionId(7),
        starttls: true,
        tls_required: false,
        auth_required: false,
        offer: Some(sasl::Offer::default()),
        limits: smtp::Limits::default(),
    };
    drive(smtp::Server::new(settings), data, |ask| match ask {
        smtp::Question::Commit(_) => smtp::Answer::Saved(MessageId(1)),
        smtp::Question::Sasl(_) => smtp::Answer::Sasl(sasl::Answer::Granted),
        smtp::Question::Rcpt(r) if r.address.local() == "no" => smtp::Answer::Reply(Reply::plain(550, "no")),
        _ => smtp::Answer::Yes,
    });
}

pub fn smtp_client(data: &[u8]) {
    use smtp::client::{Answer, Ask, Settings, TlsPolicy};
    let mut sent = 0;
    drive(smtp::Client::new(Settings::new("a.example", TlsPolicy::IfOffered)), data, |ask| match ask {
        Ask::Next(_) if sent < 3 => {
            sent += 1;
            let to = words::Address::parse("b@b.example").expect("an address");
            let recipients = vec![words::Recipient::new(to.clone()), words::Recipient::new(to)];
            Answer::Send(Box::new(words::Envelope { recipients, ..words::Envelope::default() }))
        }
        Ask::Next(_) => Answer::Quit,
        Ask::Chunk => Answer::Chunk(bytes::Bytes::from_static(b"")),
        Ask::Done(_) | Ask::Failed(_) => Answer::Noted,
    });
}

pub fn imap_server(data: &[u8]) {
    use imap::{Answer, Ask, Refusal};
    let settings = imap::Settings {
        offer: sasl::Offer { without_tls: true, ..sasl::Offer::default() },
        ..imap::Settings::default()
    };
    drive(imap::Server::new(Arc::new(settings), SessionId(7)), data, |ask| match ask {
        Ask::Sasl(_) => Answer::Sasl(sasl::Answer::Granted),
        Ask::Enter => Answer::Welcome(Box::default()),
        Ask::Select { .. } => Answer::Selected(Box::default()),
        Ask::Folders => Answer::Folders(Vec::new()),
        _ => Answer::Refused(Refusal { code: None, text: "no".into() }),
    });
}

pub fn pop3_server(data: &[u8]) {
    use pop3::{Answer, Ask, Entry, Maildrop, Settings};
    let settings = Settings {
        offer: sasl::Offer { without_tls: true, ..sasl::Offer::default() },
        ..Settings::default()
    };
    let entries = (1..4).map(|uid| Entry { uid, size: 12, uidl: None }).collect::<Vec<_>>();
    drive(pop3::Server::new(Arc::new(settings), SessionId(7)), data, |ask| match ask {
        Ask::Sasl(_) => Answer::Sasl(sasl::Answer::Granted),
        Ask::Enter => Answer::Drop(Maildrop { validity: 1, entries: entries.clone() }),
        Ask::Texts { uids } => {
            Answer::Texts(uids.iter().map(|_| Some(bytes::Bytes::from_static(b"a\r\n.b\r\n\r\nc"))).collect())
        }
        _ => Answer::Done,
    });
}

pub fn managesieve_server(data: &[u8]) {
    use sieve::manage::{Answer, Ask, Server, Settings};
    drive(Server::new(Arc::new(Settings::default()), SessionId(7)), data, |ask| match ask {
        Ask::Sasl(_) => Answer::Sasl(sasl::Answer::Granted),
        _ => Answer::Done,
    });
}

pub fn sieve_script(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(faults) = sieve::compile(&text, &sieve::Alone, &sieve::Limits::default()) {
        assert!(!faults.is_empty(), "refused without a fault");
    }
}

pub fn message_any(data: &[u8]) {
    let summary = message::Summary::of(data);
    let bytes = summary.to_bytes();
    assert!(message::Summary::from_bytes(&bytes).is_some(), "a summary reads back");
    let structure = message::Structure::of(data);
    for part in structure.parts() {
        assert!(part.head.end <= data.len() && part.body.end <= data.len(), "a part lies within its message");
    }
    std::hint::black_box(message::text::for_search(data, &structure, 1 << 20));
    std::hint::black_box(message::text::preview(data, &structure));
}

pub fn mailauth_any(data: &[u8]) {
    let structure = message::Structure::of(data);
    std::hint::black_box(message::authres::parse(data));
    std::hint::black_box(message::arf::read(data, &structure));
    std::hint::black_box(message::dsn::read(data, &structure));
}

pub fn reply_any(data: &[u8]) {
    let mut out = Vec::new();
    // Any line gets an answer or a clear fault; writing into a Vec cannot fail.
    let _ = route::check_replies(data, &mut out);
}

pub fn link_any(data: &[u8]) {
    assert!(link::open(data, &[], Now(0)).is_err(), "nobody is known, so nothing opens");
}
