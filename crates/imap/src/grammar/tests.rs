//! Tables of what is understood and what is refused.

use super::*;
use crate::ask::{Change, StatusItems};
use crate::command::*;
use crate::flags::Flags;
use crate::set::SeqSet;
use proptest::prelude::*;

fn verb_of(text: &str) -> Verb {
    match parse(format!("a {text}").as_bytes(), false) {
        Ok(command) => command.verb,
        Err(e) => panic!("{text}: {e:?}"),
    }
}

fn fault(text: &str) -> Fault {
    match parse(format!("a {text}").as_bytes(), false) {
        Ok(_) => panic!("{text} was understood"),
        Err(e) => e.fault,
    }
}

fn fetch_spec(text: &str) -> FetchSpec {
    match verb_of(text) {
        Verb::Fetch { spec, .. } => *spec,
        _ => panic!("no FETCH: {text}"),
    }
}

fn key(text: &str) -> SearchKey {
    match verb_of(&format!("SEARCH {text}")) {
        Verb::Search { spec, .. } => spec.key,
        _ => panic!("no SEARCH: {text}"),
    }
}

/// At least one command for each extension we name in CAPABILITY.
const UNDERSTOOD: &[&str] = &[
    "CAPABILITY",
    "noop",
    "LOGOUT",
    "STARTTLS",
    "UNAUTHENTICATE",
    "NAMESPACE",
    "IDLE",
    "CHECK",
    "CLOSE",
    "UNSELECT",
    "EXPUNGE",
    "LOGIN joe \"pass word\"",
    "LOGIN {3}\r\njoe {2}\r\npw",
    "AUTHENTICATE PLAIN",
    "AUTHENTICATE PLAIN =",
    "AUTHENTICATE PLAIN AGpvZQBwdw==",
    "ENABLE CONDSTORE QRESYNC",
    "ID NIL",
    "ID (\"name\" \"x\" \"version\" NIL)",
    "ID (\"name\" \"Thunderbird\" \"version\" 102.7.1)",
    "ID (\"a\", \"b\", \"c\", \"d\")",
    "STORE 4  FLAGS  (\\Deleted )",
    "STATUS x (  MESSAGES  UNSEEN )",
    "SEARCH OR ( FROM o  ALL ) ( OR SEEN ( NOT TO x ) )",
    "FETCH 1 (FULL UID)",
    "AUTHENTICATE \"PLAIN\"",
    "SELECT inbox",
    "SELECT Sent (CONDSTORE)",
    "SELECT x (QRESYNC (1 2))",
    "SELECT x (QRESYNC (1 2 1:5,9))",
    "SELECT x (QRESYNC (1 2 1:5 (1 2)))",
    "EXAMINE x",
    "CREATE a/b",
    "CREATE x (USE (\\Sent \\Drafts))",
    "DELETE x",
    "RENAME a b",
    "SUBSCRIBE x",
    "UNSUBSCRIBE x",
    "LIST \"\" *",
    "LIST \"\" \"%\"",
    "LIST (SUBSCRIBED) \"\" *",
    "LIST () \"\" * RETURN (CHILDREN SUBSCRIBED SPECIAL-USE)",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a* b%)",
    "LIST \"\" * RETURN (STATUS (MESSAGES SIZE UNSEEN))",
    "LSUB \"\" *",
    "XLIST \"\" %",
    "STATUS x (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE RECENT HIGHESTMODSEQ MAILBOXID APPENDLIMIT)",
    "FETCH 1 ALL",
    "FETCH 1:* (FLAGS UID)",
    "UID FETCH 1,5:9 (BODY.PEEK[1.2.MIME]<0.10> RFC822)",
    "UID FETCH 1:* FLAGS (CHANGEDSINCE 5 VANISHED)",
    "UID FETCH 1:* FLAGS (PARTIAL -1:-10)",
    "FETCH $ FLAGS",
    "FETCH 1 (PREVIEW (LAZY) SAVEDATE EMAILID THREADID MODSEQ BINARY.PEEK[1]<0.5> BINARY.SIZE[2])",
    "STORE 1 FLAGS \\Seen",
    "UID STORE 1:5 (UNCHANGEDSINCE 12) +FLAGS.SILENT (\\Deleted $Work)",
    "STORE 1 -FLAGS ()",
    "COPY 1:3 x",
    "UID COPY $ x",
    "MOVE 1 x",
    "UID MOVE 1 x",
    "UID EXPUNGE 1:3",
    "SEARCH ALL",
    "UID SEARCH RETURN () UNSEEN",
    "SEARCH RETURN (SAVE) $ NOT DELETED",
    "SEARCH RETURN (PARTIAL 1:10 COUNT) ALL",
    "SEARCH CHARSET UTF-8 TEXT {2}\r\né",
    "SORT (REVERSE DATE SUBJECT) UTF-8 ALL",
    "UID SORT RETURN (COUNT) (DISPLAYFROM) US-ASCII ALL",
    "THREAD REFERENCES UTF-8 SINCE 1-Jan-2020",
    "UID THREAD ORDEREDSUBJECT US-ASCII ALL",
    "COMPRESS DEFLATE",
    "GETQUOTA \"\"",
    "GETQUOTAROOT INBOX",
    "SETQUOTA \"\" (STORAGE 5)",
    "GETMETADATA \"\" /shared/comment",
    "GETMETADATA (MAXSIZE 10 DEPTH 1) INBOX (/private/a /shared/b)",
    "GETMETADATA x (DEPTH infinity) /private/a",
    "SETMETADATA INBOX (/private/comment \"x\" /shared/y NIL)",
    "SETMETADATA x (/private/a ~{2}\r\n\0\0)",
    "GETACL x",
    "SETACL x bob +lr",
    "DELETEACL x bob",
    "LISTRIGHTS x bob",
    "MYRIGHTS x",
    "NOTIFY NONE",
    "NOTIFY SET STATUS (SELECTED (MessageNew (FLAGS) MessageExpunge)) (SUBTREE (a b) (MailboxName))",
];

