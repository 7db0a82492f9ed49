//! What can only be seen from inside: how much an idle session holds.

use super::*;
use crate::ask::Selected;
use crate::set::UidSet;
use stdx::Span;

fn answer(ask: &Ask) -> Answer {
    match ask {
        Ask::Sasl(_) => Answer::Sasl(sasl::Answer::Granted),
        Ask::Enter => Answer::Welcome(Box::default()),
        Ask::Select { .. } => {
            let uids = UidSet::span(1, 20_000);
            Answer::Selected(Box::new(Selected { uids, uid_next: 20_001, ..Selected::default() }))
        }
        Ask::Sync { .. } => Answer::Changes(Box::default()),
        _ => Answer::Done,
    }
}

fn settle(server: &mut Server, now: Now) {
    while let Some(action) = server.next() {
        if let Action::Ask(ask) = action {
            server.answered(now, answer(&ask));
        }
    }
}

#[test]
fn an_idle_session_on_a_large_folder_holds_next_to_nothing() {
    let mut settings = Settings::default();
    settings.offer.without_tls = true;
    let mut server = Server::new(Arc::new(settings), SessionId(1));
    let now = Now::from_secs(5);
    server.opened(now);
    for command in ["a LOGIN joe pw\r\n", "b SELECT INBOX\r\n", "c IDLE\r\n"] {
        server.received(now, command.as_bytes());
        settle(&mut server, now);
    }
    assert!(matches!(server.job, Job::Idle(_)));
    assert_eq!(server.out.capacity(), 0);
    assert!(server.reader.between_commands() && server.reader.held() == 0);
    let open = server.folder.as_ref().map(|f| (f.view.count(), f.view.uids().ranges().len()));
    assert_eq!(open, Some((20_000, 1)));
    assert!(size_of::<Server>() <= 640, "{}", size_of::<Server>());
    assert!(size_of::<Open>() <= 320, "{}", size_of::<Open>());
    assert_eq!(server.deadline(), Some(now + Span::mins(4)));
}

#[test]
fn a_line_without_end_ends_the_session_and_holds_no_memory() {
    let mut server = Server::new(Arc::new(Settings::default()), SessionId(1));
    let (now, mut said, mut fed) = (Now::from_secs(5), Vec::new(), 0);
    server.opened(now);
    let closed = (0..10_000).any(|_| {
        server.received(now, &[b'x'; 4096]);
        fed += 4096;
        let mut closed = false;
        while let Some(action) = server.next() {
            match action {
                Action::Send(bytes) => said.extend_from_slice(&bytes),
                Action::Close => closed = true,
                _ => {}
            }
        }
        assert!(server.reader.held() < 200_000);
        closed
    });
    assert!(closed && fed < 8 << 20, "{fed}");
    assert!(String::from_utf8_lossy(&said).contains("* BYE [TOOBIG] That line has no end s=1\r\n"));
}

fn logged_in() -> (Arc<Settings>, Server, Now) {
    let mut settings = Settings::default();
    settings.offer.without_tls = true;
    let settings = Arc::new(settings);
    let (mut server, now) = (Server::new(settings.clone(), SessionId(1)), Now::from_secs(5));
    server.opened(now);
    assert_eq!(server.parcel(), None, "nobody is logged in");
    for command in ["a LOGIN joe pw\r\n", "b SELECT INBOX\r\n"] {
        server.received(now, command.as_bytes());
        let unread = server.parcel().map(|parcel| parcel.unread);
        let begun = server.who.is_some().then(|| command.as_bytes().to_vec());
        assert_eq!(unread, begun, "who is logged in takes a command along that was not begun");
        settle(&mut server, now);
    }
    (settings, server, now)
}

