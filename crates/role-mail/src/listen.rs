//! From a connection to a session: accept, count, drive, and stop gracefully.
//!
//! Begin with [`listen`]. Each front (`smtp_in`, `submission`, `imap`, `pop3`) brings one function
//! that makes its machine and desk for an [`Arrival`].

use std::sync::Arc;

use drive::{Meter, Stop, Tls, TlsServer, Wires};
use stdx::Span;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use world::{Connection, Listener};

use crate::Site;
use crate::arrival::{Arrival, Front};
use crate::gate::{Gate, Pass, Shut};

/// A port of this host.
pub struct Port {
    pub front: Front,
    /// TLS from the first byte (465, 993, 995, 443).
    pub implicit_tls: bool,
    pub listener: Arc<dyn Listener>,
    /// `None`: no TLS on this port at all.
    pub certificates: Option<Arc<dyn TlsServer>>,
}

/// Open sessions get this long to end once the host stops.
const GRACE: Span = Span::secs(15);

/// Accepts until `stop`, then waits for the open sessions (at most [`GRACE`]).
pub async fn listen(site: Site, port: Port, gate: Gate, stop: Stop) {
    let port = Arc::new(port);
    let meter = site.meter(port.front);
    let mut sessions = JoinSet::new();
    while let Some(accepted) = drive::until_stop(&stop, port.listener.accept()).await {
        match accepted {
            Ok(connection) => {
                admit(&site, &port, &gate, (connection, stop.clone(), meter.clone()), &mut sessions).await;
            }
            // Out of descriptors or the like: give the others time to end.
            Err(_) => site.world().clock.sleep_until(site.now() + Span::ms(100)).await,
        }
        while sessions.try_join_next().is_some() {}
    }
    drop(port);
    let ended = async { while sessions.join_next().await.is_some() {} };
    drive::first(ended, site.world().clock.sleep_until(site.now() + GRACE)).await;
}

async fn admit(
    site: &Site,
    port: &Arc<Port>,
    gate: &Gate,
    (mut connection, stop, meter): (Connection, Stop, Arc<Meter>),
    sessions: &mut JoinSet<()>,
) {
    let settings = site.settings();
    let peer = connection.peer.ip();
    match gate.enter(
        (connection.local.port(), peer),
        settings.sessions_per_address_max,
        settings.sessions_max,
    ) {
        Ok(pass) => {
            let arrival = Arrival {
                id: site.session_id(),
                front: port.front,
                peer: connection.peer,
                local: connection.local,
                implicit_tls: port.implicit_tls,
                tls_offered: port.certificates.is_some(),
                at: site.now(),
            };
            let wires = wires(site, port, stop, meter);
            let looks = settings.tolerance.tls_on_any_port
                && matches!(port.front, Front::Submission | Front::Imap | Front::Pop3);
            match &port.certificates {
                Some(own) if looks && !port.implicit_tls => {
                    let early = (site.clone(), arrival, own.clone());
                    sessions.spawn(tolerant(early, connection, wires, pass));
                }
                _ => {
                    sessions.spawn(session(site.clone(), arrival, connection, wires, pass));
                }
            }
        }
        Err(Shut::TooManyFromThere | Shut::TooManyInAll) => {
            // One short write into an empty socket buffer: it does not wait.
            if !port.implicit_tls && connection.stream.write_all(port.front.full()).await.is_err() {
                tracing::debug!(front = port.front.name(), %peer, "gone before it was refused");
            }
        }
    }
}

fn wires(site: &Site, port: &Port, stop: Stop, meter: Arc<Meter>) -> Wires {
    let tls = match &port.certificates {
        Some(certificates) => Tls::Server { certificates: certificates.clone(), implicit: port.implicit_tls },
        None => Tls::None,
    };
    Wires {
        clock: site.world().clock.clone(),
        tls,
        stop,
        farewell: port.front.farewell(),
        meter,
        limits: drive::Limits::default(),
    }
}

/// A session on a port that begins in the clear, with those who do not.
async fn tolerant(
    (site, mut arrival, certificates): (Site, Arrival, Arc<dyn TlsServer>),
    connection: Connection,
    mut wires: Wires,
    pass: Pass,
) {
    let (connection, early) = crate::ahead::look(connection, &*site.world().clock).await;
    if early {
        arrival.implicit_tls = true;
        wires.tls = Tls::Server { certificates, implicit: true };
    }
    session(site, arrival, connection, wires, pass).await;
}

/// Each front in a future of its own, so that an idle session holds only its own kind's memory.
fn session(
    site: Site,
    arrival: Arrival,
    connection: Connection,
    wires: Wires,
    pass: Pass,
) -> impl Future<Output = ()> + Send {
    let front: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = match arrival.front {
        Front::Smtp => Box::pin(crate::smtp_in::serve(site, arrival, connection, wires)),
        Front::Submission => Box::pin(crate::submission::serve(site, arrival, connection, wires)),
        Front::Imap => Box::pin(crate::imap::serve(site, arrival, connection, wires)),
        Front::Pop3 => Box::pin(crate::pop3::serve(site, arrival, connection, wires)),
        Front::Sieve => Box::pin(crate::managesieve::serve(site, arrival, connection, wires)),
        Front::Http => Box::pin(crate::http::serve(site, connection, wires)),
    };
    async move {
        front.await;
        drop(pass);
    }
}
