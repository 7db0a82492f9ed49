use super::*;
use proptest::prelude::*;

/// One line per part: depth, kind, header range, body text, lines.
fn show(data: &[u8]) -> String {
    let s = Structure::of(data);
    let mut out = String::new();
    for p in s.parts() {
        let kind = match p.kind {
            Kind::Leaf => "leaf",
            Kind::Multipart => "multi",
            Kind::Message => "message",
        };
        let body = String::from_utf8_lossy(&data[p.body.clone()]);
        let body = if p.kind == Kind::Leaf { format!("{body:?}") } else { p.body.len().to_string() };
        out += &format!("{}{kind} {body} {}|", ">".repeat(p.depth as usize), p.lines);
    }
    out
}

fn check(input: &str, expected: &str) {
    let crlf = input.replace('\n', "\r\n");
    let got = show(crlf.as_bytes());
    assert_eq!(got.replace("\\r\\n", "\\n"), expected, "{input:?}");
}

#[test]
fn a_message_without_mime_is_one_leaf() {
    check("A: b\n\nline\nline\n", "leaf \"line\\nline\\n\" 2|");
    check("", "leaf \"\" 0|");
    check("A: b", "leaf \"\" 0|");
    check("\n", "leaf \"\" 0|");
    // RFC 2045 §4: without MIME-Version and Content-Type, Content-Transfer-Encoding says nothing.
    let s = Structure::of(b"Content-Transfer-Encoding: base64\r\n\r\nx");
    assert_eq!(s.root().encoding, Encoding::Identity);
}

#[test]
fn parts_are_found_between_boundaries() {
    check(
        "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nA: 1\n\ntwo\n\n--b--\nepilogue\n",
        "multi 59 11|>leaf \"one\" 0|>leaf \"two\\n\" 1|",
    );
    // RFC 2046 §5.1.1: blanks after the boundary.
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b  \n\none\n--b-- \n",
        "multi 22 4|>leaf \"one\" 0|",
    );
    // Never closed.
    check("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n", "multi 12 3|>leaf \"one\\n\" 1|");
    // No part at all, and no boundary at all.
    check("Content-Type: multipart/mixed; boundary=b\n\nnothing\n", "multi 9 1|");
    check("Content-Type: multipart/mixed\n\n--b\n\none\n", "multi 12 3|");
    // An empty body; a header cut off by the boundary.
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b--\n",
        "multi 19 4|>leaf \"\" 0|>leaf \"\" 0|",
    );
    check("Content-Type: multipart/mixed; boundary=b\n\n--b\nA: x\n--b--\n", "multi 18 3|>leaf \"\" 0|");
}

#[test]
fn nested_parts_end_with_their_parents() {
    let nested = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=aa\n\n\
                  --aa\n\none\n--a\n\ntwo\n--a--\n";
    check(nested, "multi 83 10|>multi 11 2|>>leaf \"one\" 0|>leaf \"two\" 0|");
    // The same boundary inside and outside: the inner one wins while it is open.
    let same = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n\
                --a\n\none\n--a--\n--a\n\ntwo\n--a--\n";
    check(same, "multi 88 11|>multi 19 4|>>leaf \"one\" 0|>leaf \"two\" 0|");
}

#[test]
fn messages_in_messages_are_read() {
    let inner = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\
                 Subject: in\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b\n\nlast\n--b--\n";
    check(inner, "multi 132 14|>message 75 7|>>multi 17 4|>>>leaf \"x\" 0|>leaf \"last\" 0|");
    // RFC 2046 §5.1.5: in a digest the default is a message.
    check(
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: d\n\ntext\n--b--\n",
        "multi 34 6|>message 18 2|>>leaf \"text\" 0|",
    );
    check(
        "Content-Type: multipart/digest; boundary=b\n\n--b\n--b--\n",
        "multi 12 2|>message 0 0|>>leaf \"\" 0|",
    );
}

#[test]
fn bare_line_feeds_end_lines_too() {
    let mail = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n";
    assert_eq!(show(mail), "multi 15 4|>leaf \"one\" 0|");
}

#[test]
fn depth_and_number_of_parts_are_bounded() {
    let deep: String = (0..300).map(|_| "Content-Type: message/rfc822\r\n\r\n").collect();
    let s = Structure::of(deep.as_bytes());
    assert_eq!(s.parts().len(), DEPTH_MAX);
    assert_eq!(s.parts().last().map(|p| p.kind), Some(Kind::Leaf));
    let many =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(PARTS_MAX + 10));
    assert_eq!(Structure::of(many.as_bytes()).parts().len(), PARTS_MAX);
}

