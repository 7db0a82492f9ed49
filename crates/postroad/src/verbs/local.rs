//! Verbs that need no host: configuration, completions, manual pages, reading refusals.

use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::{Cli, ConfigVerb, PlaceArgs};
use crate::{link_key, orders, place, status_site};

pub fn config(place: &PlaceArgs, verb: ConfigVerb) -> Result<(), String> {
    let file = |named: Option<PathBuf>| {
        named.or(place.config.clone()).unwrap_or_else(|| PathBuf::from(place::CONFIG))
    };
    match verb {
        ConfigVerb::Check { file: named } => {
            let file = file(named);
            let config = config::read(&file).map_err(|faults| faults.to_string())?;
            println!(
                "{} is right: {} on {} ports.",
                file.display(),
                config.host_name,
                config.listeners.len()
            );
        }
        ConfigVerb::Show { all } => {
            let config = config::read(&file(None)).map_err(|faults| faults.to_string())?;
            print!("{}", config.show(all));
        }
        ConfigVerb::Explain { markdown: true, .. } => print!("{}", config::reference()),
        ConfigVerb::Explain { key, .. } => print!("{}", config::explain(key.as_deref())?),
    }
    Ok(())
}

pub fn completions(shell: clap_complete::Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "postroad", &mut script);
    std::io::stdout().write_all(&script).map_err(|e| format!("The script cannot be written: {e}."))
}

pub fn man(to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), to))
        .map_err(|e| format!("The manual pages cannot be written to {}: {e}.", to.display()))
}

pub fn check_replies() -> Result<(), String> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let read = BufReader::new(std::io::stdin().lock());
    route::check_replies(read, &mut out).map_err(|e| format!("The refusals cannot be read: {e}."))?;
    out.flush().map_err(|e| format!("The answers cannot be written: {e}."))
}

/// The public half of this host's key; the key is made the first time.
pub fn link_key(args: &PlaceArgs) -> Result<(), String> {
    let data = match place::find(args) {
        Ok(place) => place.data,
        Err(_) => status_site::find(args)?,
    };
    println!("{}", link_key::load(&data)?.public());
    Ok(())
}

/// Brings a backup back as the data folder of a host that does not exist yet.
pub fn restore(args: &PlaceArgs, from: &Path) -> Result<(), String> {
    let to = place::find(args)?.data;
    let done = store::restore(from, &to, &mut progress()).map_err(|e| e.to_string())?;
    println!("{} holds the backup's mail: {} files, {}.", to.display(), done.files, stdx::Bytes(done.bytes));
    Ok(())
}

/// Checks a backup.
pub fn verify(backup: &Path, json: bool) -> Result<(), String> {
    let found = store::verify(backup, orders::HOLDERS, &mut progress()).map_err(|e| e.to_string())?;
    let reply = orders::verified(&found)?;
    println!("{}", if json { reply.json.to_string() } else { reply.text.trim_end().to_owned() });
    Ok(())
}

/// Makes the index of a stopped host anew.
pub fn rebuild(args: &PlaceArgs) -> Result<(), String> {
    let data = place::find(args)?.data;
    let done = store::rebuild(&data, &role_mail::schemas(), &mut progress()).map_err(|e| e.to_string())?;
    println!("The index of {} is made anew: {} bodies, {} rows.", data.display(), done.bodies, done.rows);
    Ok(())
}

/// Says on standard error how far a long work is, a line each tenth.
fn progress() -> impl FnMut(store::Progress) {
    let mut said = (String::new(), u64::MAX);
    move |now| {
        let tenth = (now.done * 10).checked_div(now.total).unwrap_or(10);
        if said != (now.doing.to_owned(), tenth) {
            eprintln!("{}: {} of {}", now.doing, now.done, now.total);
            said = (now.doing.to_owned(), tenth);
        }
    }
}
