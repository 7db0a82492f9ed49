//! The running host's ear for the command line: a Unix socket in its data folder.
//!
//! One JSON line each way: an [`Order`], then `{"ok": Reply}` or `{"error": "…"}`. Long work says
//! before that, in lines of its own, how far it is. Who may connect
//! is decided by the folder's owner and mode. What an order does is not decided here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::orders::{Carry, Order, Reply};

/// An order longer than this is none.
const ORDER_MAX: u64 = 16 << 20;
/// Callers at the same time.
const CALLERS_MAX: usize = 16;
/// A caller that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a caller waits for an order to be carried out (a backup takes its time).
const ANSWER: Duration = Duration::from_secs(24 * 3600);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Ok(Reply),
    Error(String),
    /// Not the answer yet: how far the work is.
    Progress(String, u64, u64),
}

fn socket(data: &Path) -> PathBuf {
    data.join("control")
}

/// An open ear; dropping it closes it. Orders under way are carried out all the same.
pub struct Ear {
    closed: Arc<AtomicBool>,
    /// The listening socket: to shut it down, which wakes who listens.
    socket: UnixStream,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // It fails only if nobody listens any more.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Listens until the ear is dropped. Orders come from the operator, one now and then, so plain
/// threads serve them; the work itself runs on the host's runtime.
pub fn listen(data: &Path, carry: Carry) -> io::Result<Ear> {
    let at = socket(data);
    // A socket that was left over by a crash; the folder is ours, so nobody else listens there.
    let _ = std::fs::remove_file(&at);
    let listener = UnixListener::bind(&at)?;
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o600))?;
    let closed = Arc::<AtomicBool>::default();
    let ear = Ear { closed: closed.clone(), socket: UnixStream::from(OwnedFd::from(listener.try_clone()?)) };
    let runtime = tokio::runtime::Handle::current();
    let callers = Arc::new(tokio::sync::Semaphore::new(CALLERS_MAX));
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let Ok(place) = callers.clone().try_acquire_owned() else { continue };
            let (carry, runtime) = (carry.clone(), runtime.clone());
            let spawned = std::thread::Builder::new().name("order".into()).spawn(move || {
                // A caller that goes away has its answer all the same: it can ask again.
                let _ = serve(stream, &carry, &runtime);
                drop(place);
            });
            if let Err(e) = spawned {
                tracing::warn!("an order could not be served: {e}");
            }
        }
    })?;
    Ok(ear)
}

/// A line at most so often.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Tells the caller how far the work is. One that does not listen misses it.
fn teller(stream: &UnixStream) -> io::Result<store::Tell> {
    let out = Mutex::new((stream.try_clone()?, Instant::now()));
    Ok(store::Tell::to(move |now: store::Progress| {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.1.elapsed() < TELL_EVERY {
            return;
        }
        out.1 = Instant::now();
        if let Ok(mut line) = serde_json::to_vec(&Said::Progress(now.doing.to_owned(), now.done, now.total)) {
            line.push(b'\n');
            let _ = out.0.write_all(&line);
        }
    }))
}

fn serve(stream: UnixStream, carry: &Carry, runtime: &tokio::runtime::Handle) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(&stream).take(ORDER_MAX).read_line(&mut line)?;
    let said = match serde_json::from_str::<Order>(&line) {
        Ok(order) => match runtime.block_on(carry(order, teller(&stream)?)) {
            Ok(reply) => Said::Ok(reply),
            Err(why) => Said::Error(why),
        },
        Err(e) => Said::Error(format!(
            "The running host does not understand this order ({e}). Is it of another version?"
        )),
    };
    let mut line = serde_json::to_vec(&said)?;
    line.push(b'\n');
    (&stream).write_all(&line)
}

/// Gives an order to the running host. `None`: none runs.
pub fn ask(
    data: &Path,
    order: &Order,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Option<Result<Reply, String>> {
    let stream = UnixStream::connect(socket(data)).ok()?;
    Some(
        converse(stream, order, progress)
            .unwrap_or_else(|e| Err(format!("The running host did not answer: {e}."))),
    )
}

fn converse(
    stream: UnixStream,
    order: &Order,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> io::Result<Result<Reply, String>> {
    stream.set_read_timeout(Some(ANSWER))?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answers = BufReader::new(&stream);
    loop {
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        match serde_json::from_str::<Said>(&answer)? {
            Said::Ok(reply) => return Ok(Ok(reply)),
            Said::Error(why) => return Ok(Err(why)),
            Said::Progress(doing, done, total) => progress(&doing, done, total),
        }
    }
}
