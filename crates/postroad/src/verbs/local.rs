//! Verbs that need no host: configuration, completions, manual pages, reading refusals.

use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::{Cli, ConfigVerb, PlaceArgs};
use crate::place;

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
    clap_complete::generate(shell, &mut Cli::command(), "postroad", &mut std::io::stdout());
    Ok(())
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
