//! How long the machine itself needs to answer FETCH for 20,000 messages, without a mailbox:
//! `cargo run --release -p imap --example speed`.

use bytes::Bytes;
use imap::ask::{FetchAsk, Needs, Page, Part, Row, Selected, Texts};
use imap::{Answer, Ask, Flags, Server, Settings, UidSet};
use std::sync::Arc;
use std::time::Instant;
use stdx::{Action, Machine, Now};
use words::SessionId;

const MESSAGES: u32 = 20_000;

fn page(ask: &FetchAsk, content: &Bytes) -> Page {
    let rows = if ask.needs.has(Needs::SECTIONS) { 130 } else { 5_000 };
    let first = ask.after + 1;
    let last = (ask.after + rows).min(MESSAGES);
    let row = |uid| {
        let texts = (ask.needs != Needs::default()).then(|| {
            let parts = ask.sections.iter().map(|_| Part::Now(content.clone())).collect();
            let text = content.slice(..400);
            Box::new(Texts { envelope: text.clone(), body_structure: text, parts, ..Texts::default() })
        });
        Row { uid, flags: Flags::SEEN, modseq: u64::from(uid), texts, ..Row::default() }
    };
    Page { rows: (first..=last).map(row).collect(), more: last < MESSAGES, keywords: None }
}

fn answer(ask: &Ask, content: &Bytes) -> Answer {
    match ask {
        Ask::Sasl(_) => Answer::Sasl(sasl::Answer::Granted),
        Ask::Enter => Answer::Welcome(Box::default()),
        Ask::Select { .. } => {
            let uids = UidSet::span(1, MESSAGES);
            Answer::Selected(Box::new(Selected { uids, uid_next: MESSAGES + 1, ..Selected::default() }))
        }
        Ask::Fetch(ask) => Answer::Page(page(ask, content)),
        Ask::Sync { .. } => Answer::Changes(Box::default()),
        _ => Answer::Done,
    }
}

fn main() {
    let content = Bytes::from(vec![b'x'; 7_600]);
    let mut settings = Settings::default();
    settings.offer.without_tls = true;
    let mut server = Server::new(Arc::new(settings), SessionId(1));
    server.opened(Now(1));
    for command in
        ["LOGIN a b", "SELECT INBOX", "FETCH 1:* FLAGS", "FETCH 1:* ENVELOPE", "FETCH 1:* BODY.PEEK[]"]
    {
        let (began, mut sent) = (Instant::now(), 0);
        server.received(Now(2), format!("a {command}\r\n").as_bytes());
        while let Some(action) = server.next() {
            match action {
                Action::Send(bytes) => sent += bytes.len(),
                Action::Ask(ask) => server.answered(Now(2), answer(&ask, &content)),
                _ => {}
            }
        }
        println!("{command:24} {:8.2} ms {sent:>11} octets", began.elapsed().as_secs_f64() * 1e3);
    }
}
