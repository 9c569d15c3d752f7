//! Typed access to the schema `pgduet` on a backend.
//!
//! Both sides carry the same schema, because the roles swap at cutover. What a side's tables mean depends on its role:
//!
//! | table | on the primary | on the secondary |
//! | --- | --- | --- |
//! | `control` | the policy that counts | its copy: the side with the higher epoch is believed |
//! | `history` | every change of policy | |
//! | `journal` | the touches not yet carried | empty |
//! | `parked` | entries that the secondary refuses for good | |
//! | `captures` | tables that triggers capture, or nobody | |
//! | `tables` | sync state of each mirrored table | |
//! | `detached` | why the link was given up, if it was | |
//! | `applied` | | the marker |
//!
//! Everything here may be called before `init`: where the schema does not exist, reads answer `None` or nothing.

pub mod bypass;
pub mod captures;
pub mod control;
pub mod detached;
pub mod instances;
pub mod journal;
pub mod marker;
pub mod parked;
pub mod rules;
pub mod schema;
pub mod snapshot;
pub mod statements;
pub mod tables;

use crate::backend::control::{Connection, describe};
use crate::side::Side;

pub use snapshot::Snapshot;

/// A failed access to the schema `pgduet`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused, or the connection broke. Whether it is worth a retry, the SQLSTATE says.
    #[error("{doing} on {side}: {}", describe(.source))]
    Database { side: Side, doing: &'static str, source: tokio_postgres::Error },
    /// What is stored is not what this release writes: the schema is from a later release, or was changed by hand.
    #[error("{doing} on {side}: {problem}; run \"pgduet init\" with the release that is deployed")]
    Unreadable { side: Side, doing: &'static str, problem: String },
}

impl StoreError {
    /// Turns a driver's error into one that says what was done where.
    pub(crate) fn doing(connection: &Connection, doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let side = connection.side();
        move |source| StoreError::Database { side, doing, source }
    }

    /// What the server said, if it was the server.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            StoreError::Database { source, .. } => source.code().map(|code| code.code()),
            StoreError::Unreadable { .. } => None,
        }
    }

    pub(crate) fn unreadable(connection: &Connection, doing: &'static str, problem: impl ToString) -> Self {
        StoreError::Unreadable { side: connection.side(), doing, problem: problem.to_string() }
    }
}

/// Whether the error is "no such schema or table": pgduet was not installed here.
fn is_absent(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    error.code().is_some_and(|code| *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME)
}

/// `Ok(None)` where pgduet is not installed.
fn unless_absent<T>(result: Result<T, tokio_postgres::Error>) -> Result<Option<T>, tokio_postgres::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
