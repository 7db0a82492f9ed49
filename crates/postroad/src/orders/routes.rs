//! Orders about ways out.

use role_mail::Site;
use route::state::{Pin, PinScope};
use serde_json::json;
use stdx::Now;
use world::DnsError;

use super::{Answer, Order, Reply, says, table};

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::RouteShow { group } => show(site, group.as_deref()),
        Order::RouteWhy { destination } => explain(site, &destination).await,
        Order::RoutePin { destination, egress, for_ms } => pin(site, &destination, egress, for_ms).await,
        Order::RouteUnpin { destination } => unpin(site, &destination).await,
        _ => Err("This order is about something else.".into()),
    }
}

/// What was learned before, for orders on a host that does not run.
pub fn restore(site: &Site) -> Result<(), String> {
    let rows = site.store().read_now(spool::routes).map_err(says)?;
    *site.outbound().routes() = route::State::restore(rows).0;
    Ok(())
}

fn show(site: &Site, group: Option<&str>) -> Answer {
    let now = site.now();
    let (rows, pins) = {
        let state = site.outbound().routes();
        (route::show::rows(&state, group, now), route::show::pins(&state, now))
    };
    let mut lines: Vec<Vec<String>> = rows
        .iter()
        .map(|r| {
            let probe = r.next_probe.as_ref().map(|at| format!("next probe {at}")).unwrap_or_default();
            let since = r.since.as_ref().map(|at| format!("since {at}")).unwrap_or_default();
            vec![r.group.clone(), r.egress.clone(), r.state.clone(), since, probe, refused(r)]
        })
        .collect();
    for pin in &pins {
        let until = pin.until.map_or("until unpinned".to_owned(), |at| format!("until {}", Now(at).iso()));
        lines.push(vec![scope_words(&pin.scope), pin.egress.clone(), "pinned".into(), until]);
    }
    let text = if lines.is_empty() { "Every way is open.\n".to_owned() } else { table(&lines) };
    let pins =
        pins.iter().map(|p| json!({ "scope": scope_words(&p.scope), "egress": p.egress, "until": p.until }));
    Ok(Reply::new(text, json!({ "rows": rows, "pins": pins.collect::<Vec<_>>() })))
}

/// Domains that refused this egress; too few of them, and the way stays open for the others.
fn refused(row: &route::show::Row) -> String {
    if row.refused_domains.is_empty() {
        return String::new();
    }
    format!("refused for {}", row.refused_domains.join(", "))
}

/// The destination's hosts, its group, and what is known of each way to it.
async fn explain(site: &Site, text: &str) -> Answer {
    let name = super::domain(text.rsplit_once('@').map_or(text, |(_, domain)| domain))?;
    let mut hosts = match site.world().dns.mx(name.as_str()).await {
        Ok(answer) => answer.records,
        Err(DnsError::NoData) => Vec::new(),
        Err(DnsError::NoName) => return Err(format!("The domain {name} does not exist.")),
        Err(DnsError::Failed(why)) => {
            return Err(format!("The DNS does not answer for {name} ({why}); try again."));
        }
    };
    hosts.sort();
    let mut hosts: Vec<String> = hosts.into_iter().map(|mx| mx.host).collect();
    if hosts.is_empty() {
        // RFC 5321 §5.1: without MX records the domain itself is the host.
        hosts.push(name.to_string());
    }
    if hosts.iter().all(String::is_empty) {
        return Err(format!("{name} says that it takes no mail (null MX)."));
    }
    let (now, settings) = (site.now(), site.settings());
    let group = route::group_of(&name, &hosts, &route::Banners::new());
    let (rows, pin) = {
        let state = site.outbound().routes();
        (
            route::show::rows(&state, Some(&group), now),
            state.pin_for(&group, name.as_str(), &hosts, now).cloned(),
        )
    };
    let mut lines = vec![
        vec!["hosts".to_owned(), hosts.join(", ")],
        vec!["group".to_owned(), format!("{group}: what is learned from one of its domains counts for all")],
    ];
    if let Some(pin) = &pin {
        lines
            .push(vec!["pinned".into(), format!("to {} by order ({})", pin.egress, scope_words(&pin.scope))]);
    }
    for egress in &settings.egresses {
        let known = rows.iter().find(|row| row.egress == egress.name);
        let words = known.map_or("open; nothing was ever said against it".to_owned(), |row| {
            let said: Vec<String> = row.evidence.iter().map(|e| e.reply.clone()).collect();
            let since = row.since.as_ref().map(|at| format!(" since {at}")).unwrap_or_default();
            let because =
                if said.is_empty() { String::new() } else { format!(", because: {}", said.join("; ")) };
            format!("{}{since}{because}  {}", row.state, refused(row)).trim_end().to_owned()
        });
        lines.push(vec![format!("egress {}", egress.name), words]);
    }
    let json = json!({ "domain": name.as_str(), "hosts": hosts, "group": group, "rows": rows,
        "pin": pin.map(|p| p.egress) });
    Ok(Reply::new(table(&lines), json))
}

/// `group:NAME`, `host:NAME`, or a domain.
fn scope(text: &str) -> Result<PinScope, String> {
    match text.split_once(':') {
        Some(("group", name)) if !name.is_empty() => Ok(PinScope::Group(name.to_owned())),
        Some(("host", name)) => Ok(PinScope::Host(super::domain(name)?.to_string())),
        Some(_) => Err(format!("\"{text}\" is no destination: write a domain, host:NAME or group:NAME.")),
        None => Ok(PinScope::Domain(super::domain(text)?.to_string())),
    }
}

fn scope_words(scope: &PinScope) -> String {
    match scope {
        PinScope::Group(name) => format!("group:{name}"),
        PinScope::Host(name) => format!("host:{name}"),
        PinScope::Domain(name) => name.clone(),
    }
}

async fn pin(site: &Site, destination: &str, egress: String, for_ms: Option<u64>) -> Answer {
    let scope = scope(destination)?;
    let settings = site.settings();
    let names: Vec<&str> = settings.egresses.iter().map(|e| e.name.as_str()).collect();
    if !names.contains(&egress.as_str()) {
        return Err(format!("There is no egress {egress}; there are {}.", names.join(", ")));
    }
    let until = for_ms.map(|ms| site.now().ms() + ms);
    let words =
        until.map_or("until `postroad route unpin`".to_owned(), |at| format!("until {}", Now(at).iso()));
    let pin = Pin { scope, egress: egress.clone(), until, by: "operator".into(), note: String::new() };
    site.outbound().routes().pin(pin);
    save(site).await?;
    Ok(Reply::done(format!("Mail for {destination} leaves by {egress} {words}.")))
}

async fn unpin(site: &Site, destination: &str) -> Answer {
    let was = site.outbound().routes().unpin(&scope(destination)?);
    save(site).await?;
    match was {
        true => Ok(Reply::done(format!("The way to {destination} is chosen again."))),
        false => Err(format!("{destination} is not pinned. `postroad route show` lists the pins.")),
    }
}

pub(super) async fn save(site: &Site) -> Result<(), String> {
    let changes = site.outbound().routes().take_changes();
    site.store().commit(Vec::new(), move |batch| spool::save_routes(batch, &changes)).await.map_err(says)
}
