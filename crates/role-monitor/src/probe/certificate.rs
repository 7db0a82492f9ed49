//! What certificate is shown: days left, name, chain.

use stdx::{Now, Span, TlsFacts};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Days before the end at which people are told.
pub const WARN_DAYS: [u64; 5] = [21, 14, 7, 3, 1];

/// A certificate chain as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The earliest end in the chain.
    pub expires: Now,
    pub names: Vec<String>,
    pub issuer: String,
    /// The chain leads to an authority we trust, for the name we asked for.
    pub trusted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grade {
    Good,
    /// Ends soon.
    Soon,
    Bad,
}

pub fn read(facts: &TlsFacts) -> Option<Shown> {
    let mut shown: Option<Shown> = None;
    for der in &facts.chain {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let end = Now::from_secs(end);
        match &mut shown {
            Some(shown) => shown.expires = shown.expires.min(end),
            None => {
                shown = Some(Shown {
                    expires: end,
                    names: names(&certificate),
                    issuer: certificate.issuer().to_string(),
                    trusted: facts.verified,
                });
            }
        }
    }
    shown
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |n: &GeneralName<'_>| match n {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress([a, b, c, d]) => Some(format!("{a}.{b}.{c}.{d}")),
        _ => None,
    };
    alternative.value.general_names.iter().filter_map(name).collect()
}

/// RFC 6125 §6.4.3: a wildcard stands for the whole first label.
fn fits(names: &[String], name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parent = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    names.iter().any(|n| *n == name || Some(n) == parent.as_ref())
}

/// Judges what was shown for `name`.
pub fn judge(shown: &Shown, name: &str, now: Now) -> (Grade, String) {
    let left = shown.expires.since(now);
    if shown.expires <= now {
        return (Grade::Bad, format!("its certificate ended on {}: renew it", shown.expires.iso()));
    }
    if !fits(&shown.names, name) {
        return (Grade::Bad, format!("its certificate is for {}, not for {name}", shown.names.join(", ")));
    }
    if !shown.trusted {
        let says = format!(
            "its chain does not lead to a trusted authority (issued by {}): is the intermediate certificate missing?",
            shown.issuer
        );
        return (Grade::Bad, says);
    }
    let days = left.as_secs() / 86_400;
    match WARN_DAYS.iter().rev().find(|d| left < Span::days(**d)) {
        Some(step) => {
            (Grade::Soon, format!("its certificate ends within {step} days, on {}", shown.expires.iso()))
        }
        None => (Grade::Good, format!("{days} days left")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(days: u64) -> Shown {
        Shown {
            expires: Now(0) + Span::days(days),
            names: vec!["mx.example.org".into(), "*.mail.example".into()],
            issuer: "CN=Test".into(),
            trusted: true,
        }
    }

    #[test]
    fn the_end_comes_nearer_in_steps() {
        let now = Now(1);
        let grade = |days| judge(&shown(days), "mx.example.org", now);
        assert_eq!(grade(90).0, Grade::Good);
        for (days, step) in [(21, 21), (14, 14), (10, 14), (7, 7), (3, 3), (2, 3), (1, 1)] {
            let (grade, says) = grade(days);
            assert_eq!(grade, Grade::Soon);
            assert!(says.contains(&format!("within {step} days")), "{says}");
        }
        assert_eq!(grade(0).0, Grade::Bad);
    }

    #[test]
    fn another_name_or_an_unknown_authority_is_bad_at_once() {
        assert_eq!(judge(&shown(90), "a.mail.example", Now(1)).0, Grade::Good);
        assert_eq!(judge(&shown(90), "a.b.mail.example", Now(1)).0, Grade::Bad);
        assert_eq!(judge(&Shown { trusted: false, ..shown(90) }, "mx.example.org", Now(1)).0, Grade::Bad);
    }
}
