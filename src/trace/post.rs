//! HTTP to the collector: one connection, kept for as long as the collector keeps it.

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::otlp;
use crate::config::Collector;

/// An answer has nothing that is looked at; a longer one ends the connection, bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Worth another try.
    #[error("{0}")]
    Unreachable(String),
    #[error("the collector answers {0}")]
    Busy(StatusCode),
    /// It would be refused again.
    #[error("the collector answers {0}")]
    Rejected(StatusCode),
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Post {
    collector: Collector,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Post {
    pub fn new(collector: Collector) -> Self {
        Post { collector, connection: None }
    }

    /// Dropping the future gives the connection up.
    pub async fn send(&mut self, body: Bytes) -> Result<(), Refused> {
        let mut connection = match self.connection.take().filter(SendRequest::is_ready) {
            Some(connection) => connection,
            None => self.connect().await.map_err(|e| Refused::Unreachable(e.to_string()))?,
        };
        let status = self.exchange(&mut connection, body).await.map_err(|e| Refused::Unreachable(e.to_string()))?;
        self.connection = Some(connection);
        match status.as_u16() {
            200..300 => Ok(()),
            429 | 502 | 503 | 504 => Err(Refused::Busy(status)),
            _ => Err(Refused::Rejected(status)),
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect((self.collector.host.as_str(), self.collector.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends with its sender; what goes wrong, the sender says.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn exchange(&self, connection: &mut SendRequest<Full<Bytes>>, body: Bytes) -> io::Result<StatusCode> {
        let Collector { host, port, path } = &self.collector;
        let request = Request::post(path)
            .header(HOST, format!("{host}:{port}"))
            .header(CONTENT_TYPE, otlp::CONTENT_TYPE)
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        connection.ready().await.map_err(io::Error::other)?;
        let answer = connection.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        Ok(status)
    }
}
