//! A socket with what was read and not yet consumed, and what was written and not yet sent.
//!
//! Bytes that only pass through are not copied into `outbound`: [`Channel::flush_with`] sends a *tail* straight from the buffer that they
//! were read into. An idle channel holds no buffer at all: one is taken when the socket is readable, and given back when it is empty.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::socket::Socket;
use super::tls::{Acceptor, Encrypted};
use crate::config::Tcp;

/// What a read asks for first, and what it asks for once a read has filled the buffer: bytes.
const FIRST_READ: usize = 8 << 10;
const BULK_READ: usize = 64 << 10;
/// TLS opens one record at a time, no longer than this.
const TLS_READ: usize = 16 << 10;

#[derive(Debug)]
pub struct Channel {
    socket: Socket,
    /// Read and not yet consumed.
    pub inbound: BytesMut,
    /// Written by pgduet and not yet sent.
    pub outbound: BytesMut,
    bulk: bool,
    eof: bool,
    /// The socket itself may hold bytes that were written and not sent.
    unflushed: bool,
    /// Nothing will be written any more, and the peer has not been told yet.
    finishing: bool,
}

impl Channel {
    pub fn new(socket: Socket) -> Self {
        Channel {
            socket,
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            bulk: false,
            eof: false,
            unflushed: false,
            finishing: false,
        }
    }

    /// See [`keep_alive`].
    pub fn keep_alive(&self, limits: &Tcp) {
        keep_alive(&self.socket, limits);
    }

    /// The peer's address, where it has one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer()
    }

    /// The first byte that the peer sends, without taking it; `None` when it closed instead. For a socket in clear.
    pub async fn peek_byte(&self) -> io::Result<Option<u8>> {
        let Socket::Tcp(stream) = &self.socket else { return Ok(None) };
        let mut byte = [0];
        let seen = stream.peek(&mut byte).await?;
        Ok((seen > 0).then_some(byte[0]))
    }

    /// Goes on inside TLS, as its server. Nothing may have been read that was not consumed. After an error, or where the future was
    /// dropped, nothing more can be read or written.
    pub async fn accept_tls(&mut self, acceptor: &Acceptor) -> io::Result<Encrypted> {
        let Socket::Tcp(stream) = std::mem::replace(&mut self.socket, Socket::Gone) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let (socket, encrypted) = acceptor.accept(stream).await?;
        self.socket = socket;
        Ok(encrypted)
    }

    /// The peer has closed its half; what it sent before is still in `inbound`.
    pub fn is_closed(&self) -> bool {
        self.eof
    }

    /// Whether anything that was written is still here.
    pub fn has_unsent(&self) -> bool {
        self.unflushed || self.finishing || !self.outbound.is_empty()
    }

    /// Behind what was written, the peer is to find the end of the stream. What it has to say can still be read.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Reads what is there, once. Ready: bytes arrived, or the peer closed (see [`Channel::is_closed`]).
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.eof {
            return Poll::Pending;
        }
        let filled = match self.socket {
            Socket::Tls(_) => ready!(self.poll_fill_by_copy(cx))?,
            _ => ready!(self.poll_fill_in_place(cx))?,
        };
        self.eof = filled == 0;
        Poll::Ready(Ok(()))
    }

    fn poll_fill_in_place(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.socket.poll_read_ready(cx))?;
        let want = if self.bulk { BULK_READ } else { FIRST_READ };
        if self.inbound.capacity() - self.inbound.len() < want / 2 {
            self.inbound.reserve(want);
        }
        let filled = {
            let mut buffer = ReadBuf::uninit(self.inbound.spare_capacity_mut());
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled().len();
            self.bulk = filled == buffer.capacity();
            filled
        };
        // SAFETY: `poll_read` has initialised that many bytes of the spare capacity, as `ReadBuf::filled` reports.
        #[allow(unsafe_code)]
        unsafe {
            self.inbound.set_len(self.inbound.len() + filled);
        }
        Poll::Ready(Ok(filled))
    }

    /// Whether TLS has anything to give is known only once it was given a buffer, and an idle connection is to hold none.
    fn poll_fill_by_copy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut record = [MaybeUninit::uninit(); TLS_READ];
        let mut buffer = ReadBuf::uninit(&mut record);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        self.inbound.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Sends `outbound`, then `tail`, as far as the socket takes them. Returns how much of the tail went out; whatever did not, the caller
    /// is woken for.
    pub fn flush_with(&mut self, cx: &mut Context<'_>, tail: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            let rest = tail.get(sent..).unwrap_or_default();
            if self.outbound.is_empty() && rest.is_empty() {
                self.push_out(cx)?;
                return Ok(sent);
            }
            let slices = [io::IoSlice::new(&self.outbound), io::IoSlice::new(rest)];
            let stream = Pin::new(&mut self.socket);
            let written = match (self.outbound.is_empty(), rest.is_empty()) {
                (true, _) => stream.poll_write(cx, rest),
                (_, true) => stream.poll_write(cx, &self.outbound),
                _ => stream.poll_write_vectored(cx, &slices),
            };
            match written {
                Poll::Pending => return Ok(sent),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.unflushed = self.socket.holds_writes();
                    let own = n.min(self.outbound.len());
                    self.outbound.advance(own);
                    sent += n - own;
                }
                Poll::Ready(Err(e)) => return Err(e),
            }
        }
    }

    /// Sends what the socket itself still holds, and the end of the stream if that is due, as far as it goes; the caller is woken for the rest.
    fn push_out(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed
            && let Poll::Ready(done) = Pin::new(&mut self.socket).poll_flush(cx)
        {
            self.unflushed = false;
            done?;
        }
        if self.finishing
            && let Poll::Ready(done) = Pin::new(&mut self.socket).poll_shutdown(cx)
        {
            self.finishing = false;
            done?;
        }
        Ok(())
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
            Ok(_) if !self.has_unsent() => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
        })
        .await
    }

    /// Sends all of `outbound` and says goodbye, as TLS wants it: without, the peer would take the end for a cut.
    pub async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        match self.socket.holds_writes() {
            true => self.socket.shutdown().await,
            false => Ok(()),
        }
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

/// When a peer that says nothing is taken for dead. Best effort: a socket that is no TCP socket has nobody to ask.
pub fn keep_alive(socket: &Socket, limits: &Tcp) {
    let Some(stream) = socket.tcp() else { return };
    let socket = socket2::SockRef::from(stream);
    let alive = match limits.keepalive.is_zero() {
        true => socket.set_keepalive(false),
        false => socket.set_tcp_keepalive(
            &socket2::TcpKeepalive::new()
                .with_time(limits.keepalive)
                .with_interval(limits.keepalive_interval)
                .with_retries(limits.keepalive_count),
        ),
    };
    let timeout = Some(limits.user_timeout).filter(|limit| !limit.is_zero());
    if let Err(error) = alive.and_then(|()| socket.set_tcp_user_timeout(timeout)) {
        tracing::debug!(%error, "a socket keeps the system's own limits");
    }
}

/// For connections on which others wait: a peer that does not acknowledge what was sent is given up after half a minute. Best effort.
pub fn watch_closely(socket: &Socket) {
    let Some(stream) = socket.tcp() else { return };
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let socket = socket2::SockRef::from(stream);
    let _ =
        socket.set_tcp_keepalive(&keepalive).and_then(|()| socket.set_tcp_user_timeout(Some(Duration::from_secs(30))));
}
