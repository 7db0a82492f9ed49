//! Conversations, played whole, byte by byte and cut at every position, against the model.

mod model;

use imap::{Answer, Ask, Flags, Notice, Server, Settings};
use model::{Desk, World};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use talk::Voice;
use words::SessionId;

/// The desk answers by itself: scripts hold what the two sides say.
struct Imap {
    desk: RefCell<Desk>,
    starttls: bool,
}

const ONE: &str = "From: a@b\r\nSubject: one\r\n\r\nfirst body";
const TWO: &str = "From: c@d\r\nSubject: two\r\n\r\nsecond body, which is longer than forty octets in all";

fn world() -> Rc<RefCell<World>> {
    let mut world = World::new();
    world.make("Sent");
    world.make("Archive/Alt");
    world.deliver("INBOX", ONE, Flags::NONE);
    world.deliver("INBOX", TWO, Flags::SEEN);
    world.deliver("INBOX", ONE, Flags::DELETED);
    Rc::new(RefCell::new(world))
}

impl Voice for Imap {
    type M = Server;
    fn machine(&self) -> Server {
        *self.desk.borrow_mut() = Desk::new(world());
        let mut settings = Settings { host: "mx".into(), starttls: self.starttls, ..Settings::default() };
        settings.offer.without_tls = !self.starttls;
        settings.offer.scram = false;
        Server::new(Arc::new(settings), SessionId(7))
    }
    fn show(&self, _: &Ask) -> String {
        "nothing is shown".into()
    }
    fn answer(&self, _: &str, _: &str) -> Answer {
        Answer::Done
    }
    fn notice(&self, text: &str) -> Notice {
        if let Some(body) = text.strip_prefix("mail ") {
            self.desk.borrow().world.borrow_mut().deliver("INBOX", body, Flags::NONE);
        }
        match text {
            "gone" => Notice::Gone,
            "bye" => Notice::Bye("Your password was changed".into()),
            _ => Notice::Changed,
        }
    }
    fn absorb(&self, ask: &Ask) -> Option<(Vec<u8>, Answer)> {
        Some((Vec::new(), self.desk.borrow_mut().answer(ask)))
    }
}

fn talk(script: &str) {
    let voice = Imap { desk: RefCell::new(Desk::new(world())), starttls: false };
    talk::play(&voice, &format!("S: * OK [CAPABILITY …] mx is ready s=7\n{script}"));
}

const LOGIN: &str = "C: l LOGIN joe pw\nS: l OK [CAPABILITY …] Logged in\n";
const SELECT: &str = "C: s SELECT inbox\nS: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\n\
S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] …\nS: * 3 EXISTS\nS: * 3 RECENT\n\
S: * OK [UNSEEN 1] …\nS: * OK [UIDVALIDITY 1001] …\nS: * OK [UIDNEXT 4] …\nS: * OK [HIGHESTMODSEQ 4] …\n\
S: s OK [READ-WRITE] Select completed\n";

fn inside(script: &str) {
    talk(&format!("{LOGIN}{SELECT}{script}"));
}

#[test]
fn log_ins_are_refused_and_granted() {
    talk(
        "C: a LOGIN joe wrong\nS: a NO [AUTHENTICATIONFAILED] … s=7\n\
         C: b SELECT INBOX\nS: b BAD Log in first\n\
         C: c AUTHENTICATE PLAIN\nS: + \nC: *\nS: c BAD …\n\
         C: d AUTHENTICATE PLAIN\nS: + \nC: AGpvZQBwdw==\nS: d OK [CAPABILITY …] Logged in\n\
         C: e LOGIN joe pw\nS: e BAD You are logged in already\n\
         C: f UNAUTHENTICATE\nS: f OK …\n\
         C: g AUTHENTICATE plain AGpvZQBwdw==\nS: g OK [CAPABILITY …] Logged in\n\
         C: h LOGOUT\nS: * BYE Logging out\nS: h OK Logout completed\n= close",
    );
}

