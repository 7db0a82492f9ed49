//! Content transfer encodings: base64 and quoted-printable, both ways, tolerant and in pieces.
//!
//! Begin with [`Encoding::of`] and [`decode`]; [`Decoder`] does the same on a stream.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// RFC 2045 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// 7bit, 8bit, binary, or nothing said: the bytes are the content.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    /// RFC 2045 §6.4: something we do not know; IMAP BINARY must refuse it (RFC 3516 §4.3).
    Unknown,
}

impl Encoding {
    /// From the token of a Content-Transfer-Encoding field.
    pub fn of(token: &[u8]) -> Encoding {
        let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
        if token.is_empty() || is("7bit") || is("8bit") || is("binary") || is("7-bit") || is("8-bit") {
            Encoding::Identity
        } else if is("base64") {
            Encoding::Base64
        } else if is("quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Unknown
        }
    }
}

/// Decodes a whole body.
pub fn decode(encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut decoder = Decoder::new(encoding);
    decoder.push(body, &mut out);
    decoder.finish(&mut out);
    out
}

/// Decodes a body that comes in pieces, cut anywhere.
#[derive(Clone, Debug)]
pub struct Decoder(State);

#[derive(Clone, Debug)]
enum State {
    Identity,
    Base64 { hold: u32, count: u8 },
    Quoted(Quoted),
}

/// Blanks held back at a line's end at most, for they may be white space to drop.
const BLANKS_MAX: usize = 1000;

#[derive(Clone, Debug, Default)]
struct Quoted {
    /// Blanks that are dropped if a line ending follows (RFC 2045 §6.7 rule 3).
    blanks: Vec<u8>,
    /// What came since an `=`, not yet understood.
    escape: Vec<u8>,
}

impl Decoder {
    pub fn new(encoding: Encoding) -> Decoder {
        Decoder(match encoding {
            Encoding::Identity | Encoding::Unknown => State::Identity,
            Encoding::Base64 => State::Base64 { hold: 0, count: 0 },
            Encoding::QuotedPrintable => State::Quoted(Quoted::default()),
        })
    }
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Identity => out.extend_from_slice(bytes),
            State::Base64 { hold, count } => {
                for &b in bytes {
                    base64_step(b, hold, count, out);
                }
            }
            State::Quoted(q) => q.push_all(bytes, out),
        }
    }
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.0 {
            State::Identity => {}
            State::Base64 { hold, count } => base64_rest(hold, count, out),
            State::Quoted(q) => {
                if !q.escape.is_empty() && !q.escape[1..].iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
                    out.extend_from_slice(&q.escape);
                }
            }
        }
    }
}

