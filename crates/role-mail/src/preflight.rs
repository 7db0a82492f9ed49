//! Finds out whether a way out may carry mail, and keeps it locked until it may.
//!
//! What it is: the facts for [`route::preflight::judge`] ([`check`]), and the task that checks
//! locked egresses again ([`tend`]). What it is not: the judge, or a check of each message.
//! Begin with [`check`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use drive::{ClientTls, Desk, First, Stop, Tls, Wires};
use route::board;
use route::egress::shared_fate;
use route::preflight::{self, Address, Fault, Findings};
use route::{Alert, Event, EventKind, Spf};
use smtp::client::{Answer, Ask, Client, How, Login, Settings as Manners, TlsPolicy};
use stdx::Span;
use world::DnsError;

use crate::send::outbound::egresses;
use crate::send::{landing, senders};
use crate::{Egress, Relay, RelayTls, Site, lists};

/// One question to DNS, or one connection, takes at most so long.
const ANSWER: Span = Span::secs(10);
/// Domains whose SPF is asked.
const DOMAINS_MAX: usize = 1_000;
/// Mail hosts that port 25 is tried at.
const PORTS_MAX: usize = 3;
/// A locked egress is looked at again so often.
const AGAIN: Span = Span::mins(10);
/// A new egress in the settings is seen so soon.
const LOOK: Span = Span::secs(30);

/// Checks one egress by name, remembers the outcome, and tells of a change. `None`: there is none.
pub async fn check(site: &Site, name: &str) -> Option<Vec<Fault>> {
    let faults = preflight::judge(&find(site, name).await?);
    let change = site.outbound().routes().note_preflight(name, faults.clone(), site.now());
    let must = egresses(&site.settings()).iter().any(|e| e.name == name && e.must_pass);
    if let Some(passed) = change.filter(|_| must) {
        tell(site, name, passed, &faults);
    }
    Some(faults)
}

fn tell(site: &Site, name: &str, passed: bool, faults: &[Fault]) {
    if passed {
        let says = format!("{name} has passed its pre-flight and may carry mail");
        let undo = "take it out of the configuration, or pin destinations elsewhere";
        let mut proof = vec![
            "reverse name, HELO name, SPF, port 25 and block lists show no fault that locks it".to_owned(),
        ];
        proof.extend(faults.iter().map(|f| format!("{}: {}", f.kind, f.says)));
        let event = Event::new(EventKind::EgressPassed, says).because(proof).undo(undo);
        return landing::audit(site, &[event], None);
    }
    let lines: Vec<String> =
        faults.iter().filter(|f| f.locks).map(|f| format!("{}: {}; {}", f.kind, f.says, f.fix)).collect();
    let says = format!("{name} carries no mail before its pre-flight is passed: {} faults", lines.len());
    let event = Event::new(EventKind::EgressLocked, says.clone());
    let undo = format!("mend the faults, or postroad egress force {name}");
    landing::audit(site, &[event.because(lines.clone()).undo(undo)], None);
    let says = format!("{says} ({})", lines.join(" | "));
    landing::alert(site, &Alert { key: format!("preflight:{name}"), says });
}

/// Checks locked egresses until they pass, until the server stops.
pub async fn tend(site: Site, stop: Stop) {
    let clock = site.world().clock.clone();
    while drive::until_stop(&stop, clock.sleep_until(site.now() + LOOK)).await.is_some() {
        for egress in egresses(&site.settings()).into_iter().filter(|e| e.must_pass) {
            let now = site.now();
            let wanted = {
                let routes = site.outbound().routes();
                let rests = |s: &preflight::Standing| {
                    s.passed || s.forced.is_some() || now.since(stdx::Now(s.checked)) < AGAIN
                };
                !routes.preflight(&egress.name).is_some_and(rests)
            };
            if wanted && drive::until_stop(&stop, check(&site, &egress.name)).await.is_none() {
                return;
            }
        }
    }
}

