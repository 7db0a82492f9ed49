//! What decides where a sender domain's mail may leave: our DKIM keys for it, its DMARC policy,
//! its SPF of each egress.

use std::collections::BTreeMap;

use mailauth::spf::{self, SpfResult};
use route::{Dmarc, Egress, Spf};
use stdx::{Now, Span};
use words::Domain;

use crate::Site;

/// Facts are believed so long.
const FOR: Span = Span::mins(10);
/// Domains remembered.
const SENDERS_MAX: usize = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderFacts {
    pub signed: bool,
    pub dmarc: Dmarc,
    /// In the order of the egresses.
    pub spf: Vec<Spf>,
}

#[derive(Default)]
pub struct Senders(BTreeMap<Domain, (SenderFacts, Now)>);

impl Senders {
    pub fn get(&self, domain: &Domain, now: Now) -> Option<&SenderFacts> {
        self.0.get(domain).filter(|(_, until)| *until > now).map(|(facts, _)| facts)
    }
    pub fn put(&mut self, domain: Domain, facts: SenderFacts, now: Now) {
        if self.0.len() >= SENDERS_MAX {
            self.0.retain(|_, (_, until)| *until > now);
            if self.0.len() >= SENDERS_MAX {
                self.0.pop_first();
            }
        }
        self.0.insert(domain, (facts, now + FOR));
    }
}

/// Gathers the facts; signed domains need no DNS.
pub async fn gather(site: &Site, domain: &Domain, egresses: &[Egress]) -> SenderFacts {
    let keys = site.store().glance(|conn| directory::dkim_keys(conn, domain));
    if keys.is_ok_and(|k| !k.is_empty()) {
        return SenderFacts { signed: true, ..SenderFacts::default() };
    }
    let dmarc = dmarc(site, domain).await;
    let mut spf = Vec::with_capacity(egresses.len());
    for egress in egresses {
        spf.push(spf_of(site, domain, egress).await);
    }
    SenderFacts { signed: false, dmarc, spf }
}

// RFC 9989 §4.7: the record stands under _dmarc, of the domain or of its registrable one.
async fn dmarc(site: &Site, domain: &Domain) -> Dmarc {
    let registrable = route::group::registrable(domain.as_str());
    for name in [domain.as_str(), registrable.as_str()] {
        let Ok(answer) = site.world().dns.txt(&format!("_dmarc.{name}")).await else { continue };
        let Some(record) = answer.records.iter().find(|r| r.trim_start().starts_with("v=DMARC1")) else {
            continue;
        };
        let tag = |want: &str| {
            let mut tags = record.split(';').filter_map(|t| t.split_once('='));
            tags.find(|(n, _)| n.trim().eq_ignore_ascii_case(want))
                .map(|(_, v)| v.trim().to_ascii_lowercase())
        };
        let sub = (name != domain.as_str()).then(|| tag("sp")).flatten();
        return match sub.or_else(|| tag("p")).as_deref() {
            Some("reject") => Dmarc::Reject,
            Some("quarantine") => Dmarc::Quarantine,
            _ => Dmarc::Monitor,
        };
    }
    Dmarc::None
}

pub async fn spf_of(site: &Site, domain: &Domain, egress: &Egress) -> Spf {
    let settings = site.settings();
    let sender = format!("postmaster@{domain}");
    let mut worst = Spf::Unknown;
    for ip in &egress.addresses {
        let question = spf::Question {
            ip: *ip,
            helo: &settings.host_name,
            sender: &sender,
            receiver: &settings.host_name,
            now: site.now(),
        };
        let one = match spf::check(site.world().dns.as_ref(), &question).await.result {
            SpfResult::Pass => Spf::Pass,
            SpfResult::Fail => Spf::Fail,
            SpfResult::TempError => Spf::Unknown,
            _ => Spf::Weak,
        };
        worst = if one == Spf::Fail || worst == Spf::Unknown { one } else { worst };
    }
    worst
}
