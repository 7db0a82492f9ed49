//! What the monitor answers over HTTP: parcels, figures for Prometheus, its state as JSON and as a
//! plain page, and "I have it" from a phone.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use drive::{Limits, Stop, Tls, TlsServer, Wires};
use link::Look;
use serde_json::{Value, json};
use stdx::{Now, Span};
use watch::agree::Agreed;
use watch::forecast::Forecast;
use watch::metrics::{self, Page};
use web::axum;
use web::page::{answer, escape, html};
use world::{Connection, Listener};

use crate::Monitor;
use crate::talk::Taken;

pub async fn serve(monitor: Monitor, connection: Connection, wires: Wires) {
    let Some(connection) = drive::tls::accept(connection, &wires).await else { return };
    drive::until_stop(&wires.stop, web::serve(connection, router(monitor), web::Limits::default())).await;
}

pub fn router(monitor: Monitor) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/status.json", get(|State(m): State<Monitor>| async move { axum::Json(m.overview()) }))
        .route("/metrics", get(figures))
        .route("/link", post(take).layer(DefaultBodyLimit::max(link::parcel::PARCEL_BYTES_MAX)))
        .route("/ack/{cause}/{began}/{proof}", get(ask).post(acknowledge))
        .layer(DefaultBodyLimit::max(64 * 1024))
        .with_state(monitor)
}

