//! How a link takes its place: the lock that admits one holder, the marker that it goes on from, and the totals.
//!
//! The lock alone is not enough: a holder that was killed may have a COMMIT running on the secondary. So the marker is read
//! with its row locked, which waits for that COMMIT, and every cycle moves it from where this holder read it.

use std::sync::Arc;
use std::time::Duration;

use super::carrier::open_both;
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
pub const HOLDER: i64 = 0x7067_6475_6574_0001;

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
    /// Connects, takes the lock, reads the marker and makes the plans.
    pub async fn open(config: &Config, side: Side) -> Result<Self, Failure> {
        let (primary, secondary) = open_both(config, side).await?;
        take_lock(&primary).await?;
        if let Some(reason) = detached::read(&primary).await? {
            return Err(Failure::Detached(reason));
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

async fn take_lock(primary: &Connection) -> Result<(), Failure> {
    let row = primary.query_one("SELECT pg_try_advisory_lock($1)", &[&HOLDER]).await.map_err(Failure::Primary)?;
    match row.try_get(0).map_err(Failure::Primary)? {
        true => Ok(()),
        false => Err(Failure::HeldElsewhere),
    }
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
