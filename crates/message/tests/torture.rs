//! The torture messages of `tests/fixtures/mime` (see `make.py` there): each has a summary that
//! packs, keeps its laws, and has the shape that was found right once, in `shapes.txt`. To renew
//! that file after looking at the differences: `SHAPES=write cargo test -p message --test torture`.

use std::fmt::Write;
use std::path::PathBuf;

use message::mime::{Ask, Kind, Structure};
use message::{Head, Summary, dsn, edit, manners, text};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/mime")
}

fn cases() -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the fixtures are there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "eml") {
            let name = path.file_stem().expect("named").to_string_lossy().into_owned();
            out.push((name, std::fs::read(&path).expect("readable")));
        }
    }
    out.sort();
    out
}

/// `[leaf 3/0 message 20/2 [leaf …]]`: kinds with octets and lines of bodies, nested.
fn shape(s: &Structure, index: u32, out: &mut String) {
    let part = s.part(index).expect("a part");
    let kind = match part.kind {
        Kind::Leaf => "leaf",
        Kind::Multipart => "multi",
        Kind::Message => "message",
    };
    let _ = write!(out, "{kind} {}/{}", part.body.len(), part.lines);
    let children: Vec<u32> = s.children(index).collect();
    // Long rows of equal leaves would say nothing.
    for (i, child) in children.iter().take(8).enumerate() {
        out.push_str(if i == 0 { " [" } else { ", " });
        shape(s, *child, out);
    }
    if children.len() > 8 {
        let _ = write!(out, ", and {} more", children.len() - 8);
    }
    if !children.is_empty() {
        out.push(']');
    }
}

#[test]
fn every_torture_message_has_the_shape_that_was_found_right() {
    let mut got = String::new();
    for (name, data) in cases() {
        let s = Structure::of(&data);
        let _ = write!(got, "{name}: ");
        shape(&s, 0, &mut got);
        got.push('\n');
    }
    let path = folder().join("shapes.txt");
    if std::env::var_os("SHAPES").is_some_and(|v| v == "write") {
        std::fs::write(&path, &got).expect("written");
    }
    let want = std::fs::read_to_string(&path).expect("shapes.txt is there");
    for (got, want) in got.lines().zip(want.lines()) {
        assert_eq!(got, want);
    }
    assert_eq!(got.lines().count(), want.lines().count());
}

#[test]
fn no_torture_message_fails_any_reader() {
    let cases = cases();
    assert!(cases.len() >= 180, "{}", cases.len());
    for (name, data) in cases {
        let summary = Summary::of(&data);
        assert_eq!(summary.size, data.len() as u64, "{name}");
        assert_eq!(Summary::from_bytes(&summary.to_bytes()).as_ref(), Some(&summary), "{name}");
        let s = &summary.structure;
        assert_eq!(s.section(&[], Ask::Body), Some(0..data.len()), "{name}");
        let head = s.section(&[], Ask::Header).expect("a header");
        assert_eq!(head.end, s.section(&[], Ask::Text).expect("a text").start, "{name}");
        assert!(text::for_search(&data, s, 100_000).len() <= 100_000, "{name}");
        assert!(text::preview(&data, s).chars().count() <= text::PREVIEW_CHARS, "{name}");
        let head = Head::parse(&data);
        let fields: usize = head.fields().map(|f| f.bytes().len()).sum();
        assert_eq!(fields, head.fields_end(), "{name}: the fields are the header, byte for byte");
        manners::Manners::of(&head);
        dsn::read(&data, s);
        let added = edit::Changes::new().prepend("X-Added: 1\r\n").apply(&data);
        if !data.starts_with(b" ") {
            assert_eq!(added.strip_prefix(b"X-Added: 1\r\n"), Some(&data[..]), "{name}");
        }
    }
}
