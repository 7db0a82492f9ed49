//! Measures of decisions: moves, alerts, audit lines, states, questions to lists.

use std::collections::BTreeMap;

use ledger::Fact;
use stdx::{Now, Span};

use super::Value;
use super::look::{Look, densest};

const ALERT: &str = "route.alert";

pub fn take(look: &Look<'_>, measure: &str) -> Value {
    let count = |n: usize| Value::Count(n as u64);
    match measure {
        "moves" => count(decided(look, "route.group_blocked").count()),
        "swings_per_hour" => count(densest(swings(look).into_iter(), Span::hours(1))),
        "returned_after" => span(decided(look, "route.returned").next().map(|f| f.at), look.from),
        "alerts" => count(alerts(look).count()),
        "alert_after" => {
            let first = look.refusals().next().map_or(look.from, |r| r.at);
            span(alerts(look).next().map(|f| f.at), first)
        }
        "facts" => count(look.facts().count()),
        "first_fact" => span(look.facts().next().map(|f| f.at), look.from),
        "last_fact" => span(look.facts().last().map(|f| f.at), look.from),
        "audit_lines" => count(audit(look).count()),
        "audit_incomplete" => count(audit(look).filter(|f| !is_complete(f)).count()),
        "attempts_per_hour_max" => count(attempts(look)),
        "dns_queries" => count(asked(look).count()),
        "dns_queries_max" => count(asked_max(look)),
        "state" => state(look),
        "routes_wrong" => count(wrong(look).len()),
        _ => Value::Nothing,
    }
}

fn span(at: Option<Now>, from: Now) -> Value {
    at.map_or(Value::Nothing, |at| Value::Span(at.since(from)))
}

fn decided<'l>(look: &'l Look<'_>, kind: &'l str) -> impl Iterator<Item = &'l Fact> + 'l {
    look.record.facts.iter().filter(move |f| f.kind == kind && look.within(f.at) && look.decides(f))
}

fn alerts<'l>(look: &'l Look<'_>) -> impl Iterator<Item = &'l Fact> + 'l {
    let said = |f: &Fact| look.filter.text.as_ref().is_none_or(|t| f.text("says").contains(t.as_str()));
    look.record.facts.iter().filter(move |f| f.kind == ALERT && look.within(f.at) && said(f))
}

/// When a group that was away came back, or the other way round: what changes the way of mail.
fn swings(look: &Look<'_>) -> Vec<Now> {
    let mut away = BTreeMap::new();
    let mut times = Vec::new();
    for fact in look.record.facts.iter().filter(|f| look.within(f.at) && look.decides(f)) {
        let back = match &*fact.kind {
            "route.group_blocked" | "route.fell_back" => false,
            "route.step_up" | "route.returned" => true,
            _ => continue,
        };
        let group = fact.text("says").split([' ', ':']).next().unwrap_or("").to_owned();
        // The first move is no swing: it is the news.
        let was = away.insert(group, !back);
        if was == Some(back) {
            times.push(fact.at);
        }
    }
    times
}

fn audit<'l>(look: &'l Look<'_>) -> impl Iterator<Item = &'l Fact> + 'l {
    look.record.facts.iter().filter(|f| f.detail.contains_key("undo") && look.within(f.at))
}

fn is_complete(fact: &Fact) -> bool {
    let evidence =
        fact.detail.get("evidence").and_then(serde_json::Value::as_array).is_some_and(|e| !e.is_empty());
    // An order's evidence is that it was given; whatever the host decides by itself has more to show.
    let ordered = fact.text("by") == "operator";
    let judged = fact.kind.starts_with("route.") && !ordered;
    let undo = fact.text("undo");
    !fact.text("says").is_empty()
        && !undo.is_empty()
        && !undo.contains("EGRESS")
        && (!judged || (evidence && !fact.text("until").is_empty()))
}

