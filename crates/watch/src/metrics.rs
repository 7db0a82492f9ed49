//! Every figure we show to Prometheus: one table drives the exposition, the Grafana dashboard and
//! the alerting rules. Names follow the field where it has one (`probe_success`,
//! `probe_ssl_earliest_cert_expiry`). Begin with [`METRICS`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        }
    }
}

/// A graph on the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    pub title: &'static str,
    pub expr: &'static str,
    pub legend: &'static str,
    /// Grafana's unit: `s`, `bytes`, `short`.
    pub unit: &'static str,
}

/// A rule that alerts.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub name: &'static str,
    pub expr: &'static str,
    /// How long it must hold: `2m`.
    pub holds: &'static str,
    pub severity: &'static str,
    /// What happened, and what to do.
    pub says: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub panel: Option<Panel>,
    pub rules: &'static [Rule],
}

const fn plain(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric { name, kind, help, panel: None, rules: &[] }
}

pub const PROBE_SUCCESS: &str = "probe_success";
pub const PROBE_DURATION: &str = "probe_duration_seconds";
pub const CERTIFICATE: &str = "probe_ssl_earliest_cert_expiry";
pub const TRIES: &str = "postroad_probes_total";
pub const TARGET_UP: &str = "postroad_target_up";
pub const LISTED: &str = "postroad_dnsbl_listed";
pub const HEARTBEAT: &str = "postroad_heartbeat_age_seconds";
pub const SURE: &str = "postroad_point_sure";
pub const ALERTS: &str = "postroad_alerts_open";
pub const NOTICES: &str = "postroad_notices_total";
pub const QUEUE: &str = "postroad_queue_messages";
pub const QUEUE_AGE: &str = "postroad_queue_oldest_seconds";
pub const DISK_USED: &str = "postroad_disk_used_bytes";
pub const DISK_SIZE: &str = "postroad_disk_size_bytes";
pub const FILES_USED: &str = "postroad_disk_files_used";
pub const FILES_MAX: &str = "postroad_disk_files_max";
pub const DISK_FULL: &str = "postroad_disk_full_in_seconds";
pub const ROUTE: &str = "postroad_route_open";
pub const BACKUP: &str = "postroad_backup_age_seconds";
pub const LINK: &str = "postroad_link_answer_age_seconds";
pub const STARTED: &str = "process_start_time_seconds";
pub const MEMORY: &str = "process_resident_memory_bytes";

