use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use stdx::{Action, Machine, Now, TlsFacts};
use talk::Voice;
use words::SessionId;

use crate::ask::{Answer, Ask, Entry, Maildrop, Refusal, Settings};
use crate::server::Server;

const TEXTS: [&str; 3] = [
    "Subject: one\r\n\r\nfirst\r\n.dot\r\n",
    "Subject: two\r\n\r\nsecond\r\nline\r\nthree\r\n",
    "Subject: three\r\n\r\nno end",
];

struct Client {
    settings: Settings,
}

fn voice() -> Client {
    Client { settings: Settings { host: "mx.example".into(), ..Settings::default() } }
}

fn maildrop() -> Maildrop {
    let entry = |i: usize| Entry {
        uid: 10 + i as u32,
        size: TEXTS[i].len() as u64,
        uidl: (i == 2).then(|| "kept-from-before".into()),
    };
    Maildrop { validity: 0x5a, entries: (0..3).map(entry).collect() }
}

impl Voice for Client {
    type M = Server;
    fn machine(&self) -> Server {
        Server::new(Arc::new(self.settings.clone()), SessionId(7))
    }
    fn show(&self, ask: &Ask) -> String {
        match ask {
            Ask::Sasl(sasl::Question::Password { user, password, via, .. }) => {
                format!("password {user} {} {via}", password.reveal())
            }
            Ask::Sasl(sasl::Question::Unencrypted { user, via }) => {
                format!("unencrypted {} {via}", user.as_deref().unwrap_or("-"))
            }
            Ask::Sasl(sasl::Question::NotOffered { via, .. }) => format!("not offered {via}"),
            Ask::Sasl(_) => "sasl".into(),
            Ask::Enter => "enter".into(),
            Ask::Texts { uids } => uids.iter().fold("texts".into(), |mut s, u| {
                let _ = write!(s, " {u}");
                s
            }),
            Ask::Piece { uid, offset, len } => format!("piece {uid} {offset} {len}"),
            Ask::Quit { delete } => format!("quit {delete:?}"),
        }
    }
    fn answer(&self, ask: &str, text: &str) -> Answer {
        match text {
            "granted" => Answer::Sasl(sasl::Answer::Granted),
            "wrong" => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::Wrong)),
            "not offered" => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::NotOffered("CRAM-MD5"))),
            "weak" => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::TooWeak)),
            "held off" => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::HeldOff)),
            "drop" => Answer::Drop(maildrop()),
            "in use" => Answer::Refused(Refusal::InUse),
            "unavailable" => Answer::Refused(Refusal::Unavailable),
            "done" => Answer::Done,
            "texts" => {
                let uids = ask.split(' ').skip(1).filter_map(|u| u.parse::<usize>().ok());
                Answer::Texts(uids.map(|u| Some(Bytes::from_static(TEXTS[u - 10].as_bytes()))).collect())
            }
            "gone" => Answer::Texts(vec![None]),
            _ => panic!("no such answer: {text}"),
        }
    }
}

const LOGIN: &str = "
~ tls
S: +OK mx.example Postroad POP3 ready (s=7)
C: USER bob@x.example
S: +OK Now the password.
C: PASS  blank 
? password bob@x.example  blank  POP3 USER
! granted
? enter
! drop
S: +OK 3 messages (90 octets)
";

fn after_login(script: &str) {
    talk::play(&voice(), &format!("{LOGIN}{script}"));
}

#[test]
fn numbers_sizes_and_unique_ids_are_listed() {
    after_login(
        "C: STAT
S: +OK 3 90
C: LIST
S: +OK 3 messages (90 octets)
S: 1 29
S: 2 37
S: 3 24
S: .
C: UIDL
S: +OK Unique ids follow.
S: 1 0000000a0000005a
S: 2 0000000b0000005a
S: 3 kept-from-before
S: .
C: UIDL 2
S: +OK 2 0000000b0000005a
C: LIST 4
S: -ERR There is no such message, or you have deleted it.
C: LIST 0
S: -ERR There is no such message, or you have deleted it.
",
    );
}

#[test]
fn texts_are_stuffed_cut_and_read_ahead() {
    after_login(
        "C: RETR 1
? texts 10
! texts
S: +OK 29 octets
S: Subject: one
S: 
S: first
S: ..dot
S: .
C: TOP 2 1
? texts 11 12
! texts
S: +OK 37 octets
S: Subject: two
S: 
S: second
S: .
C: RETR 3
S: +OK 24 octets
S: Subject: three
S: 
S: no end
S: .
C: RETR 1
? texts 10
! gone
S: -ERR That message has been removed by another session.
C: RETR 1
? texts 10
! unavailable
S: -ERR [SYS/TEMP] That message cannot be read right now; try again shortly.
",
    );
}

