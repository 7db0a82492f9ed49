//! IMAP sessions that go on in the next version of this host.
//!
//! What it is: the [`Quay`], where sessions that wait for their clients put themselves, as a parcel
//! and a connection, when the host makes way for another version; and [`resume`], which lets such
//! sessions go on, in the next version or, if that does not serve, in this one. What it is not: the
//! way between the two processes (the binary's), or what a parcel says of a session (`imap::parcel`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drive::{Stop, Tls, TlsServer, Wires};
use stdx::Span;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use world::{Clock, Connection, Stream};

use crate::gate::{Gate, Pass};
use crate::imap::parcel::Parcel;
use crate::{Front, Site};

/// The parcels' kind, which both versions must know.
pub const KIND: u32 = 1;
/// Sessions that cross at one time. Those beyond it hear BYE.
pub const CROSSINGS_MAX: usize = 20_000;
/// Their parcels together take about as much memory at most, for the seconds until they are sent.
const PARCELS_BYTES_MAX: usize = 256 << 20;
/// A parcel is not longer.
pub const PARCEL_MAX: usize = 4 << 20;
/// Sessions that went on here get this long to end once the host stops.
const GRACE: Span = Span::secs(15);
/// Said where nothing is wrong with a session.
pub const STOPPING: &str = "The server is stopping for a moment; connect again";
/// A word to a session that cannot go on is written within this time.
const WORD_MAX: Span = Span::secs(2);

/// A session between two machines.
pub struct Crossing {
    pub parcel: Vec<u8>,
    pub stream: Box<dyn Stream>,
}

/// Where sessions wait while the host changes.
#[derive(Default)]
pub struct Quay(Mutex<Option<Waiting>>);

#[derive(Default)]
struct Waiting {
    crossings: Vec<Crossing>,
    bytes: usize,
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.crossings.len() < CROSSINGS_MAX && self.bytes < PARCELS_BYTES_MAX
    }
}

impl Quay {
    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// From now on sessions that hear of a stop wait here, if they can.
    pub fn open(&self) {
        *self.lock() = Some(Waiting::default());
    }
    /// Whether one more may wait here.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().as_ref().is_some_and(Waiting::has_room)
    }
    /// The crossing comes back where nobody may wait here.
    pub(crate) fn board(&self, crossing: Crossing) -> Result<(), Crossing> {
        match self.lock().as_mut().filter(|waiting| waiting.has_room()) {
            Some(waiting) => {
                waiting.bytes += crossing.parcel.len();
                waiting.crossings.push(crossing);
                Ok(())
            }
            None => Err(crossing),
        }
    }
    /// All that wait; nobody else may come.
    pub fn close(&self) -> Vec<Crossing> {
        self.lock().take().unwrap_or_default().crossings
    }
}

/// What sessions that go on need of this host.
#[derive(Clone)]
pub struct Landing {
    pub site: Site,
    pub gate: Gate,
    /// For sessions in the clear that may begin TLS.
    pub certificates: Option<Arc<dyn TlsServer>>,
}

/// Lets sessions go on as they come, until the stop.
pub async fn resume(landing: Landing, mut crossings: mpsc::Receiver<Crossing>, stop: Stop) {
    let mut sessions = JoinSet::new();
    while let Some(Some(crossing)) = drive::until_stop(&stop, crossings.recv()).await {
        go_on(&landing, crossing, &stop, &mut sessions).await;
    }
    turn_back(&landing.site, crossings).await;
    let clock = landing.site.world().clock.clone();
    let ended = async { while sessions.join_next().await.is_some() {} };
    let grace = async {
        drive::stopped(&stop).await;
        clock.sleep_until(clock.now() + GRACE).await;
    };
    drive::first(ended, grace).await;
}

/// Those that came too late for this host wait for the next one.
async fn turn_back(site: &Site, mut crossings: mpsc::Receiver<Crossing>) {
    let clock = site.world().clock.clone();
    let all = async {
        while let Some(crossing) = crossings.recv().await {
            if let Err(Crossing { stream, .. }) = site.quay().board(crossing) {
                farewell(&*clock, stream, STOPPING).await;
            }
        }
    };
    drive::first(all, clock.sleep_until(clock.now() + GRACE)).await;
}

async fn go_on(landing: &Landing, crossing: Crossing, stop: &Stop, sessions: &mut JoinSet<()>) {
    let Landing { site, gate, certificates } = landing;
    let Crossing { parcel: written, stream } = crossing;
    let parcel = match Parcel::read(&written) {
        Ok(parcel) => parcel,
        Err(why) => {
            tracing::warn!("a session could not go on: {why}");
            return farewell(&*site.world().clock, stream, "This server was renewed; connect again").await;
        }
    };
    let arrival = parcel.arrival();
    let connection = Connection { stream, local: arrival.local, peer: arrival.peer };
    let tls = match certificates {
        Some(own) if parcel.in_the_clear() => Tls::Server { certificates: own.clone(), implicit: false },
        _ => Tls::None,
    };
    let wires = Wires {
        clock: site.world().clock.clone(),
        tls,
        stop: stop.clone(),
        farewell: Front::Imap.farewell(),
        meter: site.meter(Front::Imap),
        limits: drive::Limits::default(),
    };
    let pass: Pass = gate.enter_again((arrival.local.port(), arrival.peer.ip()));
    let session = crate::imap::resume(site.clone(), (parcel, written), connection, wires);
    sessions.spawn(async move {
        session.await;
        drop(pass);
    });
}

/// The last word to a session that cannot go on.
pub async fn farewell(clock: &dyn Clock, mut stream: Box<dyn Stream>, why: &str) {
    let line = format!("* BYE {why}\r\n");
    let said = async {
        // Whether the client hears it changes nothing for us.
        let _ = stream.write_all(line.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    drive::first(said, clock.sleep_until(clock.now() + WORD_MAX)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(bytes: usize) -> Crossing {
        Crossing { parcel: vec![0; bytes], stream: Box::new(tokio::io::empty()) }
    }

    #[test]
    fn the_quay_holds_sessions_only_while_it_is_open_and_only_so_many() {
        let quay = Quay::default();
        assert!(!quay.has_room() && quay.board(crossing(1)).is_err(), "an ordinary stop waits for nobody");
        quay.open();
        let mut boarded = 0;
        while quay.has_room() && quay.board(crossing(PARCELS_BYTES_MAX / 8)).is_ok() {
            boarded += 1;
        }
        assert_eq!(boarded, 8, "their parcels are bounded");
        assert_eq!(quay.close().len(), 8);
        quay.open();
        for _ in 0..CROSSINGS_MAX {
            assert!(quay.board(crossing(0)).is_ok());
        }
        assert!(!quay.has_room() && quay.board(crossing(0)).is_err());
        assert_eq!(quay.close().len(), CROSSINGS_MAX);
        assert!(quay.close().is_empty());
    }
}
