//! What an instance does while another one holds the link: it learns what the holder has brought, so that commits of its own sessions are
//! acknowledged when they are on both sides, and it takes the link over when the holder is gone.
//!
//! The race it excludes:
//!   1. a session's commit returns; its touches are in the journal;
//!   2. the holder applies a cycle whose snapshot is older than that: the marker moves;
//!   3. whoever took "the marker has moved since" for an answer would acknowledge what is not on the secondary.
//!
//! So a turn gets its number first, as the holder's cycle does, and then takes a snapshot P of the primary, which sees all commits that wait for
//! that number. They are brought once the marker covers P, or once the journal has no touch that P sees and the marker does not. (What was
//! removed from the journal was seen by a marker, unless the link was given up: then a reason stands beside it.)
//!
//! The holder hears nothing of commits elsewhere. So whoever has sessions that write keeps [`begin::WRITES_ELSEWHERE`] locked, and the holder looks at
//! the journal every `link.follow` while somebody does. Notifications would do without a poll, but each takes a transaction id, and a flush.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::align::Request;
use super::begin;
use super::failure::Failure;
use super::ledger::Ledger;
use super::standing::Standing;
use crate::backend::control::Connection;
use crate::config::Live;
use crate::store::{Snapshot, marker};

/// `$1`: the marker's xmax, `$2`: what was in progress then, `$3`: the snapshot P, null: the statement's own. Answers with that snapshot,
/// whether a touch waits, and why the link was given up.
const WAITING: &str = "SELECT pg_current_snapshot()::text, \
    EXISTS (SELECT FROM pgduet.journal WHERE xid >= $1::text::xid8 \
        AND ($3::text IS NULL OR pg_visible_in_snapshot(xid, $3::text::pg_snapshot))) \
    OR EXISTS (SELECT FROM pgduet.journal WHERE xid = ANY ($2::text[]::xid8[]) \
        AND ($3::text IS NULL OR pg_visible_in_snapshot(xid, $3::text::pg_snapshot))), \
    (SELECT reason FROM pgduet.detached)";

/// Sessions here that have not committed for so long do not write.
const QUIET: Duration = Duration::from_secs(10);

/// The two ends; see the module's text.
pub struct Follower<'a> {
    primary: &'a Connection,
    secondary: &'a Connection,
    ledger: &'a Arc<Ledger>,
    standing: &'a Standing,
    config: &'a Live,
    waiting: Statement,
    /// Where the secondary was when it was last asked.
    marker: Snapshot,
    /// When a session last committed; `None`: the holder is not asked to hurry.
    wrote: Option<Instant>,
    /// When the lock was last tried.
    tried: Instant,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Brought,
    /// The holder is gone, and the lock is this instance's.
    TakenOver,
}

impl<'a> Follower<'a> {
    pub async fn new(
        [primary, secondary]: [&'a Connection; 2],
        ledger: &'a Arc<Ledger>,
        standing: &'a Standing,
        config: &'a Live,
    ) -> Result<Self, Failure> {
        primary.batch_execute("SET enable_seqscan = off").await.map_err(Failure::Primary)?;
        let types = [Type::TEXT, Type::TEXT_ARRAY, Type::TEXT];
        let waiting = primary.prepare_typed(WAITING, &types).await.map_err(Failure::Primary)?;
        let Some(marker) = marker::read(secondary).await? else {
            return Err(Failure::Lost("the secondary has no marker yet".into()));
        };
        if marker.identity != marker::identity(primary).await? {
            return Err(Failure::Lost("the marker speaks of another primary".into()));
        }
        let (marker, wrote, tried) = (marker.snapshot, None, Instant::now());
        Ok(Follower { primary, secondary, ledger, standing, config, waiting, marker, wrote, tried })
    }

    /// Follows until the lock is had. Who asks for an aligned pair is told that there is none to be had here.
    pub async fn until_taken_over(mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), Failure> {
        while !self.takes_over().await? {
            let begun = Instant::now();
            let cycle = self.ledger.cycle_starts();
            if self.turn().await? == Turn::TakenOver {
                break;
            }
            self.ledger.cycle_followed(cycle, begun);
            self.standing.follows();
            tokio::select! {
                () = self.ledger.commits.notified() => self.hurry().await?,
                () = self.ledger.unhurried.notified() => self.hurry().await?,
                () = tokio::time::sleep(self.config.link.poll) => self.no_hurry().await?,
                Some(request) = requests.recv() => drop(request),
            }
        }
        match self.wrote {
            Some(_) => begin::say_that_sessions_are_quiet(self.primary).await,
            None => Ok(()),
        }
    }

    /// Until everything is brought that was committed before.
    async fn turn(&mut self) -> Result<Turn, Failure> {
        let (seen, mut waits) = self.look(None).await?;
        while waits {
            self.pause().await;
            let marker = self.peek().await?;
            let former = std::mem::replace(&mut self.marker, marker);
            if self.marker.covers(&seen) {
                return Ok(Turn::Brought);
            }
            if self.marker != former {
                waits = self.look(Some(&seen)).await?.1;
            }
            if waits && self.takes_over().await? {
                return Ok(Turn::TakenOver);
            }
        }
        Ok(Turn::Brought)
    }

    /// Short while a commit waits here; without one nobody is in a hurry.
    async fn pause(&self) {
        if self.ledger.oldest_wait().is_some() {
            return tokio::time::sleep(self.config.link.follow).await;
        }
        tokio::select! {
            () = tokio::time::sleep(self.config.link.poll) => {}
            // The next turn is to know of it too.
            () = self.ledger.commits.notified() => self.ledger.commits.notify_one(),
            () = self.ledger.unhurried.notified() => self.ledger.unhurried.notify_one(),
        }
    }

    async fn peek(&self) -> Result<Snapshot, Failure> {
        let marker = marker::peek(self.secondary).await?;
        marker.ok_or_else(|| Failure::Lost("the secondary has no marker any more".into()))
    }

    /// The primary's snapshot, and whether a touch that it sees (or that `seen` does) waits.
    async fn look(&self, seen: Option<&Snapshot>) -> Result<(Snapshot, bool), Failure> {
        let in_progress: Vec<String> = self.marker.in_progress.iter().map(u64::to_string).collect();
        let (xmax, seen) = (self.marker.xmax.to_string(), seen.map(Snapshot::to_string));
        let row = self.primary.query_one(&self.waiting, &[&xmax, &in_progress, &seen]).await;
        let row = row.map_err(Failure::Primary)?;
        let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let (snapshot, waits, given_up): (String, bool, Option<String>) = read().map_err(Failure::Primary)?;
        match given_up {
            Some(reason) => Err(Failure::DetachedBefore(reason)),
            None => Ok((snapshot.parse().map_err(Failure::Lost)?, waits)),
        }
    }

    async fn takes_over(&mut self) -> Result<bool, Failure> {
        if self.tried.elapsed() < self.config.link.poll {
            return Ok(false);
        }
        self.tried = Instant::now();
        begin::take_lock(self.primary).await
    }

    async fn hurry(&mut self) -> Result<(), Failure> {
        if self.wrote.replace(Instant::now()).is_none() {
            begin::say_that_sessions_write(self.primary).await?;
        }
        Ok(())
    }

    async fn no_hurry(&mut self) -> Result<(), Failure> {
        if self.wrote.is_some_and(|wrote| wrote.elapsed() >= QUIET) {
            self.wrote = None;
            begin::say_that_sessions_are_quiet(self.primary).await?;
        }
        Ok(())
    }
}
