//! Where a backend listens, and how a connection to it comes about: libpq's `sslmode`, to the letter.
//!
//! A mode is a list of tries. `allow` tries in clear first and asks for TLS once the server has refused that; `prefer` the other way round.
//! A server that declines TLS is gone on with in clear, on the same connection, where the mode lets that be.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::ChannelBinding;

use crate::net::trust::Connector;
use crate::net::{Socket, tune};
use crate::side::Side;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(SslMode::Disable),
            "allow" => Some(SslMode::Allow),
            "prefer" => Some(SslMode::Prefer),
            "require" => Some(SslMode::Require),
            "verify-ca" => Some(SslMode::VerifyCa),
            "verify-full" => Some(SslMode::VerifyFull),
            _ => None,
        }
    }

    /// Whether a connection in clear will never do.
    pub fn insists(self) -> bool {
        matches!(self, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull)
    }

    fn tries(self) -> &'static [Try] {
        match self {
            SslMode::Disable => &[Try::Clear],
            SslMode::Allow => &[Try::Clear, Try::IfOffered],
            SslMode::Prefer => &[Try::IfOffered, Try::Clear],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Try::Encrypted],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    Clear,
    IfOffered,
    Encrypted,
}

/// How TLS begins: after a request, or at once (PostgreSQL 17 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    Postgres,
    Direct,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `address`: where to connect, if it is not to be looked up.
    Tcp {
        host: String,
        address: Option<IpAddr>,
        port: u16,
    },
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Place::Unix { .. } => write!(f, "{}", self.socket_path().display()),
        }
    }
}

impl Place {
    fn socket_path(&self) -> PathBuf {
        match self {
            Place::Unix { directory, port } => directory.join(format!(".s.PGSQL.{port}")),
            Place::Tcp { .. } => PathBuf::new(),
        }
    }
}

#[derive(Debug)]
pub struct Endpoint {
    pub side: Side,
    pub place: Place,
    pub mode: SslMode,
    pub negotiation: Negotiation,
    pub channel_binding: ChannelBinding,
    /// There, where the mode is not `disable`.
    pub connector: Option<Connector>,
    warned: AtomicBool,
}

/// Why there is no connection; libpq's words where it has some.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error("{0}")]
    Connect(io::Error),
    #[error("server does not support SSL, but SSL was required")]
    Declined,
    #[error("SSL error: {0}")]
    Handshake(io::Error),
    #[error("direct SSL connection was established without ALPN protocol negotiation extension")]
    NoProtocol,
    #[error("received invalid response to SSL negotiation")]
    Answer,
}

/// A connection on which nothing but TLS was spoken yet.
pub struct Reached {
    pub socket: Socket,
    /// The server certificate's hash, for channel binding.
    pub end_point: Option<Vec<u8>>,
}

impl Reached {
    fn clear(socket: Socket) -> Self {
        Reached { socket, end_point: None }
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }
}

/// The connections that a mode allows for, one after the other.
pub struct Tries<'a> {
    endpoint: &'a Endpoint,
    left: &'static [Try],
}

impl Endpoint {
    pub fn new(side: Side, place: Place, mode: SslMode) -> Self {
        let negotiation = Negotiation::Postgres;
        let channel_binding = ChannelBinding::Prefer;
        Endpoint { side, place, mode, negotiation, channel_binding, connector: None, warned: AtomicBool::new(false) }
    }

    pub fn tries(&self) -> Tries<'_> {
        let left = match self.place {
            // Nobody listens in between.
            Place::Unix { .. } => SslMode::Disable.tries(),
            Place::Tcp { .. } => self.mode.tries(),
        };
        Tries { endpoint: self, left }
    }

    /// Says, once, that logins here are weaker than they could be.
    pub fn warn_of(&self, method: &'static str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(side = %self.side, method, "this backend's logins are weak; let its pg_hba.conf ask for scram-sha-256");
        }
    }

    async fn open(&self, how: Try) -> Result<Reached, ReachError> {
        let (host, port, address) = match &self.place {
            Place::Unix { .. } => {
                let socket = UnixStream::connect(self.place.socket_path()).await.map_err(ReachError::Connect)?;
                return Ok(Reached::clear(Socket::Unix(socket)));
            }
            Place::Tcp { host, port, address } => (host, *port, *address),
        };
        let stream = match address {
            Some(address) => TcpStream::connect((address, port)).await,
            None => TcpStream::connect((host.as_str(), port)).await,
        };
        let mut stream = stream.and_then(|s| tune(&s).map(|()| s)).map_err(ReachError::Connect)?;
        let Some(connector) = self.connector.as_ref().filter(|_| how != Try::Clear) else {
            return Ok(Reached::clear(Socket::Tcp(stream)));
        };
        if self.negotiation == Negotiation::Postgres && !ask_for_tls(&mut stream).await? {
            return match how {
                Try::Encrypted => Err(ReachError::Declined),
                _ => Ok(Reached::clear(Socket::Tcp(stream))),
            };
        }
        let (socket, server) = connector.connect(host, stream).await.map_err(ReachError::Handshake)?;
        match self.negotiation == Negotiation::Direct && !server.named_protocol {
            true => Err(ReachError::NoProtocol),
            false => Ok(Reached { socket, end_point: server.end_point }),
        }
    }
}

/// One byte is read and no more: what a wire-tapper puts behind it meets the TLS handshake, which refuses it.
async fn ask_for_tls(stream: &mut TcpStream) -> Result<bool, ReachError> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    stream.write_all(&SSL_REQUEST).await.map_err(ReachError::Connect)?;
    match stream.read_u8().await.map_err(ReachError::Connect)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(ReachError::Answer),
    }
}

impl Tries<'_> {
    /// The next connection. The caller bounds the time.
    pub async fn connect(&mut self) -> Result<Reached, ReachError> {
        loop {
            let Some((how, rest)) = self.left.split_first() else { return Err(ReachError::Declined) };
            self.left = rest;
            match self.endpoint.open(*how).await {
                Err(ReachError::Handshake(_)) if rest.first() == Some(&Try::Clear) => {}
                result => return result,
            }
        }
    }

    /// Whether another try is worth it after the server has refused a login that was, or was not, encrypted.
    pub fn go_on_after_refusal(&self, was_encrypted: bool) -> bool {
        match self.left.first() {
            Some(Try::Clear) => was_encrypted,
            Some(Try::IfOffered | Try::Encrypted) => !was_encrypted,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_is_tried_the_other_way_only_where_libpq_would() {
        let place = Place::Tcp { host: "db".into(), address: None, port: 5432 };
        let after_first = |mode, was_encrypted| {
            let endpoint = Endpoint::new(Side::Old, place.clone(), mode);
            let mut tries = endpoint.tries();
            tries.left = &tries.left[1..];
            tries.go_on_after_refusal(was_encrypted)
        };
        assert!(after_first(SslMode::Allow, false));
        assert!(after_first(SslMode::Prefer, true));
        assert!(!after_first(SslMode::Prefer, false));
        assert!(!after_first(SslMode::Disable, false));
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert!(mode.insists() && !after_first(mode, true));
        }
    }
}
