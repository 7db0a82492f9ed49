//! What must be sure before a message is given to a host: DANE before MTA-STS before whatever is
//! offered, and what REQUIRETLS adds. Pure decisions; `line` carries them out.

use drive::{Doubt, Trust};
use mailauth::dane;
use mailauth::tlsrpt::{Failure, PolicyKind};
use smtp::client::TlsPolicy;

use super::places::{Place, PlaceHost};
use crate::RelayTls;

/// What a message itself asks of TLS, whatever its destination publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    #[default]
    Usual,
    /// RFC 8689 §2: over proved TLS, or not at all.
    Required,
    /// RFC 8689 §3, `TLS-Required: No`: that it arrives is worth more than how.
    Waived,
}

impl Wish {
    pub fn of(options: &spool::Options) -> Wish {
        match (options.requiretls, options.tls_waived) {
            (true, _) => Wish::Required,
            (false, true) => Wish::Waived,
            (false, false) => Wish::Usual,
        }
    }
}

/// What a host is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// RFC 7435: TLS if it is offered, with anybody.
    Open,
    /// RFC 7672 §2.1: TLSA records, but none that can be used: TLS, with anybody.
    Encrypted,
    /// RFC 7672: a TLSA record must name its certificate.
    Dane,
    /// RFC 8461 §5: only servers of the policy, with a certificate for their name.
    Enforced { fits: bool },
    /// RFC 8461 §5: the same is looked at and counted, nothing more.
    Tested { fits: bool },
    /// A relay of ours, as it is set up.
    Relay(RelayTls),
}

/// Why nothing is said to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    pub rule: &'static str,
    pub says: String,
    /// Nothing will change by waiting.
    pub permanent: bool,
}

/// What a host of a place is held to. DANE comes before MTA-STS (RFC 8461 §2).
pub fn of(place: &Place, host: &PlaceHost, wish: Wish) -> Demand {
    if wish == Wish::Waived {
        return Demand::Open;
    }
    if host.tlsa.iter().any(dane::usable) {
        return Demand::Dane;
    }
    match &place.sts {
        Some(sts) if sts.is_enforced() => Demand::Enforced { fits: sts.policy.fits(&host.name) },
        Some(sts) => Demand::Tested { fits: sts.policy.fits(&host.name) },
        None if !host.tlsa.is_empty() => Demand::Encrypted,
        None => Demand::Open,
    }
}

impl Demand {
    /// What a report calls the policy.
    pub fn kind(self) -> PolicyKind {
        match self {
            Demand::Dane | Demand::Encrypted => PolicyKind::Tlsa,
            Demand::Enforced { .. } | Demand::Tested { .. } => PolicyKind::Sts,
            Demand::Open | Demand::Relay(_) => PolicyKind::NoPolicy,
        }
    }
    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Demand::Dane | Demand::Encrypted => "DANE",
            Demand::Enforced { .. } => "MTA-STS enforce",
            Demand::Tested { .. } => "MTA-STS testing",
            Demand::Open => "opportunistic TLS",
            Demand::Relay(_) => "relay",
        }
    }
    pub fn rule(self) -> &'static str {
        match self {
            Demand::Dane | Demand::Encrypted => "tls.dane",
            Demand::Enforced { .. } => "tls.sts.enforce",
            Demand::Tested { .. } => "tls.sts.testing",
            Demand::Open => "tls.open",
            Demand::Relay(_) => "tls.relay",
        }
    }
    /// Whether nothing is said without TLS.
    pub fn needs_tls(self) -> bool {
        match self {
            Demand::Open | Demand::Tested { .. } => false,
            Demand::Relay(tls) => tls != RelayTls::None,
            _ => true,
        }
    }
    /// How the client machine goes about STARTTLS.
    pub fn policy(self) -> TlsPolicy {
        match self {
            Demand::Relay(RelayTls::StartTls) => TlsPolicy::Required,
            Demand::Relay(_) => TlsPolicy::Never,
            _ if self.needs_tls() => TlsPolicy::Required,
            _ => TlsPolicy::IfOffered,
        }
    }
    pub fn trust(self, host: &PlaceHost, wish: Wish) -> Trust {
        let names = vec![host.name.clone()];
        match self {
            Demand::Dane => Trust::Dane { tlsa: host.tlsa.clone(), names },
            Demand::Enforced { .. } | Demand::Relay(_) => Trust::Names(names),
            _ if wish == Wish::Required => Trust::Names(names),
            _ => Trust::Any,
        }
    }
    /// Why this host gets nothing, whatever it says.
    pub fn barred(self, place: &Place, host: &PlaceHost, wish: Wish) -> Option<Barred> {
        if wish == Wish::Waived {
            return None;
        }
        let barred = |rule, says, permanent| Some(Barred { rule, says, permanent });
        if let Some(why) = &host.unproved {
            return barred("tls.dane", format!("DANE: {why}"), false);
        }
        if self == (Demand::Enforced { fits: false }) {
            let says =
                format!("MTA-STS enforce: {} is not among the servers that the policy names", host.name);
            return barred(self.rule(), says, false);
        }
        // RFC 8689 §4.2.1: the name of the server must be proved too, by DNSSEC or MTA-STS.
        let proved = place.secure
            || matches!(
                self,
                Demand::Dane | Demand::Enforced { .. } | Demand::Tested { fits: true } | Demand::Relay(_)
            );
        if wish == Wish::Required && !proved {
            let says = format!(
                "REQUIRETLS: the message demands a proved way, but neither DNSSEC nor MTA-STS vouches for {}",
                host.name
            );
            return barred("tls.required", says, true);
        }
        None
    }
    /// How a session under this demand went, for the report: `verified` and `fits` count only
    /// where a policy is tested.
    pub fn verdict(self, tls: bool, verified: bool, doubt: Option<Doubt>) -> Option<Failure> {
        match self {
            _ if !tls => Some(Failure::StarttlsNotSupported),
            Demand::Tested { fits: false } | Demand::Enforced { fits: false } => {
                Some(Failure::ValidationFailure)
            }
            Demand::Tested { fits: true } if !verified => {
                Some(doubt.map_or(Failure::ValidationFailure, failure))
            }
            _ => None,
        }
    }
}

