//! The status site that `up` brings up beside the mail host: the same site as anywhere, with a
//! past ([`crate::demo_past`]), and the mail host's real state on it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use drive::Roots;
use link::{Fact, Look};
use role_mail::Site;
use role_status::Board;
use role_status::board::Settings;
use role_status::carry::{Outgoing, Way};
use role_status::listen::Door;
use role_status::setup::{Part, usual_parts};
use statuspage::model::{ShownZone, Site as Shown};
use stdx::Span;
use world::World;

use crate::demo_past;
use crate::status_site::{self, StatusSite};

/// Between two looks at the mail host.
const LOOK_EVERY: Span = Span::secs(20);
/// Mail that waits and has never been tried, looked through at most.
const WAITING_MAX: usize = 2000;

pub fn settings(url: &str) -> Settings {
    let zones = [
        ("Pacific", "America/Los_Angeles"),
        ("Central Africa", "Africa/Lusaka"),
        ("Western Australia", "Australia/Perth"),
    ];
    let zone = |(label, name): (&str, &str)| ShownZone { label: label.into(), name: name.into() };
    Settings::new(Shown {
        company: "Demo Mail".into(),
        title: "System Status".into(),
        url: url.to_owned(),
        support: "Questions? Write to postmaster@demo.example, or call: we are people.".into(),
        zones: zones.map(zone).into(),
        links: Vec::new(),
    })
}

/// What the demo has: its web front serves settings for mail programs, no mail to read.
fn parts() -> Vec<Part> {
    let mut parts = usual_parts();
    for part in parts.iter_mut().filter(|p| p.id == "webmail") {
        part.name = "Web pages".into();
    }
    parts
}

/// Opens the site on `at` in `data`; the operator of its desk gets `password`.
pub async fn begin(
    data: &Path,
    (world, roots): (World, Arc<Roots>),
    at: SocketAddr,
    password: &str,
) -> Result<StatusSite, String> {
    let mut settings = settings(&format!("http://{at}"));
    let from = words::Address::parse("status@demo.example").map_err(|e| e.to_string())?;
    // Straight to the neighbours' hosts, on the farm's own names.
    let way = Way {
        name: "direct".into(),
        helo: "status.demo.example".into(),
        source: None,
        relay: None,
        port: 25,
    };
    let store = status_site::open(data, store::Settings::default())?;
    let vapid = Some(status_site::push_key(data, "postmaster@demo.example")?);
    settings.outgoing = Some(Outgoing { from, ways: vec![way], roots, vapid });
    let wrong = |e: store::StoreError| format!("The status site cannot begin: {e}.");
    demo_past::live(&world, &store, settings.clone()).await.map_err(wrong)?;
    let listener =
        world.net.listen(at).await.map_err(|e| {
            format!("The status site cannot listen on {at}: {e}. Choose another --port-base.")
        })?;
    let shown = status_site::Shown { parts: parts(), machines: demo_past::machines() };
    let site = StatusSite::begin(
        data,
        (world, store),
        settings,
        shown,
        vec![Door { listener, certificates: None, letters: false }],
    )
    .await?;
    if site.board.operators().await.map_err(wrong)?.is_empty() {
        site.board.set_operator(demo_past::AUTHOR, password).await.map_err(wrong)?;
    }
    Ok(site)
}

/// Tells the board what the mail host knows of itself, until the process ends.
pub async fn watch(board: Board, site: Site, ports: Vec<SocketAddr>) {
    loop {
        let facts = facts(&site, &ports).await;
        if let Err(e) = board.tell(facts).await {
            tracing::warn!("the status site did not take the mail host's facts: {e}");
        }
        site.world().clock.sleep_until(site.now() + LOOK_EVERY).await;
    }
}

async fn facts(site: &Site, ports: &[SocketAddr]) -> Vec<Fact> {
    let now = site.now();
    let mut out = vec![ports_answer(site, ports).await];
    // The web front is the last of the farm's doors.
    if let Some(Ok(url)) = ports.last().map(|at| web::Url::parse(&format!("http://{at}/healthz"))) {
        let got = web::fetch::fetch(site.world(), site.roots(), &web::fetch::Ask::get(url)).await;
        let seen = match got {
            Ok(got) if got.is_success() => (Look::Good, String::new()),
            Ok(got) => (Look::Failed, format!("HTTP {}", got.status)),
            Err(why) => (Look::Failed, why.to_string()),
        };
        out.push(probe(site.now().ms(), "web", "webmail", seen));
    }
    let waiting =
        site.store().read(|conn| spool::list(conn, spool::SpoolId(i64::MIN), None, WAITING_MAX)).await;
    if let Ok(list) = waiting {
        // What a remote has put off waits for a reason of its own; what nobody has tried waits for us.
        let untried = list.iter().filter(|l| l.entry.rcpts.iter().any(|r| r.last.is_none() && !r.is_held()));
        let oldest = untried.map(|l| now.since(l.entry.at).as_secs()).max().unwrap_or(0);
        out.push(Fact::Queue {
            at: now.ms(),
            group: "all".into(),
            count: list.len() as u64,
            oldest_s: oldest,
        });
    }
    let rows = route::show::rows(&site.outbound().routes(), None, now);
    for (component, group) in [("to.microsoft-consumer", "microsoft-consumer"), ("to.google", "google")] {
        let blocked: Vec<&str> = rows
            .iter()
            .filter(|r| r.group == group && r.state != "open")
            .map(|r| r.egress.as_str())
            .collect();
        let all = blocked.len() >= site.settings().egresses.len();
        let (look, says) = match blocked.as_slice() {
            [] => (Look::Good, String::new()),
            some if all => (Look::Failed, format!("every way out is refused: {}", some.join(", "))),
            // Mail arrives by another way: that is what ways are for.
            some => (Look::Good, format!("{} is refused; mail goes another way", some.join(", "))),
        };
        out.push(probe(now.ms(), "route", component, (look, says)));
    }
    out
}

fn probe(at: u64, name: &str, component: &str, (look, says): (Look, String)) -> Fact {
    Fact::Probe {
        at,
        probe: format!("{name}.{component}"),
        component: component.into(),
        point: "mail host".into(),
        region: "this machine".into(),
        look,
        ms: 0,
        says,
    }
}

async fn ports_answer(site: &Site, ports: &[SocketAddr]) -> Fact {
    let mut dead = Vec::new();
    for at in ports {
        let until = site.now() + Span::secs(5);
        let dial = site.world().net.dial(None, *at);
        match drive::first(dial, site.world().clock.sleep_until(until)).await {
            drive::First::A(Ok(_)) => {}
            drive::First::A(Err(e)) => dead.push(format!("{}: {e}", at.port())),
            drive::First::B(()) => dead.push(format!("{}: no answer", at.port())),
        }
    }
    let look = if dead.is_empty() { Look::Good } else { Look::Failed };
    probe(site.now().ms(), "port", "ports", (look, dead.join("; ")))
}
