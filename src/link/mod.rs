//! The link: the one-directional carrier from the primary to the secondary, cycle by cycle, from one committed state of the
//! primary to the next.
//!
//! The race it excludes, of a row that one transaction touches while the link reads:
//!   1. transaction T changes row r and journals its key, both in T;
//!   2. the link takes snapshot S; T is in progress, so S sees neither r's change nor the key;
//!   3. T commits; the cycle of S is applied without it, and S becomes the marker, T's id among those in progress in S;
//!   4. the next snapshot S' sees T. A link that went on from "the largest id so far" would never look at T's touches again.
//!
//! So the touches of a cycle are those that S' sees and the marker does not: ids from the marker's xmax on, and the ids that
//! were in progress then. What a touch says is only *which* row; the row itself is read as of S'. A row that differs between
//! the two snapshots was changed by a transaction that the one sees and the other does not, and that transaction left the row's key
//! in the journal. So after the cycle the secondary equals S' if it equalled the marker's snapshot before, with no word about the
//! order of touches.
//!
//! Killed anywhere: the marker moves in the secondary's own transaction, so a cycle is there as a whole, marker included, or not
//! at all. Whose commit's answer was lost learns from the marker what became of it ([`Applying`]).
//!
//! What a snapshot goes by is flushed on the primary before the secondary has it, see [`flushed`]: after a crash, ids are given out again.
//!
//! Statements (DDL) are run on the secondary before the rows of their cycle, see [`replay`]; tables that were truncated or rewritten are carried
//! whole, and what a snapshot cannot tell of them is looked for after the reading, see [`thorough`].
//!
//! Reading order: [`plan`] (the SQL of a table), [`quick`] and [`express`] (a cycle in two or three round trips), [`thorough`] (any size, any trouble),
//! [`carrier`] (the task), [`follow`] (while another instance holds the link), [`handle`] (what others call), [`ledger`] (where sessions wait), [`books`] (what is counted), [`bypass`] (who leaves no touches).

pub mod align;
pub mod begin;
pub mod books;
pub mod bypass;
pub mod carrier;
pub mod cells;
pub mod clean;
pub mod ends;
pub mod entry;
pub mod express;
pub mod failure;
pub mod flushed;
pub mod follow;
pub mod fresh;
pub mod handle;
pub mod ledger;
mod loud;
pub mod news;
pub mod part;
pub mod plan;
pub mod quick;
pub mod refusals;
pub mod relations;
pub mod replay;
pub mod schemas;
pub mod sequences;
pub mod standing;
pub mod statement;
pub mod thorough;
pub mod whole;

use std::sync::Arc;
use std::time::Duration;

use crate::backend::control::describe;
use crate::catalog::Catalog;
use crate::side::BySide;
use crate::store::Snapshot;

pub use align::Aligned;
pub use bypass::Bypassed;
pub use carrier::begin;
pub use failure::Failure;
pub use handle::LinkHandle;

/// Both sides' schemas.
pub type Catalogs = BySide<Arc<Catalog>>;

/// A cycle whose commit on the secondary may have happened although its answer was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applying {
    pub snapshot: Snapshot,
    pub carried: ledger::Carried,
}

/// What a caller of the link may be told.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("there is no link (it is {})", .0.as_str())]
    NoLink(ledger::LinkState),
    #[error("not within {}s: {missing}", .limit.as_secs_f64())]
    TimedOut { limit: Duration, missing: String },
    #[error("too many wait for an aligned pair of snapshots already")]
    Busy,
    /// The hold had passed before both transactions were open: ask for another pair.
    #[error("the aligned pair of snapshots was not taken in time")]
    Late,
    #[error("the aligned pair of snapshots could not be opened: {}", describe(.0))]
    Snapshot(tokio_postgres::Error),
    #[error(transparent)]
    Failed(#[from] Failure),
}