/// Every figure there is.
pub const METRICS: &[Metric] = &[
    Metric {
        name: PROBE_SUCCESS,
        kind: Kind::Gauge,
        help: "Whether the last try of this probe from this point went well",
        panel: Some(Panel {
            title: "Probes that fail",
            expr: "sum by (component) (probe_success == bool 0)",
            legend: "{{component}}",
            unit: "short",
        }),
        rules: &[],
    },
    Metric {
        name: PROBE_DURATION,
        kind: Kind::Gauge,
        help: "How long the last try took",
        panel: Some(Panel {
            title: "Mail loops: time to the mailbox",
            expr: "probe_duration_seconds{probe=~\"loop.*\"}",
            legend: "{{probe}} from {{point}}",
            unit: "s",
        }),
        rules: &[Rule {
            name: "PostroadMailSlow",
            expr: "probe_duration_seconds{probe=~\"loop.*\"} > 120",
            holds: "5m",
            severity: "warning",
            says: "Mail needs more than two minutes to the mailbox. Look at `postroad queue list` and the scanner.",
        }],
    },
    Metric {
        name: TARGET_UP,
        kind: Kind::Gauge,
        help: "What all points say together: 1 works, 0 is down, 0.5 fails for some regions",
        panel: Some(Panel {
            title: "Components, worst probe",
            expr: "min by (component) (postroad_target_up)",
            legend: "{{component}}",
            unit: "short",
        }),
        rules: &[
            Rule {
                name: "PostroadMailDoesNotFlow",
                expr: "postroad_target_up{component=~\"receiving|sending\"} == 0",
                holds: "1m",
                severity: "critical",
                says: "A real message does not reach its mailbox, whatever the ports say. `postroad monitor alerts` has the last words of each side.",
            },
            Rule {
                name: "PostroadPortDown",
                expr: "postroad_target_up{component!~\"receiving|sending\"} == 0",
                holds: "2m",
                severity: "warning",
                says: "Two of three points cannot use this. `postroad monitor probes` shows what each saw.",
            },
        ],
    },
    Metric {
        name: CERTIFICATE,
        kind: Kind::Gauge,
        help: "When the first certificate of the chain shown expires, in seconds since 1970",
        panel: Some(Panel {
            title: "Certificates: days left",
            expr: "(probe_ssl_earliest_cert_expiry - time()) / 86400",
            legend: "{{probe}}",
            unit: "d",
        }),
        rules: &[Rule {
            name: "PostroadCertificateEnds",
            expr: "probe_ssl_earliest_cert_expiry - time() < 86400 * 14",
            holds: "10m",
            severity: "warning",
            says: "A certificate ends within 14 days. Renew it; `postroad serve` takes the new files on SIGHUP.",
        }],
    },
    plain(TRIES, Kind::Counter, "Tries made from this point"),
    Metric {
        name: LISTED,
        kind: Kind::Gauge,
        help: "Whether a block list that was proved alive lists this address of ours",
        panel: None,
        rules: &[Rule {
            name: "PostroadListed",
            expr: "postroad_dnsbl_listed > 0",
            holds: "10m",
            severity: "warning",
            says: "A block list names one of our addresses. `postroad monitor probes lists` says which, and how to leave it.",
        }],
    },
    Metric {
        name: HEARTBEAT,
        kind: Kind::Gauge,
        help: "Since when this host has told us nothing",
        panel: Some(Panel {
            title: "Silence of the other hosts",
            expr: "postroad_heartbeat_age_seconds",
            legend: "{{peer}}",
            unit: "s",
        }),
        rules: &[Rule {
            name: "PostroadHostSilent",
            expr: "postroad_heartbeat_age_seconds > 180",
            holds: "0m",
            severity: "critical",
            says: "A host has said nothing for three minutes. Look at it by another way in.",
        }],
    },
    Metric {
        name: SURE,
        kind: Kind::Gauge,
        help: "Whether this point's own line was proved by neutral targets",
        panel: None,
        rules: &[Rule {
            name: "PostroadPointUnsure",
            expr: "postroad_point_sure == 0",
            holds: "10m",
            severity: "warning",
            says: "This vantage point cannot prove its own line; what it sees is not counted.",
        }],
    },
    plain(ALERTS, Kind::Gauge, "Alerts that are open"),
    Metric {
        name: NOTICES,
        kind: Kind::Counter,
        help: "Messages to people, by channel and how it went",
        panel: None,
        rules: &[Rule {
            name: "PostroadChannelFails",
            expr: "increase(postroad_notices_total{result=\"failed\"}[1h]) > 3",
            holds: "0m",
            severity: "warning",
            says: "A channel does not take our alerts. `postroad monitor test` tries each of them.",
        }],
    },
    Metric {
        name: QUEUE,
        kind: Kind::Gauge,
        help: "Messages on their way to others, by state",
        panel: Some(Panel {
            title: "Queue",
            expr: "sum by (state) (postroad_queue_messages)",
            legend: "{{state}}",
            unit: "short",
        }),
        rules: &[],
    },
    Metric {
        name: QUEUE_AGE,
        kind: Kind::Gauge,
        help: "Age of the oldest message on its way to others that is not held",
        panel: Some(Panel {
            title: "Oldest message in the queue",
            expr: "max by (instance) (postroad_queue_oldest_seconds)",
            legend: "{{instance}}",
            unit: "s",
        }),
        rules: &[Rule {
            name: "PostroadQueueOld",
            expr: "postroad_queue_oldest_seconds > 1800",
            holds: "5m",
            severity: "warning",
            says: "Mail has waited for half an hour. `postroad queue list` gives the reasons.",
        }],
    },
    Metric {
        name: DISK_USED,
        kind: Kind::Gauge,
        help: "Octets used on the disk under this area",
        panel: Some(Panel {
            title: "Disk",
            expr: "postroad_disk_used_bytes / postroad_disk_size_bytes",
            legend: "{{area}}",
            unit: "percentunit",
        }),
        rules: &[],
    },
    plain(DISK_SIZE, Kind::Gauge, "Octets of the disk under this area"),
    plain(FILES_USED, Kind::Gauge, "Files (inodes) on the disk under this area"),
    plain(FILES_MAX, Kind::Gauge, "Files (inodes) that the disk under this area can hold"),
    Metric {
        name: DISK_FULL,
        kind: Kind::Gauge,
        help: "Seconds until this area is full, as it grows now",
        panel: None,
        rules: &[
            Rule {
                name: "PostroadDiskFullSoon",
                expr: "postroad_disk_full_in_seconds < 86400",
                holds: "5m",
                severity: "critical",
                says: "The disk is full within a day. Make room or enlarge it now.",
            },
            Rule {
                name: "PostroadDiskFills",
                expr: "postroad_disk_full_in_seconds < 604800",
                holds: "15m",
                severity: "warning",
                says: "The disk is full within a week.",
            },
        ],
    },
    plain(
        ROUTE,
        Kind::Gauge,
        "Whether a way out is open to a group of destinations: 1, 0.5 (wary), 0 (closed)",
    ),
    Metric {
        name: BACKUP,
        kind: Kind::Gauge,
        help: "Age of the newest backup",
        panel: None,
        rules: &[Rule {
            name: "PostroadBackupOld",
            expr: "postroad_backup_age_seconds > 93600",
            holds: "0m",
            severity: "warning",
            says: "The newest backup is older than 26 hours. Run `postroad backup`.",
        }],
    },
    plain(LINK, Kind::Gauge, "Since when another host has not answered what we told it"),
    plain("postroad_sessions_total", Kind::Counter, "Sessions since the start, by front"),
    Metric {
        name: "postroad_sessions_open",
        kind: Kind::Gauge,
        help: "Sessions that stand, by front",
        panel: Some(Panel {
            title: "Sessions",
            expr: "sum by (front) (postroad_sessions_open)",
            legend: "{{front}}",
            unit: "short",
        }),
        rules: &[],
    },
    plain("postroad_received_bytes_total", Kind::Counter, "Octets received, by front"),
    plain("postroad_sent_bytes_total", Kind::Counter, "Octets sent, by front"),
    Metric {
        name: "postroad_session_panics_total",
        kind: Kind::Counter,
        help: "Sessions that ended by a fault of our own",
        panel: None,
        rules: &[Rule {
            name: "PostroadFault",
            expr: "increase(postroad_session_panics_total[1h]) > 0",
            holds: "0m",
            severity: "warning",
            says: "A session ended by a fault of the program. The log names it; report it.",
        }],
    },
    plain("postroad_tls_failures_total", Kind::Counter, "TLS handshakes that failed, by front"),
    plain(STARTED, Kind::Gauge, "When this host started, in seconds since 1970"),
    plain(MEMORY, Kind::Gauge, "Memory of this process"),
];

