//! SCRAM-SHA-256 (RFC 5802, 7677), the server's side, as PostgreSQL does it: with channel binding inside TLS, and an unknown user is
//! led through the same exchange, with the same salt each time, as one whose password is wrong.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::keys::ScramKeys;

pub const MECHANISM: &str = "SCRAM-SHA-256";
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// PostgreSQL's default.
const ITERATIONS: u32 = 4096;

/// What is kept of a password: enough to check a proof, not enough to log in anywhere.
#[derive(Clone)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; 32],
    pub(super) server_key: [u8; 32],
}

/// Which of the two mechanisms the client has chosen, and what the other one would have needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism<'a> {
    /// `offered`: the connection has an end point, so that a client that could bind and did not was deceived.
    Plain { binding_was_offered: bool },
    /// Bound to the hash of pgduet's certificate.
    Plus { end_point: &'a [u8] },
}

/// Why a client is not who it says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed,
    /// The mechanism and the message disagree about channel binding; the text says how.
    #[error("malformed SCRAM message")]
    Contradiction(&'static str),
    #[error("unsupported SCRAM channel-binding type")]
    BindingType,
    #[error("SCRAM channel binding negotiation error")]
    Downgraded,
    #[error("SCRAM channel binding check failed")]
    BindingCheck,
    #[error("the password does not match")]
    Mismatch,
}

/// The client's proof holds.
pub struct Proven {
    pub server_final: String,
    /// What the client has shown it has; opens every server that stores the same verifier.
    pub keys: ScramKeys,
}

impl Verifier {
    /// Derives the verifier from a password; takes about a millisecond.
    pub fn from_password(password: &str) -> Option<Self> {
        Verifier::parse(&postgres_protocol::password::scram_sha_256(password.as_bytes()))
    }

    /// Reads PostgreSQL's own form, `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some(Verifier {
            iterations: iterations.parse().ok().filter(|n| *n > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// A verifier that no password matches, for users that do not exist: the same for the same name and secret.
    pub fn nobody(secret: &[u8; 32], user: &str, like: Option<&Verifier>) -> Self {
        let (iterations, length) = like.map_or((ITERATIONS, 16), |v| (v.iterations, v.salt.len()));
        let mut salt = hmac(secret, user.as_bytes()).to_vec();
        salt.truncate(length);
        Verifier { iterations, salt, stored_key: rand::random(), server_key: [0; 32] }
    }
}

/// The exchange after the server's first message.
pub struct Exchange {
    verifier: Verifier,
    client_first_bare: String,
    server_first: String,
    nonce: String,
    /// What the client's final message has to say of the channel.
    binding: String,
    is_bound: bool,
}

impl Exchange {
    /// Takes the client's first message. Returns the exchange and the server's first message.
    pub fn begin(verifier: Verifier, mechanism: Mechanism<'_>, first: &[u8]) -> Result<(Self, String), ScramError> {
        let text = std::str::from_utf8(first).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (flag, identity) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let bare = parts.next().filter(|_| identity.is_empty()).ok_or(ScramError::Malformed)?;
        let end_point = bound_to(mechanism, flag)?;
        let ours = STANDARD.encode(rand::random::<[u8; 18]>());
        let theirs = bare.split(',').find_map(|a| a.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        let nonce = format!("{theirs}{ours}");
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let exchange = Exchange {
            verifier,
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
            binding: STANDARD.encode([format!("{flag},,").as_bytes(), end_point].concat()),
            is_bound: !end_point.is_empty(),
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's final message.
    pub fn finish(self, client_final: &[u8]) -> Result<Proven, ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof: [u8; 32] =
            STANDARD.decode(proof).ok().and_then(|p| p.try_into().ok()).ok_or(ScramError::Malformed)?;
        let (binding, nonce) =
            without_proof.strip_prefix("c=").and_then(|rest| rest.split_once(",r=")).ok_or(ScramError::Malformed)?;
        match (binding == self.binding, nonce == self.nonce) {
            (true, true) => {}
            (false, _) if self.is_bound => return Err(ScramError::BindingCheck),
            _ => return Err(ScramError::Malformed),
        }
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let Verifier { stored_key, server_key, salt, iterations } = self.verifier;
        let client_key = xor(proof, hmac(&stored_key, message.as_bytes()));
        let shown: [u8; 32] = Sha256::digest(client_key).into();
        match is_same(&shown, &stored_key) {
            false => Err(ScramError::Mismatch),
            true => Ok(Proven {
                server_final: format!("v={}", STANDARD.encode(hmac(&server_key, message.as_bytes()))),
                keys: ScramKeys { client_key, server_key, salt, iterations },
            }),
        }
    }
}

/// What the exchange is bound to; nothing: it is not. `flag`: the client's word on channel binding.
fn bound_to<'a>(mechanism: Mechanism<'a>, flag: &str) -> Result<&'a [u8], ScramError> {
    let kind = flag.strip_prefix("p=");
    match (mechanism, flag) {
        (Mechanism::Plain { .. }, "n") | (Mechanism::Plain { binding_was_offered: false }, "y") => Ok(&[]),
        (Mechanism::Plain { .. }, "y") => Err(ScramError::Downgraded),
        (Mechanism::Plus { .. }, "n" | "y") => Err(ScramError::Contradiction(
            "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
        )),
        (Mechanism::Plain { .. }, _) if kind.is_some() => Err(ScramError::Contradiction(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
        )),
        (Mechanism::Plus { end_point }, _) if kind == Some("tls-server-end-point") => Ok(end_point),
        _ if kind.is_some() => Err(ScramError::BindingType),
        _ => Err(ScramError::Malformed),
    }
}

pub(super) fn xor(mut a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    a
}

/// In the same time, whatever differs.
pub(super) fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// A key shorter than the hash's block is padded with zeros, says RFC 2104.
pub(super) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    const PLAIN: Mechanism<'static> = Mechanism::Plain { binding_was_offered: false };

