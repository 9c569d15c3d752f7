//! SCRAM-SHA-256, the client's side, by keys instead of a password: what a client has shown to pgduet opens every server that
//! stores the same verifier, as two databases do whose roles were copied from one to the other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::scram::{hmac, is_same, xor};

/// As much as a password, to servers with this salt.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(super) client_key: [u8; 32],
    pub(super) server_key: [u8; 32],
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

/// Why the keys do not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the server's message could not be read")]
    Malformed,
    #[error("the server stores another verifier for this user")]
    OtherVerifier,
    #[error("the server does not know the verifier itself")]
    Impostor,
}

/// One exchange.
pub struct KeyProof {
    keys: ScramKeys,
    /// The certificate's hash, where the exchange is bound to it.
    end_point: Option<Vec<u8>>,
    nonce: String,
    expected: [u8; 32],
}

impl KeyProof {
    pub fn begin(keys: ScramKeys, end_point: Option<Vec<u8>>) -> Self {
        let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
        KeyProof { keys, end_point, nonce, expected: [0; 32] }
    }

    fn header(&self) -> &'static str {
        if self.end_point.is_some() { "p=tls-server-end-point,," } else { "n,," }
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    pub fn first(&self) -> String {
        format!("{}{}", self.header(), self.bare())
    }

    /// Takes the server's first message and returns the client's final one.
    pub fn prove(&mut self, server_first: &[u8]) -> Result<String, KeyError> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| KeyError::Malformed)?;
        let mut attributes = server_first.split(',');
        let mut attribute = |name| attributes.next().and_then(|a| a.strip_prefix(name)).ok_or(KeyError::Malformed);
        let (nonce, salt, iterations) = (attribute("r=")?, attribute("s=")?, attribute("i=")?);
        if !nonce.starts_with(&self.nonce) {
            return Err(KeyError::Malformed);
        }
        let ours = (STANDARD.encode(&self.keys.salt), self.keys.iterations.to_string());
        if (salt, iterations) != (ours.0.as_str(), ours.1.as_str()) {
            return Err(KeyError::OtherVerifier);
        }
        let binding = [self.header().as_bytes(), self.end_point.as_deref().unwrap_or_default()].concat();
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(binding));
        let message = format!("{},{server_first},{without_proof}", self.bare());
        let stored_key: [u8; 32] = Sha256::digest(self.keys.client_key).into();
        let proof = xor(self.keys.client_key, hmac(&stored_key, message.as_bytes()));
        self.expected = hmac(&self.keys.server_key, message.as_bytes());
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Takes the server's final message: it has to prove itself, too.
    pub fn finish(&self, server_final: &[u8]) -> Result<(), KeyError> {
        let text = std::str::from_utf8(server_final).map_err(|_| KeyError::Malformed)?;
        let signature = text.strip_prefix("v=").and_then(|v| STANDARD.decode(v).ok()).ok_or(KeyError::Malformed)?;
        let signature: [u8; 32] = signature.try_into().map_err(|_| KeyError::Malformed)?;
        if is_same(&signature, &self.expected) { Ok(()) } else { Err(KeyError::Impostor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Exchange, Mechanism, Verifier};
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    const PLAIN: Mechanism<'static> = Mechanism::Plain { binding_was_offered: false };

    /// What a client that knows the password shows.
    fn shown(verifier: &Verifier) -> ScramKeys {
        let mut client = ScramSha256::new(b"pencil", ChannelBinding::unsupported());
        let (exchange, first) = Exchange::begin(verifier.clone(), PLAIN, client.message()).unwrap();
        client.update(first.as_bytes()).unwrap();
        exchange.finish(client.message()).map(|proven| proven.keys).unwrap()
    }

    #[test]
    fn what_a_client_has_shown_opens_a_server_with_the_same_verifier_only() {
        let verifier = Verifier::from_password("pencil").unwrap();
        let keys = shown(&verifier);
        for (end_point, mechanism) in
            [(None, PLAIN), (Some(b"there".to_vec()), Mechanism::Plus { end_point: b"there" })]
        {
            let mut proof = KeyProof::begin(keys.clone(), end_point);
            let (exchange, first) = Exchange::begin(verifier.clone(), mechanism, proof.first().as_bytes()).unwrap();
            let last = proof.prove(first.as_bytes()).unwrap();
            let proven = exchange.finish(last.as_bytes()).map_err(|_| "refused").unwrap();
            assert_eq!(proof.finish(proven.server_final.as_bytes()), Ok(()));
            let impostor = format!("v={}", STANDARD.encode([0; 32]));
            assert_eq!(proof.finish(impostor.as_bytes()), Err(KeyError::Impostor));
        }
        let other = Verifier::from_password("pencil").unwrap();
        let mut proof = KeyProof::begin(keys, None);
        let (_, first) = Exchange::begin(other, PLAIN, proof.first().as_bytes()).unwrap();
        assert_eq!(proof.prove(first.as_bytes()), Err(KeyError::OtherVerifier));
    }
}
