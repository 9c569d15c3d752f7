//! Logging in to a backend for a client: the session's own connection, spoken in raw frames.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::startup::Startup;

use super::authenticate::authenticate;
use super::control::ConnectError;
use super::endpoint::{Endpoint, ReachError};
use super::target::Target;
use crate::auth::{KeyError, ScramKeys};
use crate::net::Channel;
use crate::side::{BySide, Side};
use crate::wire::{HEADER, Header, back, cstr};

/// A longer message during start-up is no PostgreSQL's, bytes.
pub(super) const MAX_LOGIN_MESSAGE: usize = 64 << 10;

/// Where a backend listens, and the database that is served.
#[derive(Clone, Debug)]
pub struct Address {
    pub endpoint: Arc<Endpoint>,
    pub database: String,
}

impl Address {
    /// From a libpq URL. Errors say what is wrong with it.
    pub fn from_url(side: Side, url: &str) -> Result<Self, ConnectError> {
        let target = Target::parse(side, url)?;
        let database = target.database().to_owned();
        Ok(Address { endpoint: Arc::new(target.endpoint), database })
    }
}

/// Who logs in, with what.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub secret: Secret,
}

/// What proves it. Not printable.
#[derive(Clone)]
pub enum Secret {
    None,
    Password(String),
    /// What the client has shown to pgduet: as much as a password to a server that stores the same verifier.
    Keys(ScramKeys),
}

/// A connection that is ready for its first query.
#[derive(Debug)]
pub struct Backend {
    pub channel: Channel,
    /// What it reported at start-up, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// For cancel requests.
    pub key: (i32, i32),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("could not connect: {0}")]
    Connect(#[from] ReachError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server's own ErrorResponse, a whole frame.
    #[error("the server refused the login")]
    Refused(BytesMut),
    /// The same, once it has admitted who logs in: of a bad start-up setting, or a role that is not.
    #[error("the server refused the start-up")]
    Dismissed(BytesMut),
    #[error("the server asks for a password and none is configured for this user")]
    NoPassword,
    #[error("the server asks for a password and only a verifier is configured for this user")]
    OnlyVerifier,
    #[error("the client's proof does not open the server: {0}")]
    Keys(#[from] KeyError),
    #[error("the server has not proved that it knows the password")]
    Impostor,
    #[error("channel binding is required, and the server does not ask for it")]
    Unbound,
    #[error("the server asks for an authentication method that is not supported")]
    Method,
    #[error("the connection was lost during start-up: {0}")]
    Lost(io::Error),
    #[error("the server's start-up messages could not be read")]
    Protocol,
}

/// Connects and logs in. `parameters`: the client's start-up parameters, in which user and database are replaced.
pub async fn login(
    address: &Address,
    credentials: &Credentials,
    parameters: &[(String, String)],
    timeout: Duration,
) -> Result<Backend, LoginError> {
    let attempt = async {
        let mut tries = address.endpoint.tries();
        loop {
            let reached = tries.connect().await?;
            let was_encrypted = reached.is_encrypted();
            let mut channel = Channel::new(reached.socket);
            put_startup(&mut channel.outbound, address, credentials, parameters)?;
            match authenticate(&mut channel, &address.endpoint, reached.end_point, credentials).await {
                Err(LoginError::Refused(_)) if tries.go_on_after_refusal(was_encrypted) => {}
                result => break result.map(|()| channel),
            }
        }
    };
    let whole = async { await_ready(attempt.await?).await };
    tokio::time::timeout(timeout, whole).await.unwrap_or(Err(LoginError::Timeout(timeout)))
}

fn put_startup(
    out: &mut BytesMut,
    address: &Address,
    credentials: &Credentials,
    parameters: &[(String, String)],
) -> Result<(), LoginError> {
    let mut startup = Startup::new();
    startup.parameters.extend(parameters.iter().cloned());
    startup.parameters.insert("user".into(), credentials.user.clone());
    startup.parameters.insert("database".into(), address.database.clone());
    startup.encode(out).map_err(|_| LoginError::Protocol)
}

/// Sends a cancel request on a connection of its own, as the protocol wants it, encrypted as any other. Success says that the server has
/// acted on it: it closes once it has. Dropping the future leaves open whether the request arrives.
pub async fn cancel(address: &Address, key: (i32, i32), timeout: Duration) -> Result<(), LoginError> {
    const CANCEL: u32 = 80_877_102;
    let attempt = async {
        let mut channel = Channel::new(address.endpoint.tries().connect().await?.socket);
        for word in [16, CANCEL, key.0 as u32, key.1 as u32] {
            channel.outbound.extend_from_slice(&word.to_be_bytes());
        }
        channel.flush().await.map_err(LoginError::Lost)?;
        while !channel.is_closed() {
            channel.fill().await.map_err(LoginError::Lost)?;
        }
        Ok(())
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(LoginError::Timeout(timeout)))
}

/// The next whole frame.
pub async fn next_frame(channel: &mut Channel, max: usize) -> Result<BytesMut, LoginError> {
    loop {
        let header = Header::peek(&channel.inbound, max).map_err(|_| LoginError::Protocol)?;
        if let Some(header) = header.filter(|h| channel.inbound.len() >= h.len) {
            return Ok(channel.inbound.split_to(header.len));
        }
        channel.flush().await.map_err(LoginError::Lost)?;
        channel.fill().await.map_err(LoginError::Lost)?;
        if channel.is_closed() {
            return Err(LoginError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

async fn await_ready(mut channel: Channel) -> Result<Backend, LoginError> {
    let mut parameters = Vec::new();
    let mut key = (0, 0);
    loop {
        let frame = next_frame(&mut channel, MAX_LOGIN_MESSAGE).await?;
        let mut body = frame.get(HEADER..).unwrap_or_default();
        match frame.first() {
            Some(&back::ERROR) => return Err(LoginError::Dismissed(frame)),
            Some(&back::PARAMETER_STATUS) => {
                let (name, rest) = cstr(body).ok_or(LoginError::Protocol)?;
                let (value, _) = cstr(rest).ok_or(LoginError::Protocol)?;
                parameters.push((name.to_vec(), value.to_vec()));
            }
            Some(&back::BACKEND_KEY_DATA) if body.len() == 8 => key = (body.get_i32(), body.get_i32()),
            Some(&back::READY_FOR_QUERY) => return Ok(Backend { channel, parameters, key }),
            _ => {}
        }
    }
}

/// A client's identity on both backends: with this, anybody may open one more connection for it.
#[derive(Clone)]
pub struct Identity {
    /// As the client named itself.
    pub user: String,
    /// The client's start-up parameters; user and database are replaced at each login.
    pub parameters: Vec<(String, String)>,
    pub credentials: BySide<Credentials>,
}

impl Identity {
    /// Whether a connection of one may serve the other: the same login with the same start-up settings.
    pub fn is_same(&self, other: &Identity) -> bool {
        std::ptr::eq(self, other) || (self.user == other.user && self.parameters == other.parameters)
    }
}
