//! Laws of both machines: no input breaks them, cuts do not matter, and nothing is smuggled.

mod voice;

use proptest::prelude::*;
use smtp::client::{self, Ask, Settings, TlsPolicy};
use smtp::{Answer, BareNewlines, Client, Question, Server};
use stdx::machine::{Action, Machine};
use stdx::{Now, TlsFacts};
use words::{MessageId, Reply};

const NOW: Now = Now(5);

/// Feeds `input` in the pieces given; returns what was said, and the texts committed.
fn run(mut server: Server, pieces: &[&[u8]]) -> (String, Vec<Vec<u8>>) {
    let (mut said, mut texts, mut text) = (Vec::new(), Vec::new(), Vec::new());
    server.opened(NOW);
    let mut pieces = pieces.iter();
    loop {
        match server.next() {
            Some(Action::Send(bytes)) => said.extend(bytes),
            Some(Action::Ask(question)) => {
                let answer = match question {
                    Question::Body(piece) => {
                        text.extend(piece);
                        Answer::Yes
                    }
                    Question::Commit(piece) => {
                        text.extend(piece);
                        texts.push(std::mem::take(&mut text));
                        Answer::Saved(MessageId(texts.len() as u64))
                    }
                    Question::Sasl(_) => Answer::Sasl(sasl::Answer::Granted),
                    Question::Rcpt(r) if r.address.local() == "no" => Answer::Reply(Reply::plain(550, "no")),
                    _ => Answer::Yes,
                };
                server.answered(NOW, answer);
            }
            Some(Action::StartTls) => server.tls_started(NOW, TlsFacts::default()),
            Some(Action::Close) => break,
            Some(Action::StartDeflate) => panic!("no deflate in SMTP"),
            None => match pieces.next() {
                Some(piece) => server.received(NOW, piece),
                None => break,
            },
        }
    }
    (String::from_utf8_lossy(&said).into_owned(), texts)
}

fn ours() -> Server {
    Server::new(voice::settings())
}

fn keeping() -> Server {
    let mut settings = voice::settings();
    settings.limits.bare_newlines = BareNewlines::Keep;
    Server::new(settings)
}

const BEFORE: &[u8] =
    b"EHLO a\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\nSubject: first\r\n\r\nx";
const BEHIND: &[u8] = b"MAIL FROM:<evil@a.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\nsmuggled\r\n";

/// Ends of data that other servers were found to take for CR LF . CR LF.
const VARIANTS: [&[u8]; 15] = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n\r.\n\r",
    b"\r\n\n.\n\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\x0b.\r\n",
];

// RFC 5321 §4.1.1.4: whatever stands between, the text ends at CR LF . CR LF only, so that one
// message stays one message, kept or refused as a whole.
#[test]
fn no_variant_of_the_final_dot_smuggles_a_second_message() {
    for variant in VARIANTS {
        let wire = [BEFORE, variant, BEHIND, b".\r\nQUIT\r\n"].concat();
        for cut in 0..=wire.len() {
            let (said, texts) = run(ours(), &[&wire[..cut], &wire[cut..]]);
            // LF alone is refused, CR alone is kept: one message or none, never two.
            let kept = !alone(variant, '\n');
            assert_eq!(texts.len(), usize::from(kept), "{variant:?} at {cut}: {said}");
            assert_eq!(said.contains("550 5.6.11"), !kept, "{variant:?}: {said}");
            let (said, texts) = run(strict(), &[&wire[..cut], &wire[cut..]]);
            let kept = kept && !alone(variant, '\r');
            assert_eq!(texts.len(), usize::from(kept), "{variant:?} at {cut}: {said}");
            let (said, texts) = run(keeping(), &[&wire[..cut], &wire[cut..]]);
            assert_eq!(texts.len(), 1, "{variant:?} at {cut}: {said}");
            assert!(texts[0].windows(8).any(|w| w == b"smuggled"), "kept whole");
        }
    }
}

fn alone(bytes: &[u8], newline: char) -> bool {
    String::from_utf8_lossy(bytes).replace("\r\n", "").contains(newline)
}

fn strict() -> Server {
    let mut settings = voice::settings();
    settings.limits.bare_newlines = BareNewlines::Refuse;
    Server::new(settings)
}

// A text whose last line ends in CR CR LF is whole.
#[test]
fn a_cr_alone_before_the_end_is_kept() {
    let wire = [BEFORE, b"\r\r\n.\r\nQUIT\r\n"].concat();
    let (said, texts) = run(ours(), &[&wire]);
    assert_eq!(texts.len(), 1, "{said}");
    assert!(texts[0].ends_with(b"x\r\r\n"));
}

