//! The first bytes of a connection: TLS and GSS requests, a cancel request, or a start-up message.

use std::io;

use bytes::{Buf, BytesMut};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{GssEncRequest, SslRequest, Startup};
use pgwire::messages::{DecodeContext, Message};

use crate::net::Channel;

/// PostgreSQL's own bound on a start-up packet, bytes.
const MAX_STARTUP: usize = 10_000;

/// What a client opened its connection for.
#[derive(Debug)]
pub enum Opening {
    Session(Hello),
    Cancel(Cancel),
    /// It left without a word, as health checks do.
    Nothing,
}

/// A start-up message.
#[derive(Debug)]
pub struct Hello {
    pub user: String,
    /// Absent: the user's name.
    pub database: String,
    /// All parameters as sent, user and database among them.
    pub parameters: Vec<(String, String)>,
    /// Protocol extensions (`_pq_.*`) that the client asked for; none is known.
    pub extensions: Vec<String>,
    pub minor_version: u16,
}

/// Which statement to cancel: the key that the session was given at its start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cancel {
    pub pid: i32,
    pub secret: i32,
}

/// Why no session can begin; the text is for the client.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("invalid length of startup packet")]
    Length,
    #[error("invalid startup packet layout: {0}")]
    Layout(&'static str),
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0")]
    Version { major: u16, minor: u16 },
    #[error("received unencrypted data after SSL request")]
    BytesBeforeTls,
}

/// Reads up to the start-up message. TLS and GSS encryption are answered with "no". The caller bounds the time.
pub async fn read_opening(channel: &mut Channel) -> Result<Opening, OpeningError> {
    loop {
        let Some(packet) = read_packet(channel).await? else { return Ok(Opening::Nothing) };
        if SslRequest::is_ssl_request_packet(&packet) || GssEncRequest::is_gss_enc_request_packet(&packet) {
            if !channel.inbound.is_empty() {
                return Err(OpeningError::BytesBeforeTls);
            }
            channel.outbound.extend_from_slice(b"N");
            channel.flush().await?;
            continue;
        }
        return match CancelRequest::is_cancel_request_packet(&packet) {
            true => cancel(packet).map(Opening::Cancel),
            false => hello(packet).map(Opening::Session),
        };
    }
}

/// One length-checked packet of the form without a type byte; `None` when the peer closed before its first byte.
async fn read_packet(channel: &mut Channel) -> Result<Option<BytesMut>, OpeningError> {
    loop {
        if let Some((length, _)) = channel.inbound.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| OpeningError::Length)?;
            if !(8..=MAX_STARTUP).contains(&length) {
                return Err(OpeningError::Length);
            }
            if channel.inbound.len() >= length {
                return Ok(Some(channel.inbound.split_to(length)));
            }
        }
        channel.fill().await?;
        if channel.is_closed() {
            return if channel.inbound.is_empty() { Ok(None) } else { Err(OpeningError::Length) };
        }
    }
}

fn cancel(packet: BytesMut) -> Result<Cancel, OpeningError> {
    let mut fields = packet.get(8..).unwrap_or_default();
    if fields.len() != 8 {
        return Err(OpeningError::Length);
    }
    Ok(Cancel { pid: fields.get_i32(), secret: fields.get_i32() })
}

fn hello(mut packet: BytesMut) -> Result<Hello, OpeningError> {
    let version = packet.get(4..8).unwrap_or_default().get_u32();
    let (major, minor) = ((version >> 16) as u16, version as u16);
    if major != 3 {
        return Err(OpeningError::Version { major, minor });
    }
    if packet.last() != Some(&0) {
        return Err(OpeningError::Layout("expected terminator as last byte"));
    }
    let startup = Startup::decode(&mut packet, &DecodeContext::default())
        .ok()
        .flatten()
        .ok_or(OpeningError::Layout("no parameters could be read"))?;
    let (extensions, parameters): (Vec<_>, Vec<_>) =
        startup.parameters.into_iter().filter(|(k, _)| !k.is_empty()).partition(|(k, _)| k.starts_with("_pq_."));
    let find = |key: &str| parameters.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).filter(|v| !v.is_empty());
    let user = find("user").ok_or(OpeningError::Layout("no PostgreSQL user name specified in startup packet"))?;
    let database = find("database").unwrap_or_else(|| user.clone());
    Ok(Hello {
        user,
        database,
        parameters,
        extensions: extensions.into_iter().map(|(k, _)| k).collect(),
        minor_version: minor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    fn packet(version: u32, parameters: &[&str]) -> BytesMut {
        let mut body = BytesMut::new();
        body.put_u32(version);
        for p in parameters {
            body.put_slice(p.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
        let mut out = BytesMut::new();
        out.put_u32(body.len() as u32 + 4);
        out.extend_from_slice(&body);
        out
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        let hello = hello(packet(196_608, &["user", "app", "_pq_.x", "1"])).unwrap();
        assert_eq!((hello.user.as_str(), hello.database.as_str()), ("app", "app"));
        assert_eq!(hello.extensions, ["_pq_.x"]);
    }

    #[test]
    fn bad_start_ups_are_errors_with_postgres_words() {
        assert!(matches!(hello(packet(0x0002_0000, &[])), Err(OpeningError::Version { major: 2, minor: 0 })));
        assert!(matches!(hello(packet(196_608, &["database", "x"])), Err(OpeningError::Layout(_))));
        let mut unterminated = packet(196_608, &["user", "app"]);
        let last = unterminated.len() - 1;
        unterminated[last] = b'x';
        assert!(matches!(hello(unterminated), Err(OpeningError::Layout(_))));
    }
}
