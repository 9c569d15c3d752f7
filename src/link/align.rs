//! Aligned snapshots: a pair, one on each backend, that must show the same data.
//!
//!   1. A cycle with snapshot S is applied: the secondary's data is that of S, whatever its next snapshot is called.
//!   2. Were the next cycle to begin now, whoever opens a transaction on the secondary would see a later state than S.
//!   3. So the link holds still, with the primary's transaction open and its snapshot exported, until everybody who asked has
//!      opened both transactions ([`Aligned::open`]) or `link.align_hold` has passed; only then it goes on.
//!
//! A hold that has passed is noticed by the one who was late: the pair is good only if the hold still stood when both
//! transactions were open.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::LinkError;
use crate::backend::control::Connection;
use crate::side::Side;

/// Somebody waits for an aligned pair.
pub type Request = oneshot::Sender<Aligned>;

/// A pair of snapshots that is there to be taken, while this value lives and the hold lasts.
#[derive(Debug)]
pub struct Aligned {
    /// For `SET TRANSACTION SNAPSHOT` on the primary.
    pub snapshot_id: String,
    pub primary: Side,
    hold: oneshot::Sender<()>,
}

impl Aligned {
    /// Opens a REPEATABLE READ, READ ONLY transaction on each of the two connections, at the aligned pair. On an error both
    /// connections are to be rolled back.
    pub async fn open(self, primary: &Connection, secondary: &Connection) -> Result<(), LinkError> {
        let import = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
            self.snapshot_id.replace('\'', "''")
        );
        // The secondary's snapshot is taken by its first query, not by BEGIN.
        let fresh = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_current_snapshot()";
        futures_util::try_join!(primary.batch_execute(&import), secondary.batch_execute(fresh))
            .map_err(LinkError::Snapshot)?;
        match self.hold.is_closed() {
            false => Ok(()),
            true => Err(LinkError::Late),
        }
    }

    /// Whether the hold still stands: a transaction opened on the secondary before this was asked shows the pair's data.
    pub fn still_held(&self) -> bool {
        !self.hold.is_closed()
    }
}

/// Answers all requests with one snapshot, and waits until all are done or the bound has passed.
pub async fn serve(requests: Vec<Request>, snapshot_id: &str, primary: Side, bound: Duration) {
    let mut holds = Vec::new();
    for request in requests {
        let (hold, released) = oneshot::channel();
        let aligned = Aligned { snapshot_id: snapshot_id.to_string(), primary, hold };
        if request.send(aligned).is_ok() {
            holds.push(released);
        }
    }
    if tokio::time::timeout(bound, join_all(&mut holds)).await.is_err() {
        tracing::debug!("an aligned pair of snapshots was held for too long, the link goes on");
    }
}
