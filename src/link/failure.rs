//! What can go wrong in a cycle, and what is done about it.

use crate::backend::control::{ConnectError, describe};
use crate::side::Role;
use crate::store::StoreError;

/// Why a cycle was not applied. Nothing of it is on the secondary (unless its commit's answer was lost, which the marker tells).
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the primary refused: {}", describe(.0))]
    Primary(tokio_postgres::Error),
    #[error("the secondary refused: {}", describe(.0))]
    Secondary(tokio_postgres::Error),
    #[error("the marker is not where this link left it: another instance holds the link")]
    MarkerMoved,
    /// There is nothing to go on from: only a fresh start helps.
    #[error("{0}")]
    Detached(String),
    /// It was given up already, and that is written down.
    #[error("{0}")]
    DetachedBefore(String),
    /// Something that cannot happen did.
    #[error("{0}")]
    Lost(String),
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The row is at fault: it will be refused again, so it is parked.
    Park,
    /// The table is at fault (its definition differs): all of its touches are parked.
    ParkTable,
    /// A constraint over several rows, or rows of several tables: another order of writing may do.
    Reorder,
    /// Not the data's fault: connect again and retry.
    Retry,
}

impl Failure {
    pub fn remedy(&self) -> Remedy {
        match self {
            Failure::Primary(error) | Failure::Secondary(error) => remedy(error),
            _ => Remedy::Retry,
        }
    }

    pub fn blamed(&self) -> Option<Role> {
        match self {
            Failure::Primary(_) => Some(Role::Primary),
            Failure::Secondary(_) => Some(Role::Secondary),
            _ => None,
        }
    }

    /// For `pgduet.parked`: SQLSTATE and primary message.
    pub fn sqlstate(&self) -> &str {
        match self {
            Failure::Primary(error) | Failure::Secondary(error) => error.code().map_or("XX000", |code| code.code()),
            _ => "XX000",
        }
    }
}

/// Whether the refusal passes by itself: the connection, the server or another transaction is at fault, and not what was said. `None`: nobody
/// refused, the connection broke.
///
/// Everything else comes again each time. It must end in something that is parked: a link that tried it for ever would stand still
/// for all other tables.
pub fn passes(code: Option<&str>) -> bool {
    let Some(code) = code else { return true };
    match code {
        // A limit of the configuration; a file that is missing, such as the library of a function.
        "53400" | "58P01" | "58P02" => false,
        // A lock that is not to be had; a server that is read-only.
        "55P03" | "25006" => true,
        _ => matches!(code.get(..2), Some("08" | "40" | "53" | "57" | "58")),
    }
}

fn remedy(error: &tokio_postgres::Error) -> Remedy {
    let Some(code) = error.code().map(|code| code.code()).filter(|code| !passes(Some(code))) else {
        return Remedy::Retry;
    };
    match code.get(..2) {
        // unique, foreign key, exclusion
        Some("23") if matches!(code, "23505" | "23503" | "23P01") => Remedy::Reorder,
        // data exceptions, the other constraints, limits, what the user's own triggers raise
        Some("22" | "23" | "54" | "P0") => Remedy::Park,
        _ => Remedy::ParkTable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_comes_again() {
        for code in ["08006", "40001", "40P01", "53300", "57P01", "57014", "58030", "55P03", "25006"] {
            assert!(passes(Some(code)), "{code}");
        }
        for code in ["55000", "58P01", "53400", "42501", "23505", "22P02", "0A000", "HV000", "XX000", "25001", "2BP01"]
        {
            assert!(!passes(Some(code)), "{code}");
        }
        assert!(passes(None));
    }
}
