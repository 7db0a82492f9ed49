//! Octets from one stream to another and back, with no machine between them.
//!
//! What it is: what is left of a session here once its machine goes on in another process: TLS and
//! DEFLATE end in `client`, plain octets pass through `far`. What it is not: a place that knows what
//! the octets say. Holds next to nothing while nothing passes. Begin with [`pump`].

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use stdx::Span;
use tokio::io::ReadBuf;
use world::{Later, Stream};

use crate::session::within;
use crate::{First, Wires, first, stopped};

/// One read takes at most this much, and no more is held in one direction.
const HELD_MAX: usize = 16 * 1024;
/// The last word and the end of the client's stream take at most this long.
const LAST: Span = Span::secs(2);

thread_local! {
    /// Where octets land: one buffer per thread, not per session.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; HELD_MAX]);
}

/// One direction.
#[derive(Default)]
struct Way {
    held: Vec<u8>,
    at: usize,
    unflushed: bool,
    /// No more will come.
    over: bool,
    moved: u64,
    /// The last octet that passed was not the end of a line.
    mid_line: bool,
}

impl Way {
    /// Something came that the other side has not taken.
    fn waits(&self) -> bool {
        !self.held.is_empty() || self.unflushed
    }

    /// Carries what there is; ready once all has passed and the end was handed on.
    fn poll(
        &mut self,
        from: &mut dyn Stream,
        to: &mut dyn Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.at < self.held.len() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.at..]))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.at += n;
                self.moved += n as u64;
                self.unflushed = true;
            }
            if let Some(last) = self.held.last() {
                self.mid_line = *last != b'\n';
                (self.held, self.at) = (Vec::new(), 0);
            }
            if self.over {
                return Pin::new(to).poll_shutdown(cx);
            }
            if self.poll_read(from, cx).is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    fn poll_read(&mut self, from: &mut dyn Stream, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match ready!(Pin::new(from).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.held.extend_from_slice(buf.filled()),
                // A stream that breaks says no more: the other side hears an end either way.
                _ => self.over = true,
            }
            Poll::Ready(())
        })
    }
}

/// Carries octets until `far` ends, the client is gone, or the stop: then the client hears
/// [`Wires::farewell`], unless it is in the middle of a line. Who does not take what is there for
/// [`crate::Limits::write`] is cut.
pub async fn pump(mut client: Box<dyn Stream>, mut far: Box<dyn Stream>, wires: Wires) {
    let (mut up, mut down) = (Way::default(), Way::default());
    let clock = &*wires.clock;
    let mut patience: Option<(u64, Later<'_, ()>)> = None;
    let mut up_ends = false;
    let traffic = std::future::poll_fn(|cx| {
        if let Poll::Ready(end) = down.poll(&mut *far, &mut *client, cx) {
            return Poll::Ready(end);
        }
        // What the far side still says is heard, even if it takes nothing any more.
        up_ends = up_ends || up.poll(&mut *client, &mut *far, cx).is_ready();
        if !down.waits() && (up_ends || !up.waits()) {
            patience = None;
            return Poll::Pending;
        }
        let moved = up.moved + down.moved;
        if patience.as_ref().is_none_or(|(at, _)| *at != moved) {
            patience = Some((moved, clock.sleep_until(clock.now() + wires.limits.write)));
        }
        match patience.as_mut().map(|(_, sleep)| sleep.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => Poll::Pending,
        }
    });
    let ended = first(stopped(&wires.stop), traffic).await;
    if matches!(ended, First::A(())) && !down.waits() && !down.mid_line {
        let mut said = 0;
        let farewell = std::future::poll_fn(|cx| {
            while said < wires.farewell.len() {
                said += ready!(Pin::new(&mut *client).poll_write(cx, &wires.farewell[said..]))?;
            }
            Pin::new(&mut *client).poll_shutdown(cx)
        });
        // Whether the client hears it changes nothing for us.
        let _ = within(clock, LAST, farewell).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::watch;

    use super::*;
    use crate::tests::wires;
    use crate::{Limits, Tls};

    type Ends = (DuplexStream, DuplexStream, watch::Sender<bool>, tokio::task::JoinHandle<()>);

    /// The client's end, the far end, the stop, and the pump between them.
    fn begin() -> Ends {
        let ((client, ours), (far, theirs)) = (tokio::io::duplex(64), tokio::io::duplex(64));
        let (stop, stopped) = watch::channel(false);
        let wires = Wires { farewell: b"* BYE\r\n", ..wires(Tls::None, stopped) };
        let task = tokio::spawn(pump(Box::new(ours), Box::new(theirs), wires));
        (client, far, stop, task)
    }

    #[tokio::test(start_paused = true)]
    async fn octets_pass_both_ways_however_many() {
        let (client, far, _stop, task) = begin();
        let text: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let (mut client_in, mut client_out) = tokio::io::split(client);
        let (mut far_in, mut far_out) = tokio::io::split(far);
        let (up, down) = (text.clone(), text.clone());
        tokio::spawn(async move {
            client_out.write_all(&up).await.expect("is taken");
            client_out.shutdown().await.expect("ends");
        });
        let mut got = Vec::new();
        far_in.read_to_end(&mut got).await.expect("arrives");
        assert_eq!(got, text, "and the client's end is heard");
        tokio::spawn(async move {
            far_out.write_all(&down).await.expect("is taken");
            far_out.shutdown().await.expect("ends");
        });
        let mut got = Vec::new();
        client_in.read_to_end(&mut got).await.expect("arrives");
        assert_eq!(got, text, "the far side may speak after the client's end");
        task.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_the_client_hears_a_last_word_between_lines_only() {
        for (before, want) in [("* 1 EXISTS\r\n", "* 1 EXISTS\r\n* BYE\r\n"), ("* 1 FET", "* 1 FET")] {
            let (mut client, mut far, stop, task) = begin();
            far.write_all(before.as_bytes()).await.expect("is taken");
            let mut got = vec![0; before.len()];
            client.read_exact(&mut got).await.expect("arrives");
            stop.send(true).expect("it listens");
            client.read_to_end(&mut got).await.expect("ends");
            assert_eq!(String::from_utf8_lossy(&got), want);
            task.await.expect("it ends");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_in_the_end() {
        let (client, far, _stop, task) = begin();
        let (mut far_in, mut far_out) = tokio::io::split(far);
        let writing = tokio::spawn(async move {
            let _ = far_out.write_all(&[b'x'; 100_000]).await;
        });
        let begun = tokio::time::Instant::now();
        let mut got = Vec::new();
        far_in.read_to_end(&mut got).await.expect("ends");
        assert!(begun.elapsed() >= Limits::default().write.to_std(), "{:?}", begun.elapsed());
        task.await.expect("it ends");
        writing.await.expect("it is over");
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn either_side_may_vanish() {
        let (client, mut far, _stop, task) = begin();
        drop(client);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("ends");
        drop(far);
        task.await.expect("it ends");
        let (mut client, far, _stop, task) = begin();
        drop(far);
        client.read_to_end(&mut got).await.expect("ends");
        task.await.expect("it ends");
    }
}
