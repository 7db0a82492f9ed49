use super::*;
use proptest::prelude::*;

const MAIL: &[u8] = b"Date: Sun, 22 Nov 2026 14:48:06 +0100\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@x.org>\r\n\
    To: bob@y.org\r\nSubject: Re: [l] Hi\r\nMessage-ID: <2@x>\r\nReferences: <0@x> <1@x>\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
    Subject: in\r\n\r\nx\r\n--b--\r\n";

#[test]
fn a_summary_holds_what_sort_and_thread_need() {
    let s = Summary::of(MAIL);
    assert_eq!(s.size, MAIL.len() as u64);
    assert_eq!(s.keys.subject, subject::Base { text: "Hi".into(), is_reply: true });
    assert_eq!((&s.keys.from[..], &s.keys.from_shown[..]), ("j", "J\u{fc}rgen"));
    assert_eq!(s.keys.to_shown, "bob@y.org");
    assert_eq!(s.keys.message_id.as_deref(), Some("2@x"));
    assert_eq!(s.keys.references, ["0@x", "1@x"]);
    assert_eq!(s.keys.sent.map(|d| d.zone_min), Some(60));
    assert_eq!(s.structure.parts().len(), 4);
}

#[test]
fn the_packed_form_gives_its_texts_without_unpacking() {
    let s = Summary::of(MAIL);
    let bytes = s.to_bytes();
    assert_eq!(Summary::packed_envelope(&bytes), Some(&s.envelope[..]));
    assert_eq!(Summary::packed_body(&bytes), Some(&s.body[..]));
    assert_eq!(Summary::packed_bodystructure(&bytes), Some(&s.bodystructure[..]));
    assert_eq!(Summary::from_bytes(&bytes), Some(s));
}

#[test]
fn damaged_rows_are_refused() {
    let bytes = Summary::of(MAIL).to_bytes();
    for cut in 0..bytes.len() {
        assert_eq!(Summary::from_bytes(&bytes[..cut]), None);
    }
    let mut other = bytes.clone();
    other[0] = 200;
    assert_eq!(Summary::from_bytes(&other), None);
}

/// Every IMAP text must be one balanced list; strings and literals are skipped by their own rules.
fn balanced(text: &[u8]) -> bool {
    let mut depth = 0i32;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'"' => {
                at += 1;
                while text.get(at).is_some_and(|b| *b != b'"') {
                    if matches!(text[at], b'\r' | b'\n' | 0 | 0x80..) {
                        return false;
                    }
                    at += 1 + usize::from(text[at] == b'\\');
                }
            }
            b'{' => {
                let Some(end) = text[at..].iter().position(|b| *b == b'}') else { return false };
                let len: usize =
                    String::from_utf8_lossy(&text[at + 1..at + end]).parse().unwrap_or(usize::MAX);
                at = at.saturating_add(end + 2).saturating_add(len);
            }
            b'\r' | b'\n' | 0 | 0x80.. => return false,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at == text.len();
        }
    }
    false
}

proptest! {
    #[test]
    fn any_bytes_have_a_summary_that_packs(data: Vec<u8>) {
        let s = Summary::of(&data);
        prop_assert_eq!(Summary::from_bytes(&s.to_bytes()), Some(s));
    }
    #[test]
    fn imap_texts_are_well_formed(
        fields in proptest::collection::vec(
            (prop_oneof![Just("From"), Just("Subject"), Just("To"), Just("Date"), Just("Content-Type"),
                Just("Content-Disposition"), Just("Content-ID"), Just("Content-Language"), Just("X")],
             "[ -~\t\0\u{e9}<>@:;,\"()\\\\]{0,40}"), 0..10),
        body in "[a\r\n-]{0,30}",
    ) {
        let mut data = String::new();
        for (name, value) in fields {
            data += &format!("{name}: {value}\r\n");
        }
        data += "\r\n";
        data += &body;
        let s = Summary::of(data.as_bytes());
        for text in [&s.envelope, &s.body, &s.bodystructure] {
            prop_assert!(balanced(text), "{:?}", String::from_utf8_lossy(text));
        }
        prop_assert_eq!(Summary::from_bytes(&s.to_bytes()), Some(s));
    }
    #[test]
    fn any_row_is_read_or_refused(row: Vec<u8>) {
        Summary::from_bytes(&row);
    }
}
