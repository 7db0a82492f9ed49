//! Writing responses into one growing buffer, without formatting machinery on the hot path.

/// Decimal digits of `n`.
pub fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// RFC 9051 §9 `quoted` if it fits into one, else a literal. `utf8` allows UTF-8 in quoted
/// strings (IMAP4rev2, UTF8=ACCEPT).
pub fn string(out: &mut Vec<u8>, text: &[u8], utf8: bool) {
    let plain = |b: u8| b != 0 && b != b'\r' && b != b'\n' && (utf8 || b < 0x80);
    let quotable = text.len() <= 1000 && text.iter().all(|&b| plain(b));
    if !quotable || (utf8 && std::str::from_utf8(text).is_err()) {
        return literal(out, text);
    }
    out.push(b'"');
    for &b in text {
        if b == b'"' || b == b'\\' {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

/// `{5}` and the octets.
pub fn literal(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'{');
    number(out, text.len() as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend_from_slice(text);
}

/// Whether RFC 9051 §9 lets this stand as an `astring` without quotes.
pub fn is_atom(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_astring_char(b)) && !text.eq_ignore_ascii_case(b"NIL")
}

/// ATOM-CHAR or `]`.
pub fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}

/// RFC 9051 §9 ATOM-CHAR: any CHAR except atom-specials.
pub fn is_atom_char(b: u8) -> bool {
    b > 0x20 && b < 0x7f && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// An atom if it can be, else a string.
pub fn astring(out: &mut Vec<u8>, text: &[u8], utf8: bool) {
    if is_atom(text) { out.extend_from_slice(text) } else { string(out, text, utf8) }
}

/// A folder name for this client: modified UTF-7 (RFC 3501 §5.1.3) or UTF-8.
pub fn folder(out: &mut Vec<u8>, name: &str, utf8: bool) {
    if utf8 {
        astring(out, name.as_bytes(), true);
    } else {
        astring(out, super::utf7::encode(name).as_bytes(), false);
    }
}

/// RFC 9051 §9 `date-time`: `"02-Jan-2026 15:04:05 +0100"`.
pub fn date_time(out: &mut Vec<u8>, date: crate::ask::DateTime) {
    let local = date.secs + i64::from(date.zone) * 60;
    let civil = stdx::Now::from_secs(local.max(0) as u64).civil();
    let two = |out: &mut Vec<u8>, n: u32| {
        out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8])
    };
    out.push(b'"');
    if civil.day < 10 {
        out.extend_from_slice(&[b' ', b'0' + civil.day as u8]);
    } else {
        two(out, civil.day);
    }
    out.push(b'-');
    out.extend_from_slice(stdx::time::MONTHS[civil.month as usize - 1].as_bytes());
    out.push(b'-');
    two(out, (civil.year / 100) as u32);
    two(out, (civil.year % 100) as u32);
    out.push(b' ');
    for (n, sep) in [(civil.hour, b':'), (civil.minute, b':'), (civil.second, b' ')] {
        two(out, n);
        out.push(sep);
    }
    out.push(if date.zone < 0 { b'-' } else { b'+' });
    let minutes = u32::from(date.zone.unsigned_abs());
    two(out, minutes / 60);
    two(out, minutes % 60);
    out.push(b'"');
}

/// Text of a human line: what could end the line is taken out.
pub fn words(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|b| if b == b'\r' || b == b'\n' || b == 0 { b' ' } else { b }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::DateTime;

    fn written(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_take_the_least_form_that_carries_them() {
        for (text, utf8, want) in [
            ("INBOX", false, "INBOX"),
            ("a b", false, "\"a b\""),
            ("", false, "\"\""),
            ("nil", false, "\"nil\""),
            ("q\"\\", false, "\"q\\\"\\\\\""),
            ("é", true, "\"é\""),
            ("é", false, "{2}\r\né"),
            ("a\r\nb", true, "{4}\r\na\r\nb"),
        ] {
            assert_eq!(written(|o| astring(o, text.as_bytes(), utf8)), want, "{text:?}");
        }
    }

    #[test]
    fn numbers_and_dates_are_written() {
        assert_eq!(written(|o| number(o, 0)), "0");
        assert_eq!(written(|o| number(o, u64::MAX)), "18446744073709551615");
        let date = DateTime { secs: 1_767_225_600, zone: 90 };
        assert_eq!(written(|o| date_time(o, date)), "\" 1-Jan-2026 01:30:00 +0130\"");
        let date = DateTime { secs: 1_767_225_599 + 86_400 * 11, zone: -300 };
        assert_eq!(written(|o| date_time(o, date)), "\"11-Jan-2026 18:59:59 -0500\"");
    }
}
