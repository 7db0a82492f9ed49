//! Sessions on their way between this process and another.
//!
//! What it is: sending sessions that wait on the quay to the next version ([`send`]), taking those the
//! version before sends ([`take`]), letting them go on here when there is no next version after all
//! ([`back`]), and the [`Afterlife`] of a process whose TLS sessions live on elsewhere. What it is not:
//! what a session is (`role_mail::crossing`). Why so: docs/decisions/0003.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use drive::{First, Stop, Wires};
use host::handover::{Served, Sessions};
use host::socket::{self, Beneath};
use role_mail::crossing::{self, Crossing};
use stdx::Span;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use world::{Clock, Stream};

use crate::house::{House, Signals, Told};

/// A process without a host carries octets at most this long.
const CARRY_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a signal, sessions get this long to be ended by the host they went to: it was told to stop
/// at the same time, as a rule.
const ORDERLY_MAX: Duration = Duration::from_secs(8);
/// Then their clients hear this, and the process ends after as long again.
const FAREWELL: &[u8] = b"* BYE The server is stopping for a moment; connect again\r\n";
/// Sessions that were sent and not yet looked at.
const ON_THE_WAY: usize = 64;

/// What is left of this process.
pub struct Afterlife {
    pumps: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Sessions that went along, with or without TLS ending here.
    pub went: usize,
}

impl Afterlife {
    /// Sessions whose octets this process carries.
    pub fn carried(&self) -> usize {
        self.pumps.len()
    }

    /// Returns once no session is left. `signals`: those the host heard, so that none is missed.
    pub async fn run(mut self, mut signals: Signals) {
        if self.pumps.is_empty() {
            return;
        }
        tracing::info!(
            sessions = self.carried(),
            "this process only carries octets now, until the last of these ends"
        );
        let told = async { while signals.next().await == Told::Reload {} };
        let enough = drive::first(told, tokio::time::sleep(CARRY_MAX));
        match drive::first(all(&mut self.pumps), enough).await {
            First::A(()) => return,
            First::B(First::A(())) => drop(tokio::time::timeout(ORDERLY_MAX, all(&mut self.pumps)).await),
            First::B(First::B(())) => {}
        }
        // An error means that no session is left.
        let _ = self.stop.send(true);
        drop(tokio::time::timeout(ORDERLY_MAX, all(&mut self.pumps)).await);
    }
}

async fn all(pumps: &mut JoinSet<()>) {
    while pumps.join_next().await.is_some() {}
}

/// One session, ready to be sent; its stream stays here unless it was a bare socket.
struct Parcelled {
    parcel: Vec<u8>,
    socket: OwnedFd,
    stays: Option<(Box<dyn Stream>, Box<dyn Stream>)>,
}

fn parcelled(crossing: Crossing) -> std::io::Result<Parcelled> {
    let Crossing { parcel, stream } = crossing;
    match socket::beneath(stream)? {
        Beneath::Socket(socket) => Ok(Parcelled { parcel, socket, stays: None }),
        Beneath::More(client) => {
            let (far, socket) = socket::pair()?;
            Ok(Parcelled { parcel, socket, stays: Some((client, far)) })
        }
    }
}

/// Sends all sessions to the next version, if it takes any. Those that cannot go hear BYE.
pub async fn send(served: Option<Served>, sessions: Vec<Crossing>) -> Afterlife {
    let (stop, stopped) = watch::channel(false);
    let mut after = Afterlife { pumps: JoinSet::new(), stop, went: 0 };
    let clock: Arc<dyn Clock> = Arc::new(host::SystemClock);
    let Some(served) = served else {
        for Crossing { stream, .. } in sessions {
            let clock = clock.clone();
            after.pumps.spawn(async move {
                crossing::farewell(&*clock, stream, crossing::STOPPING).await;
            });
        }
        return after;
    };
    let sent = tokio::task::spawn_blocking(move || send_all(served, sessions)).await;
    let (went, stays) = sent.unwrap_or_default();
    after.went = went;
    for (client, far) in stays {
        after.pumps.spawn(drive::pump(client, far, wires(clock.clone(), stopped.clone())));
    }
    after
}

type Pairs = Vec<(Box<dyn Stream>, Box<dyn Stream>)>;

