//! Orders about the host itself.

use std::path::PathBuf;

use role_mail::Site;
use serde_json::json;
use stdx::{Bytes, Now, Span};
use store::{Intake, Tell, Verified};
use watch::forecast::Forecast;

use super::{Answer, Order, Reply, says, table};

pub(super) async fn carry_out(site: &Site, order: Order, tell: Tell) -> Answer {
    match order {
        Order::Doctor => doctor(site).await,
        Order::Backup { to } => backup(site, to, tell).await,
        Order::Verify => verify(site, tell).await,
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

async fn backup(site: &Site, to: PathBuf, tell: Tell) -> Answer {
    let (store, shown) = (site.store().clone(), to.display().to_string());
    let folder = shown.clone();
    let done = tokio::task::spawn_blocking(move || store.backup(&to, &mut |p| tell.tell(p)));
    let done = done.await.map_err(|e| format!("The backup broke off: {e}."))?.map_err(says)?;
    note(site, &[(BACKED_UP, None), (FOLDER, Some(folder)), (BYTES, Some(done.bytes.to_string()))]).await?;
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

async fn verify(site: &Site, tell: Tell) -> Answer {
    let store = site.store().clone();
    let found = tokio::task::spawn_blocking(move || store.verify(HOLDERS, &mut |p| tell.tell(p)));
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
    let mut findings = vec![space(site), backups(site).await?];
    let damaged = role_mail::damage::known(site).await.map_err(says)?;
    findings.extend(damaged.into_iter().map(|what| {
        bad(what, "postroad verify; then bring it back: postroad restore BACKUP --mailbox ADDRESS")
    }));
    findings.extend(silent(site).await?);
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

/// A disk that is full within this time is told.
const FULL_SOON: Span = Span::days(7);

fn space(site: &Site) -> Finding {
    match site.store().intake() {
        Intake::Open => match site.fills().forecast(site.now()).decision {
            Forecast::FullAt(at) if at.since(site.now()) < FULL_SOON => bad(
                format!(
                    "the mail disk will be full in {}, at the pace of late",
                    at.since(site.now()).in_words()
                ),
                "free some space or enlarge it before then; see what grows",
            ),
            Forecast::FullAt(at) => good(format!(
                "the mail disk has room, for {} at the pace of late",
                at.since(site.now()).in_words()
            )),
            Forecast::Never | Forecast::FullNow => good("the mail disk has room".into()),
        },
        Intake::Full { free, reserve } => bad(
            format!("the mail disk has {free} left, less than the reserve of {reserve}: new mail is put off"),
            "free some space or enlarge it; mail resumes by itself",
        ),
    }
}

/// When the last backup was made, and where to; when the first was; when a restore was last tried.
const BACKED_UP: &str = "backup.last";
const FIRST: &str = "backup.first";
const FOLDER: &str = "backup.folder";
const TRIED: &str = "backup.tried";
/// Octets that the last one wrote.
const BYTES: &str = "backup.bytes";
/// A backup from which nothing was brought back for so long is not known to be one.
const TRY_EVERY: Span = Span::days(30);
const BACK_UP_EVERY: Span = Span::days(7);

/// Notes when something was done; a value of its own for what is no time.
async fn note(site: &Site, what: &[(&'static str, Option<String>)]) -> Result<(), String> {
    let now = site.now().ms().to_string();
    let what: Vec<(&'static str, String)> =
        what.iter().map(|(name, value)| (*name, value.clone().unwrap_or_else(|| now.clone()))).collect();
    let noted = site.store().commit(Vec::new(), move |batch| {
        if what.iter().any(|(name, _)| *name == BACKED_UP) && directory::knob(batch.sql(), FIRST)?.is_none() {
            directory::set_knob(batch, FIRST, Some(&now))?;
        }
        what.iter().try_for_each(|(name, value)| directory::set_knob(batch, name, Some(value)))
    });
    noted.await.map_err(says)
}

/// Something was brought back from a backup just now.
pub(super) async fn tried(site: &Site) -> Result<(), String> {
    note(site, &[(TRIED, None)]).await
}

/// What is known of this host's backups.
pub struct Backups {
    pub first: Option<Now>,
    pub last: Option<Now>,
    /// When something was last brought back from one.
    pub tried: Option<Now>,
    pub bytes: u64,
}

impl Backups {
    /// # Errors
    /// Trouble with the store.
    pub async fn read(site: &Site) -> Result<Backups, String> {
        let knobs = site.store().read(|c| directory::knobs(c, "backup.")).await.map_err(says)?;
        let value = |name: &str| knobs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let number = |name: &str| value(name).and_then(|v| v.parse::<u64>().ok());
        // A restore of the whole leaves its note in the backup's own folder.
        let proof = value(FOLDER).and_then(|f| store::last_restored(&PathBuf::from(f)));
        Ok(Backups {
            first: number(FIRST).map(Now),
            last: number(BACKED_UP).map(Now),
            tried: number(TRIED).map(Now).max(proof),
            bytes: number(BYTES).unwrap_or(0),
        })
    }
}

async fn backups(site: &Site) -> Result<Finding, String> {
    let b = Backups::read(site).await?;
    Ok(judge_backups(b.first, b.last, b.tried, site.now()))
}

/// Those who watch this host and have not answered for a while.
async fn silent(site: &Site) -> Result<Vec<Finding>, String> {
    let knobs = site.store().read(|c| directory::knobs(c, crate::report::SILENT)).await.map_err(says)?;
    let found = knobs.into_iter().filter_map(|(name, since)| {
        let (name, since) = (name.strip_prefix(crate::report::SILENT)?.to_owned(), Now(since.parse().ok()?));
        Some(bad(
            format!(
                "{name} has not answered for {}: it may not be watching this host",
                site.now().since(since).in_words()
            ),
            "see whether it runs and can be reached; if it is gone for good, take its [[peer]] out",
        ))
    });
    Ok(found.collect())
}

fn judge_backups(first: Option<Now>, last: Option<Now>, tried: Option<Now>, now: Now) -> Finding {
    const TRY: &str = "try one: postroad --data /some/new/folder restore BACKUP, then verify that folder";
    let (Some(first), Some(last)) = (first, last) else {
        return bad("no backup of this host was ever made".into(), "postroad backup /some/other/disk");
    };
    let (age, old) = (now.since(last), now.since(last).in_words());
    if age > BACK_UP_EVERY {
        return bad(format!("the last backup is {old} old"), "make one each night: postroad backup FOLDER");
    }
    match tried {
        Some(tried) if now.since(tried) <= TRY_EVERY => good(format!(
            "the last backup is {old} old; a restore was tried {} ago",
            now.since(tried).in_words()
        )),
        Some(tried) => bad(format!("no restore was tried for {}", now.since(tried).in_words()), TRY),
        None if now.since(first) <= TRY_EVERY => {
            good(format!("the last backup is {old} old; a restore was never tried yet"))
        }
        None => bad(
            format!("backups are made since {}, and no restore was ever tried", now.since(first).in_words()),
            TRY,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_never_restored_for_thirty_days_is_told() {
        let now = Now::from_secs(100 * 86_400);
        let day = |n: u64| Some(Now::from_secs(n * 86_400));
        let says = |first, last, tried| {
            let found = judge_backups(first, last, tried, now);
            (found.good, found.what)
        };
        assert!(!says(None, None, None).0);
        assert!(says(day(99), day(99), None).0);
        assert!(says(day(10), day(99), day(75)).0);
        assert!(says(day(75), day(99), None).0);
        // Odd moments are told as people would say them.
        let odd = |ms: u64| Some(Now(99 * 86_400_000 + ms));
        assert_eq!(
            says(odd(0), odd(7_654_321), odd(86_399_000)),
            (true, "the last backup is 21 hours old; a restore was tried 1 second ago".into())
        );
        assert_eq!(
            says(day(0), day(99), odd(1)).1,
            "the last backup is 24 hours old; a restore was tried 23 hours ago"
        );
        for (first, last, tried, want) in [
            (day(60), day(99), None, "never tried"),
            (day(60), day(99), day(69), "no restore was tried"),
            (day(60), day(90), day(95), "the last backup is"),
        ] {
            let (good, what) = says(first, last, tried);
            assert!(!good, "{what}");
            assert!(what.contains(want) || what.contains("no restore was ever tried"), "{what}");
        }
    }
}
