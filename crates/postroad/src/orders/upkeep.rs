//! Orders about the host itself.

use role_mail::Site;
use serde_json::json;
use store::Intake;

use super::{Answer, Order, Reply, says, table};

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::Doctor => doctor(site).await,
        _ => Err("This order is about something else.".into()),
    }
}

/// One thing looked at.
struct Finding {
    good: bool,
    what: String,
    remedy: String,
}

async fn doctor(site: &Site) -> Answer {
    let mut findings = vec![space(site)];
    findings.extend(domains(site).await?);
    findings.extend(names(site).await);
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|f| vec![if f.good { "ok" } else { "!!" }.to_owned(), f.what.clone(), f.remedy.clone()])
        .collect();
    let wrong = findings.iter().filter(|f| !f.good).count();
    let closing = match wrong {
        0 => "All is well.\n".to_owned(),
        1 => "One thing to look after.\n".to_owned(),
        n => format!("{n} things to look after.\n"),
    };
    let json = json!({
        "wrong": wrong,
        "findings": findings.iter().map(|f| json!({"good": f.good, "what": f.what, "remedy": f.remedy})).collect::<Vec<_>>(),
    });
    Ok(Reply::new(table(&rows) + &closing, json))
}

fn good(what: String) -> Finding {
    Finding { good: true, what, remedy: String::new() }
}
fn bad(what: String, remedy: &str) -> Finding {
    Finding { good: false, what, remedy: remedy.to_owned() }
}

fn space(site: &Site) -> Finding {
    match site.store().intake() {
        Intake::Open => good("the mail disk has room".into()),
        Intake::Full { free, reserve } => bad(
            format!("the mail disk has {free} left, less than the reserve of {reserve}: new mail is put off"),
            "free some space or enlarge it; mail resumes by itself",
        ),
    }
}

async fn domains(site: &Site) -> Result<Vec<Finding>, String> {
    let domains = site.store().read(directory::domains).await.map_err(says)?;
    if domains.is_empty() {
        return Ok(vec![bad(
            "there is no domain yet: no mail is taken".into(),
            "postroad domain add example.org",
        )]);
    }
    let host = site.settings().host_name.clone();
    let mut out = Vec::new();
    for domain in domains.iter().take(200) {
        let mx = site.world().dns.mx(domain.name.as_str()).await;
        let hosts: Vec<String> =
            mx.map(|a| a.records.into_iter().map(|m| m.host).collect()).unwrap_or_default();
        out.push(if hosts.contains(&host) {
            good(format!("mail for {} comes here", domain.name))
        } else if hosts.is_empty() {
            bad(format!("{} has no MX", domain.name), &format!("publish: {}. MX 10 {host}.", domain.name))
        } else {
            bad(
                format!("mail for {} goes to {}", domain.name, hosts.join(", ")),
                &format!("name {host} as its MX"),
            )
        });
    }
    Ok(out)
}

/// Whether each way out has a name that leads back to it.
async fn names(site: &Site) -> Vec<Finding> {
    let mut out = Vec::new();
    for egress in &site.settings().egresses {
        let Some(ip) = egress.source else { continue };
        let names = site.world().dns.ptr(ip).await.map(|a| a.records).unwrap_or_default();
        let back = site.world().dns.ip(&egress.helo).await.map(|a| a.records).unwrap_or_default();
        out.push(if names.contains(&egress.helo) && back.contains(&ip) {
            good(format!("egress {}: {ip} and {} lead to each other", egress.name, egress.helo))
        } else {
            bad(
                format!("egress {}: {ip} and {} do not lead to each other", egress.name, egress.helo),
                "set the address's reverse name (PTR) and the name's address to each other",
            )
        });
    }
    out
}
