//! Header fields with their byte offsets.
//!
//! What it is: [`Head::parse`] finds where the header of a message (or of a part) ends;
//! [`Head::fields`] walks its fields lazily and without allocation.
//! What it is not: a judge of syntax. A line without a colon is a field without a name; bare LF
//! ends a line as CRLF does; bare CR, NUL and 8-bit bytes are ordinary content.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

/// RFC 5322 §2.2 names no limit for a field name; past this the line counts as nameless.
pub const NAME_MAX: usize = 1000;

/// The header of a message: everything before the empty line.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    data: &'a [u8],
    start: usize,
    end: usize,
    body: usize,
}

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    data: &'a [u8],
    /// The whole field with its final line ending, as offsets into what was parsed.
    pub span: Range<usize>,
    name_end: usize,
    /// The value as it stands, folds included, from after the colon to before the last line
    /// ending.
    pub value: Range<usize>,
}

impl<'a> Head<'a> {
    /// Reads a header that starts at the first byte.
    pub fn parse(data: &'a [u8]) -> Head<'a> {
        Head::parse_at(data, 0)
    }
    /// Reads a header that starts at `start`; offsets stay relative to `data`.
    pub fn parse_at(data: &'a [u8], start: usize) -> Head<'a> {
        let start = start.min(data.len());
        let mut line = start;
        loop {
            if let Some(n) = empty_line(data, line) {
                return Head { data, start, end: line, body: line + n };
            }
            match memchr(b'\n', &data[line..]) {
                Some(n) => line += n + 1,
                None => return Head { data, start, end: data.len(), body: data.len() },
            }
        }
    }
    /// A header whose bounds are known: no empty line is looked for.
    pub fn within(data: &'a [u8], range: Range<usize>) -> Head<'a> {
        let end = range.end.min(data.len());
        Head { data, start: range.start.min(end), end, body: end }
    }
    /// Where the body begins (after the empty line), or the end if there is none.
    pub fn body_start(&self) -> usize {
        self.body
    }
    /// Where the fields end: before the empty line.
    pub fn fields_end(&self) -> usize {
        self.end
    }
    /// Whether an empty line (or the input's end right after a line) closed the header.
    pub fn is_closed(&self) -> bool {
        self.body > self.end
    }
    /// All fields in their order.
    pub fn fields(&self) -> Fields<'a> {
        Fields { data: self.data, at: self.start, end: self.end }
    }
    /// The first field of that name.
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|f| f.is(name))
    }
    /// Every field of that name, top to bottom.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = Field<'a>> + use<'a, 'n> {
        self.fields().filter(move |f| f.is(name))
    }
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
    /// The first field of that name, decoded for people.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|f| f.text())
    }
    /// IMAP `HEADER.FIELDS` and `HEADER.FIELDS.NOT` (RFC 9051 §6.4.5.1): the fields asked for,
    /// byte for byte, and an empty line.
    pub fn pick(&self, names: &[impl AsRef<str>], not: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for field in self.fields() {
            let listed = names.iter().any(|n| field.is(n.as_ref()));
            if listed != not {
                out.extend_from_slice(field.bytes());
                if !out.ends_with(b"\n") {
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// The length of the empty line at `at`, if one stands there.
fn empty_line(data: &[u8], at: usize) -> Option<usize> {
    match data.get(at) {
        Some(b'\n') => Some(1),
        Some(b'\r') if data.get(at + 1) == Some(&b'\n') => Some(2),
        _ => None,
    }
}

/// Walks the fields of a header.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;
    fn next(&mut self) -> Option<Field<'a>> {
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        // RFC 5322 §2.2.3: a line that begins with a blank or tab continues the one before.
        let mut next = start;
        loop {
            match memchr(b'\n', &self.data[next..self.end]) {
                None => {
                    next = self.end;
                    break;
                }
                Some(n) => next += n + 1,
            }
            if next >= self.end || !matches!(self.data[next], b' ' | b'\t') {
                break;
            }
        }
        self.at = next;
        Some(field(self.data, start..next))
    }
}

fn field(data: &[u8], span: Range<usize>) -> Field<'_> {
    let bytes = &data[span.clone()];
    let mut value_end = span.end;
    if bytes.ends_with(b"\r\n") {
        value_end -= 2;
    } else if bytes.ends_with(b"\n") {
        value_end -= 1;
    }
    let first_line = memchr(b'\n', bytes).unwrap_or(bytes.len());
    let colon = memchr(b':', &bytes[..first_line]).filter(|c| *c <= NAME_MAX);
    let Some(colon) = colon else {
        return Field { data, name_end: span.start, value: span.start..value_end, span };
    };
    // RFC 5322 §4.5: obsolete syntax allows blanks before the colon.
    let mut name_len = colon;
    while name_len > 0 && matches!(bytes[name_len - 1], b' ' | b'\t') {
        name_len -= 1;
    }
    let value_start = (span.start + colon + 1).min(value_end);
    Field { data, name_end: span.start + name_len, value: value_start..value_end, span }
}

impl<'a> Field<'a> {
    /// The name without the colon; empty for a line that has none.
    pub fn name(&self) -> &'a [u8] {
        &self.data[self.span.start..self.name_end]
    }
    /// Names compare without regard to case (RFC 5322 §1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name_end > self.span.start && self.name().eq_ignore_ascii_case(name.as_bytes())
    }
    /// The whole field as it stands.
    pub fn bytes(&self) -> &'a [u8] {
        &self.data[self.span.clone()]
    }
    /// The value as it stands, folds included.
    pub fn raw(&self) -> &'a [u8] {
        &self.data[self.value.clone()]
    }
    /// The value on one line, without the blanks around it (RFC 5322 §2.2.3).
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.raw())
    }
    /// The value for people: on one line, encoded words decoded (RFC 2047).
    pub fn text(&self) -> String {
        crate::words2047::decode(&self.unfolded())
    }
}

pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Takes the line endings out of a value. Where one stands before something that is no blank
/// (broken folding), a blank takes its place.
pub fn unfold(raw: &[u8]) -> Cow<'_, [u8]> {
    let raw = trim(raw);
    if memchr::memchr2(b'\n', b'\r', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    for (i, &b) in raw.iter().enumerate() {
        if b != b'\r' && b != b'\n' {
            out.push(b);
        } else if !matches!(raw.get(i + 1), Some(b' ' | b'\t' | b'\r' | b'\n') | None) {
            out.push(b' ');
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[(&str, &str)], body: &str) {
        let head = Head::parse(input.as_bytes());
        let got: Vec<(String, String)> = head
            .fields()
            .map(|f| {
                (
                    String::from_utf8_lossy(f.name()).into_owned(),
                    String::from_utf8_lossy(&f.unfolded()).into_owned(),
                )
            })
            .collect();
        let want: Vec<(String, String)> =
            expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(got, want, "{input:?}");
        assert_eq!(&input[head.body_start()..], body, "{input:?}");
    }

    #[test]
    fn fields_are_found_in_well_formed_and_broken_headers() {
        check("A: 1\r\nB: 2\r\n\r\nbody", &[("A", "1"), ("B", "2")], "body");
        check("A: 1\nB: 2\n\nbody", &[("A", "1"), ("B", "2")], "body");
        check("A: 1\r\n two\r\n\tthree\r\n\r\n", &[("A", "1 two\tthree")], "");
        check("A : 1\r\nno colon here\r\nB:2", &[("A", "1"), ("", "no colon here"), ("B", "2")], "");
        check("\r\nbody", &[], "body");
        check("", &[], "");
        check("A: b\rc\r\n\r\n", &[("A", "b c")], "");
        check("A:\r\nB: x\r\n\n", &[("A", ""), ("B", "x")], "");
        check(" leading: x\r\n\r\n", &[(" leading", "x")], "");
    }

    #[test]
    fn names_compare_without_case_and_nameless_lines_never_match() {
        let head = Head::parse(b"SUBJECT: =?utf-8?q?h=C3=A9?=\r\nx\r\n\r\n");
        assert_eq!(head.text("subject").as_deref(), Some("h\u{e9}"));
        assert!(!head.has(""));
    }

    #[test]
    fn picked_fields_keep_their_bytes_and_end_with_an_empty_line() {
        let head = Head::parse(b"A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\nx");
        assert_eq!(head.pick(&["b"], false), b"B: 2\r\n 3\r\n\r\n");
        assert_eq!(head.pick(&["b"], true), b"A: 1\r\nC: 4\r\n\r\n");
    }
}
