//! RFC 5260: parts of dates.

use message::date::Date;
use stdx::Now;
use stdx::time::{MONTHS, days_from_civil};

/// A zone as `:zone` writes it: `+0200`.
pub(crate) fn zone(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i32 = digits.parse().ok()?;
    Some(sign * (value / 100 * 60 + value % 100))
}

fn zone_text(zone_min: i32) -> String {
    let sign = if zone_min < 0 { '-' } else { '+' };
    let min = zone_min.unsigned_abs();
    format!("{sign}{:02}{:02}", min / 60, min % 60)
}

/// RFC 5260 §4.2: one part of a date in a zone; nothing for a part that does not exist.
pub(crate) fn part(secs: i64, zone_min: i32, name: &str) -> Option<String> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let local = secs + i64::from(zone_min) * 60;
    // Dates before 1970 do not happen to mail; they count as its first second.
    let c = Now::from_secs(u64::try_from(local).unwrap_or(0)).civil();
    let zone = zone_text(zone_min);
    let iso_zone = format!("{}:{}", &zone[..3], &zone[3..]);
    let month = MONTHS.get(c.month as usize - 1).copied().unwrap_or("Jan");
    let clock = format!("{:02}:{:02}:{:02}", c.hour, c.minute, c.second);
    Some(match name.to_ascii_lowercase().as_str() {
        "year" => format!("{:04}", c.year),
        "month" => format!("{:02}", c.month),
        "day" => format!("{:02}", c.day),
        "date" => format!("{:04}-{:02}-{:02}", c.year, c.month, c.day),
        // RFC 5260 §4.2: the modified Julian day.
        "julian" => (days_from_civil(c.year, c.month, c.day) + 40_587).to_string(),
        "hour" => format!("{:02}", c.hour),
        "minute" => format!("{:02}", c.minute),
        "second" => format!("{:02}", c.second),
        "time" => clock,
        "iso8601" => {
            let zone = if zone_min == 0 { "Z" } else { iso_zone.as_str() };
            format!("{:04}-{:02}-{:02}T{clock}{zone}", c.year, c.month, c.day)
        }
        "std11" => {
            let day = DAYS.get(c.weekday as usize).copied().unwrap_or("Sun");
            format!("{day}, {:02} {month} {:04} {clock} {zone}", c.day, c.year)
        }
        "zone" => zone,
        "weekday" => c.weekday.to_string(),
        _ => return None,
    })
}

/// The date in a field's value; in Received and the like it stands behind the last semicolon.
pub(crate) fn in_field(value: &[u8]) -> Option<Date> {
    let start = value.iter().rposition(|&b| b == b';').map_or(0, |at| at + 1);
    message::date::parse(&value[start..]).or_else(|| message::date::parse(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_their_zone() {
        let date = in_field(b"from x by y; Tue, 20 Oct 2009 23:47:31 +0200").expect("a date");
        for (name, want) in [
            ("year", "2009"),
            ("julian", "55124"),
            ("iso8601", "2009-10-20T23:47:31+02:00"),
            ("std11", "Tue, 20 Oct 2009 23:47:31 +0200"),
            ("weekday", "2"),
            ("zone", "+0200"),
        ] {
            assert_eq!(part(date.secs, date.zone_min, name).as_deref(), Some(want), "{name}");
        }
        assert_eq!(part(date.secs, -600, "hour").as_deref(), Some("11"));
        assert_eq!(zone("-0330"), Some(-210));
        assert!(zone("0200").is_none() && zone("+02").is_none() && part(0, 0, "eon").is_none());
    }
}
