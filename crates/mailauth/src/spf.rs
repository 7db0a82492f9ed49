//! SPF (RFC 7208): may this address send for that domain?
//!
//! What it is: our own evaluator, so that every question goes through [`world::Dns`] and every
//! answer carries its reason. [`check`] is the whole of it; the grammar is in `spf_record`, the
//! macros in `spf_macro`.
//! What it is not: a judge. What follows from `fail` is for `accept` to say.

use std::fmt;
use std::net::IpAddr;

use stdx::Now;
use world::Later;
use world::dns::{Dns, DnsError};

use crate::spf_macro::{Context, expand};
use crate::spf_record::{Mechanism, Qualifier, Record, Spec};

/// RFC 7208 §4.6.4: terms that ask DNS, in one check.
pub const LOOKUPS_MAX: u32 = 10;
/// RFC 7208 §4.6.4: questions without an answer.
pub const VOIDS_MAX: u32 = 2;
/// RFC 7208 §4.6.4: names looked at of one MX or PTR answer.
const NAMES_MAX: usize = 10;
/// Octets of an explanation handed on.
const EXPLANATION_MAX: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    None,
    Neutral,
    Pass,
    Fail,
    SoftFail,
    TempError,
    PermError,
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpfResult::None => "none",
            SpfResult::Neutral => "neutral",
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        })
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spf {
    pub result: SpfResult,
    /// The domain that was checked.
    pub domain: String,
    /// Why: the term that matched, or what went wrong.
    pub reason: String,
    /// The domain owner's words for a `fail` (RFC 7208 §6.2), if there are any. They are a
    /// stranger's text.
    pub explanation: Option<String>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub ip: IpAddr,
    /// What the peer called itself.
    pub helo: &'a str,
    /// The reverse path, `local@domain`; empty for `<>` and for a check of the HELO name.
    pub sender: &'a str,
    /// Our own name, for the `r` macro.
    pub receiver: &'a str,
    pub now: Now,
}

/// Why a check stops early.
enum Stop {
    Temp(String),
    Perm(String),
}

struct Check<'a> {
    dns: &'a dyn Dns,
    ip: IpAddr,
    helo: &'a str,
    local: String,
    sender_domain: String,
    receiver: &'a str,
    now: Now,
    lookups: u32,
    voids: u32,
}

struct Outcome {
    result: SpfResult,
    reason: String,
    explanation: Option<String>,
}

impl Outcome {
    fn new(result: SpfResult, reason: impl Into<String>) -> Outcome {
        Outcome { result, reason: reason.into(), explanation: None }
    }
}

/// RFC 7208 §4: evaluates the policy of the sender's domain, or of the HELO name if the sender is
/// empty.
pub async fn check(dns: &dyn Dns, q: &Question<'_>) -> Spf {
    // RFC 7208 §2.4, §4.3: no local part means postmaster.
    let (local, domain) = match q.sender.rsplit_once('@') {
        Some((local, domain)) => (local, domain),
        None if q.sender.is_empty() => ("", q.helo),
        None => ("", q.sender),
    };
    let domain = normal(domain);
    let ip = q.ip.to_canonical();
    let mut check = Check {
        dns,
        ip,
        helo: q.helo,
        local: if local.is_empty() { "postmaster".into() } else { local.to_owned() },
        sender_domain: domain.clone(),
        receiver: q.receiver,
        now: q.now,
        lookups: 0,
        voids: 0,
    };
    let outcome = match check.host(domain.clone(), true).await {
        Ok(outcome) => outcome,
        Err(Stop::Temp(why)) => Outcome::new(SpfResult::TempError, why),
        Err(Stop::Perm(why)) => Outcome::new(SpfResult::PermError, why),
    };
    Spf { result: outcome.result, domain, reason: outcome.reason, explanation: outcome.explanation }
}

/// Lower case, A-labels, no final dot.
fn normal(domain: &str) -> String {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    words::Domain::new(domain).map_or_else(|_| domain.to_lowercase(), |d| d.to_string())
}

/// RFC 7208 §4.3: labels of 1 to 63 octets, at least two of them.
fn is_domain(name: &str) -> bool {
    name.len() <= 253
        && name.contains('.')
        && name.is_ascii()
        && !name.starts_with('[')
        && name.split('.').all(|l| !l.is_empty() && l.len() <= 63)
}