/// How many went, and the streams that stay.
fn send_all(mut served: Served, sessions: Vec<Crossing>) -> (usize, Pairs) {
    let (mut went, mut stays) = (0, Vec::new());
    for crossing in sessions {
        let sent = parcelled(crossing).and_then(|p| served.send(&p.parcel, p.socket).map(|()| p.stays));
        match sent {
            Ok(pair) => {
                went += 1;
                stays.extend(pair);
            }
            Err(e) => tracing::warn!("a session could not go along: {e}"),
        }
    }
    if let Err(e) = served.done() {
        tracing::warn!("the next version does not listen any more: {e}");
    }
    (went, stays)
}

fn wires(clock: Arc<dyn Clock>, stop: Stop) -> Wires {
    Wires {
        clock,
        tls: drive::Tls::None,
        stop,
        farewell: FAREWELL,
        meter: Arc::default(),
        limits: drive::Limits { write: Span::mins(3), ..drive::Limits::default() },
    }
}

/// Takes the sessions that the version before sends, while the house serves already.
pub fn take(sessions: Option<Sessions>, house: &mut House) {
    let Some(mut sessions) = sessions else { return };
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    house.go_on(receiver);
    // On a thread of its own, because it waits for another process.
    tokio::task::spawn_blocking(move || {
        let mut came = 0;
        loop {
            let next = sessions.take().and_then(|next| {
                next.map(|(parcel, socket)| Ok(Crossing { parcel, stream: socket::stream(socket)? }))
                    .transpose()
            });
            match next {
                Ok(Some(crossing)) => match sender.blocking_send(crossing) {
                    Ok(()) => came += 1,
                    Err(_) => break,
                },
                Ok(None) => break,
                Err(e) => {
                    tracing::warn!("sessions of the version before stopped coming: {e}");
                    break;
                }
            }
        }
        tracing::info!(sessions = came, "IMAP sessions go on here");
    });
}

/// Sessions that could not leave go on where they were.
pub fn back(sessions: Vec<Crossing>, house: &mut House) {
    let (sender, receiver) = mpsc::channel(sessions.len().max(1));
    for crossing in sessions {
        // There is room for each.
        let _ = sender.try_send(crossing);
    }
    house.go_on(receiver);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// An afterlife with one session in it, its client, and the host it went to.
    fn one() -> (Afterlife, DuplexStream, DuplexStream) {
        let ((client, ours), (far, theirs)) = (tokio::io::duplex(1024), tokio::io::duplex(1024));
        let (stop, stopped) = watch::channel(false);
        let mut pumps = JoinSet::new();
        pumps.spawn(drive::pump(
            Box::new(ours),
            Box::new(theirs),
            wires(Arc::new(host::SystemClock), stopped),
        ));
        (Afterlife { pumps, stop, went: 1 }, client, far)
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_process_ends_with_its_last_session() {
        let (after, mut client, mut far) = one();
        let begun = tokio::time::Instant::now();
        let life = tokio::spawn(after.run(Signals::new().expect("signals")));
        far.write_all(b"* 1 EXISTS\r\n").await.expect("is taken");
        let mut heard = [0; 12];
        client.read_exact(&mut heard).await.expect("arrives");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!life.is_finished(), "an hour of silence changes nothing");
        drop(client);
        far.read_to_end(&mut Vec::new()).await.expect("hears the end");
        drop(far);
        life.await.expect("it ends");
        assert!(begun.elapsed() < Duration::from_secs(3700));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_day_the_last_clients_hear_bye() {
        let (after, mut client, _far) = one();
        let begun = tokio::time::Instant::now();
        let life = tokio::spawn(after.run(Signals::new().expect("signals")));
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("ends");
        assert_eq!(heard, FAREWELL);
        life.await.expect("it ends");
        assert!(begun.elapsed() >= CARRY_MAX && begun.elapsed() < CARRY_MAX + 3 * ORDERLY_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_takes_no_sessions_is_followed_by_bye() {
        let (mut client, ours) = tokio::io::duplex(1024);
        let sessions = vec![Crossing { parcel: b"{}".to_vec(), stream: Box::new(ours) }];
        let after = send(None, sessions).await;
        assert_eq!(after.went, 0);
        let life = tokio::spawn(after.run(Signals::new().expect("signals")));
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("ends");
        assert!(heard.starts_with(b"* BYE"), "{}", String::from_utf8_lossy(&heard));
        life.await.expect("it ends");
    }
}