#[test]
fn a_cached_row_stays_small_whatever_the_fields_are() {
    let long = "x".repeat(3 << 20);
    let part = format!("--b\r\nContent-Description: {}\r\nContent-Type: a/b; c={}\r\n\r\n", long, long);
    let mail = format!(
        "Subject: {long}\r\nTo: {}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{part}{part}--b--\r\n",
        "a@b,".repeat(1 << 20)
    );
    let row = crate::Summary::of(mail.as_bytes()).to_bytes();
    assert!(row.len() < 2 << 20, "{}", row.len());
}

/// RFC 9051 §6.4.5.1, the example of a multipart within a multipart and a message.
#[test]
fn sections_are_numbered_as_imap_numbers_them() {
    let mail = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: 1\r\n\r\none\r\n--b\r\n\
                Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext\r\n--b\r\n\
                Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\np\r\n--c\r\n\r\nq\r\n--c--\r\n--b--\r\n";
    let s = Structure::of(mail.as_bytes());
    let get = |path: &[u32], ask| s.section(path, ask).map(|r| &mail[r]);
    assert_eq!(get(&[], Ask::Body), Some(mail));
    assert_eq!(get(&[1], Ask::Body), Some("one"));
    assert_eq!(get(&[1], Ask::Mime), Some("X: 1\r\n\r\n"));
    assert_eq!(get(&[1], Ask::Header), None);
    assert_eq!(get(&[2], Ask::Header), Some("Subject: in\r\n\r\n"));
    assert_eq!(get(&[2], Ask::Text), Some("text"));
    assert_eq!(get(&[2, 1], Ask::Body), Some("text"));
    assert_eq!(get(&[2, 1, 1], Ask::Body), None);
    assert_eq!(get(&[2, 2], Ask::Body), None);
    assert_eq!(get(&[3, 2], Ask::Body), Some("q"));
    assert_eq!(get(&[0], Ask::Body), None);
    assert_eq!(get(&[4], Ask::Body), None);
    let single = Structure::of(b"A: b\r\n\r\nbody");
    assert_eq!(single.section(&[1], Ask::Body), Some(8..12));
    assert_eq!(single.section(&[], Ask::Header), Some(0..8));
    assert_eq!(single.section(&[1, 1], Ask::Body), None);
}

/// Text that is likely to be MIME, and broken.
fn mailish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("Content-Type: multipart/mixed; boundary=a\r\n"),
        Just("Content-Type: multipart/digest; boundary=\"ab\"\r\n"),
        Just("Content-Type: message/rfc822\n"),
        Just("MIME-Version: 1.0\r\n"),
        Just("Content-Transfer-Encoding: base64\r\n"),
        Just("Subject: =?utf-8?q?x\r\n"),
        Just("\r\n"),
        Just("\n"),
        Just("--a\r\n"),
        Just("--a--\r\n"),
        Just("--ab\n"),
        Just("--ab--"),
        Just(" folded\r\n"),
        Just("\0\r\u{80}"),
        Just("text"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|v| v.concat().into_bytes())
}

proptest! {
    #[test]
    fn parts_lie_within_the_message_and_their_parents(data in mailish()) {
        let s = Structure::of(&data);
        prop_assert_eq!(s.root().body.end, data.len());
        for p in s.parts() {
            prop_assert!(p.head.start <= p.head.end && p.head.end <= p.body.start);
            prop_assert!(p.body.start <= p.body.end && p.body.end <= data.len());
            let lines = memchr_iter(b'\n', &data[p.body.clone()]).count();
            prop_assert_eq!(p.lines as usize, lines);
            if let Some(up) = p.parent.and_then(|i| s.part(i)) {
                prop_assert!(up.body.start <= p.head.start && p.body.end <= up.body.end);
                prop_assert_eq!(up.depth + 1, p.depth);
            }
        }
        for (i, p) in s.parts().iter().enumerate() {
            let mut before = p.body.start;
            for child in s.children(i as u32) {
                let child = s.part(child).expect("a child is a part");
                prop_assert!(child.head.start >= before);
                before = child.body.end;
            }
            prop_assert_eq!(p.kind == Kind::Message, p.kind != Kind::Multipart && s.children(i as u32).count() == 1);
        }
    }
    #[test]
    fn any_bytes_are_read(data: Vec<u8>) {
        let s = Structure::of(&data);
        prop_assert_eq!(s.root().body.end, data.len());
    }
    #[test]
    fn contents_read_again_are_the_same(data in mailish()) {
        let (s, contents) = parse(&data);
        for (part, content) in s.parts().iter().zip(&contents) {
            prop_assert_eq!(&part.content(&data), content);
        }
    }
}
