//! The Statuspage v2 shape, for the tools that already read it.

use serde_json::{Value, json};
use watch::State;
use watch::maintenance::Phase;

use crate::model::{Component, Impact, Incident, Maintenance, Snapshot, Update};

const PAGE: &str = "postroad";

fn iso(at: u64) -> String {
    stdx::Now(at).iso()
}

fn page(s: &Snapshot) -> Value {
    json!({"id": PAGE, "name": format!("{} {}", s.site.company, s.site.title), "url": s.site.url, "time_zone": "Etc/UTC", "updated_at": iso(s.made)})
}

fn status(s: &Snapshot) -> Value {
    let verdict = s.verdict();
    let says = match verdict {
        State::Operational => "All Systems Operational",
        State::Maintenance => "Service Under Maintenance",
        State::NoData => "No Current Data",
        State::Degraded => "Degraded Service",
        State::PartialOutage => "Partial System Outage",
        State::MajorOutage => "Major System Outage",
    };
    json!({"indicator": verdict.indicator(), "description": says})
}

fn component(s: &Snapshot, position: usize, c: &Component) -> Value {
    json!({"id": c.id, "name": c.name, "status": c.state.statuspage(), "created_at": iso(c.days.first().map_or(0, |d| d.day * 86_400_000)),
        "updated_at": iso(c.since), "position": position + 1, "description": c.about, "showcase": c.decides, "start_date": Value::Null,
        "group_id": Value::Null, "page_id": PAGE, "group": false, "only_show_if_degraded": !c.decides,
        "x_checked_at": iso(c.checked.min(s.made))})
}

fn components(s: &Snapshot) -> Vec<Value> {
    s.components.iter().enumerate().map(|(n, c)| component(s, n, c)).collect()
}

fn of_ids(s: &Snapshot, ids: &[String]) -> Vec<Value> {
    s.components
        .iter()
        .enumerate()
        .filter(|(_, c)| ids.contains(&c.id))
        .map(|(n, c)| component(s, n, c))
        .collect()
}

fn updates(owner: &str, list: &[Update], fallback: &str) -> Vec<Value> {
    list.iter()
        .rev()
        .map(|u| {
            json!({"id": format!("u{}", u.id), "status": u.stage.map_or(fallback, |st| st.key()), "body": u.text, "incident_id": owner,
                "created_at": iso(u.at), "updated_at": iso(u.at), "display_at": iso(u.at)})
        })
        .collect()
}

fn incident(s: &Snapshot, i: &Incident) -> Value {
    let id = format!("i{}", i.id);
    let monitoring =
        i.updates.iter().find(|u| u.stage == Some(watch::incident::Stage::Monitoring)).map(|u| iso(u.at));
    json!({"id": id, "name": i.title, "status": i.stage.key(), "created_at": iso(i.began), "started_at": iso(i.began),
        "updated_at": iso(i.updates.last().map_or(i.began, |u| u.at)), "monitoring_at": monitoring, "resolved_at": i.resolved.map(iso),
        "impact": i.impact.key(), "shortlink": format!("{}/incidents/{}/", s.site.url, i.id), "page_id": PAGE,
        "incident_updates": updates(&id, &i.updates, i.stage.key()), "components": of_ids(s, &i.affected)})
}

fn maintenance(s: &Snapshot, m: &Maintenance) -> Value {
    let id = format!("m{}", m.id);
    json!({"id": id, "name": m.title, "status": m.phase.key(), "created_at": iso(m.changed), "updated_at": iso(m.changed),
        "monitoring_at": Value::Null, "resolved_at": (m.phase == Phase::Completed).then(|| iso(m.to)), "impact": "maintenance",
        "shortlink": format!("{}/maintenance/{}/", s.site.url, m.id), "page_id": PAGE, "scheduled_for": iso(m.from), "scheduled_until": iso(m.to),
        "incident_updates": updates(&id, &m.updates, m.phase.key()), "components": of_ids(s, &m.affected)})
}

/// Every document below `/api/v2/`: name and text.
pub fn documents(s: &Snapshot) -> Vec<(&'static str, String)> {
    let all: Vec<Value> = s.incidents.iter().take(50).map(|i| incident(s, i)).collect();
    let open: Vec<Value> = s.incidents.iter().filter(|i| i.stage.is_open()).map(|i| incident(s, i)).collect();
    let windows = |keep: &dyn Fn(Phase) -> bool| -> Vec<Value> {
        s.maintenances.iter().filter(|m| keep(m.phase)).map(|m| maintenance(s, m)).collect()
    };
    let running = |p: Phase| matches!(p, Phase::InProgress | Phase::Overrun);
    vec![
        ("status.json", json!({"page": page(s), "status": status(s)}).to_string()),
        (
            "summary.json",
            json!({"page": page(s), "status": status(s), "components": components(s), "incidents": open,
                "scheduled_maintenances": windows(&|p| p != Phase::Completed)})
            .to_string(),
        ),
        ("components.json", json!({"page": page(s), "components": components(s)}).to_string()),
        ("incidents.json", json!({"page": page(s), "incidents": all}).to_string()),
        ("incidents/unresolved.json", json!({"page": page(s), "incidents": open}).to_string()),
        (
            "scheduled-maintenances.json",
            json!({"page": page(s), "scheduled_maintenances": windows(&|_| true)}).to_string(),
        ),
        (
            "scheduled-maintenances/upcoming.json",
            json!({"page": page(s), "scheduled_maintenances": windows(&|p| p == Phase::Scheduled)})
                .to_string(),
        ),
        (
            "scheduled-maintenances/active.json",
            json!({"page": page(s), "scheduled_maintenances": windows(&running)}).to_string(),
        ),
    ]
}

/// How bad an incident is, from the worst of its components.
pub fn impact(worst: State) -> Impact {
    match worst {
        State::MajorOutage => Impact::Critical,
        State::PartialOutage => Impact::Major,
        State::Degraded => Impact::Minor,
        _ => Impact::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_json_with_its_page() {
        for (name, text) in documents(&Snapshot::default()) {
            let value: Value = serde_json::from_str(&text).expect("valid JSON");
            assert_eq!(value["page"]["id"], PAGE, "{name}");
        }
    }
}
