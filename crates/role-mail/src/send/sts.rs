//! MTA-STS when sending (RFC 8461): whether a domain has a policy, fetched and kept.
//!
//! What it is: the TXT record, the fetch over HTTPS, the row in the store, its renewal before it
//! ends. What it is not: what a policy means for a session (that is `demand`), or its grammar
//! (`mailauth::mtasts`). Begin with [`look`].

use std::collections::BTreeMap;
use std::sync::Arc;

use drive::Stop;
use ledger::Fact;
use mailauth::mtasts::{self, Mode, POLICY_MAX, Policy};
use mailauth::tlsrpt::{Failure, PolicyKind};
use spool::tls::{self, StsRow};
use stdx::{Now, Span};
use web::fetch::{Ask, Proof, Url};
use words::Domain;
use world::DnsError;

use super::tally::Seen;
use crate::Site;

/// RFC 8461 §3.3: a fetch takes a minute at most.
const FETCH: Span = Span::secs(60);
/// RFC 8461 §3.3: what could not be fetched is left alone for five minutes.
const REST: Span = Span::mins(5);
/// Policies that rest, at most.
const RESTS_MAX: usize = 10_000;
/// A policy is fetched again when so much of its life is left: half, a day at most.
const RENEW_BEFORE: Span = Span::days(1);
/// How often renewals are looked for, and how many are made in one round.
const ROUND: Span = Span::mins(10);
const ROUND_MAX: usize = 50;

/// The policy that mail for a domain is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sts {
    pub domain: Domain,
    pub policy: Policy,
}

impl Sts {
    pub fn is_enforced(&self) -> bool {
        self.policy.mode == Mode::Enforce
    }
    /// What tells two policies apart, for connections that are shared.
    pub fn key(&self) -> String {
        format!("{} {} {}", self.policy.mode.as_str(), self.domain, self.policy.mx.join(","))
    }
}

/// Policies that could not be fetched: domain and record id, until when they are left alone.
#[derive(Default)]
pub struct Rests(BTreeMap<(String, String), Now>);

impl Rests {
    fn has(&self, domain: &Domain, id: &str, now: Now) -> bool {
        self.0.get(&(domain.to_string(), id.to_owned())).is_some_and(|until| *until > now)
    }
    fn put(&mut self, domain: &Domain, id: &str, now: Now) {
        if self.0.len() >= RESTS_MAX {
            self.0.retain(|_, until| *until > now);
            if self.0.len() >= RESTS_MAX {
                self.0.pop_first();
            }
        }
        self.0.insert((domain.to_string(), id.to_owned()), now + REST);
    }
}

/// The policy in force for a domain, and for how long to believe that.
pub async fn look(site: &Site, domain: &Domain) -> (Option<Arc<Sts>>, Span) {
    let now = site.now();
    let name = domain.to_string();
    let kept = match site.store().read(move |conn| tls::policy(conn, &name)).await {
        Ok(kept) => kept.filter(|row| row.until > now),
        Err(why) => {
            tracing::warn!(%why, %domain, "a kept MTA-STS policy cannot be read");
            None
        }
    };
    let mut believe = Span::hours(1);
    let wanted = match record(site, domain).await {
        Some(id) if kept.as_ref().is_some_and(|row| row.id == id && row.refresh > now) => None,
        // RFC 8461 §5.1: without a record, or without an answer, what is kept holds until it ends.
        found => found,
    };
    let mut row = kept;
    if let Some(id) = wanted {
        if let Some(fresh) = fetch(site, domain, &id).await {
            row = Some(fresh);
        } else {
            believe = REST;
        }
    }
    let Some(row) = row else { return (None, believe) };
    let believe = believe.min(row.until.since(now));
    match Policy::parse(&row.text) {
        Ok(policy) if policy.mode != Mode::None => {
            (Some(Arc::new(Sts { domain: domain.clone(), policy })), believe)
        }
        _ => (None, believe),
    }
}

// RFC 8461 §3.1: exactly one record, or there is none.
async fn record(site: &Site, domain: &Domain) -> Option<String> {
    match site.world().dns.txt(&format!("_mta-sts.{domain}")).await {
        Ok(answer) => mtasts::record_id(&answer.records),
        Err(DnsError::NoName | DnsError::NoData) => None,
        Err(DnsError::Failed(why)) => {
            tracing::debug!(%domain, %why, "whether there is an MTA-STS record cannot be told");
            None
        }
    }
}

