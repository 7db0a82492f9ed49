//! Orders about ways out as such: lists, pre-flight, dossiers.

use drive::First;
use ledger::Fact;
use role_mail::send::outbound::egresses;
use role_mail::{Site, preflight};
use route::board::Word;
use route::dossier::{Dossier, Entry, Step, forms};
use route::egress::shared_fate;
use route::preflight::{Fault, Findings};
use serde_json::json;
use stdx::{Now, Span};

use super::{Answer, Order, Reply, says, table};

/// The proofs of a dossier may take so long; what is not known by then is left out.
const PROOFS: Span = Span::ms(800);
/// Domains whose records are quoted in a dossier.
const DOMAINS_MAX: usize = 20;

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::ListsShow => lists(site),
        Order::EgressList => list(site),
        Order::EgressCheck { name } => check(site, &name).await,
        Order::EgressForce { name, why } => force(site, &name, why).await,
        Order::Dossier { egress, group, asked, answered } => {
            known(site, &egress)?;
            if let Some(group) = &group {
                let step = asked.map(|n| (Step::Asked, n)).or(answered.map(|n| (Step::Answered, n)));
                if let Some(step) = step {
                    record(site, (&egress, group), step).await?;
                }
            }
            dossier(site, &egress, group.as_deref()).await
        }
        _ => Err("This order is about something else.".into()),
    }
}

fn known(site: &Site, name: &str) -> Result<(), String> {
    let settings = site.settings();
    let names: Vec<&str> = settings.egresses.iter().map(|e| e.name.as_str()).collect();
    match names.contains(&name) {
        true => Ok(()),
        false => Err(format!("There is no egress {name}; there are {}.", names.join(", "))),
    }
}

fn lists(site: &Site) -> Answer {
    let now = site.now();
    let rows = site.outbound().board().rows(now);
    let watched = site.settings().lists.len();
    let words = |w: Word| match w {
        Word::Clean => "clean",
        Word::Listed => "LISTED",
        Word::Neighbours => "neighbours, not you",
        Word::Unusable => "unusable",
    };
    let mut lines: Vec<Vec<String>> = Vec::new();
    for row in &rows {
        let delist = if row.word == Word::Listed { row.delist.clone() } else { String::new() };
        lines.push(vec![
            row.zone.clone(),
            row.subject.clone(),
            row.egresses.join(","),
            words(row.word).to_owned(),
            format!("since {}", Now(row.since).iso()),
            row.says.clone(),
            delist,
        ]);
    }
    let text = match (lines.is_empty(), watched) {
        (true, 0) => "No lists are asked: there are none in the configuration.\n".to_owned(),
        (true, _) => {
            "Nothing is known yet. Public lists are asked about public addresses only, a moment after the start.\n"
                .to_owned()
        }
        _ => table(&lines),
    };
    Ok(Reply::new(text, json!({ "rows": rows, "lists": watched })))
}

fn list(site: &Site) -> Answer {
    let settings = site.settings();
    let all = egresses(&settings);
    let routes = site.outbound().routes();
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for egress in &all {
        let standing = routes.preflight(&egress.name);
        let forced = standing.and_then(|s| s.forced.clone());
        let state = match (egress.must_pass, standing) {
            (_, Some(s)) if s.forced.is_some() => format!("forced: {}", forced.as_deref().unwrap_or("")),
            (false, _) => "open".to_owned(),
            (true, Some(s)) if s.passed => "open: passed its pre-flight".to_owned(),
            (true, Some(s)) => format!("locked: {} faults", s.faults.iter().filter(|f| f.locks).count()),
            (true, None) => "locked: not checked yet".to_owned(),
        };
        let addresses: Vec<String> = egress.addresses.iter().map(ToString::to_string).collect();
        lines.push(vec![egress.name.clone(), addresses.join(" "), state.clone()]);
        rows.push(json!({ "name": egress.name, "addresses": addresses, "state": state, "forced": forced,
            "usable": !egress.must_pass || routes.may_fly(&egress.name) }));
    }
    let mut text = table(&lines);
    for (a, b, why) in shared_fate(&all) {
        text.push_str(&format!("{a} and {b} fall together: {why}.\n"));
    }
    Ok(Reply::new(text, json!({ "egresses": rows })))
}

async fn check(site: &Site, name: &str) -> Answer {
    known(site, name)?;
    let faults = preflight::check(site, name).await.ok_or("The egress went away meanwhile.")?;
    super::routes::save(site).await?;
    let locks = faults.iter().filter(|f| f.locks).count();
    let standing = site.outbound().routes().preflight(name).cloned().unwrap_or_default();
    let mut text = match locks {
        0 => format!("{name} passes: nothing speaks against sending from it.\n"),
        n => format!("{name} does not pass: {n} faults.\n"),
    };
    let line = |f: &Fault| vec![f.kind.clone(), f.says.clone(), format!("→ {}", f.fix)];
    text.push_str(&table(&faults.iter().map(line).collect::<Vec<_>>()));
    if let Some(why) = &standing.forced {
        text.push_str(&format!("It carries mail all the same, forced: {why}.\n"));
    }
    let passes = locks == 0;
    Ok(Reply::new(
        text,
        json!({ "egress": name, "passes": passes, "forced": standing.forced, "faults": faults }),
    ))
}

async fn force(site: &Site, name: &str, why: Option<String>) -> Answer {
    known(site, name)?;
    let forced = why.is_some();
    site.outbound().routes().force_preflight(name, why);
    super::routes::save(site).await?;
    Ok(Reply::done(match forced {
        true => format!("{name} carries mail although its pre-flight was not passed; `egress list` says so."),
        false => format!("{name} carries mail only if its pre-flight was passed."),
    }))
}

