//! Logging in to a backend for a client: the session's own connection, spoken in raw frames.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::startup::Startup;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::net::TcpStream;

use crate::backend::control::{ConnectError, Target};
use crate::net::{Channel, tune};
use crate::side::{BySide, Side};
use crate::wire::{HEADER, Header, Writer, back, cstr, front};

/// A longer message during start-up is no PostgreSQL's, bytes.
const MAX_LOGIN_MESSAGE: usize = 64 << 10;

/// Where a backend listens, and the database that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub database: String,
}

impl Address {
    /// From a libpq URL. Errors say what is wrong with it.
    pub fn from_url(side: Side, url: &str) -> Result<Self, ConnectError> {
        let target = Target::parse(side, url)?;
        Ok(Address { host: target.host(), port: target.port(), database: target.database().to_owned() })
    }
}

/// Who logs in, with what.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: Option<String>,
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
    Connect(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server's own ErrorResponse, a whole frame.
    #[error("the server refused the login")]
    Refused(BytesMut),
    #[error("the server asks for a password and none is configured for this user")]
    NoPassword,
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
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(LoginError::Connect)?;
        tune(&stream).map_err(LoginError::Connect)?;
        let mut channel = Channel::new(stream);
        put_startup(&mut channel.outbound, address, credentials, parameters)?;
        authenticate(&mut channel, credentials).await?;
        await_ready(channel).await
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(LoginError::Timeout(timeout)))
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

/// Sends a cancel request on a connection of its own, as the protocol wants it. Success says that it was sent, no more.
pub async fn cancel(address: &Address, key: (i32, i32), timeout: Duration) -> io::Result<()> {
    const CANCEL: u32 = 80_877_102;
    let attempt = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        let mut channel = Channel::new(stream);
        for word in [16, CANCEL, key.0 as u32, key.1 as u32] {
            channel.outbound.extend_from_slice(&word.to_be_bytes());
        }
        channel.flush().await?;
        // The server closes once it has acted on it.
        while !channel.is_closed() {
            channel.fill().await?;
        }
        Ok(())
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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

async fn authenticate(channel: &mut Channel, credentials: &Credentials) -> Result<(), LoginError> {
    let password = || credentials.password.as_deref().ok_or(LoginError::NoPassword);
    let mut scram: Option<ScramSha256> = None;
    loop {
        let frame = next_frame(channel, MAX_LOGIN_MESSAGE).await?;
        match frame.first() {
            Some(&back::ERROR) => return Err(LoginError::Refused(frame)),
            Some(&back::AUTHENTICATION) => {}
            Some(&back::NOTICE) | Some(&back::NEGOTIATE_PROTOCOL) => continue,
            _ => return Err(LoginError::Protocol),
        }
        let mut body = frame.get(HEADER..).unwrap_or_default();
        if body.len() < 4 {
            return Err(LoginError::Protocol);
        }
        let out = &mut channel.outbound;
        match (body.get_u32(), &mut scram) {
            (0, _) => return Ok(()),
            (3, _) => Writer::begin(out, front::PASSWORD).cstr(password()?.as_bytes()).end(),
            (5, _) => {
                let salt = body.try_into().map_err(|_| LoginError::Protocol)?;
                let hash = md5_hash(credentials.user.as_bytes(), password()?.as_bytes(), salt);
                Writer::begin(out, front::PASSWORD).cstr(hash.as_bytes()).end();
            }
            (10, _) => {
                let offered =
                    std::iter::successors(cstr(body), |(_, rest)| cstr(rest)).any(|(m, _)| m == b"SCRAM-SHA-256");
                if !offered {
                    return Err(LoginError::Method);
                }
                let client = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
                Writer::begin(out, front::PASSWORD)
                    .cstr(b"SCRAM-SHA-256")
                    .u32(client.message().len() as u32)
                    .bytes(client.message())
                    .end();
                scram = Some(client);
            }
            (11, Some(client)) => {
                client.update(body).map_err(|_| LoginError::Protocol)?;
                Writer::begin(out, front::PASSWORD).bytes(client.message()).end();
            }
            (12, Some(client)) => client.finish(body).map_err(|_| LoginError::Protocol)?,
            _ => return Err(LoginError::Method),
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
            Some(&back::ERROR) => return Err(LoginError::Refused(frame)),
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
