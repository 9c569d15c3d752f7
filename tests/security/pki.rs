//! Certificates for a test: two authorities, and what they sign.

use std::path::{Path, PathBuf};

use pgduet::demo::binaries::Binaries;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

pub struct Pki {
    home: TempDir,
    authority: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pki {
    /// `ca.crt` signs; `other.crt` is an authority, too, that has signed nothing.
    pub fn new() -> Pki {
        let home = tempfile::Builder::new().prefix("pgduet-pki-").tempdir().expect("a directory");
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("open");
        let authority = new_authority(&home.path().join("ca.crt"));
        drop(new_authority(&home.path().join("other.crt")));
        Pki { home, authority }
    }

    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// A certificate for these hosts, or, without any, for a common name alone.
    pub fn issue(&self, file: &str, common_name: &str, hosts: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters(common_name, hosts).signed_by(&key, &self.authority).expect("a certificate").pem();
        self.write(file, &certificate, &key)
    }

    /// A certificate that signs itself, as the documentation of PostgreSQL has its readers make one.
    pub fn self_signed(&self, file: &str, host: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = parameters(host, &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        self.write(file, &certificate, &key)
    }

    fn write(&self, file: &str, certificate: &str, key: &KeyPair) -> Identity {
        let path = |ending: &str| self.home.path().join(format!("{file}.{ending}"));
        let identity = Identity { cert: path("crt"), key: path("key") };
        std::fs::write(&identity.cert, certificate).expect("a file");
        std::fs::write(&identity.key, key.serialize_pem()).expect("a file");
        std::fs::set_permissions(&identity.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        identity
    }

    /// A file that servers read.
    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.home.path().join(name), text).expect("a file");
        self.path(name)
    }
}

impl Identity {
    #[allow(dead_code, reason = "for the tests of backends")]
    /// Settings of a server that shows this certificate; the files become the server's.
    pub fn of_server(&self, binaries: &Binaries) -> Vec<String> {
        [&self.cert, &self.key].into_iter().for_each(|file| binaries.give(file).expect("the server's file"));
        vec![
            "ssl=on".into(),
            format!("ssl_cert_file={}", self.cert.display()),
            format!("ssl_key_file={}", self.key.display()),
        ]
    }
}

fn parameters(common_name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(hosts).expect("names");
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}

fn new_authority(file: &Path) -> Issuer<'static, KeyPair> {
    let mut parameters = parameters("an authority", &[]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    std::fs::write(file, parameters.self_signed(&key).expect("a certificate").pem()).expect("a file");
    Issuer::new(parameters, key)
}
