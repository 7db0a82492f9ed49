//! Bytes on their way out, joined so that one write carries what several actions said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use world::Stream;

/// Once this much waits it is written before the machine is asked for more.
pub(crate) const OUT_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    at: usize,
    unflushed: bool,
    pub(crate) written: u64,
}

impl Out {
    pub(crate) fn push(&mut self, more: Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes = more;
            self.at = 0;
        } else {
            self.bytes.extend_from_slice(&more);
        }
    }
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.at
    }
    pub(crate) fn is_clean(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }
    /// Forgets what waits: the connection is broken.
    pub(crate) fn drop_all(&mut self) {
        *self = Out { written: self.written, ..Out::default() };
    }
    /// Writes and flushes. The buffer is given back once it is empty.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut dyn Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        while self.at < self.bytes.len() {
            let n = ready!(stream.as_mut().poll_write(cx, &self.bytes[self.at..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += n;
            self.written += n as u64;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(stream.poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.bytes.capacity() > 0 {
            self.bytes = Vec::new();
            self.at = 0;
        }
        Poll::Ready(Ok(()))
    }
}
