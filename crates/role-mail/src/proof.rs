//! What proves a message from outside: SPF, DKIM, DMARC and the peer's name, as facts for the judge
//! and as our Authentication-Results field.

use accept::{Dmarc, Policy, Spf};
use drive::First;
use mailauth::dkim::DkimResult;
use mailauth::dmarc::{self, DmarcResult};
use mailauth::iprev::IprevResult;
use mailauth::spf::SpfResult;
use mailauth::{Facts, Results};
use message::Head;
use message::authres::AuthResults;
use stdx::Span;
use words::{Address, Domain};

use crate::reception::{Draft, Reception};

/// All look-ups of one message together may take this long; what is not known then is not known.
const LOOK_UPS: Span = Span::secs(30);

/// What was found.
pub struct Proof {
    pub spf: Spf,
    pub signed: bool,
    pub dmarc: Dmarc,
    /// The domain in From, if there is exactly one.
    pub from: Option<Domain>,
    /// The peer's address has a name; `None` if that could not be asked.
    pub reverse: Option<bool>,
    /// The name that leads back to the address.
    pub name: Option<String>,
    /// RFC 7505: the sender's domain takes no mail.
    pub null_mx: Option<bool>,
    results: Option<Results>,
}

/// Checks what can be checked. Clients of trusted networks need no proof.
pub async fn of(at: &Reception, draft: &Draft, trusted: bool) -> Proof {
    if trusted {
        return Proof::nothing(draft.text.header());
    }
    let world = at.site.world();
    let facts = Facts {
        ip: at.arrival.peer.ip().to_canonical(),
        helo: &at.helo,
        mail_from: draft.envelope.sender.as_ref(),
        message: draft.text.header(),
        hashes: draft.text.hashes(),
        host: &at.settings.host_name,
        now: at.site.now(),
    };
    let asking = async {
        let results = mailauth::check(&*world.dns, &facts).await;
        (results, null_mx(at, draft.envelope.sender.as_ref()).await)
    };
    match drive::first(asking, world.clock.sleep_until(facts.now + LOOK_UPS)).await {
        First::A((results, null_mx)) => Proof::found(results, null_mx, draft.text.header()),
        First::B(()) => Proof::nothing(draft.text.header()),
    }
}

async fn null_mx(at: &Reception, sender: Option<&Address>) -> Option<bool> {
    let domain = sender?.domain();
    if domain.is_literal() {
        return None;
    }
    let found = at.site.world().dns.mx(domain.as_str()).await.ok()?;
    // RFC 7505 §3: one record with an empty name.
    Some(found.records.len() == 1 && found.records.iter().all(|mx| mx.host.is_empty()))
}

impl Proof {
    fn nothing(text: &[u8]) -> Proof {
        Proof {
            spf: Spf::None,
            signed: false,
            dmarc: Dmarc::Absent,
            from: dmarc::author(&Head::parse(text)).ok(),
            reverse: None,
            name: None,
            null_mx: None,
            results: None,
        }
    }
    fn found(results: Results, null_mx: Option<bool>, text: &[u8]) -> Proof {
        let iprev = &results.peer.iprev;
        let reverse = match iprev.result {
            IprevResult::Pass | IprevResult::Fail => Some(true),
            // This machine's own addresses have no names anywhere.
            IprevResult::PermError if !results.ip.is_loopback() => Some(false),
            IprevResult::PermError | IprevResult::TempError => None,
        };
        let name = iprev.name.clone().filter(|_| iprev.result == IprevResult::Pass);
        let head = Head::parse(text);
        Proof {
            spf: spf(results.peer.spf.result),
            signed: results.dkim.iter().any(|d| d.result == DkimResult::Pass),
            dmarc: judged(&results, head.count("From")),
            from: dmarc::author(&head).ok(),
            reverse,
            name,
            null_mx,
            results: Some(results),
        }
    }
    /// RFC 8601: our field, with its line ending.
    pub fn field(&self, host: &str) -> String {
        match &self.results {
            Some(results) => results.auth_results().field(),
            None => AuthResults { host: host.to_owned(), results: Vec::new() }.field(),
        }
    }
    /// One line for the ledger.
    pub fn summary(&self) -> String {
        let Some(results) = &self.results else { return "not asked".to_owned() };
        let dkim: Vec<String> = results.dkim.iter().map(|d| format!("{} {}", d.result, d.domain)).collect();
        let dkim = if dkim.is_empty() { "none".to_owned() } else { dkim.join(", ") };
        let peer = &results.peer;
        format!(
            "iprev={}; spf={}; dkim={dkim}; dmarc={}",
            peer.iprev.result, peer.spf.result, results.dmarc.result
        )
    }
}

fn spf(result: SpfResult) -> Spf {
    match result {
        SpfResult::None => Spf::None,
        SpfResult::Neutral => Spf::Neutral,
        SpfResult::Pass => Spf::Pass,
        SpfResult::Fail => Spf::Fail,
        SpfResult::SoftFail => Spf::SoftFail,
        SpfResult::TempError => Spf::TempError,
        SpfResult::PermError => Spf::PermError,
    }
}

fn judged(results: &Results, authors: usize) -> Dmarc {
    let dmarc = &results.dmarc;
    let policy = match dmarc.policy {
        dmarc::Policy::None => Policy::None,
        dmarc::Policy::Quarantine => Policy::Quarantine,
        dmarc::Policy::Reject => Policy::Reject,
    };
    let unsure = results.peer.spf.result == SpfResult::TempError
        || results.dkim.iter().any(|d| d.result == DkimResult::TempError);
    match dmarc.result {
        DmarcResult::Pass => Dmarc::Pass,
        DmarcResult::Fail if unsure => Dmarc::Unknown(policy),
        DmarcResult::Fail => Dmarc::Fail(policy),
        DmarcResult::TempError => Dmarc::Unknown(policy),
        // RFC 9989 §11.5: several authors are a way around the policy of each.
        DmarcResult::PermError if authors > 1 => Dmarc::Fail(Policy::Quarantine),
        DmarcResult::None | DmarcResult::PermError => Dmarc::Absent,
    }
}