async fn record(
    site: &Site,
    (egress, group): (&str, &str),
    (step, note): (Step, String),
) -> Result<(), String> {
    let kind = if step == Step::Asked { "dossier.asked" } else { "dossier.answered" };
    let fact =
        Fact::new(kind, site.now()).with("egress", egress).with("group", group).with("note", note.clone());
    let entry = Entry { at: site.now().0, step, note };
    if !site.outbound().routes().record_step(egress, group, entry) {
        return Err(format!("{group} has never refused {egress}; there is no dossier to note it in."));
    }
    site.aside(fact);
    super::routes::save(site).await
}

async fn dossier(site: &Site, egress: &str, group: Option<&str>) -> Answer {
    let dossiers = site.outbound().routes().dossiers(egress, group);
    if dossiers.is_empty() {
        let of = group.map_or(String::new(), |g| format!(" by {g}"));
        return Ok(Reply::new(
            format!("{egress} was never refused{of} for its address' sake.\n"),
            json!({ "dossiers": [] }),
        ));
    }
    let (found, keys) = proofs(site, egress).await;
    let proof = proof_lines(&found, &keys);
    let zones = site.settings().list_zones.clone();
    let mut text = String::new();
    let mut rows = Vec::new();
    for d in &dossiers {
        text.push_str(&one(d, &zones));
        rows.push(json!({ "dossier": d, "standing": d.standing(), "forms": forms(d, &zones) }));
    }
    text.push_str("\nProofs\n");
    text.push_str(&table(&proof));
    text.push_str("\nNothing of this is sent by itself. Note what you did: --asked NOTE, --answered NOTE.\n");
    Ok(Reply::new(text, json!({ "egress": egress, "dossiers": rows, "proofs": proof, "submitted": 0 })))
}

fn one(d: &Dossier, zones: &[String]) -> String {
    let at = |ms: u64| Now(ms).iso();
    let mut out = format!(
        "{} at {}\n  first refused {}, last {}, {} times\n  {}\n",
        d.egress,
        d.group,
        at(d.first),
        at(d.last),
        d.count,
        d.standing()
    );
    for q in &d.quotes {
        out.push_str(&format!(
            "  {} × {} to {} ({} to {}):\n      {}\n",
            q.count,
            q.host,
            q.domain,
            at(q.first),
            at(q.last),
            q.reply
        ));
    }
    for form in forms(d, zones) {
        out.push_str(&format!("  write to {}: {}\n", form.of, form.how));
    }
    for e in &d.entries {
        out.push_str(&format!("  {} {:?}: {}\n", at(e.at), e.step, e.note));
    }
    out
}

/// What can be proved within [`PROOFS`]: names, SPF, and which of our keys are in the DNS.
async fn proofs(site: &Site, egress: &str) -> (Option<Findings>, Vec<Vec<String>>) {
    let world = site.world();
    let both = async {
        let found = preflight::names_and_spf(site, egress, DOMAINS_MAX).await;
        (found, keys(site).await)
    };
    match drive::first(both, world.clock.sleep_until(site.now() + PROOFS)).await {
        First::A(found) => found,
        First::B(()) => {
            (None, vec![vec!["proofs".into(), "the DNS did not answer in time; ask again".into()]])
        }
    }
}

async fn keys(site: &Site) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    let domains = site.store().read(directory::domains).await.map_err(says).unwrap_or_default();
    for domain in domains.iter().take(DOMAINS_MAX) {
        let records = super::key_records(site, domain.name.as_str()).await.unwrap_or_default();
        for (name, _) in records {
            let there = site.world().dns.txt(&name).await.is_ok();
            let words = if there { "is published" } else { "is NOT in the DNS" };
            out.push(vec!["DKIM".into(), name, words.into()]);
        }
    }
    out
}

fn proof_lines(found: &Option<Findings>, keys: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    if let Some(found) = found {
        for address in &found.addresses {
            let names: Vec<String> = match &address.names {
                Ok(names) => names
                    .iter()
                    .map(|(n, back)| {
                        format!("{n} ({})", if *back { "leads back" } else { "does not lead back" })
                    })
                    .collect(),
                Err(why) => vec![why.clone()],
            };
            let words = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            out.push(vec!["reverse name".into(), address.ip.to_string(), words]);
        }
        for (domain, spf) in &found.domains {
            out.push(vec!["SPF".into(), domain.clone(), format!("{spf:?}").to_lowercase()]);
        }
    }
    out.extend(keys.iter().cloned());
    out
}

/// For `doctor`: locked egresses and listings, each with what to do.
pub fn worries(site: &Site) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let settings = site.settings();
    {
        let routes = site.outbound().routes();
        for egress in egresses(&settings).iter().filter(|e| e.must_pass && !routes.may_fly(&e.name)) {
            let name = &egress.name;
            out.push((format!("no mail leaves by {name} yet"), format!("postroad egress check {name}")));
        }
    }
    for (a, b, why) in shared_fate(&egresses(&settings)) {
        out.push((
            format!("egress {a} and egress {b} fall together: {why}"),
            "give one of them an address in another data centre or network, and a `network` name of its own"
                .into(),
        ));
    }
    let rows = site.outbound().board().rows(site.now());
    for row in rows.into_iter().filter(|r| r.word == Word::Listed && r.counts) {
        out.push((format!("{} lists {}: {}", row.zone, row.subject, row.says), row.delist));
    }
    out
}
