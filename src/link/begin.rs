//! How a link takes its place: the lock that admits one holder, the marker that it goes on from, and the totals.
//!
//! The lock alone is not enough: a holder that was killed may have a COMMIT running on the secondary. So the marker is read
//! with its row locked, which waits for that COMMIT, and every cycle moves it from where this holder read it.

use std::sync::Arc;
use std::time::Duration;

use super::ends::End;
use super::express::Hot;
use super::failure::Failure;
use super::flushed;
use super::ledger::{Counts, Ledger};
use super::schemas::{Place, Schemas};
use crate::backend::control::Connection;
use crate::config::Config;
use crate::side::Side;
use crate::store::{Snapshot, detached, journal, marker, parked};

/// The advisory lock, on the primary, of whoever holds the link.
const HOLDER: i64 = 0x7067_6475_6574_0001;

/// The advisory lock, shared, of instances that do not hold the link and have sessions that write.
pub const WRITES_ELSEWHERE: i64 = 0x7067_6475_6574_0003;

/// The two ends, ready for cycles.
#[derive(Debug)]
pub struct Session {
    pub primary: End,
    pub secondary: End,
    pub schemas: Schemas,
    pub hot: Hot,
    /// Where the secondary is.
    pub marker: Snapshot,
    /// The last snapshot of the primary that had nothing new.
    pub seen: Snapshot,
    /// The secondary's triggers and foreign keys do not fire.
    pub silent: bool,
    totals: marker::Totals,
}

impl Session {
    /// With the lock in hand: reads the marker and makes the plans.
    pub async fn open(
        primary: Connection,
        secondary: Connection,
        config: &Config,
        side: Side,
    ) -> Result<Self, Failure> {
        if let Some(reason) = detached::read(&primary).await? {
            return Err(Failure::DetachedBefore(reason));
        }
        let identity = marker::identity(&primary).await?;
        let Some(marker) = marker::read(&secondary).await? else {
            return Err(Failure::Detached("the secondary has no marker; begin anew".into()));
        };
        if marker.identity != identity {
            return Err(Failure::Detached(
                "the primary is not the server that the marker speaks of (failover or restore); verify, then begin anew".into(),
            ));
        }
        let primary = End::primary(primary).await.map_err(Failure::Primary)?;
        let (secondary, silent) = End::secondary(secondary).await.map_err(Failure::Secondary)?;
        let (hot, seen, totals) = (Hot::default(), marker.snapshot.clone(), marker.totals);
        let place = Place { primary: side, mirror: &config.mirror };
        let schemas = Schemas::read(&primary.connection, &secondary.connection, place).await?;
        Ok(Session { primary, secondary, schemas, hot, marker: marker.snapshot, seen, silent, totals })
    }

    /// Other plans from now on; what was prepared before is forgotten.
    pub fn adopt(&mut self, schemas: Schemas) {
        self.schemas = schemas;
        self.hot.clear();
        self.primary.forget();
        self.secondary.forget();
    }

    /// After a refusal: no transaction is open, and tables may have changed.
    pub async fn recover(&mut self) -> Result<(), Failure> {
        let rollback = "ROLLBACK";
        self.primary.connection.batch_execute(rollback).await.map_err(Failure::Primary)?;
        self.secondary.connection.batch_execute(rollback).await.map_err(Failure::Secondary)?;
        self.primary.forget();
        self.secondary.forget();
        Ok(())
    }

    pub fn advance(&mut self, snapshot: Snapshot) {
        self.seen = snapshot.clone();
        self.marker = snapshot;
    }
}

/// Takes the lock, for as long as the connection lives; `false`: another instance has it.
pub async fn take_lock(primary: &Connection) -> Result<bool, Failure> {
    ask(primary, "SELECT pg_try_advisory_lock($1)", HOLDER).await
}

/// Whether another instance has sessions that write: if this one can lock them all out, there is none.
pub async fn others_write(primary: &Connection) -> Result<bool, Failure> {
    let sql = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN NOT pg_advisory_unlock($1) ELSE true END";
    ask(primary, sql, WRITES_ELSEWHERE).await
}

/// For the holder to know. What it does to know keeps the lock for a moment only.
pub async fn say_that_sessions_write(primary: &Connection) -> Result<(), Failure> {
    ask(primary, "SELECT pg_advisory_lock_shared($1) IS NOT NULL", WRITES_ELSEWHERE).await.map(drop)
}

pub async fn say_that_sessions_are_quiet(primary: &Connection) -> Result<(), Failure> {
    ask(primary, "SELECT pg_advisory_unlock_shared($1)", WRITES_ELSEWHERE).await.map(drop)
}

async fn ask(primary: &Connection, sql: &str, lock: i64) -> Result<bool, Failure> {
    let row = primary.query_one(sql, &[&lock]).await.map_err(Failure::Primary)?;
    row.try_get(0).map_err(Failure::Primary)
}

/// See [`super::carrier::begin`].
pub async fn fresh(primary: &Connection, secondary: &Connection) -> Result<Snapshot, Failure> {
    let former = marker::read(secondary).await?.map(|marker| marker.snapshot);
    let discarded = journal::clear(primary, former.as_ref()).await?;
    detached::clear(primary).await?;
    let identity = marker::identity(primary).await?;
    let row = primary.query_one("SELECT pg_current_snapshot()::text", &[]).await.map_err(Failure::Primary)?;
    let text: String = row.try_get(0).map_err(Failure::Primary)?;
    let snapshot = text.parse().map_err(Failure::Lost)?;
    flushed::everything(primary).await?;
    marker::reset(secondary, &snapshot, &identity, discarded).await?;
    marker::flush(secondary).await?;
    Ok(snapshot)
}

/// Tries until no commit was announced while the journal was counted; a bounded number of times.
const RESTATING: usize = 20;

/// Restates the ledger's totals, at the first session of a link, from what is durable. What was announced while the journal was
/// being counted would be counted twice, so that is looked for.
pub async fn restate(ledger: &Arc<Ledger>, session: &Session) -> Result<(), Failure> {
    let connection = &session.primary.connection;
    let (parked, given_up) = parked::count(connection).await?;
    for attempt in 0..RESTATING {
        let before = ledger.counts().captured;
        let queued = journal::pending(connection, &session.marker).await?;
        if ledger.counts().captured != before && attempt + 1 < RESTATING {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let totals = session.totals;
        let (applied, superseded, discarded) = (totals.applied, totals.superseded, totals.discarded + given_up);
        let captured = applied + superseded + discarded + parked + queued;
        ledger.restate(Counts { captured, applied, superseded, queued, parked, discarded });
        return Ok(());
    }
    Ok(())
}
