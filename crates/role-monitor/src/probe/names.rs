//! DNS: single answers, the whole set of a domain's names ([`watch::drift`] judges), address and
//! name of each way out, and block lists.

use std::net::{IpAddr, Ipv4Addr};

use mailauth::{dane, dmarc, keys, mtasts, spf};
use route::dnsbl;
use stdx::{Now, Span};
use watch::drift::{Facts, Heard, Wanted};
use web::{Ask, Url};
use world::{DnsError, World};

use super::port::{self, Port, Proto};
use crate::wire::{Family, Kit, Place, TlsWay, dns_says};

/// A domain whose names are watched.
#[derive(Clone, Debug, Default)]
pub struct DomainWatch {
    pub domain: String,
    pub wanted: Wanted,
    /// Every address our mail leaves by, with the name it says in EHLO.
    pub egresses: Vec<(IpAddr, String)>,
    /// `autoconfig.<domain>` should lead to us.
    pub autoconfig: bool,
    /// Asked for the end of the registration (RFC 9083): `https://rdap.example/domain/`.
    pub rdap: Option<Url>,
}

fn heard<T, U>(found: Result<world::Answer<T>, DnsError>, map: impl Fn(Vec<T>) -> U) -> Heard<U> {
    match found {
        Ok(answer) => Heard::Found(map(answer.records)),
        Err(DnsError::NoName | DnsError::NoData) => Heard::Nothing,
        Err(DnsError::Failed(why)) => Heard::Unsure(why),
    }
}

/// Asks everything about a domain.
pub async fn gather(kit: &Kit, watch: &DomainWatch) -> Facts {
    let (dns, domain) = (&kit.world.dns, watch.domain.as_str());
    let mx = heard(dns.mx(domain).await, |mut records| {
        records.sort();
        records.into_iter().map(|m| m.host).filter(|h| !h.is_empty()).collect::<Vec<_>>()
    });
    let mut facts = Facts {
        mx,
        spf: Vec::new(),
        dkim: Vec::new(),
        dmarc: heard(dns.txt(&format!("_dmarc.{domain}")).await, |texts| policy(&texts)),
        sts: sts(kit, domain).await,
        ns: if watch.wanted.ns.is_empty() { Heard::Nothing } else { heard(dns.ns(domain).await, |n| n) },
        autoconfig: Heard::Found(()),
        tlsa: Vec::new(),
        expires: expiry(kit, watch).await,
    };
    for (ip, helo) in watch.egresses.iter().take(20) {
        let sender = format!("postmaster@{domain}");
        let question =
            spf::Question { ip: *ip, helo, sender: &sender, receiver: &kit.name, now: kit.world.now() };
        let found = spf::check(dns.as_ref(), &question).await;
        facts.spf.push((*ip, found.result.to_string(), found.reason));
    }
    for selector in watch.wanted.selectors.iter().take(20) {
        let found = dns.txt(&format!("{selector}._domainkey.{domain}")).await;
        let read = |texts: Vec<String>| {
            let text = texts.first().map_or("", String::as_str);
            keys::Published::parse(text).map(drop)
        };
        facts.dkim.push((selector.clone(), heard(found, read)));
    }
    if watch.autoconfig {
        facts.autoconfig = heard(dns.ip(&format!("autoconfig.{domain}")).await, |_| ());
    }
    if let Heard::Found(hosts) = &facts.mx {
        for host in hosts.clone().iter().take(5) {
            if let Some(fits) = tlsa(kit, host).await {
                facts.tlsa.push((host.clone(), fits));
            }
        }
    }
    facts
}

fn policy(texts: &[String]) -> Result<String, String> {
    let records: Vec<&String> = texts.iter().filter(|t| t.starts_with("v=DMARC1")).collect();
    match records[..] {
        [] => Err("no record there begins with v=DMARC1".into()),
        // RFC 9989 §4.10: several records are none.
        [_, _, ..] => Err("there are several records; one is allowed".into()),
        [one] => match dmarc::Record::parse(one) {
            Some(record) => Ok(format!("{:?}", record.policy).to_ascii_lowercase()),
            None => Err("its record lacks a policy".into()),
        },
    }
}

/// RFC 8461 §3: the record announces, the file says.
async fn sts(kit: &Kit, domain: &str) -> Heard<Result<(String, Vec<String>), String>> {
    let texts = match kit.world.dns.txt(&format!("_mta-sts.{domain}")).await {
        Ok(answer) => answer.records,
        Err(DnsError::Failed(why)) => return Heard::Unsure(why),
        Err(_) => return Heard::Nothing,
    };
    if mtasts::record_id(&texts).is_none() {
        return Heard::Found(Err("its record has no id".into()));
    }
    let Ok(url) = Url::parse(&format!("https://mta-sts.{domain}/.well-known/mta-sts.txt")) else {
        return Heard::Nothing;
    };
    let ask = Ask { body_bytes_max: mtasts::POLICY_MAX, ..Ask::get(url) };
    Heard::Found(match web::fetch(&kit.world, &kit.roots, &ask).await {
        Ok(got) if got.status == 200 => mtasts::Policy::parse(&got.text())
            .map(|p| (p.mode.as_str().to_owned(), p.mx))
            .map_err(|e| format!("its policy cannot be read: {e}")),
        Ok(got) => Err(format!("its policy cannot be had: HTTP {}", got.status)),
        Err(why) => Err(format!("its policy cannot be had: {why}")),
    })
}

