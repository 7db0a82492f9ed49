//! Instants and spans as plain values: time is always an argument, never asked for.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Now {
    pub const fn from_secs(secs: u64) -> Now {
        Now(secs * 1000)
    }
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }
    pub const fn ms(self) -> u64 {
        self.0
    }
    /// The span since `earlier`, zero if `earlier` is later.
    pub const fn since(self, earlier: Now) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
    /// Year, month 1–12, day 1–31, hour, minute, second, in UTC (proleptic Gregorian).
    pub fn civil(self) -> Civil {
        let secs = self.secs();
        let (days, rest) = ((secs / 86_400) as i64, secs % 86_400);
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: (rest / 3600) as u32,
            minute: (rest / 60 % 60) as u32,
            second: (rest % 60) as u32,
            weekday: ((days + 4).rem_euclid(7)) as u32,
        }
    }
    /// `2026-11-22T14:48:06Z`.
    pub fn iso(self) -> String {
        let c = self.civil();
        format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
    }
    /// RFC 5322 §3.3: `Sun, 22 Nov 2026 14:48:06 +0000`.
    pub fn rfc5322(self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        let c = self.civil();
        format!(
            "{}, {} {} {} {:02}:{:02}:{:02} +0000",
            DAYS[c.weekday as usize],
            c.day,
            MONTHS[c.month as usize - 1],
            c.year,
            c.hour,
            c.minute,
            c.second
        )
    }
}

/// English month abbreviations as mail dates write them.
pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A date and time of day in UTC. `weekday` 0 is Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub weekday: u32,
}

/// Days since 1970-01-01 of a civil date (Howard Hinnant's public algorithm).
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(month) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

impl Span {
    pub const ZERO: Span = Span(0);
    pub const fn ms(ms: u64) -> Span {
        Span(ms)
    }
    pub const fn secs(secs: u64) -> Span {
        Span(secs * 1000)
    }
    pub const fn mins(mins: u64) -> Span {
        Span(mins * 60_000)
    }
    pub const fn hours(hours: u64) -> Span {
        Span(hours * 3_600_000)
    }
    pub const fn days(days: u64) -> Span {
        Span(days * 86_400_000)
    }
    pub const fn as_ms(self) -> u64 {
        self.0
    }
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
    /// For people, rounded down, in the unit they would use: `90 seconds`, `3 hours`, `12 days`.
    /// What is set or compared is shown whole, by `Display`.
    pub fn in_words(self) -> String {
        let secs = self.as_secs();
        let (n, unit) = match secs {
            0..=119 => (secs, "second"),
            120..=7199 => (secs / 60, "minute"),
            7200..=172_799 => (secs / 3600, "hour"),
            _ => (secs / 86_400, "day"),
        };
        format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
    }
}

impl Add<Span> for Now {
    type Output = Now;
    fn add(self, span: Span) -> Now {
        Now(self.0.saturating_add(span.0))
    }
}
impl AddAssign<Span> for Now {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}
impl Sub<Span> for Now {
    type Output = Now;
    fn sub(self, span: Span) -> Now {
        Now(self.0.saturating_sub(span.0))
    }
}
impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.iso().trim_end_matches('Z'), self.0 % 1000)
    }
}
impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso())
    }
}
impl fmt::Display for Span {
    /// The largest unit that divides well: `4 h`, `90 s`, `250 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 86_400_000 && ms % 86_400_000 == 0 => write!(f, "{} d", ms / 86_400_000),
            ms if ms >= 3_600_000 && ms % 3_600_000 == 0 => write!(f, "{} h", ms / 3_600_000),
            ms if ms >= 60_000 && ms % 60_000 == 0 => write!(f, "{} min", ms / 60_000),
            ms if ms >= 1000 && ms % 1000 == 0 => write!(f, "{} s", ms / 1000),
            ms => write!(f, "{ms} ms"),
        }
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_the_unit_people_use() {
        for (span, want) in [
            (Span::ZERO, "0 seconds"),
            (Span::ms(1999), "1 second"),
            (Span::secs(1), "1 second"),
            (Span::secs(90), "90 seconds"),
            (Span::secs(119), "119 seconds"),
            (Span::secs(120), "2 minutes"),
            (Span::mins(10), "10 minutes"),
            (Span::mins(119), "119 minutes"),
            (Span::hours(2), "2 hours"),
            (Span::ms(7_200_001), "2 hours"),
            (Span::hours(47), "47 hours"),
            (Span::ms(2 * 86_400_000 + 86_399_999), "2 days"),
            (Span::days(3), "3 days"),
            (Span::days(400), "400 days"),
        ] {
            assert_eq!(span.in_words(), want, "{} ms", span.as_ms());
        }
    }

    #[test]
    fn civil_dates_agree_with_known_days() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_358_886, "2026-11-22T14:48:06Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(Now::from_secs(secs).iso(), text);
        }
        assert_eq!(Now::from_secs(0).rfc5322(), "Thu, 1 Jan 1970 00:00:00 +0000");
    }

    #[test]
    fn days_and_civil_are_inverse() {
        for day in (-200_000..200_000).step_by(37) {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }

    #[test]
    fn spans_print_in_their_largest_unit() {
        assert_eq!(Span::hours(4).to_string(), "4 h");
        assert_eq!(Span::secs(90).to_string(), "90 s");
        assert_eq!(Span::ms(1500).to_string(), "1500 ms");
    }
}
