//! SPF, DKIM, DMARC, ARC, MTA-STS, DANE, TLS-RPT results as values.
//!
//! What it is: pure formats and evaluators; all DNS goes through [`world::Dns`]. Each standard has
//! a module and can be asked alone (SPF at RCPT, the rest after the text); [`check`] asks all and
//! [`Results`] prints as Authentication-Results with reasons.
//! What it is not: a judge (that is `accept`), or a fetcher of MTA-STS policies (a role's).
//! Begin with [`check`].

use std::fmt;
use std::net::IpAddr;

use message::Head;
use message::authres::{AuthResults, MethodResult};
use stdx::Now;
use words::Address;
use world::Dns;

pub mod arc;
pub mod bodies;
pub mod canon;
pub mod dane;
pub mod dkim;
pub mod dmarc;
pub mod iprev;
pub mod keys;
pub mod mtasts;
pub mod spf;
mod spf_macro;
mod spf_record;
mod tags;
pub mod tlsrpt;

/// What is known of a message and its sender.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub ip: IpAddr,
    pub helo: &'a str,
    /// `None` for the null reverse path.
    pub mail_from: Option<&'a Address>,
    /// The whole message, without fields of our own; or its header alone, if there are `hashes`.
    pub message: &'a [u8],
    /// Of the body, if it is not in memory.
    pub hashes: Option<&'a bodies::Hashes>,
    /// Our name.
    pub host: &'a str,
    pub now: Now,
}

/// What the peer alone tells, before any text came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerResults {
    pub iprev: iprev::Iprev,
    /// Of the HELO name; `None` if it is no domain.
    pub spf_helo: Option<spf::Spf>,
    /// Of the envelope sender, or again of HELO for the null reverse path.
    pub spf: spf::Spf,
}

/// All results, for the `accept` judge and for the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    pub host: String,
    pub mail_from: String,
    pub helo: String,
    pub ip: IpAddr,
    pub peer: PeerResults,
    /// One per signature, as they stand in the message.
    pub dkim: Vec<dkim::Dkim>,
    pub arc: arc::Arc,
    pub dmarc: dmarc::Dmarc,
}

/// Asks what needs no message: reverse DNS and SPF.
pub async fn check_peer(dns: &dyn Dns, facts: &Facts<'_>) -> PeerResults {
    let sender = facts.mail_from.map(Address::to_string).unwrap_or_default();
    let question = spf::Question {
        ip: facts.ip,
        helo: facts.helo,
        sender: &sender,
        receiver: facts.host,
        now: facts.now,
    };
    let spf = spf::check(dns, &question).await;
    let of_helo = spf::Question { sender: "", ..question };
    let spf_helo = if !facts.helo.contains('.') || facts.helo.starts_with('[') {
        None
    } else if sender.is_empty() {
        Some(spf.clone())
    } else {
        Some(spf::check(dns, &of_helo).await)
    };
    PeerResults { iprev: iprev::check(dns, facts.ip).await, spf_helo, spf }
}

/// Asks everything.
pub async fn check(dns: &dyn Dns, facts: &Facts<'_>) -> Results {
    let peer = check_peer(dns, facts).await;
    check_message(dns, facts, peer).await
}

/// Asks what needs the message, the peer's results being there already.
pub async fn check_message(dns: &dyn Dns, facts: &Facts<'_>, peer: PeerResults) -> Results {
    let whole;
    let hashes = match facts.hashes {
        Some(hashes) => hashes,
        None => {
            whole = bodies::Hashes::of(facts.message);
            &whole
        }
    };
    let dkim = dkim::verify_hashed(dns, facts.message, hashes, facts.now).await;
    let arc = arc::verify_hashed(dns, facts.message, hashes, facts.now).await;
    let dmarc = {
        let signed = dkim.iter().filter(|d| d.result == dkim::DkimResult::Pass && !d.partial);
        let proven = dmarc::Proven {
            spf: (peer.spf.result == spf::SpfResult::Pass).then_some(&peer.spf.domain[..]),
            dkim: signed.map(|d| &d.domain[..]).collect(),
        };
        dmarc::check(dns, &Head::parse(facts.message), &proven).await
    };
    Results {
        host: facts.host.to_owned(),
        mail_from: facts.mail_from.map(Address::to_string).unwrap_or_default(),
        helo: facts.helo.to_owned(),
        ip: facts.ip,
        peer,
        dkim,
        arc,
        dmarc,
    }
}

/// Characters of a reason in a header field.
const REASON_MAX: usize = 200;

/// Reasons may quote strangers' records: only short ASCII goes into a header field.
fn clean(text: &str) -> String {
    text.chars().take(REASON_MAX).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

impl Results {
    /// RFC 8601: as a header field's value.
    pub fn auth_results(&self) -> AuthResults {
        let mut all = self.raw_results();
        for result in &mut all.results {
            result.reason = result.reason.take().map(|r| clean(&r));
            for (_, value) in &mut result.facts {
                value.truncate(value.floor_char_boundary(REASON_MAX));
            }
        }
        all
    }

    fn raw_results(&self) -> AuthResults {
        let mut results = Vec::new();
        let iprev = &self.peer.iprev;
        results.push(
            MethodResult::new("iprev", &iprev.result.to_string())
                .reason(&iprev.reason)
                .with("policy.iprev", self.ip),
        );
        let spf = &self.peer.spf;
        let (name, value) = if self.mail_from.is_empty() {
            ("smtp.helo", &self.helo)
        } else {
            ("smtp.mailfrom", &self.mail_from)
        };
        results.push(MethodResult::new("spf", &spf.result.to_string()).reason(&spf.reason).with(name, value));
        if self.dkim.is_empty() {
            results.push(MethodResult::new("dkim", "none").reason("the message is not signed"));
        }
        for d in &self.dkim {
            let mut r = MethodResult::new("dkim", &d.result.to_string()).reason(&d.reason);
            for (name, value) in [
                ("header.d", &d.domain),
                ("header.s", &d.selector),
                ("header.a", &d.algorithm),
                ("header.b", &d.mark),
            ] {
                if !value.is_empty() {
                    r = r.with(name, value);
                }
            }
            results.push(r);
        }
        if self.arc.result != arc::ArcResult::None {
            results.push(MethodResult::new("arc", &self.arc.result.to_string()).reason(&self.arc.reason));
        }
        let dmarc = &self.dmarc;
        let mut r = MethodResult::new("dmarc", &dmarc.result.to_string()).reason(&dmarc.reason);
        if !dmarc.domain.is_empty() {
            r = r.with("header.from", &dmarc.domain);
        }
        if dmarc.result == dmarc::DmarcResult::Fail {
            r = r.with("policy.dmarc", dmarc.policy);
        }
        results.push(r);
        AuthResults { host: self.host.clone(), results }
    }
}

impl fmt::Display for Results {
    /// The value of an Authentication-Results field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.auth_results().fmt(f)
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
#[cfg(test)]
mod zone;
