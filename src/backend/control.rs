//! pgduet's own connections to a backend: those of the link, of the introspection and of the durable policy.
//!
//! Everything that a session's settings could change about a value is pinned at connection, so that a text read on one
//! side means the same on the other.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};

use super::driver::Spoken;
use super::endpoint::{Endpoint, ReachError};
use super::target::Target;
use crate::catalog::functions::ByName;
use crate::config;
use crate::net::watch_closely;
use crate::side::Side;

/// Settings of every connection of pgduet's own. Values are compared and copied as text only under these.
const PINNED: &str = "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
    SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; \
    SET search_path = pg_catalog; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET row_security = off; SET xmloption = 'content'; \
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; SET jit = off";

/// So often a question is asked with the same plan.
const PLANNED_ANEW: u32 = 50;

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
    #[error("could not connect to {side} at {address} within {}s", .limit.as_secs_f64())]
    TimedOut { side: Side, address: String, limit: Duration },
    #[error("could not connect to {side} at {address}: {}", describe(.source))]
    Refused { side: Side, address: String, source: tokio_postgres::Error },
    #[error("could not connect to {side} at {address}: {source}")]
    Unreachable { side: Side, address: String, source: ReachError },
}

/// Why an attempt came to nothing.
enum Failure {
    Unreachable(ReachError),
    Refused(tokio_postgres::Error),
}

impl From<ReachError> for Failure {
    fn from(error: ReachError) -> Self {
        Failure::Unreachable(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Refused(error)
    }
}

/// One connection of pgduet's own. Dropping it ends the connection and the task that drives it.
pub struct Connection {
    client: Client,
    side: Side,
    driver: JoinHandle<()>,
    cancel: tokio_postgres::CancelToken,
    endpoint: Arc<Endpoint>,
    /// What is the same for as long as the server runs.
    servers_functions: OnceCell<Arc<ByName>>,
    /// Questions that are asked again and again, see [`Connection::ask`].
    prepared: Mutex<HashMap<String, Prepared>>,
}

/// A question, prepared; and how often it was asked.
struct Prepared {
    statement: Statement,
    asked: u32,
}

impl Connection {
    /// Connects within `timeouts.connect` and pins the session's settings.
    pub async fn open(
        side: Side,
        backend: &config::Backend,
        purpose: Purpose,
        timeouts: &config::Timeouts,
    ) -> Result<Self, ConnectError> {
        Self::open_with(side, backend, purpose, timeouts, None).await
    }

    async fn open_with(
        side: Side,
        backend: &config::Backend,
        purpose: Purpose,
        timeouts: &config::Timeouts,
        bell: Option<Arc<Notify>>,
    ) -> Result<Self, ConnectError> {
        let target = Target::parse(side, &backend.url)?;
        let limit = timeouts.connect;
        let address = target.endpoint.place.to_string();
        match tokio::time::timeout(limit, Self::open_unbounded(target, purpose, bell)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(Failure::Refused(source))) => Err(ConnectError::Refused { side, address, source }),
            Ok(Err(Failure::Unreachable(source))) => Err(ConnectError::Unreachable { side, address, source }),
            Err(_) => Err(ConnectError::TimedOut { side, address, limit }),
        }
    }

    /// A connection that rings `bell` whenever `channel` is notified, and once when the connection ends.
    pub async fn listen(
        side: Side,
        backend: &config::Backend,
        channel: &str,
        bell: Arc<Notify>,
        timeouts: &config::Timeouts,
    ) -> Result<Self, ConnectError> {
        let connection = Self::open_with(side, backend, Purpose::Control, timeouts, Some(bell)).await?;
        let address = connection.endpoint.place.to_string();
        let listening = connection.batch_execute(&format!("LISTEN {channel}")).await;
        listening.map_err(|source| ConnectError::Refused { side, address, source })?;
        Ok(connection)
    }

    async fn open_unbounded(target: Target, purpose: Purpose, bell: Option<Arc<Notify>>) -> Result<Self, Failure> {
        let Target { mut login, endpoint } = target;
        login.application_name(purpose.application_name());
        let mut tries = endpoint.tries();
        let (client, mut wire) = loop {
            let reached = tries.connect().await?;
            let was_encrypted = reached.is_encrypted();
            watch_closely(&reached.socket);
            match login.connect_raw(reached.socket, Spoken { end_point: reached.end_point }).await {
                Err(e) if e.as_db_error().is_some() && tries.go_on_after_refusal(was_encrypted) => {}
                result => break result?,
            }
        };
        let driver = tokio::spawn(async move {
            // What ends the connection is reported by the query that meets it; a notice is nothing to act on.
            while let Some(Ok(message)) = std::future::poll_fn(|cx| wire.poll_message(cx)).await {
                if let (AsyncMessage::Notification(_), Some(bell)) = (message, &bell) {
                    bell.notify_one();
                }
            }
            bell.iter().for_each(|bell| bell.notify_one());
        });
        let cancel = client.cancel_token();
        let (servers_functions, prepared) = Default::default();
        let (side, endpoint) = (endpoint.side, Arc::new(endpoint));
        let connection = Connection { client, side, driver, cancel, endpoint, servers_functions, prepared };
        connection.client.batch_execute(PINNED).await?;
        Ok(connection)
    }

    pub fn side(&self) -> Side {
        self.side
    }

    /// Asks what is asked again and again, without parameters: the server need not plan it each time. From time to time it does, for
    /// tables grow.
    pub async fn ask(&self, question: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        if let Some(statement) = self.known(question) {
            return self.client.query(&statement, &[]).await;
        }
        let statement = self.client.prepare(question).await?;
        self.prepared().insert(question.to_owned(), Prepared { statement: statement.clone(), asked: 0 });
        self.client.query(&statement, &[]).await
    }

    fn known(&self, question: &str) -> Option<Statement> {
        let mut prepared = self.prepared();
        let known = prepared.get_mut(question).filter(|known| known.asked < PLANNED_ANEW)?;
        known.asked += 1;
        Some(known.statement.clone())
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<String, Prepared>> {
        // No code panics while it holds this lock.
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How volatile the server's own functions are: as `read` says when it is asked first.
    pub async fn servers_functions<E>(&self, read: impl Future<Output = Result<ByName, E>>) -> Result<Arc<ByName>, E> {
        self.servers_functions.get_or_try_init(|| async { read.await.map(Arc::new) }).await.cloned()
    }

    /// Asks the server to give up what this connection is doing. Best effort.
    pub fn cancel_in_background(&self, limit: Duration) {
        let (cancel, endpoint) = (self.cancel.clone(), Arc::clone(&self.endpoint));
        tokio::spawn(async move {
            let attempt = async {
                if let Ok(reached) = endpoint.tries().connect().await {
                    let _ = cancel.cancel_query_raw(reached.socket, Spoken { end_point: None }).await;
                }
            };
            let _ = tokio::time::timeout(limit, attempt).await;
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