const NO: u8 = 255;
const BASE64: [u8; 256] = {
    let mut table = [NO; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < 64 {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
};

pub(crate) fn base64_value(b: u8) -> Option<u8> {
    let v = BASE64[b as usize];
    (v != NO).then_some(v)
}

/// RFC 2045 §6.8: bytes outside the alphabet are skipped. Padding ends a group, and text after it
/// begins a new one (bodies glued together by mailing lists).
fn base64_step(b: u8, hold: &mut u32, count: &mut u8, out: &mut Vec<u8>) {
    let v = BASE64[b as usize];
    if v != NO {
        *hold = *hold << 6 | u32::from(v);
        *count += 1;
        if *count == 4 {
            out.extend_from_slice(&hold.to_be_bytes()[1..]);
            (*hold, *count) = (0, 0);
        }
    } else if b == b'=' {
        base64_rest(*hold, *count, out);
        (*hold, *count) = (0, 0);
    }
}

fn base64_rest(hold: u32, count: u8, out: &mut Vec<u8>) {
    match count {
        2 => out.push((hold >> 4) as u8),
        3 => out.extend_from_slice(&[(hold >> 10) as u8, (hold >> 2) as u8]),
        _ => {}
    }
}

impl Quoted {
    fn push_all(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(&b) = rest.first() {
            if self.escape.is_empty() && self.blanks.is_empty() {
                let plain = rest.iter().position(|b| matches!(b, b'=' | b' ' | b'\t')).unwrap_or(rest.len());
                if plain > 0 {
                    out.extend_from_slice(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.push(b, out);
            rest = &rest[1..];
        }
    }
    fn push(&mut self, b: u8, out: &mut Vec<u8>) {
        if !self.escape.is_empty() {
            self.push_escape(b, out);
            return;
        }
        match b {
            b'=' => {
                out.append(&mut self.blanks);
                self.escape.push(b);
            }
            b' ' | b'\t' if self.blanks.len() < BLANKS_MAX => self.blanks.push(b),
            // A CR may be half a line ending: hold the blanks until the LF.
            b'\r' if !self.blanks.is_empty() && self.blanks.last() != Some(&b'\r') => self.blanks.push(b),
            b'\n' => {
                let cr = self.blanks.last() == Some(&b'\r');
                self.blanks.clear();
                if cr {
                    out.push(b'\r');
                }
                out.push(b);
            }
            _ => {
                out.append(&mut self.blanks);
                out.push(b);
            }
        }
    }
    /// After an `=`: two hexadecimal digits, or blanks and a line ending (a soft line break). What
    /// is neither stays as it is written.
    fn push_escape(&mut self, b: u8, out: &mut Vec<u8>) {
        self.escape.push(b);
        let rest = &self.escape[1..];
        if b == b'\n' && rest[..rest.len() - 1].iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            self.escape.clear();
        } else if rest.len() == 2 && rest.iter().all(u8::is_ascii_hexdigit) {
            out.extend(crate::params::hex_pair(rest));
            self.escape.clear();
        } else if rest.len() == 1 && b.is_ascii_hexdigit()
            || (matches!(b, b' ' | b'\t' | b'\r') && !rest[0].is_ascii_hexdigit() && rest.len() < BLANKS_MAX)
        {
            // Not decided yet.
        } else {
            // The last byte may itself begin something.
            self.escape.pop();
            out.append(&mut self.escape);
            self.push(b, out);
        }
    }
}

/// Base64 in lines of 76 characters, each ended by CRLF.
pub fn encode_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() / 57 * 78 + 80);
    for chunk in bytes.chunks(57) {
        STANDARD.encode_string(chunk, &mut out);
        out.push_str("\r\n");
    }
    out
}

/// Quoted-printable for text: line endings (LF or CRLF) become CRLF, no line is longer than 76.
pub fn encode_quoted(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut column = 0;
    let mut at = 0;
    while at < text.len() {
        let b = text[at];
        let crlf = b == b'\r' && text.get(at + 1) == Some(&b'\n');
        if b == b'\n' || crlf {
            out.push_str("\r\n");
            column = 0;
            at += 1 + usize::from(crlf);
            continue;
        }
        let at_end = matches!(text.get(at + 1), None | Some(b'\n' | b'\r'));
        let plain = (33..=126).contains(&b) && b != b'=' || (matches!(b, b' ' | b'\t') && !at_end);
        // `From ` and a lone dot at a line's start are changed by old mailers: write them safely.
        let plain = plain && !(column == 0 && matches!(b, b'F' | b'.'));
        let width = if plain { 1 } else { 3 };
        if column + width > 75 {
            out.push_str("=\r\n");
            column = 0;
            continue;
        }
        if plain {
            out.push(b as char);
        } else {
            out.push_str(&format!("={b:02X}"));
        }
        column += width;
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(encoding: Encoding, input: &str, expected: &[u8]) {
        assert_eq!(decode(encoding, input.as_bytes()), expected, "{input:?}");
    }

    #[test]
    fn base64_is_read_however_it_is_broken() {
        let b = Encoding::Base64;
        check(b, "aGVsbG8=", b"hello");
        check(b, "aGVs\r\nbG8=\r\n", b"hello");
        check(b, "aGVsbG8", b"hello");
        check(b, "aGVsbG8=aGVsbG8=", b"hellohello");
        check(b, "a!G*V s-bG8=", b"hello");
        check(b, "====", b"");
    }

    #[test]
    fn quoted_printable_is_read_however_it_is_broken() {
        let q = Encoding::QuotedPrintable;
        check(q, "a=3Db", b"a=b");
        check(q, "a=3db=\r\nc", b"a=bc");
        check(q, "a= \t\r\nb", b"ab");
        check(q, "a=\nb", b"ab");
        check(q, "trailing  \r\nx", b"trailing\r\nx");
        check(q, "100=% of =XY", b"100=% of =XY");
        check(q, "a=", b"a");
        check(q, "==41", b"=A");
        check(q, "a b  c", b"a b  c");
        check(q, "=4", b"=4");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes: Vec<u8>) {
            prop_assert_eq!(decode(Encoding::Base64, encode_base64(&bytes).as_bytes()), bytes);
        }
        #[test]
        fn quoted_text_is_decoded(text in "[ -~\t\u{a0}-\u{2fff}]{0,300}") {
            let encoded = encode_quoted(text.as_bytes());
            prop_assert!(encoded.split("\r\n").all(|l| l.len() <= 76));
            prop_assert_eq!(decode(Encoding::QuotedPrintable, encoded.as_bytes()), text.as_bytes());
        }
        #[test]
        fn pieces_decode_as_the_whole(bytes in "[=A-F0-9 \t\r\na]{0,60}", cut in 0usize..60) {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                let bytes = bytes.as_bytes();
                let cut = cut.min(bytes.len());
                let mut out = Vec::new();
                let mut decoder = Decoder::new(encoding);
                decoder.push(&bytes[..cut], &mut out);
                decoder.push(&bytes[cut..], &mut out);
                decoder.finish(&mut out);
                prop_assert_eq!(out, decode(encoding, bytes));
            }
        }
        #[test]
        fn any_bytes_decode(bytes: Vec<u8>) {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable, Encoding::Unknown] {
                prop_assert!(decode(encoding, &bytes).len() <= bytes.len());
            }
        }
    }
}
