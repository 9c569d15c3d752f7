//! What `backends.<side>.url` says: where a backend is, whom it has to prove itself to, and how to log in. libpq's URL, without libpq's
//! environment and home directory: what is not written there does not count.

use std::net::IpAddr;
use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode as DriverMode, SslNegotiation, TargetSessionAttrs};

use super::control::{ConnectError, describe};
use super::endpoint::{Endpoint, Negotiation, Place, SslMode};
use super::passfile;
use crate::config::TlsVersion;
use crate::net::trust::{Connector, Options as Tls, Roots, Trust};
use crate::side::Side;

/// Where a backend is and how to log in.
#[derive(Debug)]
pub struct Target {
    pub endpoint: Endpoint,
    /// The login; where to is the endpoint's affair.
    pub login: tokio_postgres::Config,
}

impl Target {
    /// Reads the URL and the files that it names.
    pub fn parse(side: Side, url: &str) -> Result<Self, ConnectError> {
        Self::read(side, url).map_err(|problem| ConnectError::Url { side, problem })
    }

    fn read(side: Side, url: &str) -> Result<Self, String> {
        let (plain, options) = split_options(url);
        let mut login: tokio_postgres::Config = plain.parse().map_err(|e: tokio_postgres::Error| describe(&e))?;
        if login.get_user().is_none() {
            return Err("no user is named; write postgres://user@host:port/database".into());
        }
        if login.get_target_session_attrs() != TargetSessionAttrs::Any {
            return Err("target_session_attrs: a side is one server".into());
        }
        let place = place(&login)?;
        let mut endpoint = Endpoint::new(side, place, options.ssl_mode()?);
        endpoint.negotiation = options.negotiation(endpoint.mode)?;
        endpoint.channel_binding = login.get_channel_binding();
        endpoint.connector = options.connector(&endpoint)?;
        // The driver is handed a connection on which TLS, if any, has been spoken already.
        login.ssl_mode(DriverMode::Require).ssl_negotiation(SslNegotiation::Direct);
        let mut target = Target { endpoint, login };
        if target.login.get_password().is_none() {
            target.take_password(options.passfile)?;
        }
        Ok(target)
    }

    fn take_password(&mut self, passfile: Option<PathBuf>) -> Result<(), String> {
        if let Ok(password) = std::env::var("PGPASSWORD") {
            self.login.password(password);
            return Ok(());
        }
        let Some(path) = passfile else { return Ok(()) };
        let (host, port) = match &self.endpoint.place {
            Place::Tcp { host, port, .. } => (host.clone(), *port),
            Place::Unix { directory, port } => (directory.display().to_string(), *port),
        };
        let login = passfile::Login { host: &host, port, database: self.database(), user: self.user() };
        if let Some(password) = passfile::look_up(&path, login)? {
            self.login.password(password);
        }
        Ok(())
    }

    fn user(&self) -> &str {
        self.login.get_user().unwrap_or_default()
    }

    pub fn database(&self) -> &str {
        self.login.get_dbname().unwrap_or(self.user())
    }
}

fn place(login: &tokio_postgres::Config) -> Result<Place, String> {
    let port = login.get_ports().first().copied().unwrap_or(5432);
    let address = login.get_hostaddrs().first().copied();
    if login.get_hosts().len() > 1 || login.get_hostaddrs().len() > 1 {
        return Err("more than one host is named; a side is one server".into());
    }
    Ok(match login.get_hosts().first() {
        Some(Host::Tcp(host)) => Place::Tcp { host: host.clone(), address, port },
        Some(Host::Unix(directory)) => Place::Unix { directory: directory.clone(), port },
        None => Place::Tcp { host: address.map_or("localhost".into(), |a: IpAddr| a.to_string()), address, port },
    })
}

/// What of the URL's query the driver does not know.
#[derive(Debug, Default)]
struct Options {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
    sslnegotiation: Option<String>,
    sslsni: Option<String>,
    ssl_min_protocol_version: Option<String>,
    gssencmode: Option<String>,
    passfile: Option<PathBuf>,
}

impl Options {
    fn has_system_roots(&self) -> bool {
        self.sslrootcert.as_deref() == Some("system")
    }

    fn ssl_mode(&self) -> Result<SslMode, String> {
        if matches!(self.gssencmode.as_deref(), Some(mode) if !matches!(mode, "disable" | "prefer")) {
            return Err("gssencmode: GSSAPI encryption is not supported; use disable".into());
        }
        let mode = match &self.sslmode {
            None if self.has_system_roots() => SslMode::VerifyFull,
            None => SslMode::Prefer,
            Some(text) => SslMode::parse(text).ok_or(format!(
                "sslmode \"{text}\" is not valid; valid: disable, allow, prefer, require, verify-ca, verify-full"
            ))?,
        };
        match self.has_system_roots() && mode != SslMode::VerifyFull {
            true => Err("a weak sslmode may not be used with sslrootcert=system (use \"verify-full\")".into()),
            false => Ok(mode),
        }
    }

    fn negotiation(&self, mode: SslMode) -> Result<Negotiation, String> {
        match self.sslnegotiation.as_deref() {
            None | Some("postgres") => Ok(Negotiation::Postgres),
            Some("direct") if mode.insists() => Ok(Negotiation::Direct),
            Some("direct") => Err("a weak sslmode may not be used with sslnegotiation=direct \
                (use \"require\", \"verify-ca\", or \"verify-full\")"
                .into()),
            Some(text) => Err(format!("sslnegotiation \"{text}\" is not valid; valid: postgres, direct")),
        }
    }

