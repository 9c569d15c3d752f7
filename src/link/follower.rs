//! The link of an instance that does not hold it: it carries nothing, and knows how far the holder has come.
//!
//! Its sessions have to know two things of the secondary: whether what they wrote is there (for their reads, and for `ack: both`),
//! and that it is carried on at all. Nobody tells them; the databases do. What must not happen:
//!   1. the marker L is read on the secondary;
//!   2. a session of this instance commits;
//!   3. the session is told that L has its commit.
//!
//! So, as in a cycle of the holder's own: first a number from the ledger, then a snapshot S of the primary, which sees every commit
//! announced before the number; then the marker, looked at until it covers S, or until the journal has nothing that the marker
//! lacks (an idle holder moves its marker seldom, and other databases use up transaction ids).

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::align::Request;
use super::begin::HOLDER;
use super::carrier::open_both;
use super::failure::Failure;
use super::ledger::{Carried, Ledger};
use super::standing::Standing;
use crate::backend::control::Connection;
use crate::config::Config;
use crate::side::Side;
use crate::store::{Snapshot, detached, journal, marker};

/// The pause between two looks at a marker that has not come far enough.
const LOOK: Duration = Duration::from_millis(10);
/// The pause between two looks whether the link still is held.
const HELD: Duration = Duration::from_millis(500);

/// What of the carrier a follower needs.
pub struct Follower<'a> {
    pub config: &'a Config,
    pub ledger: &'a Ledger,
    pub standing: &'a Standing,
    pub primary: Side,
    pub requests: &'a mut mpsc::Receiver<Request>,
}

impl Follower<'_> {
    /// Follows until the link is free to be taken, or a backend fails. Dropping it at any point is safe: it has changed nothing.
    pub async fn follow(mut self) -> Result<(), Failure> {
        let (primary, secondary) = open_both(self.config, self.primary).await?;
        tracing::info!("another instance holds the link; this one follows it");
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= HELD {
                if let Some(reason) = detached::read(&primary).await? {
                    return Err(Failure::Detached(reason));
                }
                if !is_held(&primary).await? {
                    return Ok(());
                }
                looked = Instant::now();
            }
            let begun = Instant::now();
            let queued = self.ledger.counts().queued;
            let cycle = self.ledger.cycle_starts();
            if self.has_arrived(&primary, &secondary).await? {
                let carried = Carried { applied: queued, ..Carried::default() };
                self.ledger.cycle_applied(cycle, begun, carried);
                self.standing.applied();
                self.wait_for_work().await;
            }
        }
    }

    /// Whether everything that was committed before the call is on the secondary; waits for it, for so long as the holder may be trusted
    /// without another look.
    async fn has_arrived(&self, primary: &Connection, secondary: &Connection) -> Result<bool, Failure> {
        let snapshot = current(primary).await?;
        let began = Instant::now();
        while began.elapsed() < HELD {
            let Some(marker) = marker::peek(secondary).await? else {
                return Err(Failure::Detached("the secondary has no marker; begin anew".into()));
            };
            if marker.covers(&snapshot) || journal::has_nothing_beyond(primary, &marker).await? {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }

    async fn wait_for_work(&mut self) {
        tokio::select! {
            () = self.ledger.commits.notified() => {}
            () = tokio::time::sleep(self.config.link.poll) => {}
            // Only the holder can hold still: who asks for an aligned pair here is told that there is none.
            Some(request) = self.requests.recv() => drop(request),
        }
    }
}

async fn current(primary: &Connection) -> Result<Snapshot, Failure> {
    let row = primary.query_one("SELECT pg_current_snapshot()::text", &[]).await.map_err(Failure::Primary)?;
    let text: String = row.try_get(0).map_err(Failure::Primary)?;
    text.parse().map_err(Failure::Lost)
}

async fn is_held(primary: &Connection) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                 AND ((classid::bigint << 32) | objid::bigint) = $1)";
    let row = primary.query_one(sql, &[&HOLDER]).await.map_err(Failure::Primary)?;
    row.try_get(0).map_err(Failure::Primary)
}
