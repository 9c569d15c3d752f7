//! Proof of who a client is, and what it may log in to the backends with.

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::startup::Authentication;

use super::gate::Gate;
use super::handshake::Refusal;
use crate::auth::{Exchange, Hello, MECHANISM, MECHANISM_PLUS, Mechanism, ScramError, ScramKeys, Verifier};
use crate::backend::login::{Credentials, Secret};
use crate::config::ClientAuth;
use crate::net::Channel;
use crate::side::BySide;
use crate::wire::{HEADER, Header, Notice, cstr, front};

/// A password message is never longer, bytes.
const MAX_PASSWORD_MESSAGE: usize = 8 << 10;

/// Takes a client through the gate. Returns what it logs in to each backend with.
pub(super) async fn authenticate(
    gate: &Gate,
    channel: &mut Channel,
    hello: &Hello,
) -> Result<BySide<Credentials>, Refusal> {
    let from = channel.peer().map(|address| address.ip());
    gate.admit(hello, from).map_err(Refusal::Said)?;
    let credentials = match gate.auth {
        ClientAuth::Trust => trusted(gate, &hello.user)?,
        ClientAuth::ScramSha256 => by_password(gate, channel, hello).await?,
    };
    match gate.certifies(hello) {
        true => Ok(credentials),
        false => {
            let message = format!("certificate authentication failed for user \"{}\"", hello.user);
            Err(Notice::fatal("28000", message).into())
        }
    }
}

fn trusted(gate: &Gate, name: &str) -> Result<BySide<Credentials>, Refusal> {
    match gate.user(name) {
        Some(user) => Ok(user.credentials.clone()),
        None if gate.has_users() => Err(Notice::fatal("28000", format!("role \"{name}\" does not exist")).into()),
        None => Ok(BySide::from_fn(|_| Credentials { user: name.to_owned(), secret: Secret::None })),
    }
}

/// An unknown user is taken through the same steps, and fails where a wrong password does.
async fn by_password(gate: &Gate, channel: &mut Channel, hello: &Hello) -> Result<BySide<Credentials>, Refusal> {
    let name = &hello.user;
    let known = gate.user(name).and_then(|user| Some((user, user.verifier.clone()?)));
    let (user, verifier) = match known {
        Some((user, verifier)) => (Some(user), verifier),
        None => (None, gate.nobody(name)),
    };
    let end_point = hello.encrypted.as_ref().and_then(|e| e.end_point.as_deref());
    let keys = scram(channel, verifier, end_point, name).await?;
    let user = user.ok_or_else(|| password_failed(name))?;
    let mut credentials = user.credentials.clone();
    for side in crate::side::Side::BOTH {
        let secret = &mut credentials.get_mut(side).secret;
        if matches!(secret, Secret::None) {
            *secret = Secret::Keys(keys.clone());
        }
    }
    Ok(credentials)
}

fn password_failed(user: &str) -> Refusal {
    Notice::fatal("28P01", format!("password authentication failed for user \"{user}\"")).into()
}

async fn scram(
    channel: &mut Channel,
    verifier: Verifier,
    end_point: Option<&[u8]>,
    user: &str,
) -> Result<ScramKeys, Refusal> {
    let refused = |error| refusal(error, user);
    let malformed = || refused(ScramError::Malformed);
    let offered = [end_point.map(|_| MECHANISM_PLUS), Some(MECHANISM)];
    put_authentication(channel, Authentication::SASL(offered.into_iter().flatten().map(str::to_owned).collect()));
    let first = read_password_message(channel).await?;
    let (chosen, rest) = cstr(first.get(HEADER..).unwrap_or_default()).ok_or_else(malformed)?;
    let mechanism = match (std::str::from_utf8(chosen), end_point) {
        (Ok(MECHANISM), _) => Mechanism::Plain { binding_was_offered: end_point.is_some() },
        (Ok(MECHANISM_PLUS), Some(end_point)) => Mechanism::Plus { end_point },
        _ => return Err(Notice::fatal("08P01", "client selected an invalid SASL authentication mechanism").into()),
    };
    let message = rest.get(4..).ok_or_else(malformed)?;
    let (exchange, server_first) = Exchange::begin(verifier, mechanism, message).map_err(refused)?;
    put_authentication(channel, Authentication::SASLContinue(server_first.into()));
    let last = read_password_message(channel).await?;
    let proven = exchange.finish(last.get(HEADER..).unwrap_or_default()).map_err(refused)?;
    put_authentication(channel, Authentication::SASLFinal(proven.server_final.into()));
    Ok(proven.keys)
}

fn refusal(error: ScramError, user: &str) -> Refusal {
    let text = error.to_string();
    match error {
        ScramError::Mismatch => password_failed(user),
        ScramError::Contradiction(how) => Notice::fatal("08P01", text).detail(how).into(),
        ScramError::Malformed | ScramError::BindingType => Notice::fatal("08P01", text).into(),
        ScramError::BindingCheck => Notice::fatal("28000", text).into(),
        ScramError::Downgraded => Notice::fatal("28000", text)
            .detail(
                "The client supports SCRAM channel binding but thinks the server does not. \
                 However, this server does support channel binding.",
            )
            .into(),
    }
}

pub(super) fn put_authentication(channel: &mut Channel, message: Authentication) {
    // Encoding fails only for messages that are longer than any of these.
    let _ = message.encode(&mut channel.outbound);
}

async fn read_password_message(channel: &mut Channel) -> Result<BytesMut, Refusal> {
    loop {
        let header = Header::peek(&channel.inbound, MAX_PASSWORD_MESSAGE)
            .map_err(|_| Notice::fatal("08P01", "invalid message length"))?;
        match header {
            Some(header) if header.tag != front::PASSWORD => {
                let message = format!("expected SASL response, got message type {}", header.tag);
                return Err(Notice::fatal("08P01", message).into());
            }
            Some(header) if channel.inbound.len() >= header.len => return Ok(channel.inbound.split_to(header.len)),
            _ => {}
        }
        channel.flush().await.map_err(|_| Refusal::Silent)?;
        channel.fill().await.map_err(|_| Refusal::Silent)?;
        if channel.is_closed() {
            return Err(Refusal::Silent);
        }
    }
}
