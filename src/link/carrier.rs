//! The supervising task: holds both connections and the lock, runs one cycle after the other, and begins anew after a failure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::try_join;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::align::{self, Request};
use super::begin::{self, Session};
use super::failure::{Failure, Remedy};
use super::ledger::{Carried, Cycle, Ledger};
use super::quick::{self, Ends, Quick};
use super::standing::Standing;
use super::thorough::{self, Order, Thorough};
use super::{Applying, Catalogs, clean};
use crate::backend::control::{Connection, Purpose};
use crate::config::{Config, Live};
use crate::failpoint;
use crate::side::Side;
use crate::store::{Snapshot, detached, journal, tables};

/// What the operator wants of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Run,
    Pause,
    /// Give up, for this reason.
    Detach(String),
}

/// What the carrier shares with its handle.
#[derive(Debug)]
pub struct Orders {
    pub wish: watch::Receiver<Wish>,
    pub requests: mpsc::Receiver<Request>,
    pub catalogs: watch::Receiver<Catalogs>,
}

/// The carrier; see the module's text.
#[derive(Debug)]
pub struct Carrier {
    config: Live,
    ledger: Arc<Ledger>,
    standing: Standing,
    primary: Side,
    orders: Orders,
    /// Set while a commit on the secondary may have happened without its answer having come.
    applying: Option<(Cycle, Instant, Applying)>,
    /// Whether the ledger's totals were restated from what is durable.
    restated: bool,
    /// Those who wait for an aligned pair.
    waiting: Vec<Request>,
    /// Relations that no catalog knows, even a fresh one.
    unknown: HashSet<u32>,
}

/// Why the cycles ended.
enum Ended {
    Failed(Failure),
    Wish,
    Full(String),
}

impl Carrier {
    pub fn new(config: Live, ledger: Arc<Ledger>, primary: Side, orders: Orders) -> Self {
        let standing = Standing::new(Arc::clone(&ledger), config.clone());
        let (applying, waiting, unknown) = (None, Vec::new(), HashSet::new());
        Carrier { config, ledger, standing, primary, orders, applying, restated: false, waiting, unknown }
    }

    /// Carries until the task is dropped. Dropping it at any point is safe: the marker says what was done.
    pub async fn run(mut self) {
        self.standing.starting("connecting");
        let mut beside = JoinSet::new();
        let standing = self.standing.clone();
        beside.spawn(async move { standing.watch().await });
        let (full_tx, mut full) = mpsc::channel(1);
        beside.spawn(clean::keep_clean(self.config.clone(), self.primary, full_tx));
        let mut delay = self.config.link.retry_min;
        loop {
            let wish = self.orders.wish.borrow_and_update().clone();
            match wish {
                Wish::Detach(reason) => return self.detached(&reason).await,
                Wish::Pause => {
                    self.standing.paused();
                    if self.orders.wish.changed().await.is_err() {
                        return;
                    }
                    self.standing.starting("connecting");
                    continue;
                }
                Wish::Run => {}
            }
            let before = self.ledger.applied();
            match self.until_the_end(&mut full).await {
                Ended::Wish => continue,
                Ended::Full(reason) => return self.detached(&reason).await,
                Ended::Failed(Failure::Detached(reason)) => return self.detached(&reason).await,
                Ended::Failed(failure) => {
                    tracing::warn!(%failure, "the link has lost its footing and begins again");
                    self.standing.failed(&failure.to_string());
                }
            }
            if self.ledger.applied() > before {
                delay = self.config.link.retry_min;
            }
            self.pause(delay).await;
            delay = (delay * 2).min(self.config.link.retry_max);
        }
    }

