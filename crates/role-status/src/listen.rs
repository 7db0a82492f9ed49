//! Takes readers in, within bounds.

use std::sync::Arc;

use drive::{Limits, Stop, Tls, TlsServer, Wires};
use stdx::Span;
use tokio::task::JoinSet;
use world::Listener;

use crate::{Board, http, mail_in};

/// Connections at the same time, on each port.
const CONNECTIONS_MAX: usize = 4000;
/// Letters that come at the same time.
const LETTERS_MAX: usize = 20;

/// A port that is open.
pub struct Door {
    pub listener: Arc<dyn Listener>,
    /// Shown from the first byte to readers, after STARTTLS to letters.
    pub certificates: Option<Arc<dyn TlsServer>>,
    /// Letters are taken there in place of readers.
    pub letters: bool,
}

/// Serves one port until the server stops.
pub async fn listen(board: Board, door: Door, stop: Stop) {
    let Door { listener, certificates, letters } = door;
    let tls = match certificates {
        Some(certificates) => Tls::Server { certificates, implicit: !letters },
        None => Tls::None,
    };
    let wires = Wires {
        clock: board.world().clock.clone(),
        tls,
        stop: stop.clone(),
        farewell: if letters { b"421 4.3.0 An error of ours; come again\r\n" } else { b"" },
        meter: Arc::default(),
        limits: Limits::default(),
    };
    let router = http::router(board.clone());
    let mut sessions = JoinSet::new();
    while let Some(accepted) = drive::until_stop(&stop, listener.accept()).await {
        while sessions.try_join_next().is_some() {}
        match accepted {
            // The one that comes too many is closed: a reader tries again, the others are served.
            Ok(connection) if letters && sessions.len() < LETTERS_MAX => {
                sessions.spawn(mail_in::serve(board.clone(), connection, wires.clone()));
            }
            Ok(connection) if !letters && sessions.len() < CONNECTIONS_MAX => {
                sessions.spawn(http::serve(router.clone(), connection, wires.clone()));
            }
            Ok(_) => tracing::warn!("too many connections at once: one was turned away"),
            // Out of descriptors or the like: give the others time to end.
            Err(_) => board.world().clock.sleep_until(board.now() + Span::ms(100)).await,
        }
    }
    while sessions.join_next().await.is_some() {}
}
