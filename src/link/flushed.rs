//! What a cycle goes by must be on the primary's disk before the secondary has it.
//!
//! The race it excludes:
//!   1. transaction T gets id 725, writes, and rolls back; so may one that commits without waiting for the disk (`synchronous_commit = off`);
//!   2. the link takes snapshot `726:726:`, applies its cycle, and the marker says that 725 needs no further look;
//!   3. the primary's server crashes: of T nothing was flushed, so id 725 is given out again;
//!   4. another transaction commits a write under it. Nobody ever looks at its touches. And what T had committed without a flush
//!      stays on the secondary, where the primary has never heard of it.
//!
//! A server that starts again gives out ids above all that its log mentions, and the end of a transaction is logged before a snapshot can
//! see it. So it suffices that the log is flushed up to where it stood after the snapshot was taken. Asking for that in each cycle
//! would cost each its own wait for the disk; so the flush is asked for only where it may be missing ([`Evidence::missing`]). A commit
//! that waits for the disk, as commits do, proves that everything logged before it is there, and all lower ids with it.

use std::time::Duration;

use super::failure::Failure;
use crate::backend::control::Connection;
use crate::store::Snapshot;

/// A position in the primary's log, as the server prints it.
pub type Position = String;

/// SQL: null where all of the log is flushed, else where the log ends now, which is later than the statement's snapshot.
pub const UNFLUSHED: &str = "CASE WHEN pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() THEN NULL \
    ELSE pg_current_wal_insert_lsn()::text END";

/// Not transactional, it would not be flushed; so this takes a transaction id, and is the reason why it is not done without need.
const FLUSH: &str = "SELECT pg_logical_emit_message(true, 'pgduet', '')";

/// How often, and how long, a flush is waited for where none can be asked for. The log writer of a server at its defaults flushes all that is
/// logged within 0.6 s.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: usize = 2_000;

/// What a look at the journal tells of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// See [`UNFLUSHED`].
    pub unflushed: Option<Position>,
    /// The greatest id that has left a touch.
    pub last: Option<u64>,
    /// One of the touches is of a transaction that did not wait for the disk.
    pub asynchronous: bool,
}

impl Evidence {
    /// A touch was seen.
    pub fn touch(&mut self, xid: Option<u64>, asynchronous: bool) {
        self.last = self.last.max(xid);
        self.asynchronous |= asynchronous;
    }

    /// How far the log has to be flushed before a cycle between these two snapshots is applied; `None`: it is. The marker itself was
    /// made sure of when it was set.
    pub fn missing(self, marker: &Snapshot, latter: &Snapshot) -> Option<Position> {
        let last_is_flushed =
            latter.xmax == marker.xmax || self.last.is_some_and(|last| last.checked_add(1) == Some(latter.xmax));
        self.unflushed.filter(|_| self.asynchronous || !last_is_flushed)
    }
}

/// Flushes all that the primary has logged, unless it is. No transaction may be open.
pub async fn everything(primary: &Connection) -> Result<(), Failure> {
    let row = primary.query_one(&format!("SELECT {UNFLUSHED}"), &[]).await.map_err(Failure::Primary)?;
    match row.try_get::<_, Option<&str>>(0).map_err(Failure::Primary)? {
        None => Ok(()),
        Some(_) => flush(primary).await,
    }
}

/// Flushes all that the primary has logged. No transaction may be open.
pub async fn flush(primary: &Connection) -> Result<(), Failure> {
    primary.batch_execute(FLUSH).await.map_err(Failure::Primary)
}

/// Waits until the log is flushed up to `position`, within a transaction that stays open. `false`: it was not, for long.
pub async fn wait(primary: &Connection, position: &str) -> Result<bool, Failure> {
    for _ in 0..LOOKS {
        let sql = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
        let row = primary.query_one(sql, &[&position]).await.map_err(Failure::Primary)?;
        if row.try_get(0).map_err(Failure::Primary)? {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().expect("a snapshot")
    }

    #[test]
    fn a_flush_is_asked_for_where_it_may_be_missing_and_nowhere_else() {
        let logged = || Some("0/16B3748".to_string());
        let sync = |last| Evidence { unflushed: logged(), last, asynchronous: false };
        let cases = [
            // The last to end was a commit that had waited for the disk.
            (sync(Some(725)), "700:724:", "726:726:", false),
            // It left no touch: a rollback, a savepoint's id, somebody who does not come through the proxy.
            (sync(Some(724)), "700:724:", "726:726:", true),
            (sync(None), "700:724:", "726:726:", true),
            // Nothing new has ended above the marker.
            (sync(Some(710)), "710:726:710", "726:726:", false),
            (Evidence { asynchronous: true, ..sync(Some(725)) }, "700:724:", "726:726:", true),
            (Evidence { unflushed: None, last: None, asynchronous: true }, "700:724:", "726:726:", false),
        ];
        for (evidence, marker, latter, missing) in cases {
            let found = evidence.clone().missing(&snapshot(marker), &snapshot(latter));
            assert_eq!(found.is_some(), missing, "{evidence:?} {marker} {latter}");
        }
    }
}