#[test]
fn too_many_wrong_passwords_end_the_session() {
    let wrong = "C: a LOGIN joe x\nS: a NO [AUTHENTICATIONFAILED] …\n".repeat(5);
    talk(&format!("{wrong}S: * BYE Too many failed log-ins… s=7\n= close"));
}

#[test]
fn nothing_secret_is_taken_before_tls() {
    let voice = Imap { desk: RefCell::new(Desk::new(world())), starttls: true };
    talk::play(
        &voice,
        "S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED] mx is ready s=7\n\
         C: a LOGIN joe pw\nS: a NO [PRIVACYREQUIRED] …\n\
         C: b AUTHENTICATE PLAIN AGpvZQBwdw==\nS: b NO [PRIVACYREQUIRED] …\n\
         C: c STARTTLS\nS: c OK Begin TLS now\n= starttls\n\
         C: d CAPABILITY\nS: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN\nS: d OK …\n\
         C: e STARTTLS\nS: e BAD TLS is in use already\n\
         C: f LOGIN {3}\nS: + go ahead\nC: joe {2+}\nC: pw\nS: f OK …\n",
    );
}

#[test]
fn messages_are_fetched_in_pages_and_pieces() {
    inside(
        "C: a FETCH 1:* (UID FLAGS)\nS: * 1 FETCH (UID 1 FLAGS (\\Recent))\nS: * 2 FETCH (UID 2 FLAGS (\\Seen \\Recent))\n\
         S: * 3 FETCH (UID 3 FLAGS (\\Deleted \\Recent))\nS: a OK Fetch completed\n\
         C: b FETCH 2 BODY.PEEK[TEXT]\nS: * 2 FETCH (BODY[TEXT] {53}\n\
         S: second body, which is longer than forty octets in all)\nS: b OK Fetch completed\n\
         C: c UID FETCH 1 BODY[HEADER.FIELDS (subject)]\n\
         S: * 1 FETCH (UID 1 BODY[HEADER.FIELDS (subject)] {16}\nS: Subject: one\nS:\nS:  FLAGS (\\Seen \\Recent))\nS: c OK Fetch completed\n\
         C: d FETCH 3 (BODY.PEEK[TEXT]<6.99> RFC822.SIZE INTERNALDATE BINARY.SIZE[])\n\
         S: * 3 FETCH (BODY[TEXT]<6> {4}\nS: body RFC822.SIZE 37 INTERNALDATE \" 1-Jan-2026 00:00:00 +0000\" BINARY.SIZE[] 37)\nS: d OK …\n\
         C: e FETCH 4 FLAGS\nS: e BAD There is no message with that number\n\
         C: f UID FETCH 4:* FLAGS\nS: * 3 FETCH (UID 3 FLAGS (\\Deleted \\Recent))\nS: f OK …\n\
         C: g FETCH 1 BINARY[1]\nS: * 1 FETCH (BINARY[1] NIL)\nS: g NO [UNKNOWN-CTE] …\n\
         C: h UID FETCH 1:* (FLAGS) (PARTIAL -1:-2)\nS: * 2 FETCH (UID 2 FLAGS (\\Seen \\Recent))\n\
         S: * 3 FETCH (UID 3 FLAGS (\\Deleted \\Recent))\nS: h OK …\n",
    );
}

#[test]
fn flags_change_and_deleted_messages_go() {
    inside(
        "C: a STORE 1:2 +FLAGS (\\Flagged work)\n\
         S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft work)\n\
         S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft work \\*)] …\n\
         S: * 1 FETCH (FLAGS (\\Flagged work \\Recent))\nS: * 2 FETCH (FLAGS (\\Flagged \\Seen work \\Recent))\nS: a OK Store completed\n\
         C: b UID STORE 2 FLAGS.SILENT ()\nS: b OK Store completed\n\
         C: c STORE 2 (UNCHANGEDSINCE 3) +FLAGS (\\Seen)\nS: * OK [HIGHESTMODSEQ 6] …\nS: c OK [MODIFIED 2] …\n\
         C: d UID STORE 1 +FLAGS.SILENT (\\Deleted)\nS: * 1 FETCH (UID 1 MODSEQ (7))\nS: d OK Store completed\n\
         C: e UID EXPUNGE 1:2\nS: * 1 EXPUNGE\nS: e OK [HIGHESTMODSEQ 8] Expunge completed\n\
         C: f EXPUNGE\nS: * 2 EXPUNGE\nS: f OK [HIGHESTMODSEQ 9] Expunge completed\n\
         C: g FETCH 1:* UID\nS: * 1 FETCH (UID 2)\nS: g OK …\n\
         C: h MOVE 1 Nowhere\nS: h NO [TRYCREATE] …\n\
         C: i MOVE 1 Sent\nS: * OK [COPYUID 1002 2 1] Moved\nS: * 1 EXPUNGE\nS: i OK [HIGHESTMODSEQ 10] Move completed\n\
         C: j CLOSE\nS: j OK …\nC: k FETCH 1 FLAGS\nS: k BAD Select a folder first\n",
    );
}

