//! A look at a connection's first octet before anything is said: some old programs speak TLS from
//! the first byte on a port that begins in the clear. Only where the operator tolerates it, because
//! everybody else's greeting waits for the look.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use drive::First;
use stdx::Span;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use world::{Clock, Connection, Stream};

/// A client that speaks TLS at once has done so by then.
const LOOK: Span = Span::ms(250);
/// RFC 8446 §5.1: a record of the handshake begins so.
const HANDSHAKE: u8 = 0x16;

/// The connection, whole, and whether TLS has begun on it.
pub async fn look(connection: Connection, clock: &dyn Clock) -> (Connection, bool) {
    let Connection { mut stream, local, peer } = connection;
    let until = clock.now() + LOOK;
    let first = match drive::first(stream.read_u8(), clock.sleep_until(until)).await {
        First::A(Ok(octet)) => Some(octet),
        // Nothing came yet, or the stream is over: the session will see it.
        First::A(Err(_)) | First::B(()) => None,
    };
    let stream: Box<dyn Stream> = Box::new(Ahead { first, inner: stream });
    (Connection { stream, local, peer }, first == Some(HANDSHAKE))
}

/// The stream with its first octet back in front.
struct Ahead {
    first: Option<u8>,
    inner: Box<dyn Stream>,
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(octet) = self.first.take()
        {
            buf.put_slice(&[octet]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn looked(said: &[u8]) -> (bool, Vec<u8>) {
        let city = sim::City::new(1);
        let (mut near, far) = tokio::io::duplex(100);
        let at = "192.0.2.1:587".parse().expect("an address");
        near.write_all(said).await.expect("writes");
        let connection = Connection { stream: Box::new(far), local: at, peer: at };
        let (mut connection, tls) = look(connection, &*city.clock()).await;
        near.shutdown().await.expect("ends");
        let mut rest = Vec::new();
        connection.stream.read_to_end(&mut rest).await.expect("reads");
        (tls, rest)
    }

    #[tokio::test(start_paused = true)]
    async fn the_look_takes_nothing_away() {
        assert_eq!(looked(b"\x16\x03\x01x").await, (true, b"\x16\x03\x01x".to_vec()));
        assert_eq!(looked(b"EHLO a").await, (false, b"EHLO a".to_vec()));
        assert_eq!(looked(b"").await, (false, Vec::new()));
    }
}