    async fn pause(&mut self, delay: Duration) {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = self.orders.wish.changed() => self.orders.wish.mark_changed(),
        }
    }

    /// Cycles, until one fails, the operator wants something else, or the journal is full. A cycle that hangs is dropped.
    async fn until_the_end(&mut self, full: &mut mpsc::Receiver<String>) -> Ended {
        let mut wish = self.orders.wish.clone();
        tokio::select! {
            biased;
            changed = wish.changed() => match changed {
                Ok(()) => Ended::Wish,
                Err(_) => std::future::pending().await,
            },
            Some(reason) = full.recv() => Ended::Full(reason),
            failure = self.cycles() => Ended::Failed(failure),
        }
    }

    async fn cycles(&mut self) -> Failure {
        match self.session().await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, Failure> {
        let catalogs = self.orders.catalogs.borrow_and_update().clone();
        let mut session = Session::open(&self.config, self.primary, &catalogs).await?;
        self.settle(&session).await?;
        let mut moved = Instant::now();
        loop {
            if self.orders.catalogs.has_changed().unwrap_or(false) {
                let catalogs = self.orders.catalogs.borrow_and_update().clone();
                session.replan(&catalogs).await?;
            }
            self.gather_requests();
            let former = session.marker.clone();
            self.cycle(&mut session).await?;
            match session.marker == former {
                false => moved = Instant::now(),
                true if moved.elapsed() >= self.config.link.clean_up => {
                    self.move_marker(&mut session).await?;
                    moved = Instant::now();
                }
                true => {}
            }
            self.wait_for_work().await;
        }
    }

    /// Settles what a lost answer left open, and the totals.
    async fn settle(&mut self, session: &Session) -> Result<(), Failure> {
        if let Some((cycle, begun, applying)) = self.applying.take()
            && applying.snapshot == session.marker
        {
            self.ledger.cycle_applied(cycle, begun, applying.carried);
        }
        if !self.restated {
            begin::restate(&self.ledger, session).await?;
            self.restated = true;
        }
        Ok(())
    }

    fn gather_requests(&mut self) {
        while let Ok(request) = self.orders.requests.try_recv() {
            self.waiting.push(request);
        }
        self.waiting.retain(|request| !request.is_closed());
    }

    async fn wait_for_work(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        tokio::select! {
            () = self.ledger.commits.notified() => {}
            () = tokio::time::sleep(self.config.link.poll) => {}
            Some(request) = self.orders.requests.recv() => self.waiting.push(request),
            _ = self.orders.catalogs.changed() => self.orders.catalogs.mark_changed(),
        }
    }

    /// One cycle: quick if it can be, thorough if it must.
    async fn cycle(&mut self, session: &mut Session) -> Result<(), Failure> {
        let begun = Instant::now();
        // Before the snapshot: see the ledger.
        let cycle = self.ledger.cycle_starts();
        failpoint::pass("link.starts");
        let hold = !self.waiting.is_empty();
        let (marker, mut applying) = (session.marker.clone(), None);
        let quick = quick::run(&mut self.ends(session), &marker, hold, &mut applying).await;
        self.applying = applying.map(|applying| (cycle, begun, applying));
        match quick {
            Ok(Quick::Nothing(snapshot)) => {
                session.seen = snapshot;
                self.applied(cycle, begun, Carried::default());
            }
            Ok(Quick::Applied(snapshot, carried)) => {
                session.advance(snapshot);
                self.applied(cycle, begun, carried);
            }
            Ok(Quick::Unknown(rel)) => {
                self.look_again(session, rel).await?;
                self.ledger.commits.notify_one();
                return Ok(());
            }
            Ok(Quick::Beyond) => return self.thorough(session, cycle, begun).await,
            Err(failure) if failure.remedy() != Remedy::Retry => {
                tracing::debug!(%failure, "a quick cycle was refused, a thorough one follows");
                session.recover().await?;
                return self.thorough(session, cycle, begun).await;
            }
            Err(failure) => return Err(failure),
        }
        if hold {
            self.serve_requests(session).await?;
        }
        Ok(())
    }

    fn ends<'a>(&'a self, session: &'a mut Session) -> Ends<'a> {
        let Session { primary, secondary, plans, hot, .. } = session;
        Ends { primary, secondary, plans, hot, chunk: self.config.link.chunk, unknown: &self.unknown }
    }

    fn applied(&mut self, cycle: Cycle, begun: Instant, carried: Carried) {
        self.applying = None;
        self.ledger.cycle_applied(cycle, begun, carried);
        failpoint::pass("link.booked");
        self.standing.applied();
    }

    async fn thorough(&mut self, session: &mut Session, cycle: Cycle, begun: Instant) -> Result<(), Failure> {
        for order in [Order::InPlace, Order::DeleteFirst] {
            let mut applying = None;
            let (marker, silent) = (session.marker.clone(), session.silent);
            let outcome = thorough::run(&mut self.ends(session), &marker, silent, order, &mut applying).await;
            self.applying = applying.map(|applying| (cycle, begun, applying));
            match outcome? {
                Thorough::Applied(snapshot, carried) => {
                    session.advance(snapshot);
                    self.applied(cycle, begun, carried);
                    return Ok(());
                }
                Thorough::Entangled => {
                    tracing::debug!("rows exchange unique values: they are deleted before they are written")
                }
            }
        }
        Err(Failure::Lost("the cycle's rows stand in each other's way".into()))
    }

    /// A touched relation is not in the catalog: reads the schemas again, once for each such relation.
    async fn look_again(&mut self, session: &mut Session, rel: u32) -> Result<(), Failure> {
        let catalogs = session.read_catalogs(&self.config).await?;
        session.replan(&catalogs).await?;
        if session.plans.get(rel).is_none() {
            self.unknown.insert(rel);
        }
        Ok(())
    }

    /// Nothing was touched, but time went on: the marker follows, so that the journal can be cleaned.
    async fn move_marker(&mut self, session: &mut Session) -> Result<(), Failure> {
        if session.seen == session.marker {
            return Ok(());
        }
        let advance = session.secondary.advance().await.map_err(Failure::Secondary)?;
        let (former, latter) = (session.marker.to_string(), session.seen.to_string());
        let connection = &session.secondary.connection;
        connection.query(&advance, &[&former, &latter, &0i64, &0i64]).await.map_err(Failure::Secondary)?;
        session.advance(session.seen.clone());
        Ok(())
    }

    async fn serve_requests(&mut self, session: &Session) -> Result<(), Failure> {
        let requests = std::mem::take(&mut self.waiting);
        let connection = &session.primary.connection;
        let row = connection.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(Failure::Primary)?;
        let snapshot_id: String = row.try_get(0).map_err(Failure::Primary)?;
        align::serve(requests, &snapshot_id, self.primary, self.config.link.align_hold).await;
        connection.batch_execute("COMMIT").await.map_err(Failure::Primary)
    }

    /// Given up: says so durably, then keeps the journal from filling the primary's disk. Never ends.
    async fn detached(&mut self, reason: &str) {
        tracing::error!(reason, "the link is detached: the secondary is stale until it is begun anew");
        self.standing.detached(reason);
        let mut noted = false;
        let mut ticks = tokio::time::interval(self.config.link.clean_up);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.note_detached(reason, noted).await {
                Ok(discarded) => {
                    noted = true;
                    self.ledger.discarded(discarded);
                }
                Err(failure) => tracing::warn!(%failure, "the journal could not be cleared"),
            }
        }
    }

    async fn note_detached(&self, reason: &str, noted: bool) -> Result<u64, Failure> {
        let (side, timeouts) = (self.primary, &self.config.timeouts);
        let connection = Connection::open(side, self.config.backends.get(side), Purpose::CleanUp, timeouts).await?;
        if !noted {
            detached::write(&connection, reason).await?;
            let evidence = serde_json::json!({ "detached": reason });
            tables::set_all(&connection, tables::SyncState::Stale, &evidence).await?;
        }
        Ok(journal::clear(&connection, None).await?)
    }
}

/// Prepares the marker of a link that begins anew: the primary as it is now counts as carried. Call it before writes are
/// captured. Every table is the caller's to declare (`assumed`, or `copying`).
pub async fn begin(primary: &Connection, secondary: &Connection) -> Result<Snapshot, Failure> {
    begin::fresh(primary, secondary).await
}

/// Both connections at once, as pgduet itself.
pub(super) async fn open_both(config: &Config, primary: Side) -> Result<(Connection, Connection), Failure> {
    let open = |side: Side| Connection::open(side, config.backends.get(side), Purpose::Link, &config.timeouts);
    try_join!(open(primary), open(primary.other())).map_err(Failure::from)
}
