//! Encoded words (RFC 2047): other charsets in header fields.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::charset;
use crate::transfer::{Encoding, decode as decode_transfer};

/// RFC 2047 §2 says 75 characters; real mail goes further. Longer ones stay as they are.
const WORD_MAX: usize = 4000;

struct Word<'a> {
    charset: &'a [u8],
    bytes: Vec<u8>,
    len: usize,
}

/// Decodes a field's value for people. Blanks between two encoded words vanish (RFC 2047 §6.2);
/// neighbours in one charset are joined before decoding, since many programs cut characters in
/// two. Text outside words is UTF-8, or Windows-1252 if it cannot be.
pub fn decode(value: &[u8]) -> String {
    if memchr::memmem::find(value, b"=?").is_none() {
        return charset::guess(value).into_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut pending: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut plain_from = 0;
    let mut at = 0;
    while let Some(n) = memchr::memmem::find(&value[at..], b"=?") {
        let start = at + n;
        let Some(word) = word_at(&value[start..]) else {
            at = start + 2;
            continue;
        };
        let between = &value[plain_from..start];
        let glued = pending.is_some() && between.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        if !glued {
            flush(&mut pending, &mut out);
            out.push_str(&charset::guess(between));
        }
        match &mut pending {
            Some((cs, bytes)) if cs.eq_ignore_ascii_case(word.charset) => bytes.extend(word.bytes),
            _ => {
                flush(&mut pending, &mut out);
                pending = Some((word.charset.to_vec(), word.bytes));
            }
        }
        at = start + word.len;
        plain_from = at;
    }
    flush(&mut pending, &mut out);
    out.push_str(&charset::guess(&value[plain_from..]));
    out
}

fn flush(pending: &mut Option<(Vec<u8>, Vec<u8>)>, out: &mut String) {
    if let Some((cs, bytes)) = pending.take() {
        out.push_str(&charset::decode(&cs, &bytes));
    }
}

/// The length of the encoded word at the start of `bytes`, if one stands there.
pub(crate) fn word_len(bytes: &[u8]) -> Option<usize> {
    let (_, _, _, len) = split(bytes)?;
    Some(len)
}

fn split(bytes: &[u8]) -> Option<(&[u8], u8, &[u8], usize)> {
    let inner = bytes.strip_prefix(b"=?")?;
    let window = &inner[..inner.len().min(WORD_MAX)];
    let cs_end = window.iter().position(|b| *b == b'?' || *b <= 32)?;
    if window[cs_end] != b'?' || cs_end == 0 {
        return None;
    }
    let method = window.get(cs_end + 1)?.to_ascii_lowercase();
    if window.get(cs_end + 2) != Some(&b'?') {
        return None;
    }
    let text_from = cs_end + 3;
    let text_len = memchr::memmem::find(&window[text_from..], b"?=")?;
    let text = &window[text_from..text_from + text_len];
    Some((&window[..cs_end], method, text, 2 + text_from + text_len + 2))
}

fn word_at(bytes: &[u8]) -> Option<Word<'_>> {
    let (charset, method, text, len) = split(bytes)?;
    // RFC 2231 §5: the charset may carry a language after a star.
    let charset = charset.split(|b| *b == b'*').next().unwrap_or(charset);
    let bytes = match method {
        b'b' => decode_transfer(Encoding::Base64, text),
        b'q' => q_decode(text),
        _ => return None,
    };
    Some(Word { charset, bytes, len })
}

fn q_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'_' => out.push(b' '),
            b'=' => match crate::params::hex_pair(&text[at + 1..]) {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'='),
            },
            b => out.push(b),
        }
        at += 1;
    }
    out
}

/// Writes text for an unstructured field or a display name: ASCII stays as it is (unless it could
/// be read as an encoded word); other text becomes words of at most 75 characters, divided by
/// blanks, each holding whole characters.
pub fn encode(text: &str) -> String {
    let safe = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(safe) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut piece = String::new();
    // 45 bytes are 60 characters of base64; with `=?UTF-8?B?` and `?=` that is 72.
    for c in text.chars() {
        if piece.len() + c.len_utf8() > 45 {
            push_word(&mut out, &piece);
            piece.clear();
        }
        piece.push(c);
    }
    push_word(&mut out, &piece);
    out
}

fn push_word(out: &mut String, piece: &str) {
    if piece.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push(' ');
    }
    out.push_str("=?UTF-8?B?");
    STANDARD.encode_string(piece, out);
    out.push_str("?=");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(decode(input.as_bytes()), expected, "{input:?}");
    }

    #[test]
    fn encoded_words_are_decoded() {
        // RFC 2047 §8, and what real mail does to it.
        check("=?ISO-8859-1?Q?a?=", "a");
        check("=?ISO-8859-1?Q?a?= b", "a b");
        check("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab");
        check("=?ISO-8859-1?Q?a_b?=", "a b");
        check("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b");
        check("=?utf-8*en?q?h=C3=A9?=", "h\u{e9}");
        check("=?utf-8?b?w6k=?=", "\u{e9}");
        check("=?utf-8?b?ww==?= =?utf-8?b?qQ==?=", "\u{e9}");
        check("x=?utf-8?q?a?=y", "xay");
        check("=?utf-8?x?a?=", "=?utf-8?x?a?=");
        check("=?utf-8?q?no end", "=?utf-8?q?no end");
        check("=?utf-8?q?a b?=", "a b");
        check("=?bad", "=?bad");
        check("plain", "plain");
    }

    #[test]
    fn eight_bit_text_outside_words_is_read() {
        assert_eq!(decode(b"h\xE9 =?utf-8?q?x?="), "h\u{e9} x");
        assert_eq!(decode("h\u{e9}".as_bytes()), "h\u{e9}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC{0,200}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert!(encoded == text || encoded.split(' ').all(|w| w.len() <= 75));
            prop_assert_eq!(decode(encoded.as_bytes()), text);
        }
        #[test]
        fn any_bytes_decode(bytes: Vec<u8>) {
            decode(&bytes);
        }
    }
}
