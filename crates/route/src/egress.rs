//! Ways out: addresses of ours and relays, and who may use which.
//!
//! An egress carries only mail that will pass there: verified sender domains, no forwards where
//! they are not taken, and authentication that holds from its address. Begin with [`eligible`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use stdx::{Now, Span};
use words::{Domain, Reason};

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The operator's name for it: `A`, `relay-eu`.
    pub name: String,
    pub kind: Kind,
    /// The addresses the world sees; SPF must name them.
    pub addresses: Vec<IpAddr>,
    /// Only these sender domains are verified there; `None` for all.
    pub verified: Option<BTreeSet<Domain>>,
    /// Whether forwarded mail may leave here.
    pub forwards: bool,
    /// Data centre or network, for the lint: two egresses in one network fall together.
    pub network: Option<String>,
    pub warm_up: Option<WarmUp>,
    /// What single groups take on a new address's first day, where it is known.
    pub warm_up_groups: BTreeMap<String, u32>,
    /// Nothing leaves here before its pre-flight was passed.
    pub must_pass: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address of this host, with its HELO name.
    Address { source: IpAddr, helo: String },
    /// Any SMTP server that relays for us, `host:port`.
    Relay { host: String, port: u16 },
}

impl Egress {
    pub fn address(name: &str, source: IpAddr, helo: &str) -> Egress {
        Egress {
            name: name.to_owned(),
            kind: Kind::Address { source, helo: helo.to_owned() },
            addresses: vec![source],
            verified: None,
            forwards: true,
            network: None,
            warm_up: None,
            warm_up_groups: BTreeMap::new(),
            must_pass: false,
        }
    }
    pub fn relay(name: &str, host: &str, port: u16) -> Egress {
        Egress {
            name: name.to_owned(),
            kind: Kind::Relay { host: host.to_owned(), port },
            addresses: Vec::new(),
            verified: None,
            forwards: false,
            network: None,
            warm_up: None,
            warm_up_groups: BTreeMap::new(),
            must_pass: false,
        }
    }
    /// The day of the warm-up towards a group, and how many messages it allows; `None` once warm.
    pub fn allowance(&self, group: &str, now: Now) -> Option<(u64, u32)> {
        let first_day = self.warm_up_groups.get(group).copied();
        let warm_up = self.warm_up?;
        WarmUp { first_day: first_day.unwrap_or(warm_up.first_day), ..warm_up }.today(now)
    }
    pub fn is_relay(&self) -> bool {
        matches!(self.kind, Kind::Relay { .. })
    }
}

/// A new address earns its reputation slowly: so many a day per group, doubling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmUp {
    pub since: Now,
    pub first_day: u32,
}

/// After so many days a new address carries its full share.
pub const WARM_UP_DAYS: u64 = 10;
/// What providers that watch new addresses took on a first day, with a margin: 50 was refused.
pub const FIRST_DAY: u32 = 30;

impl WarmUp {
    pub fn new(since: Now) -> WarmUp {
        WarmUp { since, first_day: FIRST_DAY }
    }
    /// The number of the day, and how much it allows; `None` once warm.
    pub fn today(&self, now: Now) -> Option<(u64, u32)> {
        let day = now.since(self.since).0 / Span::days(1).0;
        (day < WARM_UP_DAYS).then(|| (day, self.first_day.saturating_mul(1 << day)))
    }
}

/// What the sender domain's SPF says of one egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spf {
    Pass,
    /// Soft failure, neutral, or no record.
    Weak,
    /// `-all` and not named.
    Fail,
    /// Not asked, or no answer.
    #[default]
    Unknown,
}

/// The sender domain's DMARC policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dmarc {
    #[default]
    None,
    Monitor,
    Quarantine,
    Reject,
}

/// Who sends, as far as it decides where the mail may leave.
#[derive(Clone, Debug, Default)]
pub struct Sender<'a> {
    /// `None` for the null reverse path.
    pub domain: Option<&'a Domain>,
    pub forward: bool,
    pub dkim_aligned: bool,
    pub dmarc: Dmarc,
    /// In the order of the egresses; missing ones are unknown.
    pub spf: &'a [Spf],
}

