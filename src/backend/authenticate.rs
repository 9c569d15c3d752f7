//! pgduet's proof to a backend, in whatever way the backend asks for.

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl;
use tokio_postgres::config::ChannelBinding;

use super::endpoint::Endpoint;
use super::login::{Credentials, LoginError, MAX_LOGIN_MESSAGE, Secret, next_frame};
use crate::auth::{KeyProof, MECHANISM, MECHANISM_PLUS};
use crate::net::Channel;
use crate::wire::{HEADER, Writer, back, cstr, front};

const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Logs in on a connection on which the start-up message is to be sent, or has been. Ends with the server's consent.
pub(super) async fn authenticate(
    channel: &mut Channel,
    endpoint: &Endpoint,
    end_point: Option<Vec<u8>>,
    credentials: &Credentials,
) -> Result<(), LoginError> {
    let mut login = Login { endpoint, end_point, credentials, proof: Proof::NotAsked };
    loop {
        let frame = next_frame(channel, MAX_LOGIN_MESSAGE).await?;
        match frame.first() {
            Some(&back::ERROR) => return Err(LoginError::Refused(frame)),
            Some(&back::AUTHENTICATION) => {}
            Some(&back::NOTICE) | Some(&back::NEGOTIATE_PROTOCOL) => continue,
            _ => return Err(LoginError::Protocol),
        }
        let body = frame.get(HEADER..).filter(|body| body.len() >= 4).ok_or(LoginError::Protocol)?;
        if login.answer(body, &mut channel.outbound)? == Asked::NoMore {
            return Ok(());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    More,
    NoMore,
}

struct Login<'a> {
    endpoint: &'a Endpoint,
    end_point: Option<Vec<u8>>,
    credentials: &'a Credentials,
    proof: Proof,
}

/// How far SCRAM has come.
enum Proof {
    NotAsked,
    ByPassword(Box<sasl::ScramSha256>),
    ByKeys(Box<KeyProof>),
    /// The server has proved itself as well.
    Mutual,
}

impl Login<'_> {
    fn answer(&mut self, mut body: &[u8], out: &mut BytesMut) -> Result<Asked, LoginError> {
        match body.get_u32() {
            OK => return self.consent(),
            CLEARTEXT => {
                let password = self.unbound("password")?;
                Writer::begin(out, front::PASSWORD).cstr(password.as_bytes()).end();
            }
            MD5 => {
                let salt = body.try_into().map_err(|_| LoginError::Protocol)?;
                let password = self.unbound("md5")?;
                let hash = md5_hash(self.credentials.user.as_bytes(), password.as_bytes(), salt);
                Writer::begin(out, front::PASSWORD).cstr(hash.as_bytes()).end();
            }
            SASL => self.begin(body, out)?,
            SASL_CONTINUE => {
                let message = match &mut self.proof {
                    Proof::ByPassword(client) => {
                        client.update(body).map_err(|_| LoginError::Protocol)?;
                        client.message().to_vec()
                    }
                    Proof::ByKeys(client) => client.prove(body)?.into_bytes(),
                    Proof::NotAsked | Proof::Mutual => return Err(LoginError::Protocol),
                };
                Writer::begin(out, front::PASSWORD).bytes(&message).end();
            }
            SASL_FINAL => {
                match std::mem::replace(&mut self.proof, Proof::Mutual) {
                    Proof::ByPassword(mut client) => client.finish(body).map_err(|_| LoginError::Impostor)?,
                    Proof::ByKeys(client) => client.finish(body)?,
                    Proof::NotAsked | Proof::Mutual => return Err(LoginError::Protocol),
                };
            }
            _ => return Err(LoginError::Method),
        }
        Ok(Asked::More)
    }

    /// A server that began SCRAM and lets it be has not proved that it knows the password.
    fn consent(&self) -> Result<Asked, LoginError> {
        match self.proof {
            Proof::ByPassword(_) | Proof::ByKeys(_) => Err(LoginError::Impostor),
            Proof::NotAsked if self.insists_on_binding() => Err(LoginError::Unbound),
            Proof::NotAsked | Proof::Mutual => Ok(Asked::NoMore),
        }
    }

    fn insists_on_binding(&self) -> bool {
        self.endpoint.channel_binding == ChannelBinding::Require
    }

    /// The password, for a method that shows it, or nearly.
    fn unbound(&self, method: &'static str) -> Result<&str, LoginError> {
        if self.insists_on_binding() {
            return Err(LoginError::Unbound);
        }
        self.endpoint.warn_of(method);
        match &self.credentials.secret {
            Secret::Password(password) => Ok(password),
            Secret::None => Err(LoginError::NoPassword),
            Secret::Keys(_) => Err(LoginError::OnlyVerifier),
        }
    }

    fn begin(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), LoginError> {
        let offers = |name: &str| {
            std::iter::successors(cstr(body), |(_, rest)| cstr(rest)).any(|(offered, _)| offered == name.as_bytes())
        };
        let can_bind = self.end_point.is_some() && self.endpoint.channel_binding != ChannelBinding::Disable;
        let end_point = self.end_point.take().filter(|_| can_bind && offers(MECHANISM_PLUS));
        let mechanism = match &end_point {
            Some(_) => MECHANISM_PLUS,
            None if self.insists_on_binding() => return Err(LoginError::Unbound),
            None if offers(MECHANISM) => MECHANISM,
            None => return Err(LoginError::Method),
        };
        let (proof, first) = match &self.credentials.secret {
            Secret::None => return Err(LoginError::NoPassword),
            Secret::Password(password) => {
                let binding = match end_point {
                    Some(end_point) => sasl::ChannelBinding::tls_server_end_point(end_point),
                    None if can_bind => sasl::ChannelBinding::unrequested(),
                    None => sasl::ChannelBinding::unsupported(),
                };
                let client = sasl::ScramSha256::new(password.as_bytes(), binding);
                let first = client.message().to_vec();
                (Proof::ByPassword(Box::new(client)), first)
            }
            Secret::Keys(keys) => {
                let client = KeyProof::begin(keys.clone(), end_point);
                let first = client.first().into_bytes();
                (Proof::ByKeys(Box::new(client)), first)
            }
        };
        self.proof = proof;
        Writer::begin(out, front::PASSWORD).cstr(mechanism.as_bytes()).u32(first.len() as u32).bytes(&first).end();
        Ok(())
    }
}
