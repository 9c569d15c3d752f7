//! The first bytes of a connection: TLS and GSS requests, a cancel request, or a start-up message.

use std::io;

use bytes::{Buf, BytesMut};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{GssEncRequest, SslRequest, Startup};
use pgwire::messages::{DecodeContext, Message};

use crate::net::Channel;
use crate::net::tls::{Acceptor, Encrypted};

/// PostgreSQL's own bound on a start-up packet, bytes.
const MAX_STARTUP: usize = 10_000;
/// The longest key of a cancel request, bytes.
const MAX_SECRET: usize = 256;
/// What TLS begins with; no start-up packet is as long as that byte would make it.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client opened its connection for.
pub enum Opening {
    Session(Box<Hello>),
    Cancel(Cancel),
    /// It left without a word, as health checks do, or said what deserves none.
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
    /// The connection it came on is encrypted.
    pub encrypted: Option<Encrypted>,
}

/// Which session's statement to cancel.
pub struct Cancel {
    pub pid: i32,
    /// What proves the right to: from protocol 3.2 on it may have another length than four bytes.
    pub secret: Vec<u8>,
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
    #[error("received unencrypted data after {0} request")]
    BytesBeforeEncryption(&'static str),
}

/// Encryption that a client may still ask for; each once.
struct Negotiable {
    tls: bool,
    gss: bool,
}

/// Reads up to the start-up message, through TLS if the client wants it and `acceptor` has it. GSS encryption is declined. The caller bounds
/// the time.
pub async fn read_opening(channel: &mut Channel, acceptor: Option<&Acceptor>) -> Result<Opening, OpeningError> {
    let mut encrypted = None;
    if channel.peek_byte().await? == Some(TLS_HANDSHAKE) {
        // Without TLS's own word that this is PostgreSQL's protocol, another protocol's client may have been led here: no answer.
        let Some(acceptor) = acceptor else { return Ok(Opening::Nothing) };
        encrypted = Some(channel.accept_tls(acceptor).await?).filter(|e| e.named_protocol);
        if encrypted.is_none() {
            return Ok(Opening::Nothing);
        }
    }
    let mut negotiable = Negotiable { tls: true, gss: true };
    loop {
        let Some(packet) = read_packet(channel).await? else { return Ok(Opening::Nothing) };
        if SslRequest::is_ssl_request_packet(&packet) && negotiable.tls {
            negotiable.tls = false;
            let acceptor = acceptor.filter(|_| encrypted.is_none());
            answer(channel, if acceptor.is_some() { b"S" } else { b"N" }, "SSL").await?;
            if let Some(acceptor) = acceptor {
                encrypted = Some(channel.accept_tls(acceptor).await?);
                negotiable.gss = false;
            }
        } else if GssEncRequest::is_gss_enc_request_packet(&packet) && negotiable.gss {
            negotiable.gss = false;
            answer(channel, b"N", "GSSAPI encryption").await?;
        } else if CancelRequest::is_cancel_request_packet(&packet) {
            // As PostgreSQL: what is no cancel request deserves no answer, as a good one gets none.
            return Ok(cancel(&packet).map_or(Opening::Nothing, Opening::Cancel));
        } else {
            let hello = hello(packet)?;
            return Ok(Opening::Session(Box::new(Hello { encrypted, ..hello })));
        }
    }
}

/// Answers a request for encryption. Bytes that came along with it were sent before there was any: whoever holds the wire may have put
/// them there, and what is encrypted must not begin with them.
async fn answer(channel: &mut Channel, answer: &[u8; 1], kind: &'static str) -> Result<(), OpeningError> {
    if !channel.inbound.is_empty() {
        return Err(OpeningError::BytesBeforeEncryption(kind));
    }
    channel.outbound.extend_from_slice(answer);
    Ok(channel.flush().await?)
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

fn cancel(packet: &[u8]) -> Option<Cancel> {
    let (pid, secret) = packet.get(8..)?.split_first_chunk::<4>()?;
    (1..=MAX_SECRET).contains(&secret.len()).then(|| Cancel { pid: i32::from_be_bytes(*pid), secret: secret.to_vec() })
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
        encrypted: None,
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
    fn a_cancel_request_has_a_key_of_any_sane_length() {
        let request = |secret: &[u8]| [&[0; 8], &[0, 0, 0, 7][..], secret].concat();
        for length in [1, 4, 32, 256] {
            let read = cancel(&request(&vec![1; length])).map(|c| (c.pid, c.secret.len()));
            assert_eq!(read, Some((7, length)));
        }
        for bad in [request(&[]), request(&[1; 257]), vec![0; 8], vec![0; 11]] {
            assert!(cancel(&bad).is_none());
        }
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
