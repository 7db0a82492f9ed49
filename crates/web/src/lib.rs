//! The HTTP kit: serves an [`axum::Router`] on any stream of any world, within limits, and asks
//! others over HTTP.
//!
//! What it is: one connection's HTTP/1.1 conversation with time-outs and size limits ([`serve`]),
//! one question to somebody else's server ([`fetch()`]), messages for browsers ([`push`]), and
//! small tools for pages (escaping, content types). What it is not: routes or pages (the fronts
//! that bring them), a server's TLS (done before a stream comes here), or listening. Begin with
//! [`serve`].

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tower_service::Service;
use world::Connection;

pub use axum;

pub mod fetch;
pub mod page;
pub mod push;
mod response;

pub use fetch::{Ask, Asked, FetchError, Got, Proof, Url, fetch};

/// Limits of one HTTP connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a request to the end of its head.
    pub head_ms_max: u64,
    /// Whole connection, keep-alive included.
    pub connection_ms_max: u64,
    /// Head of a request, bytes (hyper's least is 8 KiB).
    pub head_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { head_ms_max: 10_000, connection_ms_max: 120_000, head_bytes_max: 16 * 1024 }
    }
}

/// How a connection ended; for counters, not for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// The peer spoke no HTTP, broke off or was too slow.
    Peer,
    /// `connection_ms_max` has passed.
    TooLong,
}

/// Where the peer is, for routes that want to know (an axum `Extension`).
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::SocketAddr);

/// Serves one connection until it ends.
pub async fn serve(connection: Connection, router: Router, limits: Limits) -> End {
    let peer = Peer(connection.peer);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(peer);
        async move { router.call(Request::from_parts(parts, Body::new(body))).await }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms_max))
        .max_buf_size(limits.head_bytes_max.max(8192))
        .serve_connection(TokioIo::new(connection.stream), service);
    match tokio::time::timeout(Duration::from_millis(limits.connection_ms_max), conversation).await {
        Ok(Ok(())) => End::Done,
        Ok(Err(_)) => End::Peer,
        Err(_) => End::TooLong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn talk(send: &[u8]) -> (String, End) {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        let connection = Connection { stream: Box::new(ours), local: at, peer: at };
        let router = Router::new().route("/", get(|| async { "hello" }));
        let server =
            tokio::spawn(serve(connection, router, Limits { connection_ms_max: 500, ..Limits::default() }));
        theirs.write_all(send).await.expect("there is room");
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.expect("it closes");
        (text, server.await.expect("no panic"))
    }

    #[tokio::test]
    async fn a_request_is_answered() {
        let (text, end) = talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello"), "{text}");
        assert_eq!(end, End::Done);
    }

    #[tokio::test]
    async fn garbage_and_silence_end_the_connection() {
        assert_eq!(talk(b"\0\0\0\0\r\n\r\n").await.1, End::Peer);
        assert_eq!(talk(b"GET / HT").await.1, End::TooLong);
    }

    #[tokio::test]
    async fn an_endless_head_is_refused() {
        let (text, _) = talk(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(40_000)).as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    }
}