/// Most tries of one message through one egress within an hour.
fn attempts(look: &Look<'_>) -> usize {
    let mut per: BTreeMap<(u64, String), Vec<Now>> = BTreeMap::new();
    for fact in &look.record.facts {
        let (Some(message), Some(_)) = (fact.message, fact.attempt) else { continue };
        if !fact.kind.starts_with("send.") || !look.within(fact.at) {
            continue;
        }
        if !fact.about.iter().any(|a| look.to_fits(a, None)) {
            continue;
        }
        let Some(egress) = egress_of(fact).filter(|e| look.egress_fits(e)) else { continue };
        let times = per.entry((message.0, egress)).or_default();
        if times.last() != Some(&fact.at) {
            times.push(fact.at);
        }
    }
    per.into_values().map(|times| densest(times.into_iter(), Span::hours(1))).max().unwrap_or(0)
}

fn egress_of(fact: &Fact) -> Option<String> {
    let reasons = fact.detail.get("reasons")?.as_array()?;
    let sent = reasons.iter().find(|r| r.get("rule").and_then(|r| r.as_str()) == Some("route.send"))?;
    sent.get("facts")?.get("egress")?.as_str().map(str::to_owned)
}

fn asked<'l>(look: &'l Look<'_>) -> impl Iterator<Item = &'l crate::names::Asked> + 'l {
    look.record
        .asked
        .iter()
        .filter(|a| look.within(a.at) && look.filter.zone.as_ref().is_none_or(|z| *z == a.zone))
}

fn asked_max(look: &Look<'_>) -> usize {
    let mut per: BTreeMap<(&str, &str), Vec<Now>> = BTreeMap::new();
    asked(look).for_each(|a| per.entry((&a.zone, &a.name)).or_default().push(a.at));
    let span = look.per(Span::mins(5));
    per.into_values().map(|times| densest(times.into_iter(), span)).max().unwrap_or(0)
}

/// The states of the lanes asked for, each once.
fn state(look: &Look<'_>) -> Value {
    let rows = look.record.routes.iter().filter(|r| {
        (look.groups.is_empty() || look.groups.contains(&r.group)) && look.egress_fits(&r.egress)
    });
    let mut all: Vec<&str> = rows.map(|r| r.state.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() { Value::Text("open".into()) } else { Value::Text(all.join(", ")) }
}

/// Lanes that say `blocked` though the last three were taken, or the other way round.
pub fn wrong(look: &Look<'_>) -> Vec<String> {
    let mut last: BTreeMap<(String, &str), Vec<(Now, bool)>> = BTreeMap::new();
    let group = |rcpt: &str| {
        let domain = rcpt.rsplit_once('@').map_or("", |(_, d)| d);
        let destination = look.scene.destinations.iter().find(|d| d.domains.iter().any(|x| x == domain))?;
        let name = words::Domain::new(domain).ok()?;
        Some(route::group_of(&name, &destination.hosts(domain), &route::Banners::new()))
    };
    for a in &look.record.arrivals {
        if let Some(group) = group(&a.rcpt) {
            last.entry((group, &a.egress)).or_default().push((a.at, true));
        }
    }
    for r in look.record.refusals.iter().filter(|r| r.reply.starts_with('5')) {
        if let Some(group) = group(&r.rcpt) {
            last.entry((group, &r.egress)).or_default().push((r.at, false));
        }
    }
    let mut out = Vec::new();
    for row in &look.record.routes {
        let Some(seen) = last.get_mut(&(row.group.clone(), row.egress.as_str())) else { continue };
        seen.sort();
        let tail = &seen[seen.len().saturating_sub(3)..];
        let all = |ok: bool| tail.len() == 3 && tail.iter().all(|(_, taken)| *taken == ok);
        if (row.state == "blocked" && all(true))
            || (row.state == "open" && all(false) && row.refused_domains.is_empty())
        {
            out.push(format!("{} by {}: {}", row.group, row.egress, row.state));
        }
    }
    out
}
