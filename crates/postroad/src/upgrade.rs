//! From a running host to the next version of it, and back if that does not serve.
//!
//! The new program is started with our listening sockets and gets ready as far as it can without the
//! store; only then do we end our sessions and give the store free. Should it not serve in time, it is
//! ended and we go on as before. Nobody is refused a connection meanwhile: callers wait in the
//! listening sockets. IMAP sessions that wait for their clients go along ([`crate::ferry`]), there and
//! back. Begin with [`hand_over`].

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::Sockets;
use host::handover::{Predecessor, Served, Sessions, Successor};
use role_mail::crossing::{self, Crossing};
use serde_json::json;
use stdx::Span;
use tokio::sync::{mpsc, oneshot};

use crate::ferry::{self, Afterlife};
use crate::house::House;
use crate::orders::{Answer, Reply};

/// Sessions get this long to end before the store changes hands.
const SESSIONS_MAX: Span = Span::secs(3);
/// The new one must serve this soon after it has the store.
const READY_MAX: Duration = Duration::from_secs(6);

/// An operator's wish for another version.
pub struct Wish {
    pub binary: PathBuf,
    pub answer: oneshot::Sender<Answer>,
}

/// Stands between the steps of a version's tables and the kind of sessions it takes.
const SESSIONS: &str = " sessions=";

/// Where wishes go.
pub type Wishes = mpsc::Sender<Wish>;

/// What the old one knows of itself.
pub struct Own<'o> {
    pub data: &'o Path,
    pub args: Vec<String>,
    pub sockets: Sockets,
}

/// How it ended.
pub enum End {
    /// The new one could not be started so far that it was worth trying; nothing has changed.
    Unchanged(Box<House>),
    /// The new one serves; this process only carries octets for sessions that went along.
    Gone(Afterlife),
    /// The new one did not serve: the store is ours again, the house has to be begun again,
    /// and those who wait on the quay can go on.
    Back { why: String, begun: Instant, sessions: Vec<Crossing> },
}

/// Hands everything to the version in the wish. Answers the wish unless the end is [`End::Back`].
pub async fn hand_over(own: Own<'_>, house: House, wish: Wish) -> (End, Option<oneshot::Sender<Answer>>) {
    let Wish { binary, answer } = wish;
    let (shown, folder) = (binary.display().to_string(), own.data.to_owned());
    let (args, sockets) = (own.args.clone(), own.sockets.all());
    let started = tokio::task::spawn_blocking(move || {
        let started = Successor::start(&binary, &args, &folder, &sockets?);
        started.map(|successor| (successor, folder))
    });
    let (successor, folder) = match started.await.map_err(std::io::Error::other).and_then(|s| s) {
        Ok(started) => started,
        Err(e) => {
            let _ = answer.send(Err(format!(
                "{shown} cannot take over: {e}. Nothing has changed: this version goes on."
            )));
            return (End::Unchanged(Box::new(house)), None);
        }
    };
    let begun = Instant::now();
    tracing::info!(binary = %shown, pid = successor.pid(), "the next version waits for the store");
    let store = house.site.store().clone();
    let (sessions, ear) = house.leave_within(SESSIONS_MAX).await;
    let pid = successor.pid();
    let along = said(&successor).0 == crossing::KIND;
    let given = tokio::task::spawn_blocking(move || {
        store.close();
        give(successor, &folder)
    });
    match given.await.map_err(|e| e.to_string()).and_then(|g| g) {
        Ok(served) => {
            host::process::notify(&format!("MAINPID={pid}"));
            let took = begun.elapsed();
            let after = ferry::send(along.then_some(served), sessions).await;
            let (went, carried) = (after.went, after.carried());
            let text = format!(
                "{shown} serves since now; the change took {:.1} s. {went} IMAP sessions went along; \
                 the old process carries {carried} of them until their clients hang up.\n",
                took.as_secs_f32()
            );
            let ms = took.as_millis() as u64;
            let json = json!({ "pid": pid, "ms": ms, "sessions": went, "carried": carried });
            let _ = answer.send(Ok(Reply { text, json }));
            drop(ear);
            (End::Gone(after), None)
        }
        Err(why) => {
            let why = format!("{shown} did not serve: {why}");
            (End::Back { why, begun, sessions }, Some(answer))
        }
    }
}

/// What kind of sessions the next version takes (0: none), and the steps of its tables.
fn said(successor: &Successor) -> (u32, &str) {
    match successor.says.rsplit_once(SESSIONS) {
        Some((steps, kind)) => (kind.parse().unwrap_or(0), steps),
        None => (0, &successor.says),
    }
}

/// Gives the closed store to the next version, and takes it back if that does not serve.
fn give(successor: Successor, data: &Path) -> Result<Served, String> {
    let other_tables = said(&successor).1 != store::steps(&role_mail::schemas());
    if other_tables && let Err(e) = store::keep_index(data) {
        successor.dismiss();
        return Err(format!("the index could not be kept for a way back: {e}"));
    }
    let end = successor.go(READY_MAX).map_err(|e| e.to_string());
    if other_tables {
        match &end {
            Ok(_) => store::forget_index(data),
            Err(_) => drop(store::put_index_back(data).map_err(|e| e.to_string())?),
        }
    }
    end
}

/// What to tell the operator once the old version serves again.
pub fn rolled_back(why: &str, begun: Instant) -> Answer {
    let took = begun.elapsed().as_secs_f32();
    Err(format!("{why}. It was rolled back: this version serves again, after {took:.1} s."))
}

/// The version before us, if it started us, and the sockets it gave.
pub fn before() -> Result<(Option<Predecessor>, Vec<TcpListener>), String> {
    let before = Predecessor::find();
    let before = before.map_err(|e| format!("The running host does not hand its ports over: {e}."))?;
    Ok(before.map_or((None, Vec::new()), |(before, given)| (Some(before), given)))
}

/// Waits until the version before us has given the store free.
pub fn wait_turn(before: &mut Option<Predecessor>) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    before
        .wait_turn(&format!("{}{SESSIONS}{}", store::steps(&role_mail::schemas()), crossing::KIND))
        .map_err(|e| format!("The running host does not give its store free: {e}."))
}

/// Tells the version before us that we serve. Its sessions follow.
pub fn serves(before: Option<Predecessor>) -> Result<Option<Sessions>, String> {
    let Some(before) = before else { return Ok(None) };
    let ready = before.ready();
    ready.map(Some).map_err(|e| format!("The version before did not hear that this one serves: {e}."))
}
