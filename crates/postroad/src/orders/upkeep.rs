//! Orders about the host itself.

use std::path::PathBuf;

use role_mail::Site;
use serde_json::json;
use stdx::Bytes;
use store::{Intake, Verified};

use super::{Answer, Order, Reply, says, table};

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::Doctor => doctor(site).await,
        Order::Backup { to } => backup(site, to).await,
        Order::Verify => verify(site).await,
        _ => Err("This order is about something else.".into()),
    }
}

/// Who holds bodies, for the count of references: the mailbox holds a body once however many rows
/// name it, and each piece of a text index; the queue holds one for each entry.
pub const HOLDERS: &[&str] = &[
    "SELECT DISTINCT body, 1 FROM mb_message",
    "SELECT body, count(*) FROM mb_chunk GROUP BY body",
    "SELECT body, count(*) FROM spool GROUP BY body",
];

async fn backup(site: &Site, to: PathBuf) -> Answer {
    let (store, shown) = (site.store().clone(), to.display().to_string());
    let done = tokio::task::spawn_blocking(move || store.backup(&to, &mut |_| ()));
    let done = done.await.map_err(|e| format!("The backup broke off: {e}."))?.map_err(says)?;
    let text = format!(
        "{shown} is a whole backup now: {} files, of which {} were copied ({}), {} taken out.\n",
        done.files,
        done.copied,
        Bytes(done.bytes),
        done.removed
    );
    let json =
        json!({ "files": done.files, "copied": done.copied, "bytes": done.bytes, "removed": done.removed });
    Ok(Reply::new(text, json))
}

async fn verify(site: &Site) -> Answer {
    let store = site.store().clone();
    let found = tokio::task::spawn_blocking(move || store.verify(HOLDERS, &mut |_| ()));
    verified(&found.await.map_err(|e| format!("The check broke off: {e}."))?.map_err(says)?)
}

/// What a verification found. An unsound store is an error: scripts must notice.
pub fn verified(found: &Verified) -> Answer {
    let size = Bytes(found.bytes);
    let json = json!({
        "sound": found.is_sound(), "bodies": found.bodies, "bytes": found.bytes, "commits": found.commits,
        "damaged": found.damaged.len(), "miscounted": found.miscounted.len(),
        "index": found.index, "log": found.log,
    });
    if found.is_sound() {
        let text = format!("All is sound: {} bodies ({size}), {} commits.\n", found.bodies, found.commits);
        return Ok(Reply::new(text, json));
    }
    let mut lines = vec![format!("The store is not sound: {} bodies ({size}) were read.", found.bodies)];
    lines.extend(found.damaged.iter().take(20).map(|(id, why)| format!("body {} is damaged: {why}", id.0)));
    lines.extend(
        found
            .miscounted
            .iter()
            .take(20)
            .map(|(id, counted, held)| format!("body {} is held {held} times, but counted {counted}", id.0)),
    );
    lines.extend(found.index.iter().take(20).map(|line| format!("index: {line}")));
    lines.extend(found.log.iter().take(20).map(|line| format!("log: {line}")));
    lines.push("Restore what is damaged from a backup; `postroad rebuild` makes the index anew.".into());
    Err(lines.join("\n"))
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
    findings.extend(super::egresses::worries(site).into_iter().map(|(what, remedy)| bad(what, &remedy)));
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
