//! Orders about DNS: the records a domain of ours should have, and what the world says.

use role_mail::{Settings, Site};
use serde_json::json;
use world::DnsError;

use super::{Answer, Order, Reply, domain, says, table};

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::CheckDns { domain: name } => check_dns(site, &name).await,
        Order::CheckPtr { ip } => check_ptr(site, ip).await,
        _ => Err("This order is about something else.".into()),
    }
}

/// A record that should be in the DNS.
struct Wanted {
    name: String,
    kind: &'static str,
    value: String,
    why: &'static str,
}

fn wanted(name: &str, settings: &Settings) -> Vec<Wanted> {
    let record = |name: String, kind, value, why| Wanted { name, kind, value, why };
    vec![
        record(
            name.to_owned(),
            "MX",
            format!("10 {}.", settings.host_name),
            "mail for the domain comes here",
        ),
        record(name.to_owned(), "TXT", spf(settings), "our addresses may send for it (SPF)"),
        record(
            format!("_dmarc.{name}"),
            "TXT",
            "v=DMARC1; p=quarantine".into(),
            "what others do with forgeries (DMARC)",
        ),
    ]
}

/// The SPF record that covers every way out.
fn spf(settings: &Settings) -> String {
    let mut terms = vec!["v=spf1".to_owned()];
    for egress in &settings.egresses {
        let term = match (egress.source, &egress.relay) {
            (Some(ip @ std::net::IpAddr::V4(_)), None) => format!("ip4:{ip}"),
            (Some(ip @ std::net::IpAddr::V6(_)), None) => format!("ip6:{ip}"),
            (None, None) => "mx".to_owned(),
            (_, Some(relay)) => format!("a:{}", relay.host),
        };
        if !terms.contains(&term) {
            terms.push(term);
        }
    }
    terms.push("-all".into());
    terms.join(" ")
}

pub(super) async fn domain_show(site: &Site, text: &str) -> Answer {
    let name = domain(text)?;
    let wanted_name = name.clone();
    let found = site.store().read(move |conn| directory::domain(conn, &wanted_name)).await.map_err(says)?;
    let found = found.ok_or_else(|| {
        format!("{text} is no domain of ours. `postroad domain list` names those there are.")
    })?;
    let mut rows = vec![vec!["domain".to_owned(), name.to_string()]];
    if let Some(of) = &found.alias_of {
        rows.push(vec!["is".into(), of.to_string()]);
    }
    if let Some(to) = &found.catch_all {
        rows.push(vec!["all others to".into(), to.to_string()]);
    }
    rows.push(vec!["plus addresses".into(), if found.plus { "yes" } else { "no" }.into()]);
    let records = wanted(name.as_str(), &site.settings());
    let lines: Vec<Vec<String>> = records
        .iter()
        .map(|r| {
            let value = if r.kind == "TXT" { format!("\"{}\"", r.value) } else { r.value.clone() };
            vec![format!("{}.", r.name), "IN".into(), r.kind.into(), value, format!("; {}", r.why)]
        })
        .collect();
    let text = format!("{}\nRecords it should have in the DNS:\n{}", table(&rows), table(&lines));
    let json = json!({
        "domain": name.as_str(),
        "alias_of": found.alias_of.as_ref().map(|of| of.as_str()),
        "catch_all": found.catch_all.as_ref().map(|to| to.to_string()),
        "plus": found.plus,
        "records": records.iter().map(|r| json!({"name": r.name, "type": r.kind, "value": r.value})).collect::<Vec<_>>(),
    });
    Ok(Reply::new(text, json))
}

fn told<T>(found: Result<world::Answer<T>, DnsError>, show: impl Fn(&T) -> String) -> Vec<String> {
    match found {
        Ok(answer) => {
            let proved = if answer.authentic { " (DNSSEC)" } else { "" };
            answer.records.iter().map(|r| format!("{}{proved}", show(r))).collect()
        }
        Err(DnsError::NoName) => vec!["the name does not exist".into()],
        Err(DnsError::NoData) => vec!["none".into()],
        Err(DnsError::Failed(why)) => vec![format!("no answer: {why}")],
    }
}

async fn check_dns(site: &Site, text: &str) -> Answer {
    let name = domain(text)?;
    let (dns, name) = (site.world().dns.clone(), name.as_str());
    let (dmarc, sts, report) =
        (format!("_dmarc.{name}"), format!("_mta-sts.{name}"), format!("_smtp._tls.{name}"));
    let mx = dns.mx(name).await;
    let hosts: Vec<String> = mx.iter().flat_map(|a| a.records.iter().map(|m| m.host.clone())).collect();
    let mut found = vec![(
        "MX",
        told(mx, |m| format!("{} {}", m.preference, if m.host.is_empty() { "." } else { &m.host })),
    )];
    for host in hosts.iter().filter(|h| !h.is_empty()).take(10) {
        let ips = told(dns.ip(host).await, ToString::to_string);
        found.push(("address", ips.into_iter().map(|ip| format!("{host} {ip}")).collect()));
        let tlsa = dns.tlsa(&format!("_25._tcp.{host}")).await;
        if tlsa.is_ok() {
            found.push(("TLSA", told(tlsa, |t| format!("{host} {} {} {}", t.usage, t.selector, t.matching))));
        }
    }
    let spf = told(dns.txt(name).await, String::clone);
    found.push(("SPF", spf.into_iter().filter(|t| t.starts_with("v=spf1") || !t.contains('=')).collect()));
    found.push(("DMARC", told(dns.txt(&dmarc).await, String::clone)));
    found.push(("MTA-STS", told(dns.txt(&sts).await, String::clone)));
    found.push(("TLS-RPT", told(dns.txt(&report).await, String::clone)));
    let rows: Vec<Vec<String>> = found
        .iter()
        .flat_map(|(kind, values)| values.iter().map(|v| vec![(*kind).to_owned(), v.clone()]))
        .collect();
    let json = rows.iter().map(|r| json!({"kind": r[0], "value": r[1]})).collect();
    Ok(Reply::new(table(&rows), json))
}

async fn check_ptr(site: &Site, ip: std::net::IpAddr) -> Answer {
    let dns = &site.world().dns;
    let names = dns.ptr(ip).await.map(|a| a.records).unwrap_or_default();
    let mut rows = Vec::new();
    let mut agree = false;
    for name in names.iter().take(10) {
        let back = dns.ip(name).await.map(|a| a.records).unwrap_or_default();
        let same = back.contains(&ip);
        agree |= same;
        let words = if same { "leads back to it" } else { "does not lead back to it" };
        rows.push(vec![ip.to_string(), name.clone(), words.to_owned()]);
    }
    if names.is_empty() {
        rows.push(vec![ip.to_string(), "has no name; ask whoever gave you the address to set one".into()]);
    }
    Ok(Reply::new(table(&rows), json!({ "ip": ip, "names": names, "agree": agree })))
}
