//! pgduet's own connections to a backend: those of the link, of the introspection and of the durable policy.
//!
//! Everything that a session's settings could change about a value is pinned at connection, so that a text read on one
//! side means the same on the other.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, NoTls};

use crate::backend::passfile;
use crate::config;
use crate::side::Side;

/// Settings of every connection of pgduet's own. Values are compared and copied as text only under these.
const PINNED: &str = "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
    SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; \
    SET search_path = pg_catalog; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET row_security = off; SET xmloption = 'content'; \
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; SET jit = off";

/// What the connection is for: shown as `application_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Link,
    CleanUp,
    Control,
    Introspection,
}

impl Purpose {
    fn application_name(self) -> &'static str {
        match self {
            Purpose::Link => "pgduet link",
            Purpose::CleanUp => "pgduet clean-up",
            Purpose::Control => "pgduet control",
            Purpose::Introspection => "pgduet introspection",
        }
    }
}

/// Why there is no connection. The side is named; a password or URL never is.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("backends.{side}.url: {problem}")]
    Url { side: Side, problem: String },
    #[error(
        "backends.{side}.url: sslmode={mode} is not supported yet: use sslmode=disable or prefer, over a network you trust"
    )]
    Tls { side: Side, mode: String },
    #[error("could not connect to {side} at {address} within {}s", .limit.as_secs_f64())]
    TimedOut { side: Side, address: String, limit: Duration },
    #[error("could not connect to {side} at {address}: {}", describe(.source))]
    Refused { side: Side, address: String, source: tokio_postgres::Error },
}

/// One connection of pgduet's own. Dropping it ends the connection and the task that drives it.
pub struct Connection {
    client: Client,
    side: Side,
    driver: JoinHandle<()>,
    cancel: tokio_postgres::CancelToken,
}

impl Connection {
    /// Connects within `timeouts.connect` and pins the session's settings.
    pub async fn open(
        side: Side,
        backend: &config::Backend,
        purpose: Purpose,
        timeouts: &config::Timeouts,
    ) -> Result<Self, ConnectError> {
        let target = Target::parse(side, &backend.url)?;
        let limit = timeouts.connect;
        match tokio::time::timeout(limit, Self::open_unbounded(side, &target, purpose)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(source)) => Err(ConnectError::Refused { side, address: target.address(), source }),
            Err(_) => Err(ConnectError::TimedOut { side, address: target.address(), limit }),
        }
    }

    async fn open_unbounded(side: Side, target: &Target, purpose: Purpose) -> Result<Self, tokio_postgres::Error> {
        let mut config = target.config.clone();
        config.application_name(purpose.application_name());
        config.keepalives(true).keepalives_idle(Duration::from_secs(15)).keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3).tcp_user_timeout(Duration::from_secs(30));
        let (client, wire) = config.connect(NoTls).await?;
        let driver = tokio::spawn(async move {
            // What ends the connection is reported by the query that meets it; a notice is nothing to act on.
            let _ = wire.await;
        });
        let cancel = client.cancel_token();
        let connection = Connection { client, side, driver, cancel };
        connection.client.batch_execute(PINNED).await?;
        Ok(connection)
    }

    pub fn side(&self) -> Side {
        self.side
    }

    /// Asks the server to give up what this connection is doing. Best effort.
    pub fn cancel_in_background(&self, limit: Duration) {
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(limit, cancel.cancel_query(NoTls)).await;
        });
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.side)
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The socket closes with the task: a frozen server cannot keep it.
        self.driver.abort();
    }
}

/// A database error in one line: its SQLSTATE and primary message; never DETAIL, which may hold row values, nor the message where it
/// quotes one: data exceptions do, and what a user's own code raises may.
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let code = db.code().code();
        return match code.get(..2) {
            Some("22") => format!("a value was refused (SQLSTATE {code})"),
            Some("P0") => format!("a function or trigger raised an error (SQLSTATE {code})"),
            _ => format!("{} (SQLSTATE {code})", db.message()),
        };
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Where a backend is and how to log in, from `backends.<side>.url`.
#[derive(Clone, Debug)]
pub struct Target {
    config: tokio_postgres::Config,
}

impl Target {
    pub fn parse(side: Side, url: &str) -> Result<Self, ConnectError> {
        let problem = |problem: String| ConnectError::Url { side, problem };
        let (plain, options) = split_options(url);
        let mut config: tokio_postgres::Config =
            plain.parse().map_err(|e: tokio_postgres::Error| problem(describe(&e)))?;
        match options.sslmode.as_deref() {
            None | Some("prefer" | "allow") => config.ssl_mode(SslMode::Prefer),
            Some("disable") => config.ssl_mode(SslMode::Disable),
            Some(mode @ ("require" | "verify-ca" | "verify-full")) => {
                return Err(ConnectError::Tls { side, mode: mode.to_string() });
            }
            Some(mode) => return Err(problem(format!("sslmode \"{mode}\" is not valid"))),
        };
        if config.get_user().is_none() {
            return Err(problem("no user is named; write postgres://user@host:port/database".into()));
        }
        let mut target = Target { config };
        if target.config.get_password().is_none() {
            target.take_password(options.passfile).map_err(problem)?;
        }
        Ok(target)
    }

    fn take_password(&mut self, passfile: Option<PathBuf>) -> Result<(), String> {
        if let Ok(password) = std::env::var("PGPASSWORD") {
            self.config.password(password);
            return Ok(());
        }
        let Some(path) = passfile else { return Ok(()) };
        let (host, port, database, user) = (self.host(), self.port(), self.database().to_string(), self.user());
        let login = passfile::Login { host: &host, port, database: &database, user };
        if let Some(password) = passfile::look_up(&path, login)? {
            self.config.password(password);
        }
        Ok(())
    }

    /// A host name, address, or the directory of a Unix socket (begins with `/`).
    pub fn host(&self) -> String {
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => self.config.get_hostaddrs().first().map_or("localhost".into(), ToString::to_string),
        }
    }

    pub fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or(self.user())
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }
}

#[derive(Debug, Default)]
struct Options {
    sslmode: Option<String>,
    passfile: Option<PathBuf>,
}

/// Takes out of the URL's query what the driver does not know.
fn split_options(url: &str) -> (String, Options) {
    let mut options = Options::default();
    let Some((base, query)) = url.split_once('?') else { return (url.to_string(), options) };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "sslmode" => options.sslmode = Some(percent_decoded(value)),
            "passfile" => options.passfile = Some(PathBuf::from(percent_decoded(value))),
            "sslrootcert" => {}
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

    #[test]
    fn options_that_the_driver_does_not_know_are_taken_out() {
        let (plain, options) = split_options("postgres://u@h/d?passfile=%2Ftmp%2Fp&connect_timeout=3&sslmode=disable");
        assert_eq!(plain, "postgres://u@h/d?connect_timeout=3");
        assert_eq!(options.passfile, Some(PathBuf::from("/tmp/p")));
        assert_eq!(options.sslmode.as_deref(), Some("disable"));
    }

    #[test]
    fn encryption_that_is_required_is_never_silently_left_out() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let parsed = Target::parse(Side::New, &format!("postgres://u@h/d?sslmode={mode}"));
            assert!(matches!(parsed, Err(ConnectError::Tls { side: Side::New, .. })), "{mode}");
        }
        assert!(Target::parse(Side::Old, "postgres://u@h/d?sslmode=nonsense").is_err());
    }

    #[test]
    fn a_url_error_names_the_side() {
        let error = Target::parse(Side::Old, "postgres://h:port/d").map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("backends.old.url: "), "{error}");
    }
}
