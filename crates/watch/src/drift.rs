//! Do the names of a domain still say what they should? Facts gathered from the DNS and the web go
//! in, faults with their remedy come out. A fault is either of use to nobody ([`Grade::Broken`]) or
//! a weakness that should be mended ([`Grade::Weak`]).

use std::net::IpAddr;

use stdx::{Now, Span};

/// An answer, or that there is none, or that nobody could say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    Found(T),
    Nothing,
    Unsure(String),
}

/// What the operator said should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Our own mail exchangers; mail for the domain must come to one of them and to no other.
    pub mx: Vec<String>,
    /// DKIM selectors that sign.
    pub selectors: Vec<String>,
    /// Name servers, if they are to be watched.
    pub ns: Vec<String>,
}

/// What the world says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub mx: Heard<Vec<String>>,
    /// For each address mail leaves by: the result of a whole SPF check (`pass`, `fail`, …) and why.
    pub spf: Vec<(IpAddr, String, String)>,
    /// Per selector: `Ok` the key is of use.
    pub dkim: Vec<(String, Heard<Result<(), String>>)>,
    /// The policy at `_dmarc`; `Err` if there is a record nobody can use.
    pub dmarc: Heard<Result<String, String>>,
    /// The id in `_mta-sts`, and the policy file: its mode and the names it allows.
    pub sts: Heard<Result<(String, Vec<String>), String>>,
    pub ns: Heard<Vec<String>>,
    /// SOA serials by name server, where asked.
    pub autoconfig: Heard<()>,
    /// Per mail exchanger with TLSA records: whether they fit the certificate it shows.
    pub tlsa: Vec<(String, Result<(), String>)>,
    /// When the registration ends.
    pub expires: Heard<Now>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Weak,
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub grade: Grade,
    /// `mx`, `spf`, `dkim`.
    pub about: &'static str,
    pub says: String,
}

/// A registration that ends sooner than this must be renewed.
const EXPIRY_WARN: Span = Span::days(30);
const EXPIRY_RED: Span = Span::days(7);

/// Judges one domain. No fault: it is as it should be. `None`: nothing could be learned.
pub fn judge(domain: &str, wanted: &Wanted, facts: &Facts, now: Now) -> Option<Vec<Fault>> {
    if let Heard::Unsure(_) = &facts.mx {
        return None;
    }
    let mut faults = Vec::new();
    mx(domain, wanted, facts, &mut faults);
    spf(facts, &mut faults);
    keys(domain, facts, &mut faults);
    policies(domain, facts, &mut faults);
    servers(wanted, facts, now, &mut faults);
    faults.sort_by_key(|f| std::cmp::Reverse(f.grade));
    Some(faults)
}

fn fault(grade: Grade, about: &'static str, says: impl Into<String>) -> Fault {
    Fault { grade, about, says: says.into() }
}

fn mx(domain: &str, wanted: &Wanted, facts: &Facts, out: &mut Vec<Fault>) {
    match &facts.mx {
        Heard::Found(found) => {
            let ours = |host: &String| wanted.mx.iter().any(|w| w.eq_ignore_ascii_case(host));
            if wanted.mx.is_empty() {
                return;
            }
            if !found.iter().any(ours) {
                let says = format!(
                    "MX of {domain} is {}, which is none of our hosts: mail goes elsewhere; put {} back",
                    found.join(", "),
                    wanted.mx.join(", ")
                );
                out.push(fault(Grade::Broken, "mx", says));
            } else if let Some(other) = found.iter().find(|h| !ours(h)) {
                out.push(fault(
                    Grade::Weak,
                    "mx",
                    format!("MX of {domain} also names {other}, which is not ours"),
                ));
            }
        }
        Heard::Nothing => out.push(fault(
            Grade::Broken,
            "mx",
            format!("{domain} has no MX: add {}", wanted.mx.first().map_or("one", |m| m)),
        )),
        Heard::Unsure(_) => {}
    }
}

