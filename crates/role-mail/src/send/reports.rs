//! A day's TLS reports (RFC 8460): what sessions with a domain came to, told to whom it names.
//!
//! What it is: the report of a day out of the counts, the letter that carries it, and the task that
//! sends each domain's report once. What it is not: the counting (that is [`super::tally`]) or the
//! report's shape (`mailauth::tlsrpt`). Begin with [`tend`].

use std::collections::BTreeMap;
use std::io::Write;

use drive::Stop;
use flate2::{Compression, write::GzEncoder};
use ledger::Fact;
use mailauth::mtasts::Policy;
use mailauth::tlsrpt::{self, Failure, FailureDetail, PolicyKind, PolicyReport, Report};
use message::compose::{Letter, Piece};
use sha2::{Digest, Sha256};
use spool::tls::{TlsCount, counts, policy};
use stdx::{Now, Span};
use store::StoreError;
use web::fetch::{Ask, Url};
use words::{Address, Domain, MessageId};
use world::DnsError;

use super::{notice, tally};
use crate::{Site, signing};

/// RFC 8460 §4.1: reports cover a day of UTC; they leave within four hours behind it, each host at a time of
/// its own. Not at once: the last counts of the day wait for a commit.
const SOONEST: Span = Span::mins(10);
const LATEST: Span = Span::hours(4);
/// How often it is looked whether reports are to be sent.
const ROUND: Span = Span::mins(10);
/// Reports made in one round.
const ROUND_MAX: usize = 500;
/// What could not be told is tried again after so long, until the day after is over.
const REST: Span = Span::hours(1);
/// Places that one domain's report goes to, at most.
const PLACES_MAX: usize = 4;

/// The report of a day, about one domain or about all of them.
pub fn of_day(site: &Site, day: u64, domain: Option<&str>) -> Result<Report, StoreError> {
    let rows = site.store().read_now(|conn| counts(conn, day, domain))?;
    let policies = gather(site, rows)?;
    let from = Now::from_secs(day * 86_400);
    let host = site.settings().host_name.clone();
    Ok(Report {
        contact: format!("postmaster@{host}"),
        id: format!("{}@{host}", date(from)),
        organization: host,
        from,
        until: from + Span::secs(86_399),
        policies,
    })
}

fn date(at: Now) -> String {
    at.iso().split('T').next().unwrap_or("").to_owned()
}

/// One entry for each domain and kind of policy.
fn gather(site: &Site, rows: Vec<TlsCount>) -> Result<Vec<PolicyReport>, StoreError> {
    let mut out: BTreeMap<(String, PolicyKind), PolicyReport> = BTreeMap::new();
    for row in rows {
        let Some(kind) = PolicyKind::named(&row.policy) else { continue };
        let entry = out.entry((row.domain.clone(), kind)).or_insert_with(|| PolicyReport {
            kind,
            text: Vec::new(),
            domain: row.domain.clone(),
            mx_patterns: Vec::new(),
            successes: 0,
            failures: Vec::new(),
        });
        match Failure::named(&row.result) {
            None => entry.successes += row.sessions,
            Some(failure) => entry.failures.push(FailureDetail {
                failure,
                sending_ip: Some(row.source).filter(|t| !t.is_empty()),
                mx: Some(row.mx).filter(|t| !t.is_empty()),
                mx_ip: None,
                sessions: row.sessions,
                info: None,
            }),
        }
    }
    let mut policies: Vec<PolicyReport> = out.into_values().collect();
    for entry in policies.iter_mut().filter(|p| p.kind == PolicyKind::Sts) {
        let kept = site.store().read_now(|conn| policy(conn, &entry.domain))?;
        if let Some(kept) = kept {
            entry.mx_patterns = Policy::parse(&kept.text).map_or(Vec::new(), |p| p.mx);
            entry.text = kept.text.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect();
        }
    }
    Ok(policies)
}

/// Sends yesterday's reports until the server stops.
pub async fn tend(site: Site, stop: Stop) {
    let mut rests = BTreeMap::new();
    loop {
        let next = site.now() + ROUND;
        if drive::until_stop(&stop, site.world().clock.sleep_until(next)).await.is_none() {
            return;
        }
        if !site.settings().tls_reports {
            continue;
        }
        match drive::until_stop(&stop, round(&site, &mut rests)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(why)) => tracing::warn!(%why, "TLS reports could not be sent; it is tried again"),
        }
    }
}