#[test]
fn appends_are_streamed_and_committed_together() {
    inside(
        "C: a APPEND Nowhere {5}\nS: a NO [TRYCREATE] …\n\
         C: b APPEND Nowhere {5+}\nC: a: b \nS: b NO [TRYCREATE] …\n\
         C: c APPEND Sent (\\Seen) \" 1-Jan-2026 00:00:00 +0000\" {6}\nS: + go ahead\nC: a: b\nC:\nS: c OK [APPENDUID 1002 1] Append completed\n\
         C: d APPEND inbox {4+}\nC: a: b (\\Draft) {4+}\nC: c: d\nS: * 5 EXISTS\nS: * 3 RECENT\nS: d OK [APPENDUID 1001 4:5] Append completed\n\
         C: e APPEND INBOX {4+}\nC: a: b {0+}\nC:\nS: e NO An empty message…\n\
         C: f APPEND INBOX {4+}\nC: a: bjunk\nS: f BAD …\n\
         C: g APPEND INBOX UTF8 (~{4+}\nC: a: b)\nS: * 6 EXISTS\nS: * 3 RECENT\nS: g OK [APPENDUID 1001 6] …\n\
         C: h APPEND INBOX {999999999}\nS: h NO [TOOBIG] …\n\
         C: i REPLACE 1 INBOX {4+}\nC: n: w\nS: * OK [APPENDUID 1001 7] …\nS: * 1 EXPUNGE\nS: * 6 EXISTS\nS: * 2 RECENT\nS: i OK Replace completed\n\
         C: j APPEND {5}\nS: + go ahead\nC: INBOX {1}\nS: + go ahead\nC: x\nS: * 7 EXISTS\nS: * 2 RECENT\nS: j OK …\n\
         C: k NOOP\nS: k OK NOOP completed\n",
    );
}

#[test]
fn searches_answer_in_every_shape() {
    inside(
        "C: a SEARCH UNSEEN\nS: * SEARCH 1 3\nS: a OK Search completed\n\
         C: b UID SEARCH RETURN (MIN MAX COUNT ALL) 1:*\nS: * ESEARCH (TAG \"b\") UID MIN 1 MAX 3 COUNT 3 ALL 1:3\nS: b OK …\n\
         C: c SEARCH RETURN (SAVE) DELETED\nS: c OK …\n\
         C: d FETCH $ UID\nS: * 3 FETCH (UID 3)\nS: d OK …\n\
         C: e SEARCH RETURN (PARTIAL 1:2) ALL\nS: * ESEARCH (TAG \"e\") PARTIAL (1:2 1:2)\nS: e OK …\n\
         C: f SEARCH MODSEQ 3\nS: * OK [HIGHESTMODSEQ 4] …\nS: * SEARCH 2 3 (MODSEQ 4)\nS: f OK …\n\
         C: g SEARCH CHARSET KOI8-R TEXT {1+}\nC: ‹c1›\nS: g NO [BADCHARSET (US-ASCII UTF-8)] …\n\
         C: h SEARCH RETURN () NOT 2\nS: * ESEARCH (TAG \"h\") ALL 1,3\nS: h OK …\n\
         C: i SEARCH RETURN (COUNT) LARGER 1000\nS: * ESEARCH (TAG \"i\") COUNT 0\nS: i OK …\n\
         C: j UID SEARCH TEXT SECOND\nS: * SEARCH 2\nS: j OK …\n",
    );
}

