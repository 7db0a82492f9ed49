//! Modified UTF-7 for folder names (RFC 3501 §5.1.3), both ways.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// From UTF-8.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut units: Vec<u16> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            shift(&mut out, &mut units);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    shift(&mut out, &mut units);
    out
}

fn shift(out: &mut String, units: &mut Vec<u16>) {
    if units.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut have) = (0u32, 0);
    for unit in units.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        have += 16;
        while have >= 6 {
            have -= 6;
            out.push(char::from(ALPHABET[(bits >> have & 63) as usize]));
        }
    }
    if have > 0 {
        out.push(char::from(ALPHABET[(bits << (6 - have) & 63) as usize]));
    }
    out.push('-');
}

/// To UTF-8; nothing if it is not modified UTF-7 in its one allowed spelling.
pub fn decode(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('-')? + at;
        let inner = &rest[at + 1..end];
        if inner.is_empty() {
            out.push('&');
        } else {
            out.push_str(&unshift(inner)?);
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    // The one-spelling rule (no needless shifts, zero padding) is checked by going back.
    let plain = name.bytes().all(|b| (0x20..0x7f).contains(&b));
    (plain && encode(&out) == name).then_some(out)
}

fn unshift(inner: &str) -> Option<String> {
    let (mut bits, mut have) = (0u32, 0);
    let mut units = Vec::with_capacity(inner.len() / 2);
    for b in inner.bytes() {
        let six = ALPHABET.iter().position(|&a| a == b)? as u32;
        bits = (bits << 6) | six;
        have += 6;
        if have >= 16 {
            have -= 16;
            units.push((bits >> have) as u16);
        }
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_go_both_ways() {
        for (utf8, utf7) in [
            ("INBOX", "INBOX"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("Tom & Jerry", "Tom &- Jerry"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
        ] {
            assert_eq!(encode(utf8), utf7);
            assert_eq!(decode(utf7).as_deref(), Some(utf8));
        }
    }

    #[test]
    fn broken_or_second_spellings_are_refused() {
        for bad in ["&", "&U", "&Jjo!-", "&AGE-", "&U,BTFw-&ZeVnLIqe-", "&2D0-", "ü", "a\tb"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives(name in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }
        #[test]
        fn no_input_panics(name in ".{0,60}") {
            let _ = decode(&name);
        }
    }
}
