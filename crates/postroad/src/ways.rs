//! Ways out and the lists that watch them: from the configuration's words to the mail host's.

use std::net::IpAddr;

use config::{Config, Preflight, TlsMode, Weight};
use role_mail::{Egress, EgressRules, Relay, RelayTls};
use route::dnsbl::{self, ListFacts};
use words::Domain;

pub fn egress(egress: &config::Egress) -> Egress {
    let relay = egress.relay.as_ref().map(|relay| Relay {
        host: relay.host.clone(),
        port: relay.port,
        tls: match relay.tls {
            TlsMode::Implicit => RelayTls::Implicit,
            TlsMode::StartTls => RelayTls::StartTls,
            TlsMode::None => RelayTls::None,
        },
        login: relay.login.clone(),
        pin: relay.pin.clone(),
    });
    Egress { name: egress.name.clone(), source: egress.source, helo: egress.helo.clone(), relay }
}

/// A host of ours whose word counts; what was taken from it stands in the store.
pub fn peer(peer: &config::Peer) -> link::Peer {
    link::Peer { name: peer.name.clone(), public: peer.key.clone(), last: 0 }
}

pub fn rules(egress: &config::Egress) -> EgressRules {
    let rules = &egress.rules;
    let seen: Vec<IpAddr> = if rules.addresses.is_empty() {
        egress.source.into_iter().collect()
    } else {
        rules.addresses.clone()
    };
    let verified: Vec<Domain> = rules.verified_domains.iter().filter_map(|d| Domain::new(d).ok()).collect();
    EgressRules {
        forwards: rules.forwards,
        verified: (!rules.verified_domains.is_empty()).then_some(verified),
        warm_up_since: rules.warm_up_since,
        warm_up_first_day: Some(rules.warm_up_first_day),
        warm_up_groups: rules.warm_up_groups.clone(),
        must_pass: match rules.preflight {
            Preflight::Required => true,
            Preflight::Off => false,
            Preflight::Auto => egress.relay.is_none() && seen.iter().any(|ip| dnsbl::is_public(*ip)),
        },
        cnames: rules.relay_cnames.clone(),
        addresses: rules.addresses.clone(),
        network: rules.network.clone(),
    }
}

/// The lists that are asked: the operator's own, and the public ones unless he says no.
pub fn lists(config: &Config) -> Vec<ListFacts> {
    let own = config.lists.iter().map(|list| ListFacts {
        of_domains: list.names,
        codes: list.codes.iter().map(|code| (*code, "listed".to_owned())).collect(),
        delist: list.delist.clone(),
        ..ListFacts::plain(&list.zone, weight(list.weight))
    });
    let mut out: Vec<ListFacts> = own.collect();
    if config.public_lists {
        let public = dnsbl::built_in();
        let more: Vec<ListFacts> =
            public.into_iter().filter(|p| !out.iter().any(|own| own.zone == p.zone)).collect();
        out.extend(more);
    }
    out
}

fn weight(weight: Weight) -> dnsbl::Weight {
    match weight {
        Weight::Critical => dnsbl::Weight::Critical,
        Weight::High => dnsbl::Weight::High,
        Weight::Medium => dnsbl::Weight::Medium,
        Weight::Low => dnsbl::Weight::Low,
        Weight::Information => dnsbl::Weight::Information,
    }
}