#[test]
fn deletions_wait_for_quit_and_can_be_taken_back() {
    after_login(
        "C: DELE 1
S: +OK Message 1 will be removed at QUIT.
C: DELE 1
S: -ERR There is no such message, or you have deleted it.
C: RSET
S: +OK 3 messages (90 octets)
C: DELE 2
S: +OK Message 2 will be removed at QUIT.
C: STAT
S: +OK 2 53
C: QUIT
? quit [11]
! done
S: +OK Goodbye.
= close
",
    );
    after_login(
        "C: DELE 3
S: +OK Message 3 will be removed at QUIT.
C: QUIT
? quit [12]
! unavailable
S: -ERR [SYS/TEMP] The deleted messages could not be removed; they are all still there.
= close
",
    );
    after_login(
        "C: DELE 3\nS: +OK Message 3 will be removed at QUIT.\n@ 10 min\nS: -ERR [SYS/TEMP] You were silent too long; goodbye.\n= close\n",
    );
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    after_login(
        "C: NOOP
C: RETR 3
C: DELE 3
C: QUIT
S: +OK Still here.
? texts 12
! texts
S: +OK 24 octets
S: Subject: three
S: 
S: no end
S: .
S: +OK Message 3 will be removed at QUIT.
? quit [12]
! done
S: +OK Goodbye.
= close
",
    );
}

#[test]
fn passwords_need_tls() {
    talk::play(
        &voice(),
        "S: +OK mx.example Postroad POP3 ready (s=7)
C: USER bob
? unencrypted bob POP3 USER
! weak
S: -ERR [AUTH] this log-in needs an encrypted connection: switch on TLS (s=7)
C: AUTH PLAIN AGJvYgB4
? unencrypted bob PLAIN
! weak
S: -ERR [AUTH] this log-in needs an encrypted connection: switch on TLS (s=7)
C: AUTH CRAM-MD5
? unencrypted - CRAM-MD5
! weak
S: -ERR [AUTH] this log-in needs an encrypted connection: switch on TLS (s=7)
C: CAPA
S: +OK This server can:
S: TOP
S: UIDL
S: RESP-CODES
S: AUTH-RESP-CODE
S: PIPELINING
S: EXPIRE NEVER
S: STLS
S: UTF8
S: IMPLEMENTATION Postroad
S: .
C: STAT
S: -ERR Log in first: AUTH, or USER and PASS.
C: STLS
S: +OK Begin TLS now.
= starttls
C: STLS
S: -ERR TLS is on already.
C: AUTH plain AGJvYgB4
? password bob x PLAIN
! wrong
S: -ERR [AUTH] user name or password is wrong (s=7)
C: AUTH PLAIN
S: +‹20›
C: AGJvYgB4
? password bob x PLAIN
! granted
? enter
! in use
S: -ERR [IN-USE] Another session holds your mailbox; try again when it has ended.
C: QUIT
S: +OK Goodbye.
= close
",
    );
}

#[test]
fn bytes_smuggled_before_tls_are_dropped() {
    let mut m = voice().machine();
    m.opened(Now(0));
    while m.next().is_some() {}
    m.received(Now(0), b"STLS\r\nUSER evil\r\n");
    assert!(matches!(m.next(), Some(Action::Send(_))));
    assert!(matches!(m.next(), Some(Action::StartTls)));
    m.tls_started(Now(0), TlsFacts::default());
    assert!(m.next().is_none());
}

#[test]
fn guessing_and_babbling_end_the_session() {
    let guesses = "C: USER b\nS: +OK Now the password.\nC: PASS x\n? password b x POP3 USER\n! wrong\nS: -ERR [AUTH] …\n".repeat(5);
    talk::play(&voice(), &format!("~ tls\nS: +OK …\n{guesses}= close\n"));
    let babble = "C: HELO x\nS: -ERR That is no POP3 command I know.\n".repeat(10);
    talk::play(&voice(), &format!("S: +OK …\n{babble}S: -ERR Too many commands…\n= close\n"));
    talk::play(
        &voice(),
        "S: +OK …\nC*13000: x\nC: \nS: -ERR That line is too long.\nC: QUIT\nS: +OK Goodbye.\n= close\n",
    );
    talk::play(
        &voice(),
        "S: +OK …\n~ shutdown\nS: -ERR [SYS/TEMP] The server is stopping; come back in a minute.\n= close\n",
    );
}

#[test]
fn a_line_without_end_ends_the_session() {
    let script = "S: +OK …\nC*1100000: x\nS: -ERR A line without end; goodbye.\n= close\n";
    assert_eq!(talk::play_once(&voice(), script, talk::Way::Whole), Ok(()));
    assert_eq!(talk::play_once(&voice(), script, talk::Way::SplitAt(20_000)), Ok(()));
}