/// When this host sends the reports of a day.
fn time_of(day: u64, host: &str) -> Now {
    let digest = Sha256::digest(format!("{host} {day}"));
    let draw = digest.iter().take(6).fold(0u64, |n, octet| (n << 8) | u64::from(*octet));
    let spread = LATEST.as_ms() - SOONEST.as_ms();
    Now::from_secs((day + 1) * 86_400) + Span::ms(SOONEST.as_ms() + draw % spread)
}

async fn round(site: &Site, rests: &mut BTreeMap<String, Now>) -> Result<(), StoreError> {
    let now = site.now();
    rests.retain(|_, until| *until > now);
    let Some(day) = tally::day(now).checked_sub(1) else { return Ok(()) };
    if now < time_of(day, &site.settings().host_name) {
        return Ok(());
    }
    // Those that rest stand among them.
    let most = ROUND_MAX + rests.len();
    let due = site.store().read(move |conn| spool::tls::unreported(conn, day, most)).await?;
    let due: Vec<String> = due.into_iter().filter(|domain| !rests.contains_key(domain)).collect();
    if due.is_empty() {
        return Ok(());
    }
    let author = author(site).await?;
    for name in due {
        let Ok(domain) = Domain::new(&name) else { continue };
        if let Err(why) = one(site, (day, &domain), author.as_ref()).await? {
            tracing::info!(%domain, %why, "a TLS report could not be told; it is tried again");
            rests.insert(name, now + REST);
        }
    }
    Ok(())
}

/// The domain that reports are from: RFC 8460 §3 wants them signed by it. Of ours that sign, the one that
/// this host's name stands in, else the first.
async fn author(site: &Site) -> Result<Option<Domain>, StoreError> {
    let host = format!(".{}", site.settings().host_name);
    let signing = site.store().read(|conn| {
        let all = directory::domains(conn)?.into_iter().map(|d| d.name);
        let signs = |name: &Domain| {
            let keys = directory::dkim_keys(conn, name)?;
            Ok::<bool, StoreError>(keys.iter().any(|k| k.state == directory::KeyState::Signing))
        };
        let mut out = Vec::new();
        for name in all {
            if signs(&name)? {
                out.push(name);
            }
        }
        Ok(out)
    });
    let signing = signing.await?;
    let home = |d: &&Domain| host.ends_with(&format!(".{}", d.as_str()));
    Ok(signing.iter().filter(home).max_by_key(|d| d.as_str().len()).or(signing.first()).cloned())
}

/// Tells one domain of one day. `Ok(Err)`: to be tried again.
async fn one(
    site: &Site,
    (day, domain): (u64, &Domain),
    author: Option<&Domain>,
) -> Result<Result<(), String>, StoreError> {
    let places = match site.world().dns.txt(&format!("_smtp._tls.{domain}")).await {
        Ok(answer) => tlsrpt::destinations(&answer.records),
        Err(DnsError::NoName | DnsError::NoData) => Vec::new(),
        Err(DnsError::Failed(why)) => return Ok(Err(why)),
    };
    let mut letters = Vec::new();
    let (mut told, mut failed) = (Vec::new(), Vec::new());
    let whole = of_day(site, day, Some(domain.as_str()))?;
    if let Some(author) = author
        && !places.is_empty()
    {
        let report = Report {
            organization: author.to_string(),
            contact: format!("postmaster@{author}"),
            id: format!("{}.{domain}@{author}", date(whole.from)),
            ..whole.clone()
        };
        let packed = pack(report.to_json().as_bytes())?;
        for place in places.into_iter().take(PLACES_MAX) {
            match tell(site, &place, &packed).await {
                Place::Letter(to) => {
                    letters.push((to.clone(), letter(&report, author, domain, (&to, &packed), site.now())))
                }
                Place::Told => {}
                Place::Failed(why) => {
                    failed.push(format!("{place}: {why}"));
                    continue;
                }
            }
            told.push(place);
        }
    }
    if told.is_empty() && !failed.is_empty() {
        return Ok(Err(failed.join("; ")));
    }
    keep(site, (day, domain), letters, fact(site, domain, &whole, &told)).await.map(Ok)
}

enum Place {
    Letter(Address),
    Told,
    Failed(String),
}

