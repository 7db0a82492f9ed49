//! Bytes in any charset to text.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Decodes `bytes`, labelled `label`. Never fails: what cannot be decoded becomes U+FFFD; a label
/// that is unknown, empty or a lie (ASCII with 8-bit bytes) gives UTF-8 if the bytes are valid
/// UTF-8 and Windows-1252 if not, which is what such mail nearly always is.
pub fn decode(label: &[u8], bytes: &[u8]) -> String {
    decode_cow(label, bytes).into_owned()
}

fn decode_cow<'a>(label: &[u8], bytes: &'a [u8]) -> Cow<'a, str> {
    if is_utf7(label) {
        return Cow::Owned(utf7(bytes));
    }
    match Encoding::for_label_no_replacement(label) {
        Some(known) if known != WINDOWS_1252 || !is_ascii_label(label) => {
            if known == UTF_8 && std::str::from_utf8(bytes).is_err() && !mostly_utf8(bytes) {
                return WINDOWS_1252.decode_without_bom_handling(bytes).0;
            }
            known.decode(bytes).0
        }
        _ => guess(bytes),
    }
}

/// Text without a label.
pub fn guess(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) if mostly_utf8(bytes) => String::from_utf8_lossy(bytes),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// Whether the bytes are UTF-8 with some damage (a cut character, a stray byte), rather than a
/// single-byte charset: at least one whole multi-byte character, and more of them than errors.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().bytes().filter(|b| *b >= 0xC0).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good > bad
}

fn is_ascii_label(label: &[u8]) -> bool {
    [&b"us-ascii"[..], b"ascii", b"ansi_x3.4-1968"].iter().any(|l| l.eq_ignore_ascii_case(label))
}

fn is_utf7(label: &[u8]) -> bool {
    [&b"utf-7"[..], b"unicode-1-1-utf-7", b"utf7"].iter().any(|l| l.eq_ignore_ascii_case(label))
}

/// RFC 2152: `+` opens base64 of UTF-16, `-` or any other byte outside the alphabet closes it.
fn utf7(bytes: &[u8]) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let b = bytes[at];
        at += 1;
        if b != b'+' {
            units.push(u16::from(b));
            continue;
        }
        if bytes.get(at) == Some(&b'-') {
            units.push(u16::from(b'+'));
            at += 1;
            continue;
        }
        let (mut hold, mut bits) = (0u32, 0u32);
        while let Some(v) = bytes.get(at).and_then(|b| crate::transfer::base64_value(*b)) {
            at += 1;
            hold = (hold << 6 | u32::from(v)) & 0x3F_FFFF;
            bits += 6;
            if bits >= 16 {
                bits -= 16;
                units.push((hold >> bits) as u16);
            }
        }
        if bytes.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(label: &str, bytes: &[u8], expected: &str) {
        assert_eq!(decode(label.as_bytes(), bytes), expected, "{label}");
    }

    #[test]
    fn labels_are_believed_unless_they_lie() {
        check("utf-8", "h\u{e9}".as_bytes(), "h\u{e9}");
        check("UTF-8", b"h\xE9", "h\u{e9}");
        check("utf-8", b"\xC3\xA9\xC3\xA9\xFF", "\u{e9}\u{e9}\u{fffd}");
        check("iso-8859-1", b"h\xE9", "h\u{e9}");
        check("us-ascii", "h\u{e9}".as_bytes(), "h\u{e9}");
        check("us-ascii", b"h\xE9", "h\u{e9}");
        check("no-such-charset", b"h\xE9", "h\u{e9}");
        check("koi8-r", b"\xC1", "\u{430}");
        check("iso-2022-jp", b"\x1b$B$\"\x1b(B", "\u{3042}");
        check("gb2312", b"\xC4\xE3", "\u{4f60}");
        check("utf-7", b"Hi Mom -+Jjo--+-!", "Hi Mom -\u{263a}-+!");
        check("", b"plain", "plain");
    }
}
