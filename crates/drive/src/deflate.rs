//! Raw DEFLATE in both directions (RFC 4978), as a stream around a stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use world::Stream;

/// Compressed bytes held in either direction at most.
const HELD: usize = 16 * 1024;

pub(crate) struct Deflated {
    inner: Box<dyn Stream>,
    inflate: Decompress,
    /// Compressed bytes that were read and not yet inflated.
    input: Vec<u8>,
    input_at: usize,
    /// The last inflate filled its room, so more may come out without new input.
    more: bool,
    over: bool,
    deflate: Compress,
    output: Vec<u8>,
    output_at: usize,
    /// Something was compressed since the last sync flush.
    dirty: bool,
}

impl Deflated {
    pub(crate) fn new(inner: Box<dyn Stream>) -> Deflated {
        Deflated {
            inner,
            inflate: Decompress::new(false),
            input: Vec::new(),
            input_at: 0,
            more: false,
            over: false,
            deflate: Compress::new(Compression::new(5), false),
            output: Vec::new(),
            output_at: 0,
            dirty: false,
        }
    }

    /// Inflates into `buf` from what is held. True if something came out.
    fn inflate_held(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let room = buf.initialize_unfilled();
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(&self.input[self.input_at..], room, FlushDecompress::Sync)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let eaten = (self.inflate.total_in() - before_in) as usize;
        let made = (self.inflate.total_out() - before_out) as usize;
        self.more = made == room.len();
        self.input_at += eaten;
        if self.input_at == self.input.len() {
            self.input = Vec::new();
            self.input_at = 0;
        }
        self.over = status == Status::StreamEnd;
        if eaten == 0 && made == 0 && self.input_at < self.input.len() && !self.over {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the compressed stream is broken"));
        }
        buf.advance(made);
        Ok(made > 0)
    }

    fn compress(&mut self, bytes: &[u8], flush: FlushCompress) -> io::Result<usize> {
        let before = self.deflate.total_in();
        self.output.reserve(bytes.len() / 2 + 256);
        self.deflate.compress_vec(bytes, &mut self.output, flush).map_err(io::Error::other)?;
        Ok((self.deflate.total_in() - before) as usize)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output_at < self.output.len() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.output[self.output_at..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output_at += n;
        }
        self.output = Vec::new();
        self.output_at = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Deflated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.over || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if (this.more || !this.input.is_empty()) && this.inflate_held(buf)? {
                return Poll::Ready(Ok(()));
            }
            if this.over || !this.input.is_empty() {
                continue;
            }
            let mut piece = [0u8; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input.extend_from_slice(piece.filled());
        }
    }
}

impl AsyncWrite for Deflated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.output.len() - self.output_at >= HELD {
            ready!(self.poll_drain(cx))?;
        }
        let piece = &bytes[..bytes.len().min(HELD)];
        let mut eaten = 0;
        while eaten < piece.len() {
            eaten += self.compress(&piece[eaten..], FlushCompress::None)?;
        }
        self.dirty = true;
        Poll::Ready(Ok(eaten))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A sync flush is complete once it leaves room in the buffer it wrote to.
        while self.dirty {
            self.compress(b"", FlushCompress::Sync)?;
            self.dirty = self.output.len() == self.output.capacity();
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
