//! Verbs that need no host: configuration, completions, manual pages, reading refusals.

use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::CommandFactory;

use crate::cli::{Cli, ConfigVerb, PlaceArgs};
use crate::{link_key, orders, place, say, status_site};

pub fn config(place: &PlaceArgs, verb: ConfigVerb) -> Result<(), String> {
    let file = |named: Option<PathBuf>| {
        named.or(place.config.clone()).unwrap_or_else(|| PathBuf::from(place::CONFIG))
    };
    match verb {
        ConfigVerb::Check { file: named } => {
            let file = file(named);
            let config = config::read(&file).map_err(|faults| faults.to_string())?;
            let (name, ports) = (&config.host_name, config.listeners.len());
            say::line(format_args!("{} is right: {name} on {ports} ports.", file.display()));
        }
        ConfigVerb::Show { all } => {
            let config = config::read(&file(None)).map_err(|faults| faults.to_string())?;
            say::text(config.show(all));
        }
        ConfigVerb::Explain { markdown: true, .. } => say::text(config::reference()),
        ConfigVerb::Explain { key, .. } => say::text(config::explain(key.as_deref())?),
    }
    Ok(())
}

pub fn completions(shell: clap_complete::Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "postroad", &mut script);
    say::text(String::from_utf8_lossy(&script));
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
    match route::check_replies(read, &mut out).and_then(|_| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => say::end(&e),
        done => done.map_err(|e| format!("The refusals cannot be read, or the answers not written: {e}.")),
    }
}

/// The public half of this host's key; the key is made the first time.
pub fn link_key(args: &PlaceArgs) -> Result<(), String> {
    let data = match place::find(args) {
        Ok(place) => place.data,
        Err(_) => status_site::find(args)?,
    };
    say::line(link_key::load(&data)?.public());
    Ok(())
}

/// Brings a backup back as the data folder of a host that does not exist yet.
pub fn restore(args: &PlaceArgs, from: &Path) -> Result<(), String> {
    let to = place::find(args)?.data;
    let done = store::restore(from, &to, &mut progress()).map_err(|e| e.to_string())?;
    say::line(format_args!(
        "{} holds the backup's mail: {} files, {}.",
        to.display(),
        done.files,
        stdx::Bytes(done.bytes)
    ));
    say::line(format_args!("Check it before you rely on it: postroad verify {}", to.display()));
    Ok(())
}

/// Checks a backup.
pub fn verify(backup: &Path, json: bool) -> Result<(), String> {
    let found = store::verify(backup, orders::HOLDERS, &mut progress()).map_err(|e| e.to_string())?;
    let reply = orders::verified(&found)?;
    say::line(if json { reply.json.to_string() } else { reply.text.trim_end().to_owned() });
    Ok(())
}

/// Makes the index of a stopped host anew.
pub fn rebuild(args: &PlaceArgs) -> Result<(), String> {
    let data = place::find(args)?.data;
    let done = store::rebuild(&data, &role_mail::schemas(), rebuilding()).map_err(|e| e.to_string())?;
    say::line(format_args!(
        "The index of {} is made anew: {} bodies, {} rows.",
        data.display(),
        done.bodies,
        done.rows
    ));
    Ok(())
}

/// The replay of a log tells from where it reads.
fn rebuilding() -> store::Tell {
    let pace = Mutex::new(Pace::default());
    store::Tell::to(move |now: store::Progress| {
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.tell(now.doing, now.done, now.total);
    })
}

fn progress() -> impl FnMut(store::Progress) {
    let mut pace = Pace::default();
    move |now| pace.tell(now.doing, now.done, now.total)
}

/// Says on standard error how far a long work is and when it will be done, a line each tenth and each minute,
/// and none in the first second.
#[derive(Default)]
pub struct Pace {
    said: Option<(String, u64)>,
    said_at: Option<Instant>,
    begun: Option<(Instant, u64)>,
}

/// Work shorter than this is not told of.
const SHORT: Duration = Duration::from_secs(1);
/// Of longer work a line is said this often at least.
const SAY_EVERY: Duration = Duration::from_secs(60);

impl Pace {
    pub fn tell(&mut self, doing: &str, done: u64, total: u64) {
        if self.said.as_ref().is_none_or(|(what, _)| what != doing) {
            self.said = Some((doing.to_owned(), 0));
            self.begun = Some((Instant::now(), done));
            self.said_at = Some(Instant::now());
        }
        let tenth = (done * 10).checked_div(total).unwrap_or(10);
        let (Some((_, said)), Some((begun, from))) = (&mut self.said, self.begun) else { return };
        let took = begun.elapsed();
        let long_ago = self.said_at.is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if took < SHORT || (tenth <= *said && !long_ago) {
            return;
        }
        *said = tenth;
        self.said_at = Some(Instant::now());
        match left(took, done - from.min(done), total - done.min(total)) {
            Some(left) => say::aside(format_args!("{doing}: {tenth} of 10, about {left} s left")),
            None => say::aside(format_args!("{doing}: {tenth} of 10")),
        }
    }
}

/// Seconds left at the pace so far.
fn left(took: Duration, done: u64, open: u64) -> Option<u64> {
    let per_second = done as f64 / took.as_secs_f64();
    (per_second > 0.0 && open > 0).then(|| (open as f64 / per_second).ceil() as u64)
}

/// The pin of this host's own key.
pub fn pin(place: &PlaceArgs, json: bool) -> Result<(), String> {
    let place = crate::place::find(place)?;
    let pin = crate::serve::identity(&place.data, &place.settings.host_name)?.pin;
    match json {
        true => say::line(serde_json::json!({ "pin": pin })),
        false => say::line(pin),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_pace_so_far() {
        assert_eq!(left(Duration::from_secs(10), 100, 50), Some(5));
        assert_eq!(left(Duration::from_secs(10), 0, 50), None);
        assert_eq!(left(Duration::from_secs(10), 100, 0), None);
    }
}