/// Why an egress may not carry this mail; `None` if it may. Learned refusals of a sender domain
/// are asked of the state by the planner, not here.
pub fn ineligible(egress: &Egress, index: usize, sender: &Sender<'_>) -> Option<Reason> {
    if sender.forward && !egress.forwards {
        let says = format!("{} carries no forwarded mail", egress.name);
        return Some(Reason::new("eligible.forward", says).with("egress", &egress.name));
    }
    let domain = sender.domain?;
    if egress.verified.as_ref().is_some_and(|v| !v.contains(domain)) {
        let says = format!("{domain} is not among the sender domains verified at {}", egress.name);
        return Some(Reason::new("eligible.unverified", says).with("egress", &egress.name));
    }
    if sender.forward || sender.dkim_aligned {
        return None;
    }
    let spf = sender.spf.get(index).copied().unwrap_or_default();
    let strict = matches!(sender.dmarc, Dmarc::Quarantine | Dmarc::Reject);
    let fails = spf == Spf::Fail || (spf == Spf::Weak && strict);
    if !fails {
        return None;
    }
    let addresses: Vec<String> = egress.addresses.iter().map(ToString::to_string).collect();
    let says =
        format!("SPF of {domain} lacks {}", if addresses.is_empty() { &egress.name } else { &addresses[0] });
    let policy = if strict { "its DMARC policy would refuse the mail" } else { "its SPF ends in -all" };
    Some(
        Reason::new("eligible.spf", format!("{says}; no aligned DKIM, and {policy}"))
            .with("egress", &egress.name)
            .with("addresses", addresses.join(" "))
            .with(
                "remedy",
                format!(
                    "add {} to the SPF record of {domain}, or sign its mail with DKIM",
                    addresses.join(" ")
                ),
            ),
    )
}

/// Egresses that fall together: same network label, same /24 or /48.
pub fn shared_fate(egresses: &[Egress]) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    for (i, a) in egresses.iter().enumerate() {
        for b in &egresses[i + 1..] {
            let near = a.addresses.iter().any(|x| b.addresses.iter().any(|y| same_net(*x, *y)));
            let why = match (&a.network, &b.network) {
                (Some(x), Some(y)) if x == y => format!("both are in {x}"),
                _ if near => "their addresses are in one /24 (or /48) network".to_owned(),
                _ => continue,
            };
            out.push((a.name.clone(), b.name.clone(), why));
        }
    }
    out
}

fn same_net(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..3] == b.segments()[..3],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn mail_that_would_fail_its_own_policy_may_not_leave_there() {
        let domain = Domain::new("example.org").expect("valid");
        let b = Egress::address("B", ip(23), "b.example");
        let case = |dkim, dmarc, spf: Spf, forward| {
            let sender = Sender { domain: Some(&domain), forward, dkim_aligned: dkim, dmarc, spf: &[spf] };
            ineligible(&b, 0, &sender).map(|r| r.rule)
        };
        for (dkim, dmarc, spf, forward, want) in [
            (false, Dmarc::Reject, Spf::Fail, false, Some("eligible.spf")),
            (false, Dmarc::Reject, Spf::Weak, false, Some("eligible.spf")),
            (false, Dmarc::Reject, Spf::Pass, false, None),
            (true, Dmarc::Reject, Spf::Fail, false, None),
            (false, Dmarc::None, Spf::Weak, false, None),
            (false, Dmarc::None, Spf::Fail, false, Some("eligible.spf")),
            (false, Dmarc::Reject, Spf::Fail, true, None),
            (false, Dmarc::Reject, Spf::Unknown, false, None),
        ] {
            assert_eq!(case(dkim, dmarc, spf, forward), want, "{dkim} {dmarc:?} {spf:?} {forward}");
        }
    }

    #[test]
    fn a_relay_takes_verified_domains_and_no_forwards() {
        let (ours, theirs) =
            (Domain::new("ours.example").expect("valid"), Domain::new("theirs.example").expect("valid"));
        let mut c = Egress::relay("C", "smtp.relay.example", 587);
        c.verified = Some(BTreeSet::from([ours.clone()]));
        let ask = |d: &Domain, forward| {
            ineligible(&c, 0, &Sender { domain: Some(d), forward, ..Sender::default() }).map(|r| r.rule)
        };
        assert_eq!(ask(&ours, false), None);
        assert_eq!(ask(&theirs, false), Some("eligible.unverified"));
        assert_eq!(ask(&ours, true), Some("eligible.forward"));
    }

    #[test]
    fn egresses_of_one_network_are_named() {
        let list = [
            Egress::address("A", ip(1), "a"),
            Egress::address("B", ip(2), "b"),
            Egress::address("C", IpAddr::from([198, 51, 100, 1]), "c"),
        ];
        assert_eq!(shared_fate(&list).len(), 1);
    }

    #[test]
    fn a_warm_up_doubles_daily_and_ends() {
        let w = WarmUp::new(Now::from_secs(0));
        assert_eq!(w.today(Now::from_secs(3600)), Some((0, 30)));
        assert_eq!(w.today(Now::from_secs(86_400 * 3)), Some((3, 240)));
        assert_eq!(w.today(Now::from_secs(86_400 * 10)), None);
    }
}