/// Gathers all facts about one egress.
pub async fn find(site: &Site, name: &str) -> Option<Findings> {
    let settings = site.settings();
    let ours = settings.egresses.iter().find(|e| e.name == name)?.clone();
    let all = egresses(&settings);
    let egress = all.iter().find(|e| e.name == name)?.clone();
    let near = shared_fate(&all).into_iter().filter(|(a, b, _)| a == name || b == name);
    let near = near.map(|(a, b, why)| (if a == name { b } else { a }, why)).collect();
    let mut found =
        Findings { egress: name.to_owned(), helo: ours.helo.clone(), near, ..Findings::default() };
    let domains = domains(site).await;
    match &ours.relay {
        None => {
            for ip in &egress.addresses {
                found.addresses.push(Address { ip: *ip, names: names(site, *ip).await });
            }
            if !egress.addresses.is_empty() {
                found.helo_addresses = Some(addresses(site, &ours.helo).await);
            }
            found.port = ports(site, &ours).await;
        }
        Some(relay) => {
            found.login = Some(log_in(site, &ours, relay).await);
            let wanted = settings.egress_rules.get(name).map(|r| r.cnames.clone()).unwrap_or_default();
            found.cnames = missing_cnames(site, &domains, &wanted).await;
        }
    }
    if !egress.addresses.is_empty() {
        for domain in domains.iter().take(DOMAINS_MAX) {
            found.domains.push((domain.to_string(), senders::spf_of(site, domain, &egress).await));
        }
        found.domains.retain(|(_, spf)| *spf != Spf::Unknown);
        found.lists = listings(site, &egress).await;
    }
    Some(found)
}

/// The part of the facts that a letter to a provider quotes: reverse names and SPF.
pub async fn names_and_spf(site: &Site, name: &str, domains_max: usize) -> Option<Findings> {
    let all = egresses(&site.settings());
    let egress = all.iter().find(|e| e.name == name)?;
    let mut found = Findings { egress: name.to_owned(), ..Findings::default() };
    for ip in &egress.addresses {
        found.addresses.push(Address { ip: *ip, names: names(site, *ip).await });
    }
    for domain in domains(site).await.iter().take(domains_max) {
        found.domains.push((domain.to_string(), senders::spf_of(site, domain, egress).await));
    }
    Some(found)
}

async fn domains(site: &Site) -> Vec<words::Domain> {
    let read = site.store().read(directory::domains).await;
    read.map(|all| all.into_iter().map(|d| d.name).collect()).unwrap_or_default()
}

async fn within<T>(site: &Site, asked: impl Future<Output = Result<T, DnsError>>) -> Result<T, DnsError> {
    let late = site.world().clock.sleep_until(site.now() + ANSWER);
    match drive::first(asked, late).await {
        First::A(found) => found,
        First::B(()) => Err(DnsError::Failed(format!("no answer within {ANSWER}"))),
    }
}

async fn names(site: &Site, ip: IpAddr) -> Result<Vec<(String, bool)>, String> {
    let names = match within(site, site.world().dns.ptr(ip)).await {
        Ok(answer) => answer.records,
        Err(DnsError::Failed(why)) => return Err(why),
        Err(_) => Vec::new(),
    };
    let mut out = Vec::new();
    for name in names.into_iter().take(10) {
        let back = addresses(site, &name).await.is_ok_and(|ips| ips.contains(&ip));
        out.push((name, back));
    }
    Ok(out)
}

async fn addresses(site: &Site, name: &str) -> Result<Vec<IpAddr>, String> {
    match within(site, site.world().dns.ip(name)).await {
        Ok(answer) => Ok(answer.records),
        Err(DnsError::Failed(why)) => Err(why),
        Err(_) => Ok(Vec::new()),
    }
}

/// Whether port 25 of somebody else can be reached from the egress' own address.
async fn ports(site: &Site, egress: &Egress) -> Vec<(String, Result<(), String>)> {
    let settings = site.settings();
    let mut out = Vec::new();
    for domain in settings.probe_domains.iter().take(PORTS_MAX) {
        let mut hosts = match within(site, site.world().dns.mx(domain)).await {
            Ok(answer) => answer.records,
            Err(why) => {
                out.push((domain.clone(), Err(format!("its mail hosts cannot be found ({why:?})"))));
                continue;
            }
        };
        hosts.sort();
        let Some(host) = hosts.into_iter().map(|mx| mx.host).find(|h| !h.is_empty()) else { continue };
        let ips = addresses(site, &host).await.unwrap_or_default();
        let fits = |ip: &&IpAddr| egress.source.is_none_or(|s| s.is_ipv4() == ip.is_ipv4());
        let Some(ip) = ips.iter().find(fits) else { continue };
        let dial = site.world().net.dial(egress.source, SocketAddr::new(*ip, settings.remote_port));
        let came = match drive::first(dial, site.world().clock.sleep_until(site.now() + ANSWER)).await {
            First::A(Ok(_)) => Ok(()),
            First::A(Err(why)) => Err(why.to_string()),
            First::B(()) => Err(format!("no answer within {ANSWER}")),
        };
        let reached = came.is_ok();
        out.push((host, came));
        if reached {
            break;
        }
    }
    out
}

