//! Orders about ways out.

use role_mail::Site;
use route::state::{Pin, PinScope};
use serde_json::json;
use stdx::{Now, Span};

use super::{Answer, Order, Reply, says, table};

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::RouteShow { group } => show(site, group.as_deref()),
        Order::RouteWhy { destination, from } => explain(site, &destination, from.as_deref()).await,
        Order::RoutePin { destination, egress, for_ms, until_ms, note } => {
            let until = until_ms.map(Now).or(for_ms.map(|ms| site.now() + Span::ms(ms)));
            pin(site, &destination, (egress, note), until).await
        }
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
            let said = r.evidence.last().map(|e| format!("last said: {}", e.reply)).unwrap_or_default();
            vec![r.group.clone(), r.egress.clone(), r.state.clone(), since, probe, refused(r), said]
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

/// A dry run: the destination's hosts as this host looks them up, its group, what would happen to
/// a message now, and each way with its state, its evidence and its next probe.
async fn explain(site: &Site, text: &str, from: Option<&str>) -> Answer {
    let name = |text: &str| super::domain(text.rsplit_once('@').map_or(text, |(_, domain)| domain));
    let (domain, from) = (name(text)?, from.map(name).transpose()?);
    let run = role_mail::send::explain::explain(site, &domain, from.as_ref()).await?;
    let pin = {
        let state = site.outbound().routes();
        let hosts: Vec<String> = run.hosts.iter().map(|(name, _)| name.clone()).collect();
        state.pin_for(&run.explained.group, domain.as_str(), &hosts, site.now()).cloned()
    };
    let mut lines = run.hosts.iter().map(|(host, ips)| {
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        vec!["host".to_owned(), format!("{host} [{}]", ips.join(", "))]
    });
    let mut lines: Vec<Vec<String>> = lines.by_ref().collect();
    let mut say = |what: &str, words: String| lines.push(vec![what.to_owned(), words]);
    let group = &run.explained.group;
    say("group", format!("{group}: what is learned from one of its domains counts for all"));
    say(
        "sender",
        run.from.clone().unwrap_or_else(|| "any of ours, signed (--from DOMAIN asks for one)".into()),
    );
    say("now", run.explained.now.clone());
    run.explained.because.iter().for_each(|why| say("", format!("because {why}")));
    if let Some(pin) = &pin {
        let until = pin.until.map_or("until unpinned".to_owned(), |at| format!("until {}", Now(at).iso()));
        say(
            "pinned",
            format!("{} to {} by {} {until} {}", scope_words(&pin.scope), pin.egress, pin.by, pin.note),
        );
    }
    for leg in &run.explained.legs {
        leg_words(leg).into_iter().for_each(|(what, words)| say(&what, words));
    }
    let mut json = serde_json::to_value(&run).map_err(|e| e.to_string())?;
    json["pin"] = json!(pin.map(|p| p.egress));
    Ok(Reply::new(table(&lines), json))
}

fn leg_words(leg: &route::explain::Leg) -> Vec<(String, String)> {
    let alone = leg.would.strip_prefix("it would ").unwrap_or(&leg.would);
    let state = leg.known.as_ref().map_or("open", |row| row.state.as_str());
    let mut out = vec![(
        format!("egress {}", leg.egress),
        format!("{state}, score {:.2}; alone it would {alone}", leg.score),
    )];
    let mut add = |words: String| out.push((String::new(), words));
    match &leg.known {
        None => add("nothing was ever said for or against it here".to_owned()),
        Some(row) => {
            if let Some(since) = &row.since {
                add(format!(
                    "since {since}{}",
                    row.next_probe.as_ref().map_or(String::new(), |at| format!(", next probe {at}"))
                ));
            }
            row.evidence
                .iter()
                .for_each(|e| add(format!("{} {} said: {}", Now(e.at).iso(), e.domain, e.reply)));
        }
    }
    leg.because.iter().skip(1).for_each(|why| add(format!("because {why}")));
    add(format!("by hand: {}", leg.by_hand));
    out
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

async fn pin(site: &Site, destination: &str, (egress, note): (String, String), until: Option<Now>) -> Answer {
    let scope = scope(destination)?;
    let settings = site.settings();
    let names: Vec<&str> = settings.egresses.iter().map(|e| e.name.as_str()).collect();
    if !names.contains(&egress.as_str()) {
        return Err(format!("There is no egress {egress}; there are {}.", names.join(", ")));
    }
    if until.is_some_and(|at| at <= site.now()) {
        return Err("That moment has passed: name one to come (times are UTC).".into());
    }
    let words = until.map_or("until `postroad route unpin`".to_owned(), |at| format!("until {}", at.iso()));
    let says = format!("Mail for {destination} leaves by {egress} {words}.");
    let pin = Pin { scope, egress, until: until.map(|at| at.ms()), by: "operator".into(), note };
    site.outbound().routes().pin(pin);
    note_order(site, "route.pinned", &says, until, &format!("postroad route unpin {destination}"));
    save(site).await?;
    Ok(Reply::done(says))
}

/// Orders stand in the same record as automatic decisions.
fn note_order(site: &Site, kind: &'static str, says: &str, until: Option<Now>, undo: &str) {
    let fact = ledger::Fact::new(kind, site.now()).with("says", says.to_owned()).with("by", "operator");
    let fact = match until {
        Some(at) => fact.with("until", at.iso()),
        None => fact,
    };
    site.aside(fact.with("undo", undo.to_owned()));
}

async fn unpin(site: &Site, destination: &str) -> Answer {
    let was = site.outbound().routes().unpin(&scope(destination)?);
    save(site).await?;
    let Some(pin) = was else {
        return Err(format!("{destination} is not pinned. `postroad route show` lists the pins."));
    };
    let says = format!("The way to {destination} is chosen again.");
    note_order(site, "route.unpinned", &says, None, &again(destination, &pin));
    Ok(Reply::done(says))
}

/// The order that sets a pin once more.
fn again(destination: &str, pin: &Pin) -> String {
    let until = pin.until.map_or(String::new(), |at| format!(" --until {}", Now(at).iso()));
    format!("postroad route pin {destination} {}{until}", pin.egress)
}

pub(super) async fn save(site: &Site) -> Result<(), String> {
    let changes = site.outbound().routes().take_changes();
    site.store().commit(Vec::new(), move |batch| spool::save_routes(batch, &changes)).await.map_err(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_pin_away_is_undone_by_the_pin_itself() {
        let pin = |until: Option<u64>| Pin {
            scope: PinScope::Domain("far.example".into()),
            egress: "B".into(),
            until,
            by: "operator".into(),
            note: String::new(),
        };
        assert_eq!(again("far.example", &pin(None)), "postroad route pin far.example B");
        assert_eq!(
            again("far.example", &pin(Some(1_795_358_886_000))),
            "postroad route pin far.example B --until 2026-11-22T14:48:06Z"
        );
    }
}