/// What a machine says and asks until it rests.
fn said(server: &mut Server, now: Now) -> String {
    let mut all = String::new();
    while let Some(action) = server.next() {
        match action {
            Action::Send(bytes) => all.push_str(&String::from_utf8_lossy(&bytes)),
            Action::Ask(ask) => {
                all.push_str(match ask {
                    Ask::Sync { .. } => "? Sync\n",
                    Ask::Notify(_) => "? Notify\n",
                    _ => "?\n",
                });
                server.answered(now, answer(&ask));
            }
            _ => all.push_str("!\n"),
        }
    }
    all
}

#[test]
fn a_session_in_the_middle_of_a_literal_is_not_described() {
    let (_, mut server, now) = logged_in();
    for text in ["c ID (\"name\" {10}\r\n", "abc"] {
        server.received(now, text.as_bytes());
        settle(&mut server, now);
        assert_eq!(server.parcel(), None, "{text}");
    }
    server.received(now, b"defghij)\r\n");
    settle(&mut server, now);
    assert!(server.parcel().is_some(), "the command is over");
    server.received(now, b"d APPEND INBOX {5}\r\n");
    settle(&mut server, now);
    assert_eq!(server.parcel(), None);
}

#[test]
fn half_a_line_is_read_to_its_end_in_the_next_process() {
    let (settings, mut server, now) = logged_in();
    server.received(now, b"c NO");
    settle(&mut server, now);
    let parcel = server.parcel().expect("it waits for its client");
    assert_eq!(parcel.unread, b"c NO");
    let mut next = Server::resume(settings, SessionId(1), Box::default(), parcel).expect("goes on");
    next.opened(now);
    assert_eq!(said(&mut next, now), "", "nobody is greeted twice");
    next.received(now, b"OP\r\n");
    assert_eq!(said(&mut next, now), "? Sync\nc OK NOOP completed\r\n");
}

#[test]
fn a_command_nobody_looked_at_yet_is_answered_in_the_next_process() {
    let (settings, mut server, now) = logged_in();
    server.received(now, b"c NOOP\r\nd NO");
    let parcel = server.parcel().expect("nothing was begun");
    let mut next = Server::resume(settings, SessionId(1), Box::default(), parcel).expect("goes on");
    next.opened(now);
    assert_eq!(said(&mut next, now), "? Sync\nc OK NOOP completed\r\n");
    next.received(now, b"OP\r\n");
    assert_eq!(said(&mut next, now), "? Sync\nd OK NOOP completed\r\n");
}

#[test]
fn an_idle_session_goes_on_idling_and_asks_what_happened() {
    let (settings, mut server, now) = logged_in();
    server.received(now, b"c IDLE\r\n");
    settle(&mut server, now);
    let parcel = server.parcel().expect("it waits for its client");
    let mut next = Server::resume(settings, SessionId(1), Box::default(), parcel).expect("goes on");
    next.opened(now);
    assert_eq!(said(&mut next, now), "? Sync\n");
    assert_eq!(next.deadline(), server.deadline(), "the line is kept warm as before");
    next.received(now, b"DONE\r\n");
    assert_eq!(said(&mut next, now), "? Sync\nc OK Idle completed\r\n");
}

// RFC 5465 §3.1: NOTIFY stands until another one comes.
#[test]
fn a_notify_stands_in_the_next_process_too() {
    let (settings, mut server, now) = logged_in();
    server.received(now, b"c NOTIFY SET (SELECTED (MessageNew (UID FLAGS) MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))\r\nd IDLE\r\n");
    settle(&mut server, now);
    let parcel = server.parcel().expect("it waits for its client");
    let mut next =
        Server::resume(settings.clone(), SessionId(1), Box::default(), parcel.clone()).expect("goes on");
    next.opened(now);
    assert_eq!(said(&mut next, now), "? Notify\n? Sync\n");
    assert_eq!(next.parcel(), Some(parcel.clone()));
    let mut broken = parcel;
    broken.notify.as_mut().expect("it is there").said = b"c NOTIFY SOMETHING".to_vec();
    assert!(Server::resume(settings, SessionId(1), Box::default(), broken).is_err());
}