async fn listings(site: &Site, egress: &route::Egress) -> Vec<board::Seen> {
    let settings = site.settings();
    let subjects = board::subjects(std::slice::from_ref(egress));
    lists::round(site, &settings.lists, &subjects, board::APART).await;
    let rows = site.outbound().board().rows(site.now());
    let ours: Vec<String> = subjects.iter().map(|s| s.what.to_string()).collect();
    rows.into_iter().filter(|row| ours.contains(&row.subject)).collect()
}

/// Records a relay wants under each sender domain, and that are not there.
pub async fn missing_cnames(
    site: &Site,
    domains: &[words::Domain],
    wanted: &[(String, String)],
) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for domain in domains.iter().take(DOMAINS_MAX) {
        for (label, target) in wanted {
            let name = format!("{label}.{domain}");
            let found = within(site, site.world().dns.cname(&name)).await;
            let there = found.is_ok_and(|a| {
                a.records.iter().any(|r| r.trim_end_matches('.').eq_ignore_ascii_case(target))
            });
            if !there {
                missing.push((name, target.clone()));
            }
        }
    }
    missing
}

/// Says hello to a relay and logs in, and goes again.
struct Caller(Option<Result<(), String>>);

impl Desk for &mut Caller {
    type M = Client;

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next(_) => {
                self.0 = Some(Ok(()));
                Answer::Quit
            }
            Ask::Failed(failure) => {
                let why = match failure.how {
                    How::Refused(reply) => format!("at {:?}: {reply}", failure.stage),
                    How::Broken(why) => format!("at {:?}: {why:?}", failure.stage),
                };
                self.0 = Some(Err(why));
                Answer::Noted
            }
            Ask::Done(_) => Answer::Noted,
            Ask::Chunk => Answer::Abort,
        }
    }
}

async fn log_in(site: &Site, egress: &Egress, relay: &Relay) -> Result<(), String> {
    let ips = match relay.host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => addresses(site, &relay.host).await?,
    };
    let fits = |ip: &&IpAddr| egress.source.is_none_or(|s| s.is_ipv4() == ip.is_ipv4());
    let ip = ips.iter().find(fits).ok_or_else(|| format!("{} has no address we can reach", relay.host))?;
    let dial = site.world().net.dial(egress.source, SocketAddr::new(*ip, relay.port));
    let connection = match drive::first(dial, site.world().clock.sleep_until(site.now() + ANSWER)).await {
        First::A(Ok(connection)) => connection,
        First::A(Err(why)) => return Err(why.to_string()),
        First::B(()) => return Err(format!("no answer within {ANSWER}")),
    };
    let policy = if relay.tls == RelayTls::StartTls { TlsPolicy::Required } else { TlsPolicy::Never };
    let mut manners = Manners::new(egress.helo.clone(), policy);
    if let Some((user, password)) = relay.login.clone() {
        let mut nonce = [0; 18];
        site.world().random.fill(&mut nonce);
        manners.login = Some(Login { user, password, nonce });
    }
    let name = relay.host.clone();
    let tls = ClientTls::new(site.roots().clone(), &*name, relay.trust());
    let wires = Wires {
        clock: site.world().clock.clone(),
        tls: Tls::Client { tls: Arc::new(tls), implicit: relay.tls == RelayTls::Implicit },
        stop: tokio::sync::watch::channel(false).1,
        farewell: b"",
        meter: Arc::default(),
        limits: drive::Limits::client(),
    };
    let mut caller = Caller(None);
    let end = drive::run(Client::new(manners), &mut caller, connection, wires).await;
    caller.0.unwrap_or_else(|| Err(end.why.to_string()))
}