#[test]
fn every_command_of_the_list_is_understood() {
    for text in UNDERSTOOD {
        verb_of(text);
    }
}

#[test]
fn what_is_not_grammatical_is_refused() {
    for text in [
        "",
        "FOO",
        "FOO bar",
        "LOGIN joe",
        "LOGIN joe pw x",
        "SELECT",
        "SELECT a b",
        "FETCH 0 FLAGS",
        "FETCH 1",
        "FETCH 1 ()",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[]<1>",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 FLAGS (VANISHED)",
        "STORE 1 +FLAGS (\\Recent)",
        "STORE 1 FOO x",
        "LIST \"\"",
        "LIST (RECURSIVEMATCH) \"\" *",
        "STATUS x ()",
        "STATUS x (FOO)",
        "SEARCH",
        "SEARCH FOO",
        "SEARCH NOT",
        "SEARCH (ALL",
        "SEARCH ON 31-Feb-2020",
        "SEARCH ON 1-Foo-2020",
        "SEARCH OLDER 0",
        "SEARCH 1 2,0",
        "SEARCH RETURN (ALL PARTIAL 1:2) ALL",
        "SORT () UTF-8 ALL",
        "SORT (FOO) UTF-8 ALL",
        "THREAD FOO UTF-8 ALL",
        "COMPRESS GZIP",
        "GETMETADATA x comment",
        "SETMETADATA x (/private/a)",
        "SETACL x bob q",
        "ID (\"a\")",
        "NOTIFY SET (SELECTED (MessageNew))",
        "NOTIFY SET",
        "NOOP x",
        "LOGIN \"joe pw",
        "LOGIN jo{e pw",
        "SELECT x (QRESYNC (0 1))",
        "APPEND x foo",
        "REPLACE 1 x",
        "LOGIN {3}\r\njo\0 x",
    ] {
        assert!(matches!(fault(text), Fault::Bad(_)), "{text}");
    }
    assert!(matches!(fault("SELECT a&b"), Fault::No(..)));
    assert!(matches!(fault("CREATE x (USE (\\Foo))"), Fault::No(..)));
    assert!(parse(b"", false).is_err_and(|e| e.tag == "*"));
    assert!(parse(b"+a NOOP", false).is_err_and(|e| e.tag == "*"));
}