// RFC 2920: a peer may send everything at once, also behind the true end.
#[test]
fn two_honest_messages_in_one_go_are_two() {
    let wire = [BEFORE, b"\r\n.\r\n", BEHIND, b".\r\nQUIT\r\n"].concat();
    for cut in 0..=wire.len() {
        let (said, texts) = run(ours(), &[&wire[..cut], &wire[cut..]]);
        assert_eq!(texts.len(), 2, "{said}");
        assert!(said.ends_with("221 2.0.0 Goodbye\r\n"));
    }
}

fn a_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"EHLO a.example\r\n".to_vec()),
        Just(b"MAIL FROM:<a@a.example>\r\n".to_vec()),
        Just(b"RCPT TO:<b@mx.example>\r\n".to_vec()),
        Just(b"RCPT TO:<no@mx.example>\r\n".to_vec()),
        Just(b"DATA\r\n".to_vec()),
        Just(b"BDAT 7\r\n".to_vec()),
        Just(b"BDAT 0 LAST\r\n".to_vec()),
        Just(b"\r\n.\r\n".to_vec()),
        Just(b"RSET\r\n".to_vec()),
        Just(b"STARTTLS\r\n".to_vec()),
        Just(b"AUTH PLAIN AGEAYg==\r\n".to_vec()),
        Just(b"QUIT\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
        "[ -~]{0,60}\r\n".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn cuts_do_not_matter_and_nothing_breaks_the_server(
        lines in prop::collection::vec(a_line(), 0..25),
        cuts in prop::collection::vec(1usize..50, 1..20),
    ) {
        // STARTTLS drops what is already there, so where it is cut does matter: leave it to its own test.
        let lines: Vec<_> = lines.into_iter().filter(|l| !l.starts_with(b"STARTTLS")).collect();
        let wire = lines.concat();
        let whole = run(Server::new(voice::submission()), &[&wire]);
        let mut pieces = Vec::new();
        let (mut rest, mut at) = (&wire[..], 0);
        while !rest.is_empty() {
            let n = cuts[at % cuts.len()].min(rest.len());
            pieces.push(&rest[..n]);
            rest = &rest[n..];
            at += 1;
        }
        prop_assert_eq!(&run(Server::new(voice::submission()), &pieces), &whole);
        let (said, texts) = run(ours(), &pieces);
        let other = run(ours(), &[&wire]);
        prop_assert_eq!(&(said, texts), &other);
        // Every reply line has a code.
        for line in other.0.lines() {
            prop_assert!(line.len() >= 4 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{}", line);
        }
    }

    #[test]
    fn starttls_anywhere_breaks_nothing(lines in prop::collection::vec(a_line(), 0..25)) {
        let pieces: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let (said, _) = run(Server::new(voice::submission()), &pieces);
        prop_assert!(said.starts_with("220 "));
    }

    #[test]
    fn nothing_breaks_the_client(
        lines in prop::collection::vec(prop_oneof![
            "(2|3|4|5)[0-9][0-9][ -][ -~]{0,30}\r\n".prop_map(String::into_bytes),
            Just(b"250 ok\r\n".to_vec()),
            Just(b"220 ok\r\n".to_vec()),
            Just(b"354 go\r\n".to_vec()),
            Just(b"250-x\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 CHUNKING\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..30),
        ], 0..20),
        chunking in any::<bool>(),
    ) {
        let mut client = Client::new(Settings { chunking, ..Settings::new("c.example", TlsPolicy::IfOffered) });
        client.opened(NOW);
        let mut lines = lines.iter();
        let (mut begun, mut told, mut ends) = (0, 0, 0);
        let mut gone = false;
        for _ in 0..1000 {
            match client.next() {
                Some(Action::Ask(Ask::Next(_))) => {
                    begun += 1;
                    let envelope = words::Envelope {
                        recipients: vec![words::Recipient::new("b@x.example".parse().expect("valid"))],
                        ..words::Envelope::default()
                    };
                    client.answered(NOW, client::Answer::Send(Box::new(envelope)));
                }
                Some(Action::Ask(Ask::Chunk)) => client.answered(NOW, client::Answer::Chunk(bytes::Bytes::new())),
                Some(Action::Ask(Ask::Done(outcome))) => {
                    prop_assert_eq!(outcome.fates.len(), 1);
                    told += 1;
                    ends += u32::from(outcome.over);
                    client.answered(NOW, client::Answer::Noted);
                }
                Some(Action::Ask(Ask::Failed(_))) => {
                    ends += 1;
                    client.answered(NOW, client::Answer::Noted);
                }
                Some(Action::StartTls) => client.tls_started(NOW, TlsFacts::default()),
                Some(Action::Close) => break,
                Some(_) => {}
                None => match lines.next() {
                    Some(line) => client.received(NOW, line),
                    None if !gone => {
                        gone = true;
                        client.closed(NOW);
                    }
                    None => break,
                },
            }
        }
        // Every message begun has its outcome, and the end is told exactly once.
        prop_assert_eq!(begun, told);
        prop_assert_eq!(ends, 1);
    }
}
