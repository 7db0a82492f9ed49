//! `postroad drill`: a scene is played, and every measured value stands beside its bound.

use std::process::ExitCode;

use clap::Parser;
use role_mail::Site;
use scenes::{Record, Report, Scene};

use crate::cli::{Cli, Drill};
use crate::{logs, orders, verbs};

/// Exit codes: all passed, something failed, it could not be played.
const FAILED: u8 = 1;
const BROKEN: u8 = 2;

pub fn run(drill: &Drill, json: bool) -> ExitCode {
    let scene = match Scene::read(&drill.file) {
        Ok(scene) => scene,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(BROKEN);
        }
    };
    // What the host has to say is judged from its ledger; a log would drown the table.
    if std::env::var_os("RUST_LOG").is_some()
        && let Err(why) = logs::begin("info", None, stdx::Bytes::mib(50))
    {
        eprintln!("{why}");
    }
    let played = if drill.in_virtual_time { virtually(&scene) } else { really(&scene, drill.pace) };
    let done = played.and_then(|record| {
        if let Some(file) = &drill.trace {
            std::fs::write(file, record.trace())
                .map_err(|e| format!("The trace {} cannot be written: {e}.", file.display()))?;
        }
        Ok(scenes::verdict::judge(&scene, &record, !drill.in_virtual_time))
    });
    match done {
        Ok(report) => say(&report, json),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(BROKEN)
        }
    }
}

fn really(_scene: &Scene, _pace: Option<u64>) -> Result<Record, String> {
    Err("This version plays scenes in virtual time only: add --virtual.".into())
}

fn say(report: &Report, json: bool) -> ExitCode {
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn virtually(scene: &Scene) -> Result<Record, String> {
    scenes::stage::play(scene, &|site: Site, words: Vec<String>| {
        Box::pin(async move {
            let line = std::iter::once("postroad".to_owned()).chain(words);
            let cli = Cli::try_parse_from(line).map_err(|e| e.to_string())?;
            let order = verbs::order(cli.verb)?;
            orders::carry_out(&site, order).await.map(drop)
        })
    })
}
