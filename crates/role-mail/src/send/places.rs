//! Where a domain's mail goes: MX, or the domain itself; addresses; what DANE says of the hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use stdx::{Now, Span};
use words::Domain;
use world::{Dns, DnsError, Tlsa};

use super::sts::Sts;

/// Hosts tried for one destination.
const HOSTS_MAX: usize = 5;
/// Addresses tried for one host.
const ADDRESSES_MAX: usize = 4;
/// Answers are believed so long.
const TTL: (u64, u64) = (60, 3600);
/// Destinations remembered.
const PLACES_MAX: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceHost {
    pub name: String,
    pub ips: Vec<IpAddr>,
    /// RFC 7672: records, if DNSSEC proved everything on the way to them.
    pub tlsa: Vec<Tlsa>,
    /// Why its records cannot be told, though DNSSEC proves that there may be some.
    pub unproved: Option<String>,
}

/// Where mail for a domain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub hosts: Vec<PlaceHost>,
    pub names: Vec<String>,
    /// The MTA-STS policy that the domain is held to.
    pub sts: Option<Arc<Sts>>,
    /// DNSSEC proved the names of the hosts.
    pub secure: bool,
}

impl Place {
    fn new(names: Vec<String>, hosts: Vec<PlaceHost>, secure: bool) -> Place {
        Place { hosts, names, sts: None, secure }
    }
    /// Hosts and what they are held to: what a connection may be shared by.
    pub fn key(&self) -> String {
        let policy = self.sts.as_ref().map_or(String::new(), |sts| sts.key());
        format!("{} {policy}", self.names.join(","))
    }
}

/// Why it can go nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nowhere {
    pub permanent: bool,
    pub status: (u8, u16, u16),
    pub says: String,
}

pub type Found = Result<Arc<Place>, Nowhere>;

/// What is remembered, until when.
#[derive(Default)]
pub struct Places(BTreeMap<Domain, (Found, Now)>);

impl Places {
    pub fn get(&self, domain: &Domain, now: Now) -> Option<&Found> {
        self.0.get(domain).filter(|(_, until)| *until > now).map(|(found, _)| found)
    }
    pub fn put(&mut self, domain: Domain, found: Found, until: Now, now: Now) {
        if self.0.len() >= PLACES_MAX {
            self.0.retain(|_, (_, until)| *until > now);
            if self.0.len() >= PLACES_MAX {
                self.0.pop_first();
            }
        }
        self.0.insert(domain, (found, until));
    }
    /// Forgets a destination whose hosts did not answer, so that new records are seen.
    pub fn forget(&mut self, domain: &Domain) {
        self.0.remove(domain);
    }
}

fn nowhere(permanent: bool, status: (u8, u16, u16), says: impl Into<String>) -> Nowhere {
    Nowhere { permanent, status, says: says.into() }
}

/// Asks DNS. `own` is our host name: mail is not sent to ourselves (RFC 5321 §5.1).
pub async fn find(dns: &dyn Dns, domain: &Domain, own: &str, dnssec: bool) -> (Found, Span) {
    if let Some(ip) = domain.literal_ip() {
        let host = PlaceHost { name: domain.to_string(), ips: vec![ip], tlsa: Vec::new(), unproved: None };
        return (Ok(Arc::new(Place::new(vec![domain.to_string()], vec![host], false))), Span::secs(TTL.1));
    }
    match mx_hosts(dns, domain, own).await {
        Ok((names, secure, ttl)) => hosts(dns, domain, names, (secure && dnssec, ttl)).await,
        Err(none) => {
            let wait = if none.permanent { Span::mins(5) } else { Span::mins(1) };
            (Err(none), wait)
        }
    }
}

/// Where every way out is a relay, the relay finds the way: a name server that does not answer here
/// holds nothing up. Then the domain stands for its own destination.
pub fn behind_relays(found: Found, domain: &Domain) -> Found {
    match found {
        Err(Nowhere { permanent: false, .. }) => {
            Ok(Arc::new(Place::new(vec![domain.to_string()], Vec::new(), false)))
        }
        found => found,
    }
}

type Names = (Vec<String>, bool, u32);

