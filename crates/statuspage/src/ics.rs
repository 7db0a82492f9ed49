//! Maintenance as a calendar that programs subscribe to (RFC 5545).

use crate::model::{Maintenance, Snapshot};

/// All windows, or one.
pub fn render(s: &Snapshot, only: Option<i64>) -> String {
    let mut out = String::new();
    let mut line = |text: &str| fold(text, &mut out);
    line("BEGIN:VCALENDAR");
    line("VERSION:2.0");
    line("PRODID:-//Postroad//Status//EN");
    line("CALSCALE:GREGORIAN");
    line("METHOD:PUBLISH");
    line(&format!("X-WR-CALNAME:{}", text(&format!("{} maintenance", s.site.company))));
    // RFC 7986 §5.7: look again after an hour.
    line("REFRESH-INTERVAL;VALUE=DURATION:PT1H");
    for m in s.maintenances.iter().filter(|m| only.is_none_or(|id| id == m.id)) {
        event(s, m, &mut line);
    }
    line("END:VCALENDAR");
    out
}

fn event(s: &Snapshot, m: &Maintenance, line: &mut dyn FnMut(&str)) {
    let host =
        s.site.url.split("://").nth(1).unwrap_or("localhost").split(['/', ':']).next().unwrap_or("localhost");
    let affected = s.names(&m.affected).join(", ");
    let zones = watch::zones::window(stdx::Now(m.from), stdx::Now(m.to), &s.site.zones()).join("; ");
    line("BEGIN:VEVENT");
    line(&format!("UID:maintenance-{}@{host}", m.id));
    line(&format!("SEQUENCE:{}", m.sequence));
    line(&format!("DTSTAMP:{}", stamp(m.changed)));
    line(&format!("LAST-MODIFIED:{}", stamp(m.changed)));
    line(&format!("DTSTART:{}", stamp(m.from)));
    line(&format!("DTEND:{}", stamp(m.to)));
    line(&format!("SUMMARY:{}", text(&m.title)));
    line(&format!("DESCRIPTION:{}", text(&format!("{}\n\nAffected: {affected}\n{zones}", m.text))));
    line(&format!("URL:{}/maintenance/{}/", s.site.url, m.id));
    line("STATUS:CONFIRMED");
    line("TRANSP:TRANSPARENT");
    line("END:VEVENT");
}

/// `20240227T160000Z`.
fn stamp(at: u64) -> String {
    stdx::Now(at).iso().replace(['-', ':'], "")
}

/// RFC 5545 §3.3.11: commas, semicolons, backslashes and line ends are escaped.
fn text(value: &str) -> String {
    value.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\r', "").replace('\n', "\\n")
}

/// RFC 5545 §3.1: lines of at most 75 octets, continued behind CRLF and a blank, never inside a
/// character.
fn fold(line: &str, out: &mut String) {
    let mut used = 0;
    for c in line.chars() {
        if used + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            used = 1;
        }
        out.push(c);
        used += c.len_utf8();
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use watch::maintenance::Phase;

    #[test]
    fn long_lines_are_folded_between_characters() {
        let mut out = String::new();
        fold(&"ü".repeat(100), &mut out);
        assert!(out.lines().all(|l| l.len() <= 75));
        assert_eq!(out.replace("\r\n ", "").trim_end(), "ü".repeat(100));
    }

    #[test]
    fn a_window_is_an_event_with_a_stable_uid() {
        let m = Maintenance {
            id: 7,
            title: "NC036: network, part 1; careful".into(),
            text: "one\ntwo".into(),
            from: 1_709_049_600_000,
            to: 1_709_064_000_000,
            phase: Phase::Scheduled,
            affected: vec![],
            not_affected: vec![],
            sequence: 2,
            changed: 1_708_000_000_000,
            updates: vec![],
        };
        let text = render(&Snapshot { maintenances: vec![m], ..Snapshot::default() }, None);
        for want in [
            "UID:maintenance-7@localhost\r\n",
            "SEQUENCE:2\r\n",
            "DTSTART:20240227T160000Z\r\n",
            "DTEND:20240227T200000Z\r\n",
            "SUMMARY:NC036: network\\, part 1\\; careful\r\n",
            "DESCRIPTION:one\\ntwo\\n",
        ] {
            assert!(text.contains(want), "{want} is not in {text}");
        }
    }
}
