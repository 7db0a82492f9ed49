//! Dates of header fields (RFC 5322 §3.3 and §4.3), read generously.

use stdx::Now;
use stdx::time::{MONTHS, days_from_civil};

/// A date with its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970-01-01T00:00:00Z; may be before it.
    pub secs: i64,
    /// Minutes east of UTC.
    pub zone_min: i32,
}

impl Date {
    /// As an instant; dates before 1970 become 1970.
    pub fn now(self) -> Now {
        Now::from_secs(u64::try_from(self.secs).unwrap_or(0))
    }
    /// Days since 1970-01-01 as the sender's calendar had it: what IMAP SENTON, SENTBEFORE and
    /// SENTSINCE compare (RFC 9051 §6.4.4: without regard to time and zone).
    pub fn local_day(self) -> i64 {
        (self.secs + i64::from(self.zone_min) * 60).div_euclid(86_400)
    }
}

/// Tokens read of one date; a date has ten at most.
const TOKENS_MAX: usize = 16;

/// Reads a date: with or without weekday, seconds, zone; two-digit years; zone names; comments;
/// asctime's order; ISO 8601.
pub fn parse(value: &[u8]) -> Option<Date> {
    let tokens = tokens(value);
    let mut day = None;
    let mut month = None;
    let mut year = None;
    let mut time = None;
    let mut zone = None;
    for token in &tokens {
        if token.contains(&b':') && time.is_none() {
            time = Some(clock(token)?);
        } else if let Some(iso) = iso_day(token).filter(|_| day.is_none() && year.is_none()) {
            (year, month, day) = (Some(iso.0), Some(iso.1), Some(iso.2));
        } else if let Some(minutes) = numeric_zone(token).filter(|_| time.is_some() && zone.is_none()) {
            zone = Some(minutes);
        } else if let Some(n) = number(token) {
            match (day, year) {
                (None, _) if token.len() <= 2 => day = Some(n),
                (_, None) => year = Some(full_year(n, token.len())),
                _ => {}
            }
        } else if let Some(m) = month_of(token).filter(|_| month.is_none()) {
            month = Some(m);
        } else if time.is_some() && zone.is_none() {
            zone = zone_name(token);
        }
    }
    let (day, month, year) = (day?, month?, year?);
    let (hour, minute, second) = time.unwrap_or((0, 0, 0));
    if !(1..=31).contains(&day) || !(1..=12).contains(&month) || !(0..=9999).contains(&year) {
        return None;
    }
    let zone_min = zone.unwrap_or(0);
    let days = days_from_civil(year, month as u32, day as u32);
    let secs = days * 86_400 + hour * 3600 + minute * 60 + second - i64::from(zone_min) * 60;
    Some(Date { secs, zone_min })
}

fn tokens(value: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut level = 0usize;
    let divides = |b: u8| b <= 32 || matches!(b, b',' | b'(' | b')' | b'"');
    while at < value.len() && out.len() < TOKENS_MAX {
        let b = value[at];
        match b {
            b'(' => level += 1,
            b')' => level = level.saturating_sub(1),
            _ => {}
        }
        if level > 0 || divides(b) {
            at += 1;
            continue;
        }
        let start = at;
        while at < value.len() && !divides(value[at]) {
            at += 1;
        }
        push_token(&value[start..at], &mut out);
    }
    out
}

/// `22-Nov-2026` is three tokens, `2026-11-22T14:48:06Z` a day, a time and a zone.
fn push_token<'a>(token: &'a [u8], out: &mut Vec<&'a [u8]>) {
    let day = token.get(..10).filter(|d| iso_day(d).is_some());
    if let Some(day) = day {
        out.push(day);
        let rest = &token[10..];
        let rest = rest.strip_prefix(b"T").or_else(|| rest.strip_prefix(b"t")).unwrap_or(rest);
        let zone = rest.iter().position(|b| matches!(b, b'+' | b'-' | b'Z' | b'z')).unwrap_or(rest.len());
        out.extend([&rest[..zone], &rest[zone..]].into_iter().filter(|t| !t.is_empty()));
        return;
    }
    let has_month = token.split(|b| *b == b'-').any(|t| month_of(t).is_some());
    if token.first().is_some_and(u8::is_ascii_digit) && has_month && !token.contains(&b':') {
        out.extend(token.split(|b| *b == b'-').filter(|t| !t.is_empty()));
    } else if let Some(sign) = token.iter().position(|b| matches!(b, b'+' | b'-'))
        && sign > 0
        && token[..sign].contains(&b':')
    {
        out.extend([&token[..sign], &token[sign..]]);
    } else {
        out.push(token);
    }
}