/// Logs in and runs until the machine wants something.
fn logged_in(maildrop: Maildrop) -> Server {
    let mut m = voice().machine();
    m.tls_started(Now(0), TlsFacts::default());
    m.opened(Now(0));
    m.received(Now(0), b"USER b\r\nPASS x\r\n");
    loop {
        match m.next() {
            Some(Action::Ask(Ask::Sasl(_))) => m.answered(Now(0), Answer::Sasl(sasl::Answer::Granted)),
            Some(Action::Ask(Ask::Enter)) => {
                m.answered(Now(0), Answer::Drop(maildrop));
                break;
            }
            Some(_) => {}
            None => panic!("no log-in"),
        }
    }
    while m.next().is_some() {}
    m
}

#[test]
fn a_large_message_passes_in_pieces() {
    let text: Vec<u8> = (0..40_000).flat_map(|i| format!(".line {i}\r\n").into_bytes()).collect();
    let entry = Entry { uid: 1, size: text.len() as u64, uidl: None };
    let mut m = logged_in(Maildrop { validity: 1, entries: vec![entry] });
    m.received(Now(0), b"RETR 1\r\n");
    let (mut out, mut pieces) = (Vec::new(), 0);
    while let Some(action) = m.next() {
        match action {
            Action::Send(bytes) => out.extend(bytes),
            Action::Ask(Ask::Piece { offset, len, .. }) => {
                pieces += 1;
                let at = offset as usize;
                m.answered(Now(0), Answer::Piece(Some(Bytes::copy_from_slice(&text[at..at + len]))));
            }
            _ => panic!("unexpected"),
        }
    }
    let body = format!(
        "+OK {} octets\r\n{}.\r\n",
        text.len(),
        String::from_utf8_lossy(&text).replace(".line", "..line")
    );
    assert!(pieces > 3 && out == body.as_bytes());
}

/// The engine's own share of pipelined RETRs; printed, and bounded so that a mistake shows.
#[test]
fn pipelined_retrieval_keeps_up() {
    let text = Bytes::from(b"A line of some forty characters or more.\r\n".repeat(180));
    let n = 20_000u32;
    let entries = (1..=n).map(|uid| Entry { uid, size: text.len() as u64, uidl: None }).collect();
    let mut m = logged_in(Maildrop { validity: 1, entries });
    let commands: Vec<u8> = (1..=n).flat_map(|i| format!("RETR {i}\r\n").into_bytes()).collect();
    let (mut sent, mut asks) = (0u64, 0u64);
    let started = std::time::Instant::now();
    for chunk in commands.chunks(16 * 1024) {
        m.received(Now(0), chunk);
        while let Some(action) = m.next() {
            match action {
                Action::Send(bytes) => sent += bytes.len() as u64,
                Action::Ask(Ask::Texts { uids }) => {
                    asks += 1;
                    m.answered(Now(0), Answer::Texts(vec![Some(text.clone()); uids.len()]));
                }
                _ => panic!("unexpected"),
            }
        }
    }
    let took = started.elapsed().as_secs_f64();
    println!("{:.0} messages/s, {:.0} MB/s, {asks} questions", f64::from(n) / took, sent as f64 / took / 1e6);
    assert!(sent > u64::from(n) * text.len() as u64 && asks < u64::from(n) / 20);
}

#[test]
fn no_input_panics() {
    let mut dice = stdx::Dice::new(5);
    let pieces: [&[u8]; 14] = [
        b"USER a\r\n",
        b"PASS b\r\n",
        b"AUTH PLAIN\r\n",
        b"AGJvYgB4\r\n",
        b"RETR 1\r\n",
        b"TOP 2 1\r\n",
        b"DELE 1\r\n",
        b"QUIT\r\n",
        b"LIST\r\n",
        b"\0\xff",
        b"\n",
        b"STLS\r\n",
        b"UIDL 9\r\n",
        b"*\r\n",
    ];
    for _ in 0..3000 {
        let mut m = voice().machine();
        if dice.chance(0.8) {
            m.tls_started(Now(0), TlsFacts::default());
        }
        m.opened(Now(0));
        for _ in 0..dice.below(30) {
            m.received(Now(0), dice.pick(&pieces).expect("some"));
            while let Some(action) = m.next() {
                match action {
                    Action::Ask(Ask::Sasl(_)) if dice.chance(0.7) => {
                        m.answered(Now(0), Answer::Sasl(sasl::Answer::Granted))
                    }
                    Action::Ask(Ask::Sasl(_)) => {
                        m.answered(Now(0), Answer::Sasl(sasl::Answer::Refused(sasl::Failure::Wrong)))
                    }
                    Action::Ask(Ask::Enter) => m.answered(Now(0), Answer::Drop(maildrop())),
                    Action::Ask(Ask::Texts { uids }) => {
                        m.answered(Now(0), Answer::Texts(vec![None; uids.len()]))
                    }
                    Action::Ask(_) => m.answered(Now(0), Answer::Refused(Refusal::Unavailable)),
                    Action::StartTls => m.tls_started(Now(0), TlsFacts::default()),
                    _ => {}
                }
            }
        }
        m.closed(Now(0));
        while m.next().is_some() {}
    }
}