/// Fetches and keeps a policy, unless that failed a moment ago.
async fn fetch(site: &Site, domain: &Domain, id: &str) -> Option<StsRow> {
    let now = site.now();
    if site.outbound().rests().has(domain, id, now) {
        return None;
    }
    let read = document(site, domain).await.and_then(|text| match Policy::parse(&text) {
        Ok(policy) => Ok((text, policy)),
        Err(why) => Err(Unfetched(Failure::StsPolicyInvalid, why)),
    });
    match read {
        Ok((text, policy)) => Some(keep(site, domain, (id, text, policy)).await),
        Err(Unfetched(failure, why)) => {
            site.outbound().rests().put(domain, id, now);
            let (policy, mx, source) = (PolicyKind::Sts, "", String::new());
            let seen = Seen { domain, policy, failure: Some(failure), mx, source };
            site.outbound().tallies().add(seen, now);
            tracing::info!(%domain, %why, "an MTA-STS policy could not be had");
            let says = format!("the MTA-STS policy of {domain} could not be had: {why}");
            site.aside(Fact::new("sts.unfetched", now).with("domain", domain.as_str()).with("says", says));
            None
        }
    }
}

async fn keep(site: &Site, domain: &Domain, (id, text, policy): (&str, String, Policy)) -> StsRow {
    let now = site.now();
    let age = Span::secs(policy.max_age_s);
    let early = RENEW_BEFORE.min(Span::ms(age.as_ms() / 2));
    let until = now + age;
    let refresh = now + Span::ms(age.as_ms() - early.as_ms());
    let row = StsRow { domain: domain.to_string(), id: id.to_owned(), text, fetched: now, refresh, until };
    let kept = row.clone();
    if let Err(why) = site.store().commit(Vec::new(), move |batch| tls::keep_policy(batch, &kept)).await {
        tracing::warn!(%why, %domain, "an MTA-STS policy could not be kept");
    }
    let says = format!(
        "the MTA-STS policy of {domain} is {}, for {}, until {}",
        policy.mode.as_str(),
        policy.mx.join(", "),
        until.iso()
    );
    site.aside(Fact::new("sts.fetched", now).with("domain", domain.as_str()).with("says", says));
    row
}

/// What a report calls it, and what happened.
struct Unfetched(Failure, String);

// RFC 8461 §3.3: HTTPS with a certificate for the policy's host, no redirects, text/plain. The
// certificate is looked at afterwards, so that a bad one can be told from no TLS at all.
async fn document(site: &Site, domain: &Domain) -> Result<String, Unfetched> {
    let unfetched = |why: String| Unfetched(Failure::StsPolicyFetchError, why);
    let host = format!("mta-sts.{domain}");
    let path = "/.well-known/mta-sts.txt".to_owned();
    let url = Url { tls: true, host: host.clone(), port: site.settings().policy_port, path };
    let ask = Ask { proof: Proof::None, limit: FETCH, body_bytes_max: POLICY_MAX, ..Ask::get(url) };
    let got = match web::fetch::fetch(site.world(), site.roots(), &ask).await {
        Ok(got) => got,
        Err(why) => return Err(unfetched(format!("{host}: {why}"))),
    };
    if !got.tls.as_ref().is_some_and(|tls| tls.verified) {
        let why = format!("{host} shows a certificate that is not good for this name");
        return Err(Unfetched(Failure::StsWebpkiInvalid, why));
    }
    let kind =
        got.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match (got.status, kind.as_str()) {
        (200, "text/plain") => String::from_utf8(got.body)
            .map_err(|_| Unfetched(Failure::StsPolicyInvalid, "it is no text".to_owned())),
        (200, kind) => Err(unfetched(format!("{host} calls it \"{kind}\", not text/plain"))),
        (300..400, _) => Err(unfetched(format!("{host} redirects, which is not followed"))),
        (status, _) => Err(unfetched(format!("{host} answers {status}"))),
    }
}

/// Fetches policies again before they end, also of domains that get no mail just now.
pub async fn renew(site: Site, stop: Stop) {
    loop {
        let next = site.now() + ROUND;
        if drive::until_stop(&stop, site.world().clock.sleep_until(next)).await.is_none() {
            return;
        }
        if drive::until_stop(&stop, round(&site)).await.is_none() {
            return;
        }
    }
}

async fn round(site: &Site) {
    let now = site.now();
    let due = match site.store().read(move |conn| tls::policies_due(conn, now, ROUND_MAX)).await {
        Ok(due) => due,
        Err(why) => return tracing::warn!(%why, "MTA-STS policies cannot be read"),
    };
    for row in due {
        let Ok(domain) = Domain::new(&row.domain) else { continue };
        let renewed = match record(site, &domain).await {
            Some(id) => fetch(site, &domain, &id).await.is_some(),
            None => false,
        };
        if renewed {
            continue;
        }
        let put_off = site
            .store()
            .commit(Vec::new(), move |b| tls::put_off_policy(b, &row.domain, now + Span::hours(1)));
        if let Err(why) = put_off.await {
            return tracing::warn!(%why, "the renewal of an MTA-STS policy could not be put off");
        }
    }
}
