//! Orders to a monitor.

use role_monitor::Monitor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stdx::{Now, Span};

use super::{Answer, Reply, says, table};

/// What is to be done.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorOrder {
    Show,
    Probes { about: Option<String> },
    Alerts { limit: usize },
    Acknowledge { cause: String, by: String },
    Silence { pattern: String, for_ms: Option<u64>, why: String },
    Test,
    History { probe: String, days: usize },
    Look { probe: String },
}

pub(super) async fn carry_out(monitor: &Monitor, order: MonitorOrder) -> Answer {
    match order {
        MonitorOrder::Show => Ok(show(monitor)),
        MonitorOrder::Probes { about } => Ok(probes(monitor, about.as_deref())),
        MonitorOrder::Alerts { limit } => alerts(monitor, limit).await,
        MonitorOrder::Acknowledge { cause, by } => {
            if monitor.acknowledge(&cause, &by).await.map_err(says)? {
                return Ok(Reply::done(format!("Noted: {by} has {cause}. Nobody is reminded of it.")));
            }
            Err(format!(
                "There is no open alert \"{cause}\". `postroad monitor alerts` names those there are."
            ))
        }
        MonitorOrder::Silence { pattern, for_ms, why } => {
            let until = for_ms.map(|ms| monitor.now() + Span(ms));
            monitor.silence(&pattern, until, &why).await.map_err(says)?;
            Ok(Reply::done(match until {
                Some(until) => format!("Nobody is told of {pattern} until {}.", until.iso()),
                None => format!("People are told of {pattern} again."),
            }))
        }
        MonitorOrder::Test => {
            let n = monitor.test_channels().await.map_err(says)?;
            Ok(Reply::done(format!("{n} channels are tried. Answer each message by its link \"I have it\".")))
        }
        MonitorOrder::History { probe, days } => history(monitor, &probe, days).await,
        MonitorOrder::Look { probe } => {
            monitor.look(&probe).await;
            Ok(probes(monitor, Some(&probe)))
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn show(monitor: &Monitor) -> Reply {
    let all = monitor.overview();
    let count = |state: &str| array(&all, "probes").iter().filter(|p| p["state"] == state).count();
    let mut out = format!(
        "Point {} ({}): {} good, {} down, {} degraded for a region, {} without data.\n",
        text(&all, "point"),
        text(&all, "region"),
        count("good"),
        count("down"),
        count("degraded"),
        count("no data")
    );
    for host in array(&all, "hosts") {
        out.push_str(&format!("{} was heard of {} s ago.\n", text(host, "name"), host["silent_s"]));
        for disk in array(host, "disks") {
            let full = disk["full"].as_str().unwrap_or("not in sight");
            out.push_str(&format!("  disk {}: full {full}\n", text(disk, "area")));
        }
    }
    for alert in array(&all, "alerts") {
        let says = array(alert, "says").first().and_then(Value::as_str).unwrap_or_default();
        out.push_str(&format!("Alert {} since {}: {says}\n", text(alert, "cause"), text(alert, "began")));
    }
    Reply::new(out, all)
}

fn probes(monitor: &Monitor, about: Option<&str>) -> Reply {
    let all = monitor.overview();
    let fits =
        |p: &&Value| about.is_none_or(|a| text(p, "id").contains(a) || text(p, "component").contains(a));
    let found: Vec<&Value> = array(&all, "probes").iter().filter(fits).collect();
    let mut rows = vec![["PROBE", "STATE", "LAST", "MS", "SAYS"].map(str::to_owned).to_vec()];
    for p in &found {
        rows.push(vec![
            text(p, "id").to_owned(),
            text(p, "state").to_owned(),
            text(p, "look").to_owned(),
            p["ms"].to_string(),
            text(p, "says").chars().take(100).collect(),
        ]);
    }
    Reply::new(table(&rows), json!(found))
}

async fn alerts(monitor: &Monitor, limit: usize) -> Answer {
    let found = monitor.alerts(limit).await.map_err(says)?;
    let at = |t: Option<Now>| t.map(Now::iso).unwrap_or_default();
    let mut rows =
        vec![["CAUSE", "BEGAN", "ENDED", "TOLD", "WHO HAS IT", "SAYS"].map(str::to_owned).to_vec()];
    for o in &found {
        let first = o.says.first().cloned().unwrap_or_default();
        rows.push(vec![
            o.alert.cause.clone(),
            o.alert.began.iso(),
            at(o.alert.ended),
            o.alert.times.to_string(),
            o.by.clone(),
            first,
        ]);
    }
    let json = found
        .iter()
        .map(|o| {
            json!({
                "cause": o.alert.cause, "began": o.alert.began.iso(), "ended": o.alert.ended.map(Now::iso),
                "times": o.alert.times, "by": o.by, "says": o.says,
            })
        })
        .collect();
    Ok(Reply::new(if found.is_empty() { "There was no alert yet.".into() } else { table(&rows) }, json))
}

async fn history(monitor: &Monitor, probe: &str, days: usize) -> Answer {
    let history = monitor.history(probe, days).await.map_err(says)?;
    if history.days.is_empty() {
        return Err(format!("Nothing is known of a probe \"{probe}\". `postroad monitor probes` names all."));
    }
    let mut rows =
        vec![["DAY", "GOOD", "SLOW", "FAILED", "UNSURE", "MEAN MS", "MAX MS"].map(str::to_owned).to_vec()];
    let mut json = Vec::new();
    for (day, d) in &history.days {
        let date = (Now(0) + Span::days(*day)).iso();
        let date = date.get(..10).unwrap_or_default().to_owned();
        let mean = d.ms_sum.checked_div(d.good + d.slow).unwrap_or(0);
        json.push(json!({
            "day": date, "good": d.good, "slow": d.slow, "failed": d.failed, "unsure": d.unsure, "ms_mean": mean, "ms_max": d.ms_max,
        }));
        let numbers = [d.good, d.slow, d.failed, d.unsure, mean, d.ms_max];
        rows.push(std::iter::once(date).chain(numbers.iter().map(u64::to_string)).collect());
    }
    Ok(Reply::new(table(&rows), json!(json)))
}