#[test]
fn fetch_items_keep_their_order_and_labels() {
    let spec =
        fetch_spec("FETCH 1 (UID BODY[HEADER.FIELDS (from \"x y\")] BODY.PEEK[1.2]<5.10> RFC822.TEXT)");
    let labels: Vec<_> = spec
        .items
        .iter()
        .map(|i| match i {
            FetchItem::Section { index, label } => format!("{index} {label}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(labels, ["Uid", "0 BODY[HEADER.FIELDS (from \"x y\")]", "1 BODY[1.2]<5>", "2 RFC822.TEXT"]);
    assert_eq!(
        spec.sections[1],
        Section { part: vec![1, 2], kind: SectionKind::All, partial: Some((5, 10)) }
    );
    assert!(spec.marks_seen);
    assert!(!fetch_spec("FETCH 1 (BODY.PEEK[] RFC822.HEADER BINARY.SIZE[1])").marks_seen);
    assert_eq!(fetch_spec("FETCH 1 FULL").items.len(), 5);
}

#[test]
fn search_keys_become_a_tree() {
    assert_eq!(
        key("OR FROM a NOT (SEEN 1:3) UID 5:*"),
        SearchKey::And(vec![
            SearchKey::Or(
                Box::new(SearchKey::From("a".into())),
                Box::new(SearchKey::Not(Box::new(SearchKey::And(vec![
                    SearchKey::Has(Flags::SEEN),
                    SearchKey::Seqs(SeqSet(vec![(Some(1), Some(3))])),
                ])))),
            ),
            SearchKey::UidSeqs(SeqSet(vec![(Some(5), None)])),
        ])
    );
    assert_eq!(key("ON 2-Jan-1970"), SearchKey::On(1));
    assert_eq!(key("MODSEQ \"/flags/\\\\draft\" all 7"), SearchKey::ModSeq(7));
    let deep = "NOT ".repeat(100) + "ALL";
    assert!(matches!(fault(&format!("SEARCH {deep}")), Fault::No(..)));
}

#[test]
fn folder_names_are_decoded_and_inbox_is_one() {
    for (text, want) in
        [("inbox", "INBOX"), ("InBox/x", "INBOX/x"), ("inboxes", "inboxes"), ("Entw&APw-rfe", "Entwürfe")]
    {
        match verb_of(&format!("DELETE {text}")) {
            Verb::Delete { folder } => assert_eq!(folder, want),
            _ => panic!("{text}"),
        }
    }
}

#[test]
fn stores_and_statuses_are_read() {
    match verb_of("UID STORE 1 (UNCHANGEDSINCE 9) -FLAGS.SILENT (\\seen a A)") {
        Verb::Store { by: By::Uid, spec, .. } => {
            assert_eq!((spec.change, spec.silent, spec.unchanged_since), (Change::Remove, true, Some(9)));
            assert_eq!((spec.flags.system, spec.flags.keywords.len()), (Flags::SEEN, 1));
        }
        _ => panic!(),
    }
    match verb_of("STATUS x (UNSEEN SIZE)") {
        Verb::Status { items, .. } => assert_eq!(items, StatusItems::UNSEEN.with(StatusItems::SIZE)),
        _ => panic!(),
    }
}

#[test]
fn appends_are_told_from_their_folder_literal() {
    for (text, message) in [
        ("a APPEND {5}\r\n", false),
        ("a APPEND x {5}\r\n", true),
        ("a append {1}\r\nx (\\Seen) {5+}\r\n", true),
        ("a REPLACE 5 {3}\r\n", false),
        ("a UID REPLACE 5 x ~{3}\r\n", true),
        ("a LOGIN {5}\r\n", false),
    ] {
        assert_eq!(append::announces_message(text.as_bytes()), message, "{text}");
    }
    let opening =
        append::opening(b"a APPEND x (\\Seen w) \" 1-Jan-1970 01:00:00 +0100\" UTF8 (~{5}\r\n", false);
    let Ok(opening) = opening else { panic!() };
    assert!(opening.head.utf8 && opening.head.date.is_some_and(|d| d.secs == 0 && d.zone == 60));
    assert!(append::opening(b"a REPLACE 1:2 x {5}\r\n", false).is_err());
}

proptest! {
    #[test]
    fn no_command_text_panics(text in "a (UID )?(FETCH|SEARCH|LIST|STORE|SELECT|NOTIFY|SORT|STATUS|GETMETADATA) [ -~\r\n]{0,60}") {
        let _ = parse(text.as_bytes(), true);
        let _ = append::opening(text.as_bytes(), false);
    }
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&bytes, false);
        let _ = append::announces_message(&bytes);
    }
    #[test]
    fn what_is_written_as_an_astring_reads_back(bytes in proptest::collection::vec(1u8.., 0..40), utf8: bool) {
        let mut out = Vec::new();
        write::astring(&mut out, &bytes, utf8);
        let mut c = Cursor::new(&out, utf8);
        prop_assert_eq!(c.astring().map(|a| a.into_owned()), Ok(bytes));
        prop_assert!(c.is_end());
    }
}
