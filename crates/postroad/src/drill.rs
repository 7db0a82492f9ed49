//! `postroad drill`: a scene is played, and every measured value stands beside its bound.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use clap::Parser;
use host::Certificates;
use role_mail::{Front, Site};
use scenes::real::{Crew, Terms};
use scenes::{Record, Report, Scene};
use world::Clock;

use crate::cli::{Cli, Drill, DrillHost};
use crate::house::{self, House, Plan};
use crate::opening::{self, Door};
use crate::{control, logs, orders, say, verbs};

/// Exit codes: all passed, something failed, it could not be played.
const FAILED: u8 = 1;
const BROKEN: u8 = 2;

pub fn run(drill: &Drill, json: bool) -> ExitCode {
    let scene = match Scene::read(&drill.file) {
        Ok(scene) => scene,
        Err(faults) => {
            say::aside(faults);
            return ExitCode::from(BROKEN);
        }
    };
    // What the host has to say is judged from its ledger; a log would drown the table.
    if std::env::var_os("RUST_LOG").is_some()
        && let Err(why) = logs::begin("info", None, stdx::Bytes::mib(50))
    {
        say::aside(why);
    }
    let played = if drill.in_virtual_time {
        virtually(&scene)
    } else {
        scenes::real::play(&scene, drill.pace, &ThisProgram { file: &drill.file })
    };
    let done = played.and_then(|record| {
        if let Some(file) = &drill.trace {
            std::fs::write(file, record.trace())
                .map_err(|e| format!("The trace {} cannot be written: {e}.", file.display()))?;
        }
        Ok(scenes::verdict::judge(&scene, &record, !drill.in_virtual_time))
    });
    match done {
        Ok(report) => tell(&report, json),
        Err(why) => {
            say::aside(why);
            ExitCode::from(BROKEN)
        }
    }
}

/// Starts the scene's host as a process of this same program, and carries orders to it.
struct ThisProgram<'f> {
    file: &'f Path,
}

impl Crew for ThisProgram<'_> {
    fn start(&self, terms: &Terms) -> std::io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("drill-host").arg(self.file).arg("--folder").arg(&terms.data);
        for (key, value) in [
            ("--smtp", terms.ports.smtp.to_string()),
            ("--submission", terms.ports.submission.to_string()),
            ("--dns", terms.dns.to_string()),
            ("--begin", terms.begin.0.to_string()),
            ("--pace", terms.pace.to_string()),
        ] {
            command.arg(key).arg(value);
        }
        if let Some(ca) = &terms.ca {
            command.arg("--ca").arg(ca);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
    }

    fn order(&self, data: &Path, words: Vec<String>) -> Result<String, String> {
        let order = order(words)?;
        control::ask(data, &order, &mut |_, _, _| {})
            .unwrap_or(Err("the host does not run".into()))
            .map(|reply| reply.text)
    }
}

fn order(words: Vec<String>) -> Result<orders::Order, String> {
    let line = std::iter::once("postroad".to_owned()).chain(words);
    let cli = Cli::try_parse_from(line).map_err(|e| e.to_string())?;
    verbs::order(cli.verb)
}

/// The host's side: it lives until its input ends.
pub fn host(told: &DrillHost) -> Result<(), String> {
    let scene = Scene::read(&told.file).map_err(|faults| faults.to_string())?;
    logs::begin("error", None, stdx::Bytes::mib(50))?;
    let _ = host::process::raise_open_files();
    let terms = Terms {
        data: told.folder.clone(),
        ports: scenes::farm::Ports { smtp: told.smtp, submission: told.submission },
        dns: told.dns,
        begin: stdx::Now(told.begin),
        pace: told.pace,
        ca: told.ca.clone(),
    };
    house::runtime(house::processors())?.block_on(live(&scene, &terms))
}

async fn live(scene: &Scene, terms: &Terms) -> Result<(), String> {
    let world = scenes::real::host_world(scene, terms);
    let names = [scene.host.name.clone()];
    let own = host::authority::ensure(&terms.data.join("tls"), &names, host::SystemClock.now())
        .map_err(|e| format!("The host's certificate cannot be made: {e}."))?;
    let pairs = std::slice::from_ref(&own.pair);
    let certificates = if scene.host.relay { Certificates::asking(pairs) } else { Certificates::load(pairs) };
    let certificates = Arc::new(certificates.map_err(|e| e.to_string())?);
    let door = |front, port| Door {
        front,
        at: SocketAddr::new(scene.host.address, port),
        tls: config::TlsMode::StartTls,
    };
    let doors = [door(Front::Smtp, terms.ports.smtp), door(Front::Submission, terms.ports.submission)];
    let mut opened = opening::open_ports(&world, &doors).await?;
    let desk = scene.host.relay.then(|| opened.pop()).flatten();
    let plan = Plan {
        data: &terms.data,
        world,
        settings: scenes::farm::settings(scene, terms.ports, terms.begin),
        store: store::Settings::default(),
        certificates: certificates.clone(),
        roots: Arc::new(host::roots(terms.ca.as_slice()).map_err(|e| e.to_string())?),
        wishes: None,
    };
    let mut house = House::begin(plan, opened)?;
    if let Some(desk) = desk {
        let (relay, port) = scenes::farm::relay_door(&house.site, scene, desk.listener, certificates);
        house.also(|stop| role_relay::listen(relay, port, stop));
    }
    let input = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    // However it ends: the director is gone or wants us to stop.
    let _ = input.await;
    house.end().await;
    Ok(())
}

fn tell(report: &Report, json: bool) -> ExitCode {
    if json {
        say::line(report.json());
    } else {
        say::text(report.text());
    }
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn virtually(scene: &Scene) -> Result<Record, String> {
    scenes::stage::play(scene, &|site: Site, words: Vec<String>| {
        Box::pin(async move {
            let order = order(words)?;
            orders::carry_out(&site, order).await.map(|reply| reply.text)
        })
    })
}
