//! Canonical forms of headers and bodies (RFC 6376 §3.4), in pieces as they come.

use ring::digest::{Context, SHA256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canon {
    Simple,
    Relaxed,
}

/// RFC 6376 §3.4.1, §3.4.2: one field, without its last line ending.
pub fn header_field(canon: Canon, field: &[u8], out: &mut Vec<u8>) {
    let field = field.strip_suffix(b"\n").map_or(field, |f| f.strip_suffix(b"\r").unwrap_or(f));
    if canon == Canon::Simple {
        out.extend_from_slice(field);
        return;
    }
    let colon = field.iter().position(|b| *b == b':').unwrap_or(field.len());
    let (name, value) = field.split_at(colon);
    out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let mut blank = false;
    let mut any = false;
    for &b in value.get(1..).unwrap_or(b"") {
        match b {
            b' ' | b'\t' | b'\r' | b'\n' => blank = true,
            b => {
                if blank && any {
                    out.push(b' ');
                }
                (blank, any) = (false, true);
                out.push(b);
            }
        }
    }
}

/// Hashes a body that comes in pieces, cut anywhere. The canonical form is never held whole.
pub struct BodyHash {
    canon: Canon,
    /// Octets of the canonical form still to be hashed (RFC 6376 §3.5, tag l).
    room: u64,
    context: Context,
    out: Vec<u8>,
    /// Line ends held back: those at the end of the body do not count.
    line_ends: u64,
    blank: bool,
    cr: bool,
    any: bool,
}

/// Canonical octets gathered before they are hashed.
const CHUNK: usize = 8192;

impl BodyHash {
    pub fn new(canon: Canon, limit: Option<u64>) -> BodyHash {
        BodyHash {
            canon,
            room: limit.unwrap_or(u64::MAX),
            context: Context::new(&SHA256),
            out: Vec::with_capacity(CHUNK + 4),
            line_ends: 0,
            blank: false,
            cr: false,
            any: false,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&b) = rest.first() {
            match b {
                b'\n' if self.cr => {
                    (self.cr, self.blank) = (false, false);
                    self.line_ends += 1;
                    rest = &rest[1..];
                }
                b'\r' => {
                    self.flush_cr();
                    self.cr = true;
                    rest = &rest[1..];
                }
                b' ' | b'\t' if self.canon == Canon::Relaxed => {
                    self.flush_cr();
                    self.blank = true;
                    rest = &rest[1..];
                }
                _ => {
                    self.flush_cr();
                    let stop =
                        |b: &u8| *b == b'\r' || (self.canon == Canon::Relaxed && matches!(*b, b' ' | b'\t'));
                    let len = rest.iter().position(stop).unwrap_or(rest.len()).max(1);
                    self.text(&rest[..len]);
                    rest = &rest[len..];
                }
            }
        }
    }

    /// A CR that no LF followed is text.
    fn flush_cr(&mut self) {
        if std::mem::take(&mut self.cr) {
            self.text(b"\r");
        }
    }

    fn text(&mut self, text: &[u8]) {
        while self.line_ends > 0 {
            self.line_ends -= 1;
            self.put(b"\r\n");
        }
        if std::mem::take(&mut self.blank) {
            self.put(b" ");
        }
        self.any = true;
        self.put(text);
    }

    fn put(&mut self, bytes: &[u8]) {
        let take = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        self.room -= take as u64;
        self.out.extend_from_slice(&bytes[..take]);
        if self.out.len() >= CHUNK {
            self.context.update(&self.out);
            self.out.clear();
        }
    }

    /// The hash, and whether the body was at least as long as the limit said.
    pub fn finish(mut self) -> ([u8; 32], bool) {
        self.flush_cr();
        // RFC 6376 §3.4.3: an empty body is one line end in the simple form, §3.4.4: nothing in
        // the relaxed one.
        if self.any || self.canon == Canon::Simple {
            self.put(b"\r\n");
        }
        self.context.update(&self.out);
        let mut hash = [0; 32];
        hash.copy_from_slice(self.context.finish().as_ref());
        (hash, self.room == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::digest::digest;

    fn check_body(canon: Canon, body: &str, expected: &str) {
        let mut hash = BodyHash::new(canon, None);
        hash.push(body.as_bytes());
        assert_eq!(&hash.finish().0[..], digest(&SHA256, expected.as_bytes()).as_ref(), "{body:?}");
    }

    fn check_field(canon: Canon, field: &str, expected: &str) {
        let mut out = Vec::new();
        header_field(canon, field.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{field:?}");
    }

    /// RFC 6376 §3.4.5 and the cases around it.
    #[test]
    fn bodies_take_their_canonical_form() {
        let body = " C \r\nD \t E\r\n\r\n\r\n";
        check_body(Canon::Relaxed, body, " C\r\nD E\r\n");
        check_body(Canon::Simple, body, " C \r\nD \t E\r\n");
        check_body(Canon::Simple, "", "\r\n");
        check_body(Canon::Relaxed, "", "");
        check_body(Canon::Relaxed, "\r\n \r\n", "");
        check_body(Canon::Relaxed, "a", "a\r\n");
        check_body(Canon::Simple, "a\r\n\r\nb", "a\r\n\r\nb\r\n");
        check_body(Canon::Relaxed, "a\rb\nc\r\r\n", "a\rb\nc\r\r\n");
        check_body(Canon::Relaxed, "\t\r\n\r\n x", "\r\n\r\n x\r\n");
    }

    #[test]
    fn fields_take_their_canonical_form() {
        check_field(Canon::Relaxed, "A: X\r\n", "a:X");
        check_field(Canon::Relaxed, "B : Y\t\r\n\tZ  \r\n", "b:Y Z");
        check_field(Canon::Simple, "B : Y\t\r\n\tZ  \r\n", "B : Y\t\r\n\tZ  ");
        check_field(Canon::Relaxed, "E:\r\n", "e:");
    }

    proptest! {
        #[test]
        fn pieces_hash_as_the_whole(body in "[a \t\r\n]{0,60}", cut in 0usize..60, relaxed: bool, limit in 0u64..20) {
            let canon = if relaxed { Canon::Relaxed } else { Canon::Simple };
            let bytes = body.as_bytes();
            let cut = cut.min(bytes.len());
            let (mut whole, mut parts) = (BodyHash::new(canon, Some(limit)), BodyHash::new(canon, Some(limit)));
            whole.push(bytes);
            parts.push(&bytes[..cut]);
            parts.push(&bytes[cut..]);
            prop_assert_eq!(whole.finish(), parts.finish());
        }
    }
}
