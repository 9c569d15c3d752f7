//! Hands the driver of pgduet's own connections a socket on which TLS, if any, was spoken already: the driver is told to begin TLS at once,
//! and this is the TLS that it then finds.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::net::Socket;

/// What the handshake has told for SCRAM's channel binding.
pub struct Spoken {
    pub end_point: Option<Vec<u8>>,
}

impl TlsConnect<Socket> for Spoken {
    type Stream = Bound;
    type Error = Infallible;
    type Future = Ready<Result<Bound, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(Bound { socket, end_point: self.end_point }))
    }
}

pub struct Bound {
    socket: Socket,
    end_point: Option<Vec<u8>>,
}

impl TlsStream for Bound {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point.clone().map_or(ChannelBinding::none(), ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Bound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Bound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
