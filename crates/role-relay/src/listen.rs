//! From a connection to a session at the relay's door.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use drive::{Meter, Stop, Tls, TlsServer, Wires};
use stdx::Span;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use world::{Connection, Listener};

use crate::{Relay, desk};

/// Sessions at the same time, in all.
const SESSIONS_MAX: u64 = 2_000;
/// Open sessions get this long to end once the host stops.
const GRACE: Span = Span::secs(15);
const FAREWELL: &[u8] = b"421 4.3.0 Something went wrong here; please come back later\r\n";
const FULL: &[u8] = b"421 4.7.0 Too many connections; please come back in a minute\r\n";

/// A port of the relay.
pub struct Port {
    pub listener: Arc<dyn Listener>,
    pub implicit_tls: bool,
    /// They must ask clients for theirs, or no mail host of ours is known here.
    pub certificates: Option<Arc<dyn TlsServer>>,
}

/// Accepts until `stop`, then waits for the open sessions.
pub async fn listen(relay: Relay, port: Port, stop: Stop) {
    let mut sessions = JoinSet::new();
    let clock = relay.world().clock.clone();
    while let Some(accepted) = drive::until_stop(&stop, port.listener.accept()).await {
        match accepted {
            Ok(connection) => admit(&relay, &port, (connection, stop.clone()), &mut sessions).await,
            Err(_) => clock.sleep_until(relay.now() + Span::ms(100)).await,
        }
        while sessions.try_join_next().is_some() {}
    }
    let ended = async { while sessions.join_next().await.is_some() {} };
    drive::first(ended, clock.sleep_until(relay.now() + GRACE)).await;
}

async fn admit(
    relay: &Relay,
    port: &Port,
    (mut connection, stop): (Connection, Stop),
    sessions: &mut JoinSet<()>,
) {
    if relay.open().fetch_add(1, Ordering::Relaxed) >= SESSIONS_MAX {
        relay.open().fetch_sub(1, Ordering::Relaxed);
        if !port.implicit_tls && connection.stream.write_all(FULL).await.is_err() {
            tracing::debug!("gone before it was refused");
        }
        return;
    }
    let tls = match &port.certificates {
        Some(certificates) => Tls::Server { certificates: certificates.clone(), implicit: port.implicit_tls },
        None => Tls::None,
    };
    let wires = Wires {
        clock: relay.world().clock.clone(),
        tls,
        stop,
        farewell: FAREWELL,
        meter: Arc::<Meter>::default(),
        limits: drive::Limits::default(),
    };
    let (relay, offered) = (relay.clone(), port.certificates.is_some() && !port.implicit_tls);
    sessions.spawn(async move {
        let count = relay.clone();
        desk::serve(relay, connection, wires, offered).await;
        count.open().fetch_sub(1, Ordering::Relaxed);
    });
}