    /// As libpq: a root that is named is used whatever the mode, so that `require` with one is `verify-ca`.
    fn trust(&self, mode: SslMode, host: &str) -> Result<Trust, String> {
        let roots = match (&self.sslrootcert, self.has_system_roots()) {
            (_, true) => Some(Roots::System),
            (Some(path), _) => Some(Roots::File(PathBuf::from(path))),
            (None, _) => None,
        };
        match (mode, roots) {
            (SslMode::VerifyFull, Some(roots)) => Ok(Trust::Named(roots, host.to_owned())),
            (_, Some(roots)) => Ok(Trust::SignedBy(roots)),
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => Err("this sslmode needs sslrootcert: a file of \
                trusted certificates, or \"system\" for those of the system"
                .into()),
            (_, None) => Ok(Trust::Anybody),
        }
    }

    fn connector(&self, endpoint: &Endpoint) -> Result<Option<Connector>, String> {
        let Place::Tcp { host, .. } = &endpoint.place else { return Ok(None) };
        if endpoint.mode == SslMode::Disable {
            return Ok(None);
        }
        let identity = match (&self.sslcert, &self.sslkey) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err("sslcert and sslkey belong together".into()),
        };
        let min_version = match self.ssl_min_protocol_version.as_deref() {
            None | Some("TLSv1.2" | "") => TlsVersion::V1_2,
            Some("TLSv1.3") => TlsVersion::V1_3,
            Some(text) => {
                return Err(format!("ssl_min_protocol_version \"{text}\" is not valid; valid: TLSv1.2, TLSv1.3"));
            }
        };
        let names_host = self.sslsni.as_deref() != Some("0");
        let trust = self.trust(endpoint.mode, host)?;
        Connector::new(&Tls { trust, identity, min_version, names_host }).map(Some)
    }
}

/// Takes out of the URL's query what the driver does not know.
fn split_options(url: &str) -> (String, Options) {
    let mut options = Options::default();
    let Some((base, query)) = url.split_once('?') else { return (url.to_string(), options) };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value);
        match name {
            "sslmode" => options.sslmode = Some(value),
            "sslrootcert" => options.sslrootcert = Some(value),
            "sslcert" => options.sslcert = Some(PathBuf::from(value)),
            "sslkey" => options.sslkey = Some(PathBuf::from(value)),
            "sslnegotiation" => options.sslnegotiation = Some(value),
            "sslsni" => options.sslsni = Some(value),
            "ssl_min_protocol_version" => options.ssl_min_protocol_version = Some(value),
            "gssencmode" => options.gssencmode = Some(value),
            "passfile" => options.passfile = Some(PathBuf::from(value)),
            _ => kept.push(pair),
        }
    }
    let plain = match kept.is_empty() {
        true => base.to_string(),
        false => format!("{base}?{}", kept.join("&")),
    };
    (plain, options)
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Target, String> {
        Target::parse(Side::Old, &format!("postgres://u@h/d{query}")).map_err(|e| e.to_string())
    }

    #[test]
    fn options_that_the_driver_does_not_know_are_taken_out() {
        let (plain, options) = split_options("postgres://u@h/d?passfile=%2Ftmp%2Fp&connect_timeout=3&sslmode=disable");
        assert_eq!(plain, "postgres://u@h/d?connect_timeout=3");
        assert_eq!(options.passfile, Some(PathBuf::from("/tmp/p")));
        assert_eq!(options.sslmode.as_deref(), Some("disable"));
    }

    #[test]
    fn modes_are_what_libpq_makes_of_them() {
        let mode = |query: &str| parse(query).map(|t| t.endpoint.mode);
        assert_eq!(mode(""), Ok(SslMode::Prefer));
        assert_eq!(mode("?sslmode=require"), Ok(SslMode::Require));
        assert_eq!(parse("?sslmode=require&sslnegotiation=direct").unwrap().endpoint.negotiation, Negotiation::Direct);
        let refused = [
            ("?sslmode=nonsense", "sslmode"),
            ("?sslmode=verify-full", "sslrootcert"),
            ("?sslmode=verify-ca", "sslrootcert"),
            ("?sslmode=require&sslrootcert=system", "verify-full"),
            ("?sslmode=prefer&sslnegotiation=direct", "weak"),
            ("?sslmode=require&sslrootcert=/nowhere/root.crt", "/nowhere/root.crt"),
            ("?sslmode=require&sslcert=/nowhere/c", "sslkey"),
            ("?gssencmode=require", "gssencmode"),
            ("?target_session_attrs=read-write", "target_session_attrs"),
            ("?nonsense=1", "nonsense"),
        ];
        for (query, named) in refused {
            let problem = mode(query).expect_err(query);
            assert!(problem.starts_with("backends.old.url: ") && problem.contains(named), "{query}: {problem}");
        }
    }

    #[test]
    fn a_directory_is_a_unix_socket() {
        let place = |url: &str| Target::parse(Side::Old, url).unwrap().endpoint.place.to_string();
        assert_eq!(place("postgres:///d?host=/run/postgresql&user=u"), "/run/postgresql/.s.PGSQL.5432");
        assert_eq!(place("postgres://u@%2Frun%2Fpostgresql:5433/d"), "/run/postgresql/.s.PGSQL.5433");
        assert_eq!(place("postgres://u@h:5433/d?hostaddr=10.0.0.1"), "h:5433");
    }

    #[test]
    fn a_url_error_names_the_side_and_no_secret() {
        let error = Target::parse(Side::Old, "postgres://h:port/d").map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("backends.old.url: "), "{error}");
        for url in ["postgres://u:hush@h:port/d", "postgres://u:hush@h/d?sslmode=x", "postgres://u:hush@h,g/d"] {
            let error = Target::parse(Side::New, url).map(|_| ()).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
