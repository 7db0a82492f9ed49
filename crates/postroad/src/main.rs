//! The door: command line verbs and wiring, no rules of its own.
//!
//! Where to begin: [`cli`] is the command line as a value; [`serve`] and [`up`] start a host
//! ([`opening`] and [`house`] are what they share); every other verb is an [`orders::Order`], carried out by the
//! running host through its [`control`] socket, or on the data folder if none runs.

// Whoever reads may have gone: see `say`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod control;
mod demo_monitor;
mod demo_past;
mod demo_site;
mod drill;
mod ferry;
mod house;
mod link_key;
mod logs;
mod opening;
mod orders;
mod place;
mod report;
mod say;
mod serve;
mod serve_monitor;
mod serve_relay;
mod serve_status;
mod status_site;
mod up;
mod upgrade;
mod verbs;
mod watch_post;
mod ways;

use std::process::ExitCode;

use clap::Parser;

/// A host runs for months with sessions of all sizes on several threads; the C library's allocator keeps
/// what such a crowd once needed (figures in docs/dependencies.md, settings in .cargo/config.toml).
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let cli::Verb::Drill(drill) = &cli.verb {
        return drill::run(drill, cli.json);
    }
    let done = match &cli.verb {
        cli::Verb::DrillHost(told) => drill::host(told),
        _ => verbs::run(cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say::aside(why.trim_end());
            ExitCode::FAILURE
        }
    }
}
