//! A socket with what was read and not yet consumed, and what was written and not yet sent.
//!
//! Bytes that only pass through are not copied into `outbound`: [`Channel::flush_with`] sends a *tail* straight from the buffer that they
//! were read into. An idle channel holds no buffer at all: one is taken when the socket is readable, and given back when it is empty.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a read asks for first, and what it asks for once a read has filled the buffer: bytes.
const FIRST_READ: usize = 8 << 10;
const BULK_READ: usize = 64 << 10;

#[derive(Debug)]
pub struct Channel {
    stream: TcpStream,
    /// Read and not yet consumed.
    pub inbound: BytesMut,
    /// Written by pgduet and not yet sent.
    pub outbound: BytesMut,
    bulk: bool,
    eof: bool,
}

impl Channel {
    pub fn new(stream: TcpStream) -> Self {
        Channel { stream, inbound: BytesMut::new(), outbound: BytesMut::new(), bulk: false, eof: false }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The peer has closed its half; what it sent before is still in `inbound`.
    pub fn is_closed(&self) -> bool {
        self.eof
    }

    /// Reads what is there, once. Ready: bytes arrived, or the peer closed (see [`Channel::is_closed`]).
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.eof {
            return Poll::Pending;
        }
        ready!(self.stream.poll_read_ready(cx))?;
        let want = if self.bulk { BULK_READ } else { FIRST_READ };
        if self.inbound.capacity() - self.inbound.len() < want / 2 {
            self.inbound.reserve(want);
        }
        let filled = {
            let mut buffer = ReadBuf::uninit(self.inbound.spare_capacity_mut());
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled().len();
            self.bulk = filled == buffer.capacity();
            filled
        };
        // SAFETY: `poll_read` has initialised that many bytes of the spare capacity, as `ReadBuf::filled` reports.
        #[allow(unsafe_code)]
        unsafe {
            self.inbound.set_len(self.inbound.len() + filled);
        }
        self.eof = filled == 0;
        Poll::Ready(Ok(()))
    }

    /// Sends `outbound`, then `tail`, as far as the socket takes them. Returns how much of the tail went out; whatever did not, the caller
    /// is woken for.
    pub fn flush_with(&mut self, cx: &mut Context<'_>, tail: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            let rest = tail.get(sent..).unwrap_or_default();
            if self.outbound.is_empty() && rest.is_empty() {
                return Ok(sent);
            }
            let slices = [io::IoSlice::new(&self.outbound), io::IoSlice::new(rest)];
            let stream = Pin::new(&mut self.stream);
            let written = match (self.outbound.is_empty(), rest.is_empty()) {
                (true, _) => stream.poll_write(cx, rest),
                (_, true) => stream.poll_write(cx, &self.outbound),
                _ => stream.poll_write_vectored(cx, &slices),
            };
            match written {
                Poll::Pending => return Ok(sent),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    let own = n.min(self.outbound.len());
                    self.outbound.advance(own);
                    sent += n - own;
                }
                Poll::Ready(Err(e)) => return Err(e),
            }
        }
    }

    /// Gives empty buffers back, so that an idle connection costs no memory.
    pub fn release_buffers(&mut self) {
        if self.inbound.is_empty() && self.inbound.capacity() > 0 {
            self.inbound = BytesMut::new();
        }
        if self.outbound.is_empty() && self.outbound.capacity() > 0 {
            self.outbound = BytesMut::new();
        }
        self.bulk = false;
    }

    /// Waits for more bytes. Cancellation-safe: nothing is lost when the future is dropped.
    pub async fn fill(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Sends all of `outbound`. Cancellation-safe: what was not sent stays in `outbound`.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| match self.flush_with(cx, &[]) {
            Err(e) => Poll::Ready(Err(e)),
            Ok(_) if self.outbound.is_empty() => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
        })
        .await
    }
}

/// No delay (a reply must not wait for more), and keepalive, so that a peer that vanished is noticed.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