#[test]
fn folders_are_listed_and_counted() {
    talk(&format!(
        "{LOGIN}C: a LIST \"\" *\nS: * LIST (\\HasNoChildren) \"/\" INBOX\nS: * LIST (\\Noselect \\HasChildren) \"/\" Archive\n\
         S: * LIST (\\HasNoChildren) \"/\" Archive/Alt\nS: * LIST (\\HasNoChildren) \"/\" Sent\nS: a OK List completed\n\
         C: b LIST \"\" \"\"\nS: * LIST (\\Noselect) \"/\" \"\"\nS: b OK …\n\
         C: c STATUS sent (MESSAGES)\nS: c NO [NONEXISTENT] …\n\
         C: d LIST \"\" Sent RETURN (STATUS (MESSAGES UIDNEXT))\nS: * LIST (\\HasNoChildren) \"/\" Sent\nS: * STATUS Sent (MESSAGES 0 UIDNEXT 1)\nS: d OK …\n\
         C: e CREATE Entw&APw-rfe/\nS: e OK Create completed\n\
         C: f LIST \"\" Ent%\nS: * LIST (\\HasNoChildren) \"/\" Entw&APw-rfe\nS: f OK …\n\
         C: g ENABLE UTF8=ACCEPT\nS: * ENABLED UTF8=ACCEPT\nS: g OK …\n\
         C: h LIST \"\" Ent%\nS: * LIST (\\HasNoChildren) \"/\" \"Entwürfe\"\nS: h OK …\n\
         C: i DELETE INBOX\nS: i NO [CANNOT] …\nC: j CREATE a//b\nS: j NO [CANNOT] …\n\
         C: k SELECT nope\nS: k NO [NONEXISTENT] …\n\
         C: l NAMESPACE\nS: * NAMESPACE ((\"\" \"/\")) NIL NIL\nS: l OK …\n\
         C: m ID (\"name\" \"test\")\nS: * ID (\"name\" \"Postroad\")\nS: m OK …\n"
    ));
}

#[test]
fn idle_tells_what_happens_and_keeps_the_line_warm() {
    inside(
        "C: a IDLE\nS: + idling\n= quiet\n~ notice mail Subject: new\nS: * 4 EXISTS\nS: * 3 RECENT\n\
         @ 4 min\nS: * OK Still here\n\
         C: DONE\nS: a OK Idle completed\n\
         C: b IDLE\nS: + idling\nC: what\nS: b BAD IDLE ends with DONE\n\
         C: c IDLE\nS: + idling\n~ notice bye\nS: * BYE Your password was changed s=7\n= close",
    );
}

#[test]
fn a_client_that_was_away_is_brought_up_to_date() {
    talk(&format!(
        "{LOGIN}C: a SELECT INBOX (QRESYNC (1001 2))\nS: a BAD …\n\
         C: b ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: b OK Enabled\n{SELECT}\
         C: c EXPUNGE\nS: * VANISHED 3\nS: c OK [HIGHESTMODSEQ 5] …\n\
         C: d UID STORE 1 +FLAGS (\\Seen)\nS: * 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) MODSEQ (6))\nS: d OK …\n\
         C: e SELECT INBOX (QRESYNC (1001 4 1:9))\nS: * OK [CLOSED] …\nS: * FLAGS …\nS: * OK [PERMANENTFLAGS …\nS: * 2 EXISTS\nS: * 0 RECENT\n\
         S: * OK [UIDVALIDITY 1001] …\nS: * OK [UIDNEXT 4] …\nS: * OK [HIGHESTMODSEQ 6] …\n\
         S: * VANISHED (EARLIER) 3\nS: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (6))\nS: e OK [READ-WRITE] …\n\
         C: f UID FETCH 1:* (FLAGS) (CHANGEDSINCE 4 VANISHED)\nS: * VANISHED (EARLIER) 3\n\
         S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (6))\nS: f OK …\n\
         C: g SELECT INBOX (QRESYNC (9 4))\nS: * OK [CLOSED] …\nS: * FLAGS …\nS: * OK [PERMANENTFLAGS …\nS: * 2 EXISTS\nS: * 0 RECENT\n\
         S: * OK [UIDVALIDITY 1001] …\nS: * OK [UIDNEXT 4] …\nS: * OK [HIGHESTMODSEQ 6] …\nS: g OK [READ-WRITE] …\n"
    ));
}