async fn mx_hosts(dns: &dyn Dns, domain: &Domain, own: &str) -> Result<Names, Nowhere> {
    let mut answer = match dns.mx(domain.as_str()).await {
        Ok(answer) => answer,
        // RFC 5321 §5.1: without MX records the domain itself is the host.
        Err(DnsError::NoData) => return Ok((vec![domain.to_string()], false, TTL.0 as u32)),
        Err(DnsError::NoName) => {
            return Err(nowhere(true, (5, 1, 2), format!("The domain {domain} does not exist.")));
        }
        Err(DnsError::Failed(why)) => {
            return Err(nowhere(
                false,
                (4, 4, 3),
                format!("The name servers of {domain} do not answer ({why})."),
            ));
        }
    };
    answer.records.sort();
    // RFC 7505 §3: a single empty name says that no mail is taken.
    if answer.records.iter().all(|mx| mx.host.is_empty() || mx.host == ".") {
        return Err(nowhere(true, (5, 1, 10), format!("{domain} declares that it accepts no mail.")));
    }
    let ours = answer.records.iter().find(|mx| mx.host.eq_ignore_ascii_case(own)).map(|mx| mx.preference);
    let names: Vec<String> = answer
        .records
        .iter()
        .filter(|mx| !mx.host.is_empty() && ours.is_none_or(|p| mx.preference < p))
        .take(HOSTS_MAX)
        .map(|mx| mx.host.trim_end_matches('.').to_ascii_lowercase())
        .collect();
    if names.is_empty() {
        let says = format!("Mail for {domain} leads back to this server, which does not know the domain.");
        return Err(nowhere(true, (5, 4, 6), says));
    }
    Ok((names, answer.authentic, answer.ttl_s))
}

async fn hosts(
    dns: &dyn Dns,
    domain: &Domain,
    names: Vec<String>,
    (secure, mut ttl): (bool, u32),
) -> (Found, Span) {
    let (mut hosts, mut failed) = (Vec::new(), None);
    for name in &names {
        match dns.ip(name).await {
            Ok(mut answer) => {
                ttl = ttl.min(answer.ttl_s.max(1));
                answer.records.truncate(ADDRESSES_MAX);
                let tlsa = if secure && answer.authentic { tlsa(dns, name).await } else { Ok(Vec::new()) };
                let (tlsa, unproved) = tlsa.map_or_else(|why| (Vec::new(), Some(why)), |found| (found, None));
                hosts.push(PlaceHost { name: name.clone(), ips: answer.records, tlsa, unproved });
            }
            Err(DnsError::Failed(why)) => failed = Some(why),
            Err(_) => {}
        }
    }
    let ttl = Span::secs(u64::from(ttl).clamp(TTL.0, TTL.1));
    if !hosts.is_empty() {
        return (Ok(Arc::new(Place::new(names, hosts, secure))), ttl);
    }
    let none = match failed {
        Some(why) => {
            nowhere(false, (4, 4, 3), format!("The mail servers of {domain} cannot be looked up ({why})."))
        }
        None if names.len() == 1 && names[0] == domain.as_str() => {
            nowhere(true, (5, 4, 4), format!("{domain} names no mail server and has no address."))
        }
        None => nowhere(true, (5, 4, 4), format!("The mail servers that {domain} names have no address.")),
    };
    (Err(none), Span::mins(1))
}

// RFC 7672 §2.1.1: only authentic records count, and only those of usages 2 and 3. §2.1.2: where
// the names are proved, an answer that does not come may hide records: that host gets nothing.
async fn tlsa(dns: &dyn Dns, host: &str) -> Result<Vec<Tlsa>, String> {
    match dns.tlsa(&format!("_25._tcp.{host}")).await {
        Ok(answer) if answer.authentic => {
            Ok(answer.records.into_iter().filter(|t| matches!(t.usage, 2 | 3)).collect())
        }
        Err(DnsError::Failed(why)) => Err(format!("the TLSA records of {host} cannot be looked up ({why})")),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_relays_a_silent_name_server_holds_nothing_up() {
        let domain = Domain::new("dest.example").expect("a domain");
        let silent = || Err(nowhere(false, (4, 4, 3), "no answer"));
        assert_eq!(
            behind_relays(silent(), &domain).map(|p| p.names.clone()),
            Ok(vec!["dest.example".to_owned()])
        );
        let gone = Err(nowhere(true, (5, 1, 2), "no such domain"));
        assert!(behind_relays(gone, &domain).is_err(), "what is known not to exist stays so");
    }
}
