//! A dry run of the sender for one destination: the same look-ups, the same judge, nothing sent.

use route::explain::{Explained, explain as judge};
use route::{Facts, Sender};
use serde::Serialize;
use words::Domain;

use super::outbound::{egresses, judging};
use super::places;
use super::senders::{self, SenderFacts};
use crate::Site;

/// What would happen to a fresh message.
#[derive(Debug, Serialize)]
pub struct DryRun {
    pub domain: String,
    /// The sender's domain that was asked about; without one, signed mail of ours.
    pub from: Option<String>,
    /// Hosts in the order of preference, with their addresses.
    pub hosts: Vec<(String, Vec<std::net::IpAddr>)>,
    #[serde(flatten)]
    pub explained: Explained,
}

/// Looks the destination up and asks the judge. The words of an `Err` are for people.
pub async fn explain(site: &Site, domain: &Domain, from: Option<&Domain>) -> Result<DryRun, String> {
    let settings = site.settings();
    let ways = egresses(&settings);
    let (mut found, _) =
        places::find(site.world().dns.as_ref(), domain, &settings.host_name, settings.dnssec).await;
    if settings.egresses.iter().all(|e| e.relay.is_some()) {
        found = places::behind_relays(found, domain);
    }
    let place = found.map_err(|nowhere| nowhere.says)?;
    let known = match from {
        Some(from) => senders::gather(site, from, &ways).await,
        None => SenderFacts { signed: true, ..SenderFacts::default() },
    };
    let sender = Sender {
        domain: from,
        forward: false,
        dkim_aligned: known.signed,
        dmarc: known.dmarc,
        spf: &known.spf,
    };
    let now = site.now();
    let routes = site.outbound().routes();
    let group = route::group_of(domain, &place.names, &routes.banners);
    let facts = Facts {
        egresses: &ways,
        group: &group,
        hosts: &place.names,
        domain,
        sender: &sender,
        tried: &[],
        accepted_at: now,
        first_blocked: None,
        stick: None,
        // Asking must not make anybody a probe.
        may_probe: false,
        draw: 99,
    };
    let explained = judge(&facts, &routes, &judging(&settings), now);
    Ok(DryRun {
        domain: domain.to_string(),
        from: from.map(ToString::to_string),
        hosts: place.hosts.iter().map(|h| (h.name.clone(), h.ips.clone())).collect(),
        explained,
    })
}
