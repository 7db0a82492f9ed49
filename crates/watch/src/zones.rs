//! The same instant as readers in several places know it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use stdx::Now;

/// A zone the provider shows beside UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// `Pacific`, `Central Africa`.
    pub label: String,
    /// IANA name: `America/Vancouver`.
    pub name: String,
}

/// The first name that the zone database does not know.
pub fn unknown(zones: &[Zone]) -> Option<&str> {
    zones.iter().map(|z| z.name.as_str()).find(|name| TimeZone::get(name).is_err())
}

/// `16:00 to 20:00 UTC … 08:00 to 12:00 Pacific`: one entry per zone, UTC first. A day is added
/// where the local date differs from the UTC date of the start: `23:00 (26 Feb) to 02:00 (27 Feb)`.
pub fn window(from: Now, to: Now, zones: &[Zone]) -> Vec<String> {
    let utc = Zone { label: "UTC".into(), name: "UTC".into() };
    let start_day = local(from, "UTC").map(|t| t.0);
    std::iter::once(&utc)
        .chain(zones)
        .filter_map(|zone| {
            let (a, b) = (local(from, &zone.name)?, local(to, &zone.name)?);
            let plain = Some(&a.0) == start_day.as_ref() && a.0 == b.0;
            Some(if plain {
                format!("{} to {} {}", a.1, b.1, zone.label)
            } else {
                format!("{} ({}) to {} ({}) {}", a.1, a.0, b.1, b.0, zone.label)
            })
        })
        .collect()
}

/// `27 Feb` and `16:00` at a place. `None` for an unknown zone.
pub fn local(at: Now, zone: &str) -> Option<(String, String)> {
    let stamp = Timestamp::from_second(i64::try_from(at.secs()).ok()?).ok()?;
    let there = stamp.to_zoned(TimeZone::get(zone).ok()?);
    Some((there.strftime("%-d %b").to_string(), there.strftime("%H:%M").to_string()))
}

/// `27 February 2024 16:00 UTC`.
pub fn utc(at: Now) -> String {
    let c = at.civil();
    format!("{} {} {} {:02}:{:02} UTC", c.day, month(c.month), c.year, c.hour, c.minute)
}

/// The provider's own form: `21 June 2024 03:51:33 +0000`.
pub fn stamp(at: Now) -> String {
    let c = at.civil();
    format!("{} {} {} {:02}:{:02}:{:02} +0000", c.day, month(c.month), c.year, c.hour, c.minute, c.second)
}

pub fn month(number: u32) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES.get(number.saturating_sub(1) as usize).copied().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::time::days_from_civil;

    fn at(y: i64, m: u32, d: u32, hour: u64) -> Now {
        Now::from_secs(days_from_civil(y, m, d) as u64 * 86_400 + hour * 3600)
    }

    fn zones() -> Vec<Zone> {
        vec![
            Zone { label: "Pacific".into(), name: "America/Vancouver".into() },
            Zone { label: "Central Africa".into(), name: "Africa/Lusaka".into() },
        ]
    }

    #[test]
    fn the_window_of_february_2024_reads_as_the_provider_wrote_it() {
        let text = window(at(2024, 2, 27, 16), at(2024, 2, 27, 20), &zones());
        assert_eq!(text, ["16:00 to 20:00 UTC", "08:00 to 12:00 Pacific", "18:00 to 22:00 Central Africa"]);
    }

    #[test]
    fn another_day_is_said() {
        let text = window(at(2022, 3, 23, 5), at(2022, 3, 23, 8), &zones());
        assert_eq!(text[0], "05:00 to 08:00 UTC");
        assert_eq!(text[1], "22:00 (22 Mar) to 01:00 (23 Mar) Pacific");
        assert_eq!(text[2], "07:00 to 10:00 Central Africa");
    }

    #[test]
    fn daylight_saving_moves_the_clock_of_one_zone_only() {
        // 2024: Pacific changed on 10 March and 3 November at 10:00 / 09:00 UTC.
        for (day, month, hour, want) in [
            (10, 3, 9, "01:00"),
            (10, 3, 10, "03:00"),
            (3, 11, 8, "01:00"),
            (3, 11, 9, "01:00"),
            (3, 11, 10, "02:00"),
        ] {
            assert_eq!(
                local(at(2024, month, day, hour), "America/Vancouver").map(|t| t.1),
                Some(want.into())
            );
        }
        assert_eq!(local(at(2024, 3, 10, 10), "Africa/Lusaka").map(|t| t.1), Some("12:00".into()));
    }

    #[test]
    fn an_unknown_zone_is_named() {
        assert_eq!(unknown(&[Zone { label: "x".into(), name: "Mars/Base".into() }]), Some("Mars/Base"));
        assert_eq!(unknown(&zones()), None);
    }

    #[test]
    fn stamps_have_the_form_of_the_posts() {
        assert_eq!(stamp(Now::from_secs(1_718_941_893)), "21 June 2024 03:51:33 +0000");
    }
}
