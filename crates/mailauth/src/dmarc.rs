//! DMARC (RFC 9989, reading records written for RFC 7489): is the author's domain proven, and what
//! does its owner ask for if not?
//!
//! The organizational domain is found by walking up the DNS tree (RFC 9989 §4.10); no list of
//! public suffixes is needed. Begin with [`check`].

use std::fmt;

use message::{Head, addresses};
use words::Domain;
use world::dns::{Dns, DnsError};

use crate::tags::{Tags, is_blank};

/// RFC 9989 §4.10: questions of one walk.
const WALK_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcResult {
    None,
    Pass,
    Fail,
    TempError,
    PermError,
}

impl fmt::Display for DmarcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DmarcResult::None => "none",
            DmarcResult::Pass => "pass",
            DmarcResult::Fail => "fail",
            DmarcResult::TempError => "temperror",
            DmarcResult::PermError => "permerror",
        })
    }
}

/// What the domain owner asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Policy {
    #[default]
    None,
    Quarantine,
    Reject,
}

impl Policy {
    fn read(text: &str) -> Option<Policy> {
        match &text.to_ascii_lowercase()[..] {
            "none" => Some(Policy::None),
            "quarantine" => Some(Policy::Quarantine),
            "reject" => Some(Policy::Reject),
            _ => None,
        }
    }
    /// RFC 9989 §4.7 tag t: while testing, one step milder.
    fn milder(self) -> Policy {
        match self {
            Policy::Reject => Policy::Quarantine,
            _ => Policy::None,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        })
    }
}

/// RFC 9989 §4.7 tag psd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Psd {
    Yes,
    No,
    Unknown,
}

/// A policy record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub policy: Policy,
    pub subdomains: Policy,
    /// For subdomains that do not exist.
    pub missing: Policy,
    pub strict_dkim: bool,
    pub strict_spf: bool,
    pub testing: bool,
    pub psd: Psd,
    /// Where aggregate reports go: URIs.
    pub rua: Vec<String>,
    pub ruf: Vec<String>,
}

