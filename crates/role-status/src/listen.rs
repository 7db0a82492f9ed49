//! Takes readers in, within bounds.

use std::sync::Arc;

use drive::{Limits, Stop, Tls, TlsServer, Wires};
use stdx::Span;
use tokio::task::JoinSet;
use world::Listener;

use crate::{Board, http};

/// Connections at the same time, on each port.
const CONNECTIONS_MAX: usize = 4000;

/// Serves one port until the server stops. With certificates it speaks TLS from the first byte.
pub async fn listen(
    board: Board,
    listener: Arc<dyn Listener>,
    certificates: Option<Arc<dyn TlsServer>>,
    stop: Stop,
) {
    let tls = match certificates {
        Some(certificates) => Tls::Server { certificates, implicit: true },
        None => Tls::None,
    };
    let wires = Wires {
        clock: board.world().clock.clone(),
        tls,
        stop: stop.clone(),
        farewell: b"",
        meter: Arc::default(),
        limits: Limits::default(),
    };
    let router = http::router(board.clone());
    let mut sessions = JoinSet::new();
    while let Some(accepted) = drive::until_stop(&stop, listener.accept()).await {
        while sessions.try_join_next().is_some() {}
        match accepted {
            // The one that comes too many is closed: a reader tries again, the others are served.
            Ok(connection) if sessions.len() < CONNECTIONS_MAX => {
                sessions.spawn(http::serve(router.clone(), connection, wires.clone()));
            }
            Ok(_) => tracing::warn!("more than {CONNECTIONS_MAX} readers at once: one was turned away"),
            // Out of descriptors or the like: give the others time to end.
            Err(_) => board.world().clock.sleep_until(board.now() + Span::ms(100)).await,
        }
    }
    while sessions.join_next().await.is_some() {}
}
