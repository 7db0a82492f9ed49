//! MTA-STS policies (RFC 8461): reading them, and whether a mail server fits one. Fetching and
//! keeping them is for roles.

use crate::tags::Tags;

/// RFC 8461 §3.3: larger policies are not read.
pub const POLICY_MAX: usize = 64 * 1024;
/// RFC 8461 §3.2: a year or so.
pub const MAX_AGE_S_MAX: u64 = 31_557_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Deliver only to servers that fit.
    Enforce,
    /// Deliver anyway, report what does not fit.
    Testing,
    /// The domain takes its policy back.
    None,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Host names, perhaps with `*.` in front, lower case.
    pub mx: Vec<String>,
    pub max_age_s: u64,
}

/// The id in the TXT record at `_mta-sts.<domain>` (RFC 8461 §3.1); `None` unless exactly one of
/// the records is one.
pub fn record_id(records: &[String]) -> Option<String> {
    let mut ids = records.iter().filter(|t| t.starts_with("v=STSv1")).map(|text| {
        let tags = Tags::parse(text).ok()?;
        let id = tags
            .get("id")
            .filter(|id| (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()))?;
        (tags.first() == Some(("v", "STSv1"))).then(|| id.to_owned())
    });
    let id = ids.next()?;
    if ids.next().is_some() { None } else { id }
}

impl Policy {
    /// Reads the file at `https://mta-sts.<domain>/.well-known/mta-sts.txt`. `Err` says what is
    /// wrong with it.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let (mut version, mut mode, mut max_age, mut mx) = (false, None, None, Vec::new());
        for (n, line) in text.split('\n').enumerate().map(|(n, l)| (n + 1, l.trim())) {
            if line.is_empty() {
                continue;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("line {n} of the policy has no colon"))?;
            let value = value.trim();
            match name.trim() {
                "version" if value == "STSv1" => version = true,
                "version" => return Err(format!("its version is \"{value}\", not STSv1")),
                "mode" => {
                    // RFC 8461 §3.2: of repeated fields the first counts.
                    let read = match value {
                        "enforce" => Mode::Enforce,
                        "testing" => Mode::Testing,
                        "none" => Mode::None,
                        other => return Err(format!("its mode \"{other}\" is not known")),
                    };
                    mode.get_or_insert(read);
                }
                "max_age" => {
                    let age: u64 =
                        value.parse().map_err(|_| format!("its max_age \"{value}\" is no number"))?;
                    max_age.get_or_insert(age.min(MAX_AGE_S_MAX));
                }
                "mx" if mx.len() < 1000 => mx.push(value.trim_end_matches('.').to_ascii_lowercase()),
                _ => {}
            }
        }
        let mode = mode.ok_or("it says no mode")?;
        if !version {
            return Err("it says no version".into());
        }
        if mx.is_empty() && mode != Mode::None {
            return Err("it names no mail server".into());
        }
        Ok(Policy { mode, mx, max_age_s: max_age.ok_or("it says no max_age")? })
    }

    /// RFC 8461 §4.1: whether a mail server is one of those named. `*.` stands for one label.
    pub fn fits(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(rest) => {
                host.split_once('.').is_some_and(|(label, after)| !label.is_empty() && after == rest)
            }
            None => *pattern == host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_matched() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n";
        let p = Policy::parse(text).expect("valid");
        assert_eq!((p.mode, p.max_age_s), (Mode::Enforce, 604_800));
        for (host, fits) in [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("mail.example.org", false),
        ] {
            assert_eq!(p.fits(host), fits, "{host}");
        }
    }

    #[test]
    fn broken_policies_are_refused_with_a_reason() {
        for bad in [
            "",
            "version: STSv2\nmode: none\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmx: a.b",
            "version: STSv1\nmode: maybe\nmx: a.b\nmax_age: 1",
            "mode: none\nmax_age: 1",
            "version: STSv1\nnonsense",
        ] {
            assert!(Policy::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Policy::parse("version: STSv1\nmode: none\nmax_age: 99999999999").is_ok());
    }

    #[test]
    fn the_record_must_be_the_only_one() {
        let id = |list: &[&str]| record_id(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20260101T;"]).as_deref(), Some("20260101T"));
        assert_eq!(id(&["other", "v=STSv1; id=1;"]).as_deref(), Some("1"));
        assert_eq!(id(&["v=STSv1; id=1;", "v=STSv1; id=2;"]), None);
        assert_eq!(id(&["v=STSv1; id=a b;"]), None);
    }
}