fn number(token: &[u8]) -> Option<i64> {
    if token.is_empty() || token.len() > 4 || !token.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(token.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

/// RFC 5322 §4.3: 00 to 49 are 2000 to 2049, other two- and three-digit years count from 1900.
fn full_year(n: i64, digits: usize) -> i64 {
    match digits {
        0..=2 if n < 50 => n + 2000,
        0..=3 => n + 1900,
        _ => n,
    }
}

fn month_of(token: &[u8]) -> Option<i64> {
    let three = token.get(..3)?;
    if !token.iter().all(|b| b.is_ascii_alphabetic() || *b == b'.') {
        return None;
    }
    MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(three)).map(|i| i as i64 + 1)
}

fn clock(token: &[u8]) -> Option<(i64, i64, i64)> {
    let mut parts = token.split(|b| matches!(b, b':' | b'.'));
    let hour = number(parts.next()?)?;
    let minute = number(parts.next()?)?;
    let second = parts.next().and_then(number).unwrap_or(0);
    (hour <= 24 && minute <= 59 && second <= 60).then_some((hour, minute, second))
}

fn iso_day(token: &[u8]) -> Option<(i64, i64, i64)> {
    let mut parts = token.split(|b| *b == b'-');
    let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
    if y.len() != 4 || m.len() != 2 || d.len() != 2 || parts.next().is_some() {
        return None;
    }
    Some((number(y)?, number(m)?, number(d)?))
}

fn numeric_zone(token: &[u8]) -> Option<i32> {
    let (sign, rest) = match token {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let digits: Vec<u8> = rest.iter().copied().filter(|b| *b != b':').collect();
    let n = number(&digits)? as i32;
    let minutes = if digits.len() <= 2 { n * 60 } else { n / 100 * 60 + n % 100 };
    (minutes <= 24 * 60).then_some(sign * minutes)
}

/// RFC 5322 §4.3: the names of old; single letters were used wrongly so often that they mean UTC.
fn zone_name(token: &[u8]) -> Option<i32> {
    let token = token.to_ascii_uppercase();
    let hours = match &token[..] {
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        b"CET" | b"MET" | b"BST" => 1,
        b"CEST" | b"MEST" | b"EET" => 2,
        b"EEST" | b"MSK" => 3,
        b"JST" | b"KST" => 9,
        b"UT" | b"UTC" | b"GMT" | b"Z" | b"WET" => 0,
        [_] => 0,
        _ => return None,
    };
    Some(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expected: &str) {
        let got = parse(input.as_bytes())
            .map(|d| format!("{} {}", d.now().iso(), d.zone_min))
            .unwrap_or_else(|| "none".into());
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn dates_are_read_in_every_form_that_is_met() {
        check("Sun, 22 Nov 2026 14:48:06 +0000", "2026-11-22T14:48:06Z 0");
        check("22 Nov 2026 14:48 +0100", "2026-11-22T13:48:00Z 60");
        check("Sun, 22 Nov 26 14:48:06 EST", "2026-11-22T19:48:06Z -300");
        check("Sun,22 Nov 2026 14:48:06 -0330 (comment (nested))", "2026-11-22T18:18:06Z -210");
        check("Sun Nov 22 14:48:06 2026", "2026-11-22T14:48:06Z 0");
        check("Sun Nov 22 14:48:06 PST 2026", "2026-11-22T22:48:06Z -480");
        check("22-Nov-2026 14:48:06 +0200", "2026-11-22T12:48:06Z 120");
        check("2026-11-22T14:48:06Z", "2026-11-22T14:48:06Z 0");
        check("2026-11-22 14:48:06+02:00", "2026-11-22T12:48:06Z 120");
        check("Thu, 13 Feb 69 23:32:54 -0330", "1970-01-01T00:00:00Z -210");
        check("Mon, 24 November 1997 14:22:01 -0800", "1997-11-24T22:22:01Z -480");
        check("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "none");
        check("nonsense", "none");
        check("", "none");
        check("32 Jan 2020 00:00:00 +0000", "none");
        check("1 Jan 2020 99:00:00 +0000", "none");
    }

    #[test]
    fn the_senders_calendar_day_ignores_the_zone() {
        let date = parse(b"22 Nov 2026 23:30:00 -0800").expect("valid");
        assert_eq!(date.local_day(), days_from_civil(2026, 11, 22));
    }

    proptest! {
        #[test]
        fn a_printed_instant_reads_as_itself(secs in 0u64..4_000_000_000) {
            let now = Now::from_secs(secs);
            prop_assert_eq!(parse(now.rfc5322().as_bytes()).map(Date::now), Some(now));
        }
        #[test]
        fn any_text_is_read(text in "[ -~]{0,60}") {
            parse(text.as_bytes());
        }
    }
}