async fn take(State(monitor): State<Monitor>, bytes: Bytes) -> Response {
    match monitor.take(&bytes).await {
        Ok(Taken::Facts(n)) => format!("taken {n}\n").into_response(),
        Ok(Taken::Again) => "taken before\n".into_response(),
        Ok(Taken::Refused(why)) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn figures(State(monitor): State<Monitor>) -> Response {
    let mut response = answer("text/plain; version=0.0.4; charset=utf-8", monitor.figures());
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

const STYLE: &str = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><style>body{font:1rem/1.5 system-ui,\
sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}table{border-collapse:collapse}\
td,th{padding:.2rem 1rem .2rem 0;text-align:left;vertical-align:top}button{font:inherit;padding:.6rem 1.2rem}</style>";

/// Mail scanners open addresses by themselves: the answer takes a POST.
async fn ask(
    Path((cause, began, proof)): Path<(String, u64, String)>,
    State(monitor): State<Monitor>,
) -> Response {
    if monitor.proof(&cause, Now(began)) != proof {
        return (StatusCode::NOT_FOUND, "There is no such alert.\n").into_response();
    }
    html(format!(
        "<!doctype html><html lang=\"en\">{STYLE}<title>I have it</title><h1>{}</h1>\
         <form method=\"post\"><button>I have it</button></form></html>",
        escape(&cause)
    ))
}

async fn acknowledge(
    Path((cause, began, proof)): Path<(String, u64, String)>,
    State(monitor): State<Monitor>,
) -> Response {
    if monitor.proof(&cause, Now(began)) != proof {
        return (StatusCode::NOT_FOUND, "There is no such alert.\n").into_response();
    }
    match monitor.acknowledge(&cause, "link").await {
        Ok(true) => {
            let text = "<h1>Noted</h1><p>Nobody will be reminded of this.</p>";
            html(format!("<!doctype html><html lang=\"en\">{STYLE}<title>Noted</title>{text}</html>"))
        }
        Ok(false) => (StatusCode::GONE, "This alert is over.\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn front(State(monitor): State<Monitor>) -> Response {
    let overview = monitor.overview();
    let mut rows = String::new();
    for probe in overview["probes"].as_array().into_iter().flatten() {
        let cell = |key: &str| escape(probe[key].as_str().unwrap_or_default());
        rows.push_str(&format!(
            "<tr><td>{}<td>{}<td>{} ms<td>{}",
            cell("id"),
            cell("state"),
            probe["ms"],
            cell("says")
        ));
    }
    let name = escape(&monitor.settings().point);
    html(format!(
        "<!doctype html><html lang=\"en\">{STYLE}<title>Monitor {name}</title><h1>Monitor {name}</h1>\
         <p>{} alerts are open. <a href=\"/status.json\">As JSON</a>, <a href=\"/metrics\">for Prometheus</a>.</p>\
         <table><tr><th>Probe<th>State<th>Last<th>What it saw{rows}</table></html>",
        overview["alerts"].as_array().map_or(0, Vec::len)
    ))
}

pub const fn state_word(agreed: &Agreed) -> &'static str {
    match agreed {
        Agreed::Good => "good",
        Agreed::Down { .. } => "down",
        Agreed::DegradedFor { .. } => "degraded",
        Agreed::NoData => "no data",
    }
}

const fn look_word(look: Look) -> &'static str {
    match look {
        Look::Good => "good",
        Look::Slow => "slow",
        Look::Failed => "failed",
        Look::Unsure => "unsure",
    }
}

impl Monitor {
    /// Everything as JSON.
    pub fn overview(&self) -> Value {
        let (now, settings) = (self.now(), self.settings());
        let state = self.state();
        let probes: Vec<Value> = state
            .pages
            .values()
            .map(|page| {
                let points: Vec<Value> = page
                    .last
                    .iter()
                    .map(|(point, l)| {
                        json!({"point": point, "at": l.at.iso(), "look": look_word(l.look), "ms": l.ms, "says": l.says})
                    })
                    .collect();
                let ours = page.last.get(&settings.point);
                json!({
                    "id": page.target.id, "component": page.target.component, "state": state_word(&page.agreed),
                    "since": page.since.iso(), "why": page.why, "says": page.says(), "ms": ours.map(|l| l.ms),
                    "look": ours.map(|l| look_word(l.look)), "points": points,
                })
            })
            .collect();
        let alerts: Vec<Value> = state
            .alerts
            .open
            .values()
            .map(|o| {
                json!({
                    "cause": o.alert.cause, "began": o.alert.began.iso(), "times": o.alert.times, "level": o.alert.level,
                    "acknowledged": o.alert.acknowledged.map(Now::iso), "by": o.by, "says": o.says,
                })
            })
            .collect();
        let hosts: Vec<Value> = state
            .hosts
            .iter()
            .map(|(name, host)| {
                let disks: Vec<Value> = host
                    .forecasts(now)
                    .into_iter()
                    .map(|(area, fill, when, why)| {
                        let full = match when {
                            Forecast::Never => Value::Null,
                            Forecast::FullNow => json!(now.iso()),
                            Forecast::FullAt(at) => json!(at.iso()),
                        };
                        json!({"area": area, "used": fill.used.get(), "size": fill.size.get(), "full": full, "why": why})
                    })
                    .collect();
                json!({"name": name, "silent_s": host.silence(now).as_secs(), "version": host.version, "disks": disks})
            })
            .collect();
        json!({
            "point": settings.point, "region": settings.region, "at": now.iso(), "tries": state.tries,
            "sure": state.sure.map(|(_, sure)| sure), "probes": probes, "alerts": alerts, "hosts": hosts,
            "silences": state.alerts.silences.iter().map(|s| json!({"pattern": s.pattern, "until": s.until.iso(), "why": s.why})).collect::<Vec<_>>(),
        })
    }

    /// Prometheus' text format.
    pub fn figures(&self) -> String {
        let (now, settings) = (self.now(), self.settings());
        let state = self.state();
        let mut page = Page::default();
        for p in state.pages.values() {
            let base = [("probe", p.target.id.as_str()), ("component", p.target.component.as_str())];
            for (point, last) in &p.last {
                let labels = [base[0], base[1], ("point", point.as_str())];
                let well = matches!(last.look, Look::Good | Look::Slow);
                if last.look != Look::Unsure {
                    page.put(metrics::PROBE_SUCCESS, &labels, f64::from(u8::from(well)));
                }
                page.put(metrics::PROBE_DURATION, &labels, last.ms as f64 / 1000.0);
            }
            let up = match p.agreed {
                Agreed::Good => Some(1.0),
                Agreed::DegradedFor { .. } => Some(0.5),
                Agreed::Down { .. } => Some(0.0),
                Agreed::NoData => None,
            };
            if let Some(up) = up {
                page.put(metrics::TARGET_UP, &base, up);
            }
            if let Some(expires) = p.expires {
                page.put(metrics::CERTIFICATE, &base[..1], expires.secs() as f64);
            }
            for (list, listed) in &p.listed {
                let labels = [base[0], ("list", list.as_str())];
                page.put(metrics::LISTED, &labels, f64::from(u8::from(*listed)));
            }
        }
        for (name, host) in &state.hosts {
            page.put(metrics::HEARTBEAT, &[("peer", name)], host.silence(now).as_secs() as f64);
            for (area, fill, when, _) in host.forecasts(now) {
                let labels = [("peer", name.as_str()), ("area", area.as_str())];
                let files = area.ends_with(link::FILES);
                let (used, size) = if files {
                    (metrics::FILES_USED, metrics::FILES_MAX)
                } else {
                    (metrics::DISK_USED, metrics::DISK_SIZE)
                };
                page.put(used, &labels, fill.used.get() as f64);
                page.put(size, &labels, fill.size.get() as f64);
                if let Forecast::FullAt(at) = when {
                    page.put(metrics::DISK_FULL, &labels, at.since(now).as_secs() as f64);
                }
            }
            if let Some((oldest, _)) = host.queue_oldest(now) {
                page.put(metrics::QUEUE_AGE, &[("peer", name)], oldest.as_secs() as f64);
            }
            if let Some(age) = host.backup_age(now) {
                page.put(metrics::BACKUP, &[("peer", name)], age.as_secs() as f64);
            }
        }
        for (name, at) in &state.answered {
            page.put(metrics::LINK, &[("peer", name)], now.since(*at).as_secs() as f64);
        }
        for ((channel, well), n) in &state.notices {
            let result = if *well { "sent" } else { "failed" };
            page.put(metrics::NOTICES, &[("channel", channel), ("result", result)], *n as f64);
        }
        page.put(metrics::TRIES, &[("point", &settings.point)], state.tries as f64);
        page.put(metrics::ALERTS, &[], state.alerts.open.len() as f64);
        page.put(metrics::STARTED, &[], state.began.secs() as f64);
        if let Some((_, sure)) = state.sure {
            page.put(metrics::SURE, &[("point", &settings.point)], f64::from(u8::from(sure)));
        }
        page.print()
    }
}

/// Connections at the same time, on each port.
const CONNECTIONS_MAX: usize = 500;

/// Serves one port until the server stops. With certificates it speaks TLS from the first byte.
pub async fn listen(
    monitor: Monitor,
    listener: Arc<dyn Listener>,
    certificates: Option<Arc<dyn TlsServer>>,
    stop: Stop,
) {
    let tls = match certificates {
        Some(certificates) => Tls::Server { certificates, implicit: true },
        None => Tls::None,
    };
    let clock = monitor.kit().world.clock.clone();
    let wires = Wires {
        clock: clock.clone(),
        tls,
        stop: stop.clone(),
        farewell: b"",
        meter: Arc::default(),
        limits: Limits::default(),
    };
    let mut sessions = tokio::task::JoinSet::new();
    while let Some(accepted) = drive::until_stop(&stop, listener.accept()).await {
        while sessions.try_join_next().is_some() {}
        match accepted {
            Ok(connection) if sessions.len() < CONNECTIONS_MAX => {
                sessions.spawn(serve(monitor.clone(), connection, wires.clone()));
            }
            Ok(_) => {}
            // Out of descriptors or the like: give the others time to end.
            Err(_) => clock.sleep_until(clock.now() + Span::ms(100)).await,
        }
    }
}