/// RFC 8460 §4.3: what a report calls a certificate's fault.
pub fn failure(doubt: Doubt) -> Failure {
    match doubt {
        Doubt::Expired => Failure::CertificateExpired,
        Doubt::Name => Failure::CertificateHostMismatch,
        Doubt::Untrusted => Failure::CertificateNotTrusted,
        // RFC 8460 §4.3.2.1: a certificate that no record names is a validation failure.
        Doubt::Tlsa | Doubt::Other => Failure::ValidationFailure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::sts::Sts;
    use mailauth::mtasts::Policy;
    use std::sync::Arc;
    use words::Domain;
    use world::Tlsa;

    fn host(name: &str, tlsa: &[(u8, usize)]) -> PlaceHost {
        let tlsa = tlsa.iter().map(|(usage, len)| Tlsa {
            usage: *usage,
            selector: 1,
            matching: 1,
            data: vec![0; *len],
        });
        PlaceHost { name: name.into(), ips: Vec::new(), tlsa: tlsa.collect(), unproved: None }
    }

    fn place(mode: Option<&str>, secure: bool) -> Place {
        let sts = mode.map(|mode| {
            let text = format!("version: STSv1\nmode: {mode}\nmx: mx.far.example\nmax_age: 1000\n");
            let policy = Policy::parse(&text).expect("valid");
            Arc::new(Sts { domain: Domain::new("far.example").expect("a domain"), policy })
        });
        Place { hosts: Vec::new(), names: Vec::new(), sts, secure }
    }

    #[test]
    fn dane_goes_before_mta_sts_and_both_before_what_is_offered() {
        let good = host("mx.far.example", &[]);
        for (mode, host, want) in [
            (None, good.clone(), Demand::Open),
            (None, host("mx.far.example", &[(3, 5)]), Demand::Encrypted),
            (Some("enforce"), host("mx.far.example", &[(3, 32)]), Demand::Dane),
            (Some("enforce"), host("mx.far.example", &[(3, 5)]), Demand::Enforced { fits: true }),
            (Some("enforce"), host("evil.example", &[]), Demand::Enforced { fits: false }),
            (Some("testing"), good.clone(), Demand::Tested { fits: true }),
        ] {
            assert_eq!(of(&place(mode, false), &host, Wish::Usual), want, "{mode:?} {host:?}");
        }
    }

    #[test]
    fn a_server_outside_the_policy_gets_nothing_where_it_is_enforced() {
        let evil = host("evil.example", &[]);
        for (mode, barred) in [("enforce", true), ("testing", false)] {
            let place = place(Some(mode), false);
            let found = of(&place, &evil, Wish::Usual).barred(&place, &evil, Wish::Usual);
            assert_eq!(found.is_some(), barred, "{mode}");
            assert!(found.is_none_or(|b| !b.permanent && b.says.contains("MTA-STS enforce")));
        }
    }

    // RFC 8689 §4.2.1
    #[test]
    fn requiretls_wants_the_name_of_the_server_proved() {
        let good = host("mx.far.example", &[]);
        for (mode, secure, barred) in [
            (None, false, true),
            (None, true, false),
            (Some("enforce"), false, false),
            (Some("testing"), false, false),
        ] {
            let place = place(mode, secure);
            let demand = of(&place, &good, Wish::Required);
            assert_eq!(demand.barred(&place, &good, Wish::Required).is_some(), barred, "{mode:?} {secure}");
            assert!(matches!(demand.trust(&good, Wish::Required), Trust::Names(_)));
            assert_eq!(demand.barred(&place, &good, Wish::Usual), None);
        }
    }

    #[test]
    fn a_name_server_that_hides_tlsa_records_is_not_believed() {
        let mut hidden = host("mx.far.example", &[]);
        hidden.unproved = Some("its TLSA records cannot be looked up".into());
        let place = place(None, true);
        assert!(
            Demand::Open.barred(&place, &hidden, Wish::Usual).is_some_and(|b| b.says.starts_with("DANE"))
        );
    }
}