/// `None` without TLSA records.
async fn tlsa(kit: &Kit, host: &str) -> Option<Result<(), String>> {
    let records = kit.world.dns.tlsa(&format!("_25._tcp.{host}")).await.ok()?.records;
    let port = Port {
        proto: Proto::Smtp,
        to: Place { host: host.to_owned(), port: 25 },
        family: Family::Any,
        tls: TlsWay::StartTls,
        name: host.to_owned(),
        login: None,
    };
    let facts = port::tls_facts(kit, &port).await.ok()?;
    let chain: Vec<&[u8]> = facts.chain.iter().map(Vec::as_slice).collect();
    Some(match dane::decide(&records, &chain) {
        dane::Outcome::Mismatch => Err("none of them matches the certificate shown".into()),
        _ => Ok(()),
    })
}

/// RFC 9083 §4.5: the event `expiration` of a domain.
async fn expiry(kit: &Kit, watch: &DomainWatch) -> Heard<Now> {
    let Some(base) = &watch.rdap else { return Heard::Nothing };
    let url = Url { path: format!("{}{}", base.path, watch.domain), ..base.clone() };
    let got = match web::fetch(&kit.world, &kit.roots, &Ask::get(url)).await {
        Ok(got) if got.status == 200 => got,
        Ok(got) => return Heard::Unsure(format!("HTTP {}", got.status)),
        Err(why) => return Heard::Unsure(why.says),
    };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&got.body) else {
        return Heard::Unsure("its answer is no JSON".into());
    };
    let events = value["events"].as_array().cloned().unwrap_or_default();
    let date = events.iter().find(|e| e["eventAction"] == "expiration").and_then(|e| e["eventDate"].as_str());
    date.and_then(day).map_or(Heard::Unsure("it names no expiration".into()), Heard::Found)
}

/// The date of an RFC 3339 time.
fn day(text: &str) -> Option<Now> {
    let (date, _) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (y, m, d) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    u64::try_from(stdx::time::days_from_civil(y, m, d)).ok().map(|days| Now(0) + Span::days(days))
}

/// M12: the address has a name, the name leads back, and it is the one said in EHLO.
pub async fn reverse(world: &World, ip: IpAddr, helo: &str) -> Result<String, String> {
    let names = match world.dns.ptr(ip).await {
        Ok(answer) => answer.records,
        Err(e) => return Err(format!("{ip} has no name: {}", dns_says(&e))),
    };
    for name in names.iter().take(5) {
        let back = world.dns.ip(name).await.map(|a| a.records).unwrap_or_default();
        if !back.contains(&ip) {
            continue;
        }
        return match world.dns.ip(helo).await.map(|a| a.records) {
            Ok(addresses) if addresses.contains(&ip) => Ok(format!("{ip} is {name}")),
            _ => Err(format!("{helo}, which we say in EHLO, does not lead to {ip}")),
        };
    }
    Err(format!("the names of {ip} ({}) do not lead back to it", names.join(", ")))
}

/// One list's word on one of our addresses.
pub async fn listed(world: &World, list: &dnsbl::ListFacts, ip: IpAddr) -> words::Verdict<dnsbl::Finding> {
    let test = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let round = dnsbl::Round {
        must_be: answer(world, &dnsbl::question(test(2), &list.zone)).await,
        must_not_be: answer(world, &dnsbl::question(test(1), &list.zone)).await,
        ours: answer(world, &dnsbl::question(ip, &list.zone)).await,
    };
    dnsbl::judge(list, &round)
}

async fn answer(world: &World, name: &str) -> dnsbl::Answer {
    match world.dns.ipv4(name).await {
        Ok(answer) => dnsbl::Answer::Records(answer.records),
        Err(DnsError::NoName | DnsError::NoData) => dnsbl::Answer::NoName,
        Err(DnsError::Failed(why)) => dnsbl::Answer::Failed(why),
    }
}

/// A plain DNS question: `TXT example.org`, and text that one answer must hold.
pub async fn record(world: &World, kind: &str, name: &str, expect: &str) -> Result<String, String> {
    let dns = &world.dns;
    let shown = match kind {
        "MX" => dns.mx(name).await.map(|a| texts(&a.records, |m| format!("{} {}", m.preference, m.host))),
        "TXT" => dns.txt(name).await.map(|a| a.records),
        "NS" => dns.ns(name).await.map(|a| a.records),
        "CNAME" => dns.cname(name).await.map(|a| a.records),
        "CAA" => dns.caa(name).await.map(|a| a.records),
        "AAAA" => dns.ipv6(name).await.map(|a| texts(&a.records, ToString::to_string)),
        "SOA" => dns.soa_serial(name).await.map(|a| texts(&a.records, ToString::to_string)),
        "PTR" => match name.parse::<IpAddr>() {
            Ok(ip) => dns.ptr(ip).await.map(|a| a.records),
            Err(_) => return Err(format!("{name} is no address")),
        },
        _ => dns.ipv4(name).await.map(|a| texts(&a.records, ToString::to_string)),
    };
    let shown = shown.map_err(|e| format!("{kind} of {name}: {}", dns_says(&e)))?;
    if expect.is_empty() || shown.iter().any(|s| s.contains(expect)) {
        return Ok(shown.join(", "));
    }
    Err(format!("{kind} of {name} is {}, not {expect}", shown.join(", ")))
}

fn texts<T>(records: &[T], show: impl Fn(&T) -> String) -> Vec<String> {
    records.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_registries_are_read() {
        assert_eq!(day("1970-01-11T00:00:00Z"), Some(Now(0) + Span::days(10)));
        assert_eq!((day("soon"), day("2026-xx-01T")), (None, None));
    }
}