/// A figure by its name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.name == name)
}

/// Gathers samples and prints them in Prometheus' text format.
#[derive(Default)]
pub struct Page(BTreeMap<&'static str, Vec<(String, f64)>>);

impl Page {
    /// A sample. Names that are not in [`METRICS`] are left out: what is shown is explained.
    pub fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let Some(metric) = find(name) else { return };
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.entry(metric.name).or_default().push((braces, value));
    }

    pub fn print(&self) -> String {
        let mut out = String::new();
        for (name, samples) in &self.0 {
            let Some(metric) = find(name) else { continue };
            // Writing into a String cannot fail.
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.word());
            for (labels, value) in samples {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        }
        out
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Says what Prometheus would not take, line by line: names, types, labels, numbers, samples given
/// twice.
pub fn lint(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, line) in text.lines().enumerate().map(|(n, l)| (n + 1, l)) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            if !["gauge", "counter", "histogram", "summary", "untyped"].contains(&kind)
                || types.insert(name, kind).is_some()
            {
                faults.push(format!("{n}: bad or second TYPE: {line}"));
            }
            continue;
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let Some((series, value)) = line.rsplit_once(' ') else {
            faults.push(format!("{n}: no value: {line}"));
            continue;
        };
        if seen.insert(series, n).is_some() {
            faults.push(format!("{n}: given twice: {series}"));
        }
        let name = series.split('{').next().unwrap_or_default();
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with(|c: char| c.is_ascii_digit())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !word(name) || !types.contains_key(name) {
            faults.push(format!("{n}: a name without TYPE: {line}"));
        }
        if value.parse::<f64>().is_err() {
            faults.push(format!("{n}: {value} is no number"));
        }
        if !labels_are_sound(&series[name.len()..], &word) {
            faults.push(format!("{n}: bad labels: {series}"));
        }
        if types.get(name) == Some(&"counter") && !name.ends_with("_total") {
            faults.push(format!("{n}: a counter ends in _total: {name}"));
        }
    }
    faults
}

