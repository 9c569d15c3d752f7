//! TLS as its client, towards a backend: whom it trusts, by libpq's rules rather than by a browser's.
//!
//! The differences that matter: without verification any certificate will do, an old or odd one too; a name is looked for in the
//! common name where there are no alternative names; and a server that shows the very certificate that was configured as
//! root is trusted, although a certificate authority is no server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use tokio_rustls::{TlsConnector, TlsStream};

use super::Socket;
use super::certificate::Certificate;
use super::tls::{ALPN, provider, read_certificates, read_key, root_store, versions};
use crate::config::TlsVersion;

/// Where the certificate authorities come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    System,
    File(PathBuf),
}

/// What a server has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    Anybody,
    SignedBy(Roots),
    /// Signed, and for this host.
    Named(Roots, String),
}

/// Everything that a connector is made from.
#[derive(Clone, Debug)]
pub struct Options {
    pub trust: Trust,
    /// pgduet's own certificate and key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub min_version: TlsVersion,
    /// Whether the handshake names the host in clear.
    pub names_host: bool,
}

/// What a finished handshake says of the server.
pub struct Server {
    /// Of its certificate, for SCRAM's channel binding.
    pub end_point: Option<Vec<u8>>,
    pub named_protocol: bool,
}

#[derive(Clone)]
pub struct Connector {
    inner: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// Reads the files. Errors name the option and the file, never what is in it.
    pub fn new(options: &Options) -> Result<Self, String> {
        let verifier = Verifier::new(&options.trust)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(options.min_version))
            .map_err(|e| format!("ssl_min_protocol_version: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = read_certificates(certificate).map_err(|problem| format!("sslcert: {problem}"))?;
                let key = read_key(key).map_err(|problem| format!("sslkey: {problem}"))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| format!("sslkey: {e}"))?
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = options.names_host;
        config.resumption = Resumption::disabled();
        Ok(Connector { inner: TlsConnector::from(Arc::new(config)) })
    }

    /// Takes the server through the handshake; the caller bounds the time. Dropping the future closes the connection.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<(Socket, Server)> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            // A name that DNS has not is not told to the server; whether its certificate fits is the verifier's affair.
            Err(_) => ServerName::from(stream.peer_addr()?.ip()),
        };
        let stream = self.inner.connect(name, stream).await.map_err(in_words)?;
        let connection = stream.get_ref().1;
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let end_point = leaf.and_then(|leaf| Certificate::read(leaf)?.end_point(leaf));
        let server = Server { end_point, named_protocol: connection.alpn_protocol() == Some(ALPN) };
        Ok((Socket::Tls(Box::new(TlsStream::Client(stream))), server))
    }
}

/// A certificate's fault in words rather than in the library's terms; anything else as it is.
fn in_words(error: io::Error) -> io::Error {
    let fault = match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => match other.to_string().as_str() {
            "UnsupportedCertVersion" => "it is of X.509 version 1; verification needs one of version 3".to_owned(),
            fault => fault.to_owned(),
        },
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => "unknown issuer".to_owned(),
        Some(Error::InvalidCertificate(fault)) => format!("{fault}"),
        _ => return error,
    };
    io::Error::other(format!("certificate verify failed: {fault}"))
}

#[derive(Debug)]
struct Verifier {
    authorities: Option<Authorities>,
    host: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Authorities {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

/// The certificate is for somebody else; in libpq's words.
#[derive(Debug, thiserror::Error)]
#[error("server certificate for {named} does not match host name \"{host}\"")]
struct WrongHost {
    named: String,
    host: String,
}

impl Verifier {
    fn new(trust: &Trust) -> Result<Self, String> {
        let (roots, host) = match trust {
            Trust::Anybody => (None, None),
            Trust::SignedBy(roots) => (Some(roots), None),
            Trust::Named(roots, host) => (Some(roots), Some(host.clone())),
        };
        let authorities = roots.map(Authorities::read).transpose()?;
        Ok(Verifier { authorities, host, algorithms: provider().signature_verification_algorithms })
    }
}

impl Authorities {
    fn read(roots: &Roots) -> Result<Self, String> {
        let failed = |problem: String| format!("sslrootcert: {problem}");
        match roots {
            Roots::File(path) => {
                let certificates = read_certificates(path).map_err(failed)?;
                Ok(Authorities { roots: root_store(&certificates).map_err(failed)?, certificates })
            }
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                // A system's store may hold a few that cannot be read; the others count.
                let (added, _) = roots.add_parsable_certificates(found.certs);
                match added {
                    0 => Err(failed("the system has no trusted certificates; install its package of them".into())),
                    _ => Ok(Authorities { roots, certificates: Vec::new() }),
                }
            }
        }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let is_root = self.certificates.iter().any(|root| root.as_ref() == leaf.as_ref());
        if is_root {
            let valid = Certificate::read(leaf).map(|certificate| certificate.is_valid_at(now.as_secs()));
            return match valid {
                Some(true) => Ok(()),
                Some(false) => Err(CertificateError::Expired.into()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms.all)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.check(leaf, intermediates, now, &self.algorithms)?;
        }
        if let Some(host) = &self.host {
            let certificate = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
            if !certificate.names(host) {
                let wrong = WrongHost { named: certificate.described(), host: host.clone() };
                return Err(CertificateError::Other(OtherError(Arc::new(wrong))).into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.authorities {
            // Whoever trusts anybody gains nothing by a proof of whom it is that is trusted.
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls12_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.authorities {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