fn spf(facts: &Facts, out: &mut Vec<Fault>) {
    for (ip, result, why) in &facts.spf {
        match result.as_str() {
            "pass" | "temperror" => {}
            "none" => out.push(fault(Grade::Weak, "spf", format!("there is no SPF record to cover {ip}"))),
            "permerror" => {
                out.push(fault(Grade::Broken, "spf", format!("the SPF record cannot be used: {why}")));
            }
            other => {
                let says = format!("SPF says {other} for {ip}, by which our mail leaves: add it ({why})");
                out.push(fault(Grade::Broken, "spf", says));
            }
        }
    }
}

fn keys(domain: &str, facts: &Facts, out: &mut Vec<Fault>) {
    for (selector, key) in &facts.dkim {
        let name = format!("{selector}._domainkey.{domain}");
        match key {
            Heard::Found(Ok(())) | Heard::Unsure(_) => {}
            Heard::Found(Err(why)) => {
                out.push(fault(Grade::Broken, "dkim", format!("the DKIM key at {name} is of no use: {why}")));
            }
            Heard::Nothing => {
                let says = format!("there is no DKIM key at {name}: what we sign cannot be checked");
                out.push(fault(Grade::Broken, "dkim", says));
            }
        }
    }
    for (host, fits) in &facts.tlsa {
        if let Err(why) = fits {
            let says = format!("the TLSA records of {host} do not fit its certificate: {why}");
            out.push(fault(Grade::Broken, "tlsa", says));
        }
    }
}

fn policies(domain: &str, facts: &Facts, out: &mut Vec<Fault>) {
    match &facts.dmarc {
        Heard::Found(Ok(_)) | Heard::Unsure(_) => {}
        Heard::Found(Err(why)) => {
            out.push(fault(Grade::Broken, "dmarc", format!("_dmarc.{domain} cannot be used: {why}")));
        }
        Heard::Nothing => {
            out.push(fault(Grade::Weak, "dmarc", format!("there is no DMARC record at _dmarc.{domain}")));
        }
    }
    match &facts.sts {
        Heard::Found(Ok((mode, allowed))) => {
            let Heard::Found(mx) = &facts.mx else { return };
            let fits = |host: &String| allowed.iter().any(|a| sts_fits(a, host));
            if let Some(host) = mx.iter().find(|h| !fits(h)) {
                let grade = if mode == "enforce" { Grade::Broken } else { Grade::Weak };
                let says = format!("the MTA-STS policy ({mode}) does not allow {host}, which is an MX");
                out.push(fault(grade, "mta-sts", says));
            }
        }
        Heard::Found(Err(why)) => {
            out.push(fault(Grade::Broken, "mta-sts", format!("MTA-STS is announced, but {why}")));
        }
        Heard::Nothing | Heard::Unsure(_) => {}
    }
    if facts.autoconfig == Heard::Nothing {
        let says = format!(
            "autoconfig.{domain} does not lead here: mail programs will not find their settings by themselves"
        );
        out.push(fault(Grade::Weak, "autoconfig", says));
    }
}

/// RFC 8461 §4.1: a wildcard stands for one label.
fn sts_fits(allowed: &str, host: &str) -> bool {
    match allowed.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => allowed.eq_ignore_ascii_case(host),
    }
}