#[test]
fn version_2_sessions_hear_no_recent_and_extended_searches() {
    talk(&format!(
        "{LOGIN}C: a ENABLE IMAP4rev2\nS: * ENABLED IMAP4rev2\nS: a OK Enabled\n\
         C: b EXAMINE INBOX\nS: * FLAGS …\nS: * OK [PERMANENTFLAGS ()] …\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 1001] …\n\
         S: * OK [UIDNEXT 4] …\nS: * OK [HIGHESTMODSEQ 4] …\nS: * LIST () \"/\" INBOX\nS: b OK [READ-ONLY] Select completed\n\
         C: c SEARCH SEEN\nS: * ESEARCH (TAG \"c\") ALL 2\nS: c OK …\n\
         C: d STORE 1 +FLAGS (\\Seen)\nS: d NO [NOPERM] …\nC: e EXPUNGE\nS: e NO [NOPERM] …\n\
         C: f FETCH 1 BODY[TEXT]\nS: * 1 FETCH (BODY[TEXT] {{10}}\nS: first body)\nS: f OK …\n\
         C: g UNSELECT\nS: g OK …\n"
    ));
}

#[test]
fn silence_and_stopping_end_sessions_with_a_word() {
    talk("@ 3 min\nS: * BYE You did not log in… s=7\n= close");
    inside("@ 31 min\nS: * BYE Nothing was heard of you… s=7\n= close");
    inside("~ shutdown\nS: * BYE The server is stopping… s=7\n= close");
    inside("~ notice gone\nS: * BYE The selected folder was deleted… s=7\n= close");
    inside("C: a IDLE\nS: + idling\n~ shutdown\nS: * BYE The server is stopping… s=7\n= close");
}

#[test]
fn what_is_too_long_is_refused_and_the_session_lives() {
    talk(&format!(
        "C-: a NOOP \nC*6000: xxxxxxxxxx\nC:\nS: a BAD The command is too long\n\
         C: b LOGIN {{99999}}\nS: b BAD [TOOBIG] …\n\
         C: c LOGIN {{60000+}}\nC*6000: yyyyyyyyyy\nC:  pw\nS: c BAD [TOOBIG] …\n\
         {LOGIN}C: d NOOP\nS: d OK NOOP completed\n"
    ));
}

#[test]
fn garbage_is_answered_and_ends_at_last() {
    let junk = "C: ‹ff fe 00›\nS: * BAD …\n".repeat(25);
    talk(&format!(
        "{junk}C: GET / HTTP/1.1\nS: GET BAD …\nS: * BYE Too many commands in a row… s=7\n= close"
    ));
}

#[test]
fn compression_begins_once() {
    talk(&format!(
        "{LOGIN}C: a COMPRESS DEFLATE\nS: a OK DEFLATE begins now\n= deflate\nC: b COMPRESS DEFLATE\nS: b NO [COMPRESSIONACTIVE] …\n"
    ));
}

#[test]
fn notify_tells_between_commands() {
    inside(
        "C: a NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[TEXT]) MessageExpunge FlagChange))\nS: * OK [HIGHESTMODSEQ 4] …\nS: a OK Notify completed\n\
         ~ notice mail Subject: new\nS: * 4 EXISTS\nS: * 3 RECENT\nS: * 4 FETCH (UID 4 BODY[TEXT] {0}\nS: )\n\
         C: b NOTIFY NONE\nS: b OK Notify completed\n~ notice mail Subject: quiet\n= quiet\nC: c NOOP\nS: * 5 EXISTS\nS: * 3 RECENT\nS: c OK NOOP completed\n",
    );
}
