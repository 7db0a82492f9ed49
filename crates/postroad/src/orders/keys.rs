//! Orders about a domain's DKIM keys: made, published by the operator, then signing.

use directory::{DkimKey, KeyState};
use mailauth::keys::{Algorithm, SigningKey};
use role_mail::Site;
use serde_json::json;
use words::Domain;

use super::{Answer, Reply, domain, says};

/// Makes keys the first time; afterwards lets those sign whose records the DNS has.
pub(super) async fn step(site: &Site, text: &str) -> Answer {
    let name = domain(text)?;
    let held = keys(site, &name).await?;
    if held.iter().all(|k| k.state == KeyState::Retired) {
        make(site, &name).await?;
        let records = records(site, text).await?;
        let lines: Vec<String> = records
            .iter()
            .map(|(at, value)| format!("{at}. IN TXT {}", mailauth::keys::zone_strings(value)))
            .collect();
        let text = format!(
            "Keys for {name} are made. Publish these records, then say `postroad domain key {name}` again:\n\n{}\n",
            lines.join("\n")
        );
        return Ok(Reply::new(text, json!({ "records": records, "signing": false })));
    }
    begin_signing(site, &name, held).await
}

async fn keys(site: &Site, name: &Domain) -> Result<Vec<DkimKey>, String> {
    let wanted = name.clone();
    site.store().read(move |conn| directory::dkim_keys(conn, &wanted)).await.map_err(says)
}

async fn make(site: &Site, name: &Domain) -> Result<(), String> {
    let now = site.now();
    let day = now.civil();
    let random = site.world().random.clone();
    let made = tokio::task::spawn_blocking(move || {
        let make = |algorithm| SigningKey::generate(algorithm, random.as_ref()).map_err(|e| e.to_string());
        Ok::<_, String>([make(Algorithm::Rsa)?, make(Algorithm::Ed25519)?])
    });
    let [rsa, ed] = made.await.map_err(|e| format!("The keys could not be made: {e}."))??;
    let selector = |kind: &str| format!("{kind}{:04}{:02}{:02}", day.year, day.month, day.day);
    let key = |selector, algorithm, private| DkimKey {
        selector,
        algorithm,
        private,
        state: KeyState::Waiting,
        created: now,
    };
    let pair = [
        key(selector("r"), directory::Algorithm::RsaSha256, rsa),
        key(selector("e"), directory::Algorithm::Ed25519Sha256, ed),
    ];
    let name = name.clone();
    let keep = move |batch: &mut store::Batch<'_>| {
        pair.iter().try_for_each(|k| directory::add_dkim_key(batch, &name, k))
    };
    site.store().commit(Vec::new(), keep).await.map_err(says)
}

async fn begin_signing(site: &Site, name: &Domain, held: Vec<DkimKey>) -> Answer {
    let (mut signing, mut missing) = (Vec::new(), Vec::new());
    for key in held.into_iter().filter(|k| k.state != KeyState::Retired) {
        let (at, value) = record(name, &key)?;
        let found = site.world().dns.txt(&at).await.map(|a| a.records).unwrap_or_default();
        if found.iter().any(|text| same(text, &value)) {
            signing.push(key.selector)
        } else {
            missing.push(at)
        }
    }
    let (ready, wanted) = (signing.clone(), name.clone());
    let keep = move |batch: &mut store::Batch<'_>| {
        ready.iter().try_for_each(|s| directory::set_dkim_state(batch, &wanted, s, KeyState::Signing))
    };
    site.store().commit(Vec::new(), keep).await.map_err(says)?;
    let mut text = match signing.len() {
        0 => format!("Mail from {name} is not signed yet.\n"),
        _ => format!("Mail from {name} is signed with {}.\n", signing.join(" and ")),
    };
    for at in &missing {
        text.push_str(&format!("{at} is not in the DNS (yet): publish it, and say this again.\n"));
    }
    Ok(Reply::new(text, json!({ "signing": signing, "missing": missing })))
}

/// Whether two records say the same, whatever blanks stand between.
fn same(a: &str, b: &str) -> bool {
    let squeeze = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    squeeze(a) == squeeze(b)
}

fn record(name: &Domain, key: &DkimKey) -> Result<(String, String), String> {
    let read =
        SigningKey::from_pem(key.private.reveal()).map_err(|e| format!("The key {}: {e}.", key.selector))?;
    Ok((format!("{}._domainkey.{name}", key.selector), read.record()))
}

/// Name and text of the TXT record of each key of a domain.
pub async fn records(site: &Site, text: &str) -> Result<Vec<(String, String)>, String> {
    let name = domain(text)?;
    let held = keys(site, &name).await?;
    held.iter().filter(|k| k.state != KeyState::Retired).map(|k| record(&name, k)).collect()
}
