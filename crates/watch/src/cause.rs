//! Many findings, one cause: a dead host makes every probe of it red, and that is one alert.

use std::collections::{BTreeMap, BTreeSet};

use stdx::{Now, Span};

/// A probe that is red, or a fact that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `port.imaps.mx.example.org`.
    pub probe: String,
    /// `receiving`, `ports`, `disk`.
    pub component: String,
    /// The machine it is about; empty if none.
    pub host: String,
    /// It looks at a port: all of them red means that the machine is gone.
    pub reaches: bool,
    /// Only some places see it.
    pub region: Option<String>,
    pub since: Now,
    /// Stand so long before anyone is told: what it is part of may show itself meanwhile.
    pub hold: Span,
    pub says: String,
}

/// What is told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `host.mx.example.org`, `receiving.mx.example.org`: the same cause has the same name.
    pub name: String,
    pub since: Now,
    /// See [`Finding::hold`].
    pub hold: Span,
    /// The first sentence is the subject.
    pub says: Vec<String>,
}

/// Sentences of one cause that are told.
const SAYS_MAX: usize = 12;
const HOST: &str = "host.";

/// Gathers findings by cause. `reaching` counts, per host, the probes that look at its ports.
pub fn gather(findings: &[Finding], reaching: &BTreeMap<String, usize>) -> Vec<Cause> {
    let mut down: BTreeMap<&str, usize> = BTreeMap::new();
    for f in findings.iter().filter(|f| f.reaches && f.region.is_none()) {
        *down.entry(&f.host).or_default() += 1;
    }
    // Two ports at least: a host of which one port is watched is not dead because that is closed.
    let dead: BTreeSet<&str> = down
        .iter()
        .filter(|(host, n)| **n >= 2 && reaching.get(**host).is_some_and(|all| all == *n))
        .map(|(host, _)| *host)
        .collect();
    let mut causes: BTreeMap<String, Cause> = BTreeMap::new();
    for f in findings {
        let name = name(f, &dead);
        let first = match &f.region {
            _ if dead.contains(f.host.as_str()) => format!("{} does not answer on any port", f.host),
            Some(region) => format!("{} is degraded for {region}", f.component),
            None => f.says.clone(),
        };
        let cause = causes.entry(name.clone()).or_insert_with(|| {
            let hold = if name.starts_with(HOST) { Span::ZERO } else { f.hold };
            Cause { name, since: f.since, hold, says: vec![first] }
        });
        cause.since = cause.since.min(f.since);
        cause.hold = cause.hold.min(f.hold);
        let line = format!("{}: {}", f.probe, f.says);
        if cause.says.len() < SAYS_MAX && !cause.says.contains(&line) {
            cause.says.push(line);
        }
    }
    causes.into_values().collect()
}

fn name(f: &Finding, dead: &BTreeSet<&str>) -> String {
    if !f.host.is_empty() && dead.contains(f.host.as_str()) {
        return format!("{HOST}{}", f.host);
    }
    if let Some(region) = &f.region {
        // All that one region sees is its own line's trouble.
        return format!("region.{region}");
    }
    if f.host.is_empty() { f.component.clone() } else { format!("{}.{}", f.component, f.host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(probe: &str, component: &str, reaches: bool) -> Finding {
        Finding {
            probe: probe.into(),
            component: component.into(),
            host: "mx".into(),
            reaches,
            region: None,
            since: Now::from_secs(5),
            hold: Span::ZERO,
            says: "connection refused".into(),
        }
    }

    #[test]
    fn a_dead_host_is_one_cause_with_everything_it_takes_down() {
        let findings = [
            finding("port.imaps", "ports", true),
            finding("port.smtp", "ports", true),
            finding("loop.in", "receiving", false),
        ];
        let causes = gather(&findings, &BTreeMap::from([("mx".to_owned(), 2)]));
        assert_eq!(causes.len(), 1);
        assert_eq!(
            (causes[0].name.as_str(), causes[0].says[0].as_str()),
            ("host.mx", "mx does not answer on any port")
        );
        assert_eq!(causes[0].says.len(), 4);
    }

    #[test]
    fn mail_that_does_not_come_is_no_dead_host() {
        let findings = [finding("loop.in", "receiving", false)];
        let causes = gather(&findings, &BTreeMap::from([("mx".to_owned(), 9)]));
        assert_eq!(causes[0].name, "receiving.mx");
        let one = [finding("port.imaps", "ports", true), finding("port.imap", "ports", true)];
        assert_eq!(gather(&one, &BTreeMap::from([("mx".to_owned(), 9)]))[0].name, "ports.mx");
    }

    #[test]
    fn what_one_region_sees_is_one_cause() {
        let region = |probe| Finding { region: Some("M3".into()), ..finding(probe, "ports", true) };
        let causes = gather(&[region("a"), region("b")], &BTreeMap::from([("mx".to_owned(), 2)]));
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].name, "region.M3");
    }
}