impl Record {
    /// Reads a TXT record. `None` if it is no DMARC record or cannot be used.
    pub fn parse(text: &str) -> Option<Record> {
        let tags = Tags::parse(text).ok()?;
        if tags.first() != Some(("v", "DMARC1")) {
            return None;
        }
        let uris = |name: &str| -> Vec<String> {
            let list = tags.get(name).unwrap_or("").split(',').map(|u| u.trim_matches(is_blank));
            // RFC 7489 §6.2 let a size stand after an exclamation mark.
            let list = list.map(|u| u.split_once('!').map_or(u, |(u, _)| u));
            list.filter(|u| u.contains(':')).take(10).map(str::to_owned).collect()
        };
        let (rua, ruf) = (uris("rua"), uris("ruf"));
        // RFC 9989 §4.10.1: without a valid p, but with somewhere to report to, it counts as none.
        let policy = match tags.get("p").and_then(Policy::read) {
            Some(policy) => policy,
            None if !rua.is_empty() => Policy::None,
            None => return None,
        };
        let subdomains = tags.get("sp").and_then(Policy::read).unwrap_or(policy);
        let missing = tags.get("np").and_then(Policy::read).unwrap_or(subdomains);
        let is = |name: &str, value: &str| tags.get(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
        let psd = match tags.get("psd") {
            Some(v) if v.eq_ignore_ascii_case("y") => Psd::Yes,
            Some(v) if v.eq_ignore_ascii_case("n") => Psd::No,
            _ => Psd::Unknown,
        };
        Some(Record {
            policy,
            subdomains,
            missing,
            strict_dkim: is("adkim", "s"),
            strict_spf: is("aspf", "s"),
            // RFC 9989 appendix A.6: pct=0 was what t=y is now; other percentages are gone.
            testing: is("t", "y") || is("pct", "0"),
            psd,
            rua,
            ruf,
        })
    }
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    pub result: DmarcResult,
    /// The author's domain; empty if there is not exactly one.
    pub domain: String,
    /// What its owner asks for when the result is `fail`, testing taken into account.
    pub policy: Policy,
    /// Where the record stands.
    pub record_at: String,
    pub record: Option<Record>,
    /// Which of the two proved it.
    pub by_dkim: bool,
    pub by_spf: bool,
    pub reason: String,
}

impl Dmarc {
    fn ended(result: DmarcResult, domain: &str, reason: impl Into<String>) -> Dmarc {
        Dmarc {
            result,
            domain: domain.to_owned(),
            policy: Policy::None,
            record_at: String::new(),
            record: None,
            by_dkim: false,
            by_spf: false,
            reason: reason.into(),
        }
    }
}

/// The domain of the author (RFC 9989 §4.3 asks for exactly one). `Err` says what is wrong with
/// the From field.
pub fn author(head: &Head<'_>) -> Result<Domain, &'static str> {
    if head.count("From") > 1 {
        return Err("there is more than one From field");
    }
    let field = head.get("From").ok_or("there is no From field")?;
    let mut domain: Option<Domain> = None;
    for mailbox in addresses::mailboxes(field.raw()) {
        let (_, text) = mailbox.address.rsplit_once('@').ok_or("the From field holds no address")?;
        let this = Domain::new(text).map_err(|_| "the From field holds no valid domain")?;
        if domain.as_ref().is_some_and(|d| *d != this) {
            return Err("the From field names several domains");
        }
        domain = Some(this);
    }
    domain.ok_or("the From field holds no address")
}

/// The record that rules a domain, where it stands, and the organizational domain.
struct Walk {
    org: String,
    /// Names with their records, from the domain itself upwards.
    found: Vec<(String, Record)>,
}

/// RFC 9989 §4.10: asks the domain and its parents, eight questions at most.
async fn walk(dns: &dyn Dns, domain: &str) -> Result<Walk, String> {
    let labels: Vec<&str> = domain.split('.').collect();
    let mut found: Vec<(String, Record)> = Vec::new();
    let mut take = labels.len();
    for _ in 0..WALK_MAX {
        let name = labels[labels.len() - take..].join(".");
        if let Some(record) = record_at(dns, &name).await? {
            let psd = record.psd;
            found.push((name, record));
            // §4.10 step 3 and 6: this answers the question.
            if psd == Psd::No || (psd == Psd::Yes && take < labels.len()) {
                break;
            }
        }
        // §4.10 step 4: from a long name, go on at seven labels.
        take = if take > WALK_MAX { WALK_MAX - 1 } else { take - 1 };
        if take == 0 {
            break;
        }
    }
    let org = organizational(domain, &found);
    Ok(Walk { org, found })
}

/// RFC 9989 §4.10.2.
fn organizational(domain: &str, found: &[(String, Record)]) -> String {
    for (name, record) in found {
        match record.psd {
            Psd::No => return name.clone(),
            // One label below the public suffix.
            Psd::Yes if name != domain => {
                let below = &domain[..domain.len() - name.len() - 1];
                let label = below.rsplit('.').next().unwrap_or(below);
                return format!("{label}.{name}");
            }
            _ => {}
        }
    }
    found.last().map_or_else(|| domain.to_owned(), |(name, _)| name.clone())
}

async fn record_at(dns: &dyn Dns, name: &str) -> Result<Option<Record>, String> {
    match dns.txt(&format!("_dmarc.{name}")).await {
        Ok(answer) => {
            let mut records = answer.records.iter().filter_map(|t| Record::parse(t));
            let record = records.next();
            // §4.10 step 2: several are none.
            Ok(record.filter(|_| records.next().is_none()))
        }
        Err(DnsError::NoName | DnsError::NoData) => Ok(None),
        Err(DnsError::Failed(why)) => Err(format!("no answer about the DMARC record of {name}: {why}")),
    }
}

/// The domains that were proven.
#[derive(Clone, Debug, Default)]
pub struct Proven<'a> {
    /// The domain of a passing SPF check of the envelope sender (or of HELO for an empty one).
    pub spf: Option<&'a str>,
    /// The domains of passing signatures.
    pub dkim: Vec<&'a str>,
}

/// Evaluates the author's domain.
pub async fn check(dns: &dyn Dns, head: &Head<'_>, proven: &Proven<'_>) -> Dmarc {
    let author = match author(head) {
        Ok(author) => author,
        Err(why) => return Dmarc::ended(DmarcResult::PermError, "", why),
    };
    let domain = author.as_str();
    let walked = match walk(dns, domain).await {
        Ok(walked) => walked,
        Err(why) => return Dmarc::ended(DmarcResult::TempError, domain, why),
    };
    let own = walked.found.iter().find(|(name, _)| name == domain);
    // §4.10.1: the author's own record, or else that of the organizational domain, or else that of
    // the public suffix above it.
    let ruling = own
        .or_else(|| walked.found.iter().find(|(name, _)| *name == walked.org))
        .or_else(|| walked.found.iter().find(|(_, r)| r.psd == Psd::Yes));
    let Some((record_at, record)) = ruling else {
        return Dmarc::ended(DmarcResult::None, domain, format!("{domain} publishes no DMARC policy"));
    };
    let mut by_dkim = false;
    for signer in &proven.dkim {
        by_dkim |= aligned(dns, signer, domain, (&walked.org, record.strict_dkim)).await;
    }
    let by_spf = match proven.spf {
        Some(sender) => aligned(dns, sender, domain, (&walked.org, record.strict_spf)).await,
        None => false,
    };
    let pass = by_dkim || by_spf;
    let (mut policy, mut which) = (record.policy, "p");
    if own.is_none() && !pass {
        (policy, which) =
            if exists(dns, domain).await { (record.subdomains, "sp") } else { (record.missing, "np") };
    }
    let asked = policy;
    if record.testing {
        policy = policy.milder();
    }
    let reason = match (by_dkim, by_spf) {
        (true, true) => format!("{domain} is proven by DKIM and SPF"),
        (true, false) => format!("{domain} is proven by DKIM"),
        (false, true) => format!("{domain} is proven by SPF"),
        (false, false) => format!("nothing proves {domain}; {record_at} asks for {which}={asked}"),
    };
    Dmarc {
        result: if pass { DmarcResult::Pass } else { DmarcResult::Fail },
        domain: domain.to_owned(),
        policy: if pass { Policy::None } else { policy },
        record_at: record_at.clone(),
        record: Some(record.clone()),
        by_dkim,
        by_spf,
        reason,
    }
}

/// RFC 9989 §4.4: the same domain if strict, the same organizational domain if relaxed.
async fn aligned(dns: &dyn Dns, proven: &str, author: &str, (org, strict): (&str, bool)) -> bool {
    let Ok(proven) = Domain::new(proven) else { return false };
    if proven.as_str() == author {
        return true;
    }
    if strict || !proven.is_under(org) {
        return false;
    }
    proven.as_str() == org || walk(dns, proven.as_str()).await.is_ok_and(|w| w.org == org)
}

/// RFC 9989 §4.7 tag np: a domain exists if it has an address or a mail server. When in doubt it
/// does.
async fn exists(dns: &dyn Dns, domain: &str) -> bool {
    let gone = |e: &DnsError| matches!(e, DnsError::NoName | DnsError::NoData);
    if !dns.ip(domain).await.is_err_and(|e| gone(&e)) {
        return true;
    }
    !dns.mx(domain).await.is_err_and(|e| gone(&e))
}

#[cfg(test)]
#[path = "dmarc_tests.rs"]
mod tests;