fn servers(wanted: &Wanted, facts: &Facts, now: Now, out: &mut Vec<Fault>) {
    if let (Heard::Found(found), false) = (&facts.ns, wanted.ns.is_empty()) {
        let sorted = |list: &[String]| {
            let mut list: Vec<String> =
                list.iter().map(|n| n.trim_end_matches('.').to_ascii_lowercase()).collect();
            list.sort();
            list
        };
        if sorted(found) != sorted(&wanted.ns) {
            let says = format!("the name servers are {}, not {}", found.join(", "), wanted.ns.join(", "));
            out.push(fault(Grade::Broken, "ns", says));
        }
    }
    if let Heard::Found(expires) = facts.expires {
        let left = expires.since(now);
        if left < EXPIRY_WARN {
            let grade = if left < EXPIRY_RED { Grade::Broken } else { Grade::Weak };
            let says = format!("the domain's registration ends on {}: renew it", expires.iso());
            out.push(fault(grade, "expiry", says));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Wanted, Facts) {
        let ip: IpAddr = "192.0.2.1".parse().expect("an address");
        let wanted = Wanted {
            mx: vec!["mx.example.org".into()],
            selectors: vec!["r1".into()],
            ns: vec!["ns1.example.net".into(), "ns2.example.net".into()],
        };
        let facts = Facts {
            mx: Heard::Found(vec!["mx.example.org".into()]),
            spf: vec![(ip, "pass".into(), String::new())],
            dkim: vec![("r1".into(), Heard::Found(Ok(())))],
            dmarc: Heard::Found(Ok("reject".into())),
            sts: Heard::Found(Ok(("enforce".into(), vec!["*.example.org".into()]))),
            ns: Heard::Found(vec!["NS2.example.net.".into(), "ns1.example.net".into()]),
            autoconfig: Heard::Found(()),
            tlsa: vec![("mx.example.org".into(), Ok(()))],
            expires: Heard::Found(Now::from_secs(0) + Span::days(300)),
        };
        (wanted, facts)
    }

    #[track_caller]
    fn check(about: &str, grade: Grade, change: impl Fn(&mut Facts)) {
        let (wanted, mut facts) = good();
        change(&mut facts);
        let faults = judge("example.org", &wanted, &facts, Now(0)).expect("something was learned");
        assert_eq!(faults.iter().map(|f| (f.about, f.grade)).collect::<Vec<_>>(), [(about, grade)]);
    }

    #[test]
    fn what_is_as_it_should_be_has_no_fault() {
        let (wanted, facts) = good();
        assert_eq!(judge("example.org", &wanted, &facts, Now(0)), Some(Vec::new()));
    }

    #[test]
    fn every_kind_of_drift_is_named() {
        use Grade::{Broken, Weak};
        check("mx", Broken, |f| f.mx = Heard::Nothing);
        check("spf", Broken, |f| f.spf[0].1 = "fail".into());
        check("spf", Weak, |f| f.spf[0].1 = "none".into());
        check("dkim", Broken, |f| f.dkim[0].1 = Heard::Nothing);
        check("dkim", Broken, |f| f.dkim[0].1 = Heard::Found(Err("the key is revoked".into())));
        check("dmarc", Weak, |f| f.dmarc = Heard::Nothing);
        check("mta-sts", Broken, |f| {
            f.sts = Heard::Found(Ok(("enforce".into(), vec!["mx.other.example".into()])));
        });
        check("mta-sts", Broken, |f| f.sts = Heard::Found(Err("its policy cannot be had".into())));
        check("ns", Broken, |f| f.ns = Heard::Found(vec!["ns1.evil.example".into()]));
        check("autoconfig", Weak, |f| f.autoconfig = Heard::Nothing);
        check("tlsa", Broken, |f| f.tlsa[0].1 = Err("none matches".into()));
        check("expiry", Weak, |f| f.expires = Heard::Found(Now(0) + Span::days(20)));
        check("expiry", Broken, |f| f.expires = Heard::Found(Now(0) + Span::days(2)));
    }

    #[test]
    fn mail_that_goes_elsewhere_is_broken_and_a_stranger_beside_us_is_weak() {
        let (wanted, mut facts) = good();
        facts.sts = Heard::Nothing;
        facts.mx = Heard::Found(vec!["mx.thief.example".into()]);
        let faults = judge("example.org", &wanted, &facts, Now(0)).expect("learned");
        assert_eq!((faults.len(), faults[0].about, faults[0].grade), (1, "mx", Grade::Broken));
        facts.mx = Heard::Found(vec!["mx.example.org".into(), "mx.thief.example".into()]);
        let faults = judge("example.org", &wanted, &facts, Now(0)).expect("learned");
        assert_eq!((faults.len(), faults[0].grade), (1, Grade::Weak));
    }

    #[test]
    fn a_resolver_that_fails_says_nothing_about_the_domain() {
        let (wanted, mut facts) = good();
        facts.mx = Heard::Unsure("time-out".into());
        assert_eq!(judge("example.org", &wanted, &facts, Now(0)), None);
    }
}
