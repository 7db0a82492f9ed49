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