    fn exchange(
        stored: Verifier,
        mechanism: Mechanism<'_>,
        binding: ChannelBinding,
        password: &[u8],
    ) -> Result<(), ScramError> {
        let mut client = ScramSha256::new(password, binding);
        let (exchange, server_first) = Exchange::begin(stored, mechanism, client.message())?;
        client.update(server_first.as_bytes()).unwrap();
        let proven = exchange.finish(client.message())?;
        client.finish(proven.server_final.as_bytes()).unwrap();
        Ok(())
    }

    #[test]
    fn another_implementation_is_let_in_with_the_right_password_only() {
        let verifier = Verifier::from_password("pencil").unwrap();
        let nobody = Verifier::nobody(&[7; 32], "user", None);
        let plain = |stored, password| exchange(stored, PLAIN, ChannelBinding::unsupported(), password);
        assert_eq!(plain(verifier.clone(), b"pencil"), Ok(()));
        assert_eq!(plain(verifier, b"pencils"), Err(ScramError::Mismatch));
        assert_eq!(plain(nobody, b"pencil"), Err(ScramError::Mismatch));
    }

    #[test]
    fn an_exchange_is_bound_to_its_channel_and_no_other() {
        let verifier = Verifier::from_password("pencil").unwrap();
        let plus = Mechanism::Plus { end_point: b"ours" };
        let offered = Mechanism::Plain { binding_was_offered: true };
        let to = |end_point: &[u8]| ChannelBinding::tls_server_end_point(end_point.to_vec());
        let run = |mechanism, binding| exchange(verifier.clone(), mechanism, binding, b"pencil");
        assert_eq!(run(plus, to(b"ours")), Ok(()));
        assert_eq!(run(plus, to(b"theirs")), Err(ScramError::BindingCheck));
        assert_eq!(run(offered, ChannelBinding::unsupported()), Ok(()));
        assert_eq!(run(offered, ChannelBinding::unrequested()), Err(ScramError::Downgraded));
        assert_eq!(run(PLAIN, ChannelBinding::unrequested()), Ok(()));
        assert!(matches!(run(plus, ChannelBinding::unsupported()), Err(ScramError::Contradiction(_))));
        assert!(matches!(run(offered, to(b"ours")), Err(ScramError::Contradiction(_))));
    }

    #[test]
    fn an_unknown_user_looks_like_one_who_is_known() {
        let known = Verifier::parse("SCRAM-SHA-256$7000:c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let first = |user: &str| {
            let nobody = Verifier::nobody(&[7; 32], user, Some(&known));
            let (_, message) = Exchange::begin(nobody, PLAIN, b"n,,n=,r=x").unwrap();
            message.split_once(",s=").map(|(_, rest)| rest.to_owned()).unwrap()
        };
        assert_eq!(first("a"), first("a"));
        assert_ne!(first("a"), first("b"));
        assert_eq!(first("a").len(), "c2FsdHNhbHRzYWx0,i=7000".len());
        assert!(first("a").ends_with(",i=7000"));
    }

    #[test]
    fn garbage_is_an_error() {
        let verifier = Verifier::nobody(&[7; 32], "user", None);
        for bad in [&b""[..], b"n", b"n,,", b"x,,n=,r=a", b"n,a=b,n=,r=a", b"\xff\xfe,,"] {
            assert!(Exchange::begin(verifier.clone(), PLAIN, bad).is_err());
        }
        for bad in ["", "SCRAM-SHA-256$0:c2FsdA==$AA==:AA==", "SCRAM-SHA-256$4096:c2FsdA==$AA==:AA==", "md5abc"] {
            assert!(Verifier::parse(bad).is_none());
        }
    }
}
