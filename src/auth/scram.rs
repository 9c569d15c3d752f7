//! SCRAM-SHA-256 (RFC 5802, 7677), the server's side, as PostgreSQL does it: no channel binding, and an unknown user is led through
//! the same exchange as a wrong password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What is kept of a password: enough to check a proof, not enough to log in anywhere.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// Why a client is not who it says; never sent in this detail.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed,
    #[error("the client requires channel binding, which this connection has not")]
    ChannelBinding,
    #[error("the password does not match")]
    Mismatch,
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
            iterations: iterations.parse().ok()?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// A verifier that no password matches, for users that do not exist.
    pub fn nobody() -> Self {
        Verifier {
            iterations: 4096,
            salt: rand::random::<[u8; 16]>().to_vec(),
            stored_key: rand::random(),
            server_key: [0; 32],
        }
    }
}

/// The exchange after the server's first message.
pub struct Exchange {
    verifier: Verifier,
    client_first_bare: String,
    server_first: String,
    nonce: String,
    gs2_header: String,
}

impl Exchange {
    /// Takes the client's first message. Returns the exchange and the server's first message.
    pub fn begin(verifier: Verifier, client_first: &[u8]) -> Result<(Self, String), ScramError> {
        let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
        Self::begin_with_nonce(verifier, client_first, &nonce)
    }

    fn begin_with_nonce(verifier: Verifier, client_first: &[u8], ours: &str) -> Result<(Self, String), ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (binding, identity) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let bare = parts.next().ok_or(ScramError::Malformed)?;
        match binding {
            "n" | "y" if identity.is_empty() => {}
            b if b.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        }
        let theirs = bare.split(',').find_map(|a| a.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        let nonce = format!("{theirs}{ours}");
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let exchange = Exchange {
            verifier,
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
            gs2_header: format!("{binding},,"),
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's final message. Returns the server's final one if the proof holds.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof: [u8; 32] =
            STANDARD.decode(proof).ok().and_then(|p| p.try_into().ok()).ok_or(ScramError::Malformed)?;
        let expected = format!("c={},r={}", STANDARD.encode(&self.gs2_header), self.nonce);
        if without_proof != expected {
            return Err(ScramError::Malformed);
        }
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = hmac(&self.verifier.stored_key, message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        let differing =
            Sha256::digest(&client_key).iter().zip(self.verifier.stored_key).fold(0u8, |d, (a, b)| d | (a ^ b));
        match differing {
            0 => Ok(format!("v={}", STANDARD.encode(hmac(&self.verifier.server_key, message.as_bytes())))),
            _ => Err(ScramError::Mismatch),
        }
    }
}

/// A key shorter than the hash's block is padded with zeros, says RFC 2104.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
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

    fn exchange(stored: Verifier, password: &[u8]) -> Result<(), ScramError> {
        let mut client = ScramSha256::new(password, ChannelBinding::unsupported());
        let (exchange, server_first) = Exchange::begin(stored, client.message())?;
        client.update(server_first.as_bytes()).unwrap();
        let server_final = exchange.finish(client.message())?;
        client.finish(server_final.as_bytes()).unwrap();
        Ok(())
    }

    #[test]
    fn another_implementation_is_let_in_with_the_right_password_only() {
        let verifier = Verifier::from_password("pencil").unwrap();
        assert_eq!(exchange(verifier.clone(), b"pencil"), Ok(()));
        assert_eq!(exchange(verifier, b"pencils"), Err(ScramError::Mismatch));
        assert_eq!(exchange(Verifier::nobody(), b"pencil"), Err(ScramError::Mismatch));
    }

    #[test]
    fn garbage_is_an_error() {
        let verifier = Verifier::nobody();
        for bad in [&b""[..], b"n", b"n,,", b"x,,n=,r=a", b"n,a=b,n=,r=a", b"\xff\xfe,,"] {
            assert!(Exchange::begin(verifier.clone(), bad).is_err());
        }
        assert!(matches!(
            Exchange::begin(verifier, b"p=tls-server-end-point,,n=,r=a").err(),
            Some(ScramError::ChannelBinding)
        ));
    }
}