impl Check<'_> {
    /// check_host() of RFC 7208 §4, for the first domain, an include or a redirect.
    fn host(&mut self, domain: String, first: bool) -> Later<'_, Result<Outcome, Stop>> {
        Box::pin(async move {
            if !is_domain(&domain) {
                return Ok(Outcome::new(SpfResult::None, format!("\"{domain}\" is no full domain name")));
            }
            let Some(text) = self.policy(&domain).await? else {
                return Ok(Outcome::new(SpfResult::None, format!("{domain} publishes no SPF policy")));
            };
            let record = Record::parse(&text)
                .map_err(|why| Stop::Perm(format!("the SPF policy of {domain} is broken: {why}")))?;
            for (qualifier, mechanism) in &record.directives {
                if self.matches(mechanism, &domain).await? {
                    let result = match qualifier {
                        Qualifier::Pass => SpfResult::Pass,
                        Qualifier::Fail => SpfResult::Fail,
                        Qualifier::SoftFail => SpfResult::SoftFail,
                        Qualifier::Neutral => SpfResult::Neutral,
                    };
                    let mut outcome =
                        Outcome::new(result, format!("{domain} says {qualifier}{mechanism} for {}", self.ip));
                    if result == SpfResult::Fail && first {
                        outcome.explanation = self.explanation(&record, &domain).await;
                    }
                    return Ok(outcome);
                }
            }
            match &record.redirect {
                Some(spec) => self.redirect(spec, &domain, first).await,
                None => {
                    Ok(Outcome::new(SpfResult::Neutral, format!("{domain} says nothing about {}", self.ip)))
                }
            }
        })
    }

    /// RFC 7208 §4.4, §4.5: the one TXT record that is a policy.
    async fn policy(&mut self, domain: &str) -> Result<Option<String>, Stop> {
        let records = match self.dns.txt(domain).await {
            Ok(answer) => answer.records,
            Err(DnsError::NoName | DnsError::NoData) => return Ok(None),
            Err(DnsError::Failed(why)) => {
                return Err(Stop::Temp(format!("no answer about the SPF policy of {domain}: {why}")));
            }
        };
        let is_policy = |t: &String| {
            let head = t.get(..6).unwrap_or(t);
            head.eq_ignore_ascii_case("v=spf1") && matches!(t.as_bytes().get(6), None | Some(b' '))
        };
        let mut policies = records.into_iter().filter(is_policy);
        let policy = policies.next();
        if policies.next().is_some() {
            return Err(Stop::Perm(format!("{domain} publishes more than one SPF policy")));
        }
        Ok(policy)
    }

    /// RFC 7208 §6.1.
    async fn redirect(&mut self, spec: &Spec, domain: &str, first: bool) -> Result<Outcome, Stop> {
        self.count()?;
        let target = self.target(Some(spec), domain).await?;
        let outcome = self.host(target.clone(), first).await?;
        if outcome.result == SpfResult::None {
            return Err(Stop::Perm(format!("{domain} redirects to {target}, which has no SPF policy")));
        }
        Ok(outcome)
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX {
            return Err(Stop::Perm(format!("the policy needs more than {LOOKUPS_MAX} DNS lookups")));
        }
        Ok(())
    }

    /// The records of an answer; none if there are none, which counts as void.
    fn records<T>(&mut self, found: world::dns::Found<T>, what: &str) -> Result<Vec<T>, Stop> {
        match found {
            Ok(answer) if !answer.records.is_empty() => Ok(answer.records),
            Ok(_) | Err(DnsError::NoName | DnsError::NoData) => {
                self.voids += 1;
                if self.voids > VOIDS_MAX {
                    return Err(Stop::Perm(format!(
                        "more than {VOIDS_MAX} DNS lookups of the policy find nothing"
                    )));
                }
                Ok(Vec::new())
            }
            Err(DnsError::Failed(why)) => Err(Stop::Temp(format!("no answer about {what}: {why}"))),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip(net, bits) => Ok(within(self.ip, *net, *bits)),
            Mechanism::Include(spec) => self.include(spec, domain).await,
            Mechanism::A(spec, cidr) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await?;
                self.addresses_match(&target, *cidr).await
            }
            Mechanism::Mx(spec, cidr) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await?;
                self.mx_matches(&target, *cidr).await
            }
            Mechanism::Ptr(spec) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await?;
                let names = self.validated_names().await?;
                Ok(names.iter().any(|n| is_under(n, &target)))
            }
            Mechanism::Exists(spec) => {
                self.count()?;
                let target = self.target(Some(spec), domain).await?;
                if !askable(&target) {
                    return Ok(false);
                }
                let found = self.dns.ipv4(&target).await;
                Ok(!self.records(found, &target)?.is_empty())
            }
        }
    }

    /// RFC 7208 §5.2.
    async fn include(&mut self, spec: &Spec, domain: &str) -> Result<bool, Stop> {
        self.count()?;
        let target = self.target(Some(spec), domain).await?;
        match self.host(target.clone(), false).await?.result {
            SpfResult::Pass => Ok(true),
            SpfResult::None => {
                Err(Stop::Perm(format!("{domain} includes {target}, which has no SPF policy")))
            }
            _ => Ok(false),
        }
    }

    async fn addresses_match(&mut self, name: &str, cidr: (u8, u8)) -> Result<bool, Stop> {
        if !askable(name) {
            return Ok(false);
        }
        match self.ip {
            IpAddr::V4(_) => {
                let found = self.dns.ipv4(name).await;
                let records = self.records(found, name)?;
                Ok(records.into_iter().any(|a| within(self.ip, IpAddr::V4(a), cidr.0)))
            }
            IpAddr::V6(_) => {
                let found = self.dns.ipv6(name).await;
                let records = self.records(found, name)?;
                Ok(records.into_iter().any(|a| within(self.ip, IpAddr::V6(a), cidr.1)))
            }
        }
    }

    /// RFC 7208 §5.4.
    async fn mx_matches(&mut self, name: &str, cidr: (u8, u8)) -> Result<bool, Stop> {
        if !askable(name) {
            return Ok(false);
        }
        let found = self.dns.mx(name).await;
        let mut hosts = self.records(found, name)?;
        if hosts.len() > NAMES_MAX {
            return Err(Stop::Perm(format!("{name} has more than {NAMES_MAX} MX records")));
        }
        hosts.sort();
        for host in hosts.iter().filter(|h| !h.host.is_empty()) {
            if self.addresses_match(&normal(&host.host), cidr).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RFC 7208 §5.5: the names of the address that lead back to it. Failures here match nothing.
    async fn validated_names(&mut self) -> Result<Vec<String>, Stop> {
        let names = match self.dns.ptr(self.ip).await {
            Err(DnsError::Failed(_)) => return Ok(Vec::new()),
            found => self.records(found, "the names of the address")?,
        };
        let mut out = Vec::new();
        for name in names.into_iter().take(NAMES_MAX) {
            let name = normal(&name);
            let back = match self.ip {
                IpAddr::V4(ip) => self.dns.ipv4(&name).await.is_ok_and(|a| a.records.contains(&ip)),
                IpAddr::V6(ip) => self.dns.ipv6(&name).await.is_ok_and(|a| a.records.contains(&ip)),
            };
            if back {
                out.push(name);
            }
        }
        Ok(out)
    }

    /// The name a term speaks of: its own, macros expanded, or the current domain.
    async fn target(&mut self, spec: Option<&Spec>, domain: &str) -> Result<String, Stop> {
        let Some(spec) = spec else { return Ok(domain.to_owned()) };
        let text = self.expand(spec, domain).await?;
        let mut name = normal(&text);
        // RFC 7208 §7.3: too long a name loses labels from the left.
        while name.len() > 253 {
            match name.split_once('.') {
                Some((_, rest)) => name = rest.to_owned(),
                None => break,
            }
        }
        Ok(name)
    }

    async fn expand(&mut self, spec: &Spec, domain: &str) -> Result<String, Stop> {
        let validated = if spec.uses('p') { self.one_name(domain).await? } else { String::new() };
        let context = Context {
            ip: self.ip,
            helo: self.helo,
            local: &self.local,
            sender_domain: &self.sender_domain,
            domain,
            receiver: self.receiver,
            validated: &validated,
            now: self.now,
        };
        Ok(expand(spec, &context))
    }

    /// RFC 7208 §7.3: the `p` macro prefers the domain itself, then a name under it.
    async fn one_name(&mut self, domain: &str) -> Result<String, Stop> {
        let names = self.validated_names().await?;
        let best = names
            .iter()
            .find(|n| *n == domain)
            .or_else(|| names.iter().find(|n| is_under(n, domain)))
            .or_else(|| names.first());
        Ok(best.cloned().unwrap_or_else(|| "unknown".to_owned()))
    }

    /// RFC 7208 §6.2. Whatever goes wrong here, there is no explanation.
    async fn explanation(&mut self, record: &Record, domain: &str) -> Option<String> {
        let target = self.target(Some(record.explanation.as_ref()?), domain).await.ok()?;
        let mut texts = self.dns.txt(&target).await.ok()?.records;
        let text = texts.pop().filter(|t| texts.is_empty() && t.is_ascii())?;
        let spec = Spec::explanation(&text)?;
        let mut text = self.expand(&spec, domain).await.ok()?;
        text.retain(|c| c.is_ascii_graphic() || c == ' ');
        text.truncate(EXPLANATION_MAX);
        (!text.is_empty()).then_some(text)
    }
}

/// A name DNS can be asked about; any other matches nothing.
fn askable(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(|l| !l.is_empty() && l.len() <= 63)
}

fn is_under(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn within(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "spf_tests.rs"]
mod tests;
