//! TLS as its server, for clients: what the configuration's files hold, and the handshake.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::Socket;
use super::certificate::Certificate;
use crate::config::{ClientTls, TlsVersion};

/// The protocol's name in TLS's own negotiation.
pub const ALPN: &[u8] = b"postgresql";

/// What a finished handshake says of the connection.
#[derive(Debug)]
pub struct Encrypted {
    /// Of pgduet's own certificate, for SCRAM's channel binding.
    pub end_point: Option<Vec<u8>>,
    /// The client named the protocol.
    pub named_protocol: bool,
    /// A certificate that was checked against `clients.tls.ca_file`.
    pub certificate: Option<Certificate>,
}

/// pgduet's certificate, ready for handshakes. Immutable: other files mean another acceptor.
pub struct Acceptor {
    inner: TlsAcceptor,
    end_point: Option<Vec<u8>>,
}

impl Acceptor {
    /// Reads the files. Errors name the key of the configuration and the file, never what is in it.
    pub fn from_files(tls: &ClientTls) -> Result<Self, String> {
        let file = |key: &str, path: &Option<std::path::PathBuf>| {
            path.clone().ok_or(format!("clients.tls.{key}: required where clients.tls.mode is not disable"))
        };
        let chain = read_certificates(&file("cert_file", &tls.cert_file)?)
            .map_err(|problem| format!("clients.tls.cert_file: {problem}"))?;
        let key = read_key(&file("key_file", &tls.key_file)?)
            .map_err(|problem| format!("clients.tls.key_file: {problem}"))?;
        let end_point =
            chain.first().and_then(|leaf| Certificate::read(leaf).and_then(|certificate| certificate.end_point(leaf)));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(tls.min_version))
            .map_err(|e| format!("clients.tls.min_version: {e}"))?;
        let builder = match &tls.ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let failed = |problem: String| format!("clients.tls.ca_file: {problem}");
                let roots = root_store(&read_certificates(path).map_err(failed)?).map_err(failed)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    .allow_unauthenticated()
                    .build();
                builder.with_client_cert_verifier(verifier.map_err(|e| failed(e.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| format!("clients.tls.key_file: {e}"))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // As PostgreSQL: a session is a login, and is not taken up again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Acceptor { inner: TlsAcceptor::from(Arc::new(config)), end_point })
    }

    /// Takes the client through the handshake; the caller bounds the time. Dropping the future closes the connection.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(Socket, Encrypted)> {
        let stream = self.inner.accept(stream).await?;
        let connection = stream.get_ref().1;
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let encrypted = Encrypted {
            end_point: self.end_point.clone(),
            named_protocol: connection.alpn_protocol() == Some(ALPN),
            certificate: leaf.and_then(|leaf| Certificate::read(leaf)),
        };
        Ok((Socket::Tls(Box::new(TlsStream::Server(stream))), encrypted))
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(super) fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_1_2: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static FROM_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match least {
        TlsVersion::V1_2 => &FROM_1_2,
        TlsVersion::V1_3 => &FROM_1_3,
    }
}

/// All certificates of a PEM file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let all: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(path) {
        Ok(found) => found.collect(),
        Err(error) => Err(error),
    };
    match all {
        Ok(all) if all.is_empty() => Err(unreadable(&"holds no certificate in PEM form")),
        Ok(all) => Ok(all),
        Err(error) => Err(unreadable(&error)),
    }
}

/// The first private key of a PEM file.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("{}: {error}; a key without a passphrase in PEM form is needed", path.display()))
}

pub(super) fn root_store(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|e| format!("a certificate cannot be a root: {e}"))?;
    }
    Ok(roots)
}