fn labels_are_sound(text: &str, word: &dyn Fn(&str) -> bool) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some(mut rest) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else { return false };
    while !rest.is_empty() {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        if !word(name) {
            return false;
        }
        let mut escaped = false;
        let end = value.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return false };
        rest = &value[end + 1..];
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return false,
        };
    }
    true
}

/// The dashboard, as Grafana imports it.
pub fn dashboard() -> Value {
    let source = json!({"type": "prometheus", "uid": "${source}"});
    let panels: Vec<Value> = METRICS
        .iter()
        .filter_map(|m| m.panel)
        .enumerate()
        .map(|(n, p)| {
            json!({
                "id": n + 1, "type": "timeseries", "title": p.title, "datasource": source,
                "gridPos": {"h": 8, "w": 12, "x": (n % 2) * 12, "y": (n / 2) * 8},
                "fieldConfig": {"defaults": {"unit": p.unit}, "overrides": []},
                "targets": [{"refId": "A", "expr": p.expr, "legendFormat": p.legend, "datasource": source}],
            })
        })
        .collect();
    json!({
        "title": "Postroad", "uid": "postroad", "schemaVersion": 39, "version": 1, "editable": true,
        "refresh": "30s", "time": {"from": "now-24h", "to": "now"}, "timezone": "utc", "tags": ["mail"],
        "templating": {"list": [{"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    })
}

/// Alerting rules, as Prometheus reads them (YAML).
pub fn rules() -> String {
    let mut out = String::from("groups:\n  - name: postroad\n    rules:\n");
    for rule in METRICS.iter().flat_map(|m| m.rules) {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let _ = write!(
            out,
            "      - alert: {}\n        expr: {}\n        for: {}\n        labels:\n          severity: {}\n        annotations:\n          summary: {}\n",
            rule.name,
            quoted(rule.expr),
            rule.holds,
            rule.severity,
            quoted(rule.says)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_taken_and_what_is_wrong_is_named() {
        let mut page = Page::default();
        page.put(PROBE_SUCCESS, &[("probe", "a \"b\"\\"), ("point", "m1")], 1.0);
        page.put(PROBE_SUCCESS, &[("probe", "c")], 0.0);
        page.put(TRIES, &[], 7.0);
        page.put("unheard_of", &[], 7.0);
        let text = page.print();
        assert_eq!(lint(&text), Vec::<String>::new(), "{text}");
        assert!(text.contains("probe_success{probe=\"a \\\"b\\\"\\\\\",point=\"m1\"} 1\n"), "{text}");
        assert!(!text.contains("unheard_of"));
        for bad in [
            "x 1",
            "# TYPE x gauge\nx",
            "# TYPE x gauge\nx{a=b} 1",
            "# TYPE x gauge\nx 1\nx 2",
            "# TYPE x counter\nx 1",
            "# TYPE x gauge\nx one",
        ] {
            assert_ne!(lint(bad), Vec::<String>::new(), "{bad}");
        }
    }

    #[test]
    fn dashboard_and_rules_name_only_figures_there_are() {
        let names = |text: &str| -> Vec<String> {
            text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .filter(|w| w.starts_with("postroad_") || w.starts_with("probe_"))
                .map(str::to_owned)
                .collect()
        };
        for metric in METRICS {
            let exprs = metric.panel.map(|p| p.expr).into_iter().chain(metric.rules.iter().map(|r| r.expr));
            for expr in exprs {
                let named = names(expr);
                assert!(!named.is_empty(), "{expr}");
                for name in named {
                    assert!(find(&name).is_some(), "{expr} names {name}, which nobody shows");
                }
            }
        }
        assert_eq!(
            dashboard()["panels"].as_array().map(Vec::len),
            Some(METRICS.iter().filter(|m| m.panel.is_some()).count())
        );
        assert_eq!(rules().matches("- alert:").count(), METRICS.iter().map(|m| m.rules.len()).sum::<usize>());
    }

    #[test]
    fn every_figure_is_named_once_and_as_the_field_names_them() {
        let mut names: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for m in METRICS.iter().filter(|m| m.kind == Kind::Counter) {
            assert!(m.name.ends_with("_total"), "{}", m.name);
        }
    }
}