/// RFC 8460 §3: `mailto:` by mail, `https:` by POST.
async fn tell(site: &Site, place: &str, packed: &[u8]) -> Place {
    if let Some(to) = place.strip_prefix("mailto:") {
        let to = to.split('?').next().unwrap_or("");
        return Address::parse(to)
            .map_or_else(|why| Place::Failed(format!("no address: {why}")), Place::Letter);
    }
    let url = match Url::parse(place) {
        Ok(url) => url,
        Err(why) => return Place::Failed(why),
    };
    let ask = Ask::post(url, "application/tlsrpt+gzip", packed.to_vec());
    match web::fetch::fetch(site.world(), site.roots(), &ask).await {
        Ok(got) if (200..300).contains(&got.status) => Place::Told,
        Ok(got) => Place::Failed(format!("it answers {}", got.status)),
        Err(why) => Place::Failed(why.to_string()),
    }
}

fn pack(json: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    let packed = out.write_all(json).and_then(|()| out.finish());
    packed.map_err(|why| StoreError::Broken(format!("a report cannot be packed: {why}")))
}

// RFC 8460 §5.3. RFC 8689 §3: the report about a broken TLS must not wait for it to be mended.
fn letter(
    report: &Report,
    author: &Domain,
    domain: &Domain,
    (to, packed): (&Address, &[u8]),
    at: Now,
) -> Vec<u8> {
    let host = author.as_str();
    let name = report.file_name(host, domain.as_str());
    let says = format!(
        "This is the TLS report of {host} about mail to {domain}, for {} (UTC).\nRFC 8460 describes it.\n",
        date(report.from)
    );
    let letter = Letter {
        from: (None, format!("postmaster@{host}")),
        to: vec![(None, to.to_string())],
        subject: report.subject(host, domain.as_str()),
        at,
        message_id: report.id.clone(),
        fields: format!(
            "TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {host}\r\nTLS-Required: No\r\n\
             Auto-Submitted: auto-generated\r\n"
        ),
        pieces: vec![Piece::text(says), Piece::attachment("application/tlsrpt+gzip", &name, packed.to_vec())],
        multipart: "report; report-type=tlsrpt".into(),
    };
    letter.build()
}

/// Most domains want no report: they leave a mark, but no line in the record.
fn fact(site: &Site, domain: &Domain, report: &Report, told: &[String]) -> Option<Fact> {
    let good: u64 = report.policies.iter().map(|p| p.successes).sum();
    let failed: u64 = report.policies.iter().flat_map(|p| &p.failures).map(|f| f.sessions).sum();
    let says =
        format!("{domain} was told of {good} good and {failed} failed TLS sessions on {}", date(report.from));
    let fact = Fact::new("tls.reported", site.now()).with("domain", domain.as_str()).with("says", says);
    (!told.is_empty()).then(|| fact.with("to", told.join(", ")))
}

/// Letters on their way and the mark that this domain was told: one commit.
async fn keep(
    site: &Site,
    (day, domain): (u64, &Domain),
    letters: Vec<(Address, Vec<u8>)>,
    fact: Option<Fact>,
) -> Result<(), StoreError> {
    let mut bodies = Vec::new();
    let mut posts: Vec<(MessageId, Address, u64)> = Vec::new();
    for (to, text) in letters {
        let signed = [signing::sign_own(site, &text)?.into_bytes(), text].concat();
        let mut draft = site.store().draft();
        draft.write(&signed).await?;
        bodies.push(draft.seal().await?);
        posts.push((site.message_id(), to, signed.len() as u64));
    }
    let (hub, feed, now) = (site.hub().clone(), site.feed().clone(), site.now());
    let name = domain.to_string();
    let written = site.store().commit(bodies, move |batch| {
        for (body, (id, to, size)) in posts.iter().enumerate() {
            let (hub, feed) = (&hub, &feed);
            let new =
                notice::New { hub, feed, id: *id, about: *id, to, size: *size, now, body, tls_waived: true };
            notice::post(batch, &new)?;
        }
        if let Some(fact) = &fact {
            ledger::note(batch, fact)?;
        }
        spool::tls::reported(batch, day, &name)
    });
    written.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_own_time_within_four_hours_of_midnight() {
        let midnight = Now::from_secs(20_001 * 86_400);
        let times: std::collections::BTreeSet<u64> = (0..200)
            .map(|n| {
                let at = time_of(20_000, &format!("mx{n}.example"));
                assert!(at >= midnight + SOONEST && at < midnight + LATEST, "{at}");
                at.secs() / 600
            })
            .collect();
        assert!(times.len() > 18, "spread over the hours: {}", times.len());
        assert_eq!(time_of(20_000, "mx.example"), time_of(20_000, "mx.example"));
    }
}
