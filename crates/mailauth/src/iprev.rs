//! Does the address have a name that leads back to it? (RFC 8601 §3)

use std::fmt;
use std::net::IpAddr;

use world::dns::{Dns, DnsError};

/// Names looked at.
const NAMES_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IprevResult {
    Pass,
    Fail,
    TempError,
    PermError,
}

impl fmt::Display for IprevResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IprevResult::Pass => "pass",
            IprevResult::Fail => "fail",
            IprevResult::TempError => "temperror",
            IprevResult::PermError => "permerror",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iprev {
    pub result: IprevResult,
    /// The name that leads back; without a pass, the first name there is.
    pub name: Option<String>,
    pub reason: String,
}

pub async fn check(dns: &dyn Dns, ip: IpAddr) -> Iprev {
    let ip = ip.to_canonical();
    let names = match dns.ptr(ip).await {
        Ok(answer) => answer.records,
        // RFC 8601 §3: no PTR record at all is a permerror.
        Err(DnsError::NoName | DnsError::NoData) => {
            return Iprev {
                result: IprevResult::PermError,
                name: None,
                reason: "the address has no name".into(),
            };
        }
        Err(DnsError::Failed(why)) => {
            let reason = format!("no answer about the name of the address: {why}");
            return Iprev { result: IprevResult::TempError, name: None, reason };
        }
    };
    let names: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(|n| n.trim_end_matches('.').to_ascii_lowercase())
        .filter(|n| !n.is_empty())
        .collect();
    let mut unsure = None;
    for name in &names {
        match dns.ip(name).await {
            Ok(answer) if answer.records.contains(&ip) => {
                let reason = format!("{name} leads back to the address");
                return Iprev { result: IprevResult::Pass, name: Some(name.clone()), reason };
            }
            Err(DnsError::Failed(why)) => unsure = Some(why),
            _ => {}
        }
    }
    let (result, reason) = match unsure {
        Some(why) => (IprevResult::TempError, format!("no answer about a name of the address: {why}")),
        None => (IprevResult::Fail, "no name of the address leads back to it".to_owned()),
    };
    Iprev { result, name: names.first().cloned(), reason }
}
