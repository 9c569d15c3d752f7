//! The supervising task: holds both connections and the lock, runs one cycle after the other, and begins anew after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::try_join;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::align::{self, Request};
use super::begin::{self, Session};
use super::bypass::{self, Watch};
use super::failure::{Failure, Remedy};
use super::follow::Follower;
use super::ledger::{Carried, Cycle, Ledger};
use super::news::{Audience, News};
use super::quick::{self, Ends, Quick};
use super::schemas::{Place, Schemas};
use super::sequences::Sequences;
use super::standing::Standing;
use super::thorough::{self, Order, Patience, Renewal, Thorough};
use super::{Applying, clean, flushed};
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

/// How long an announcement is waited for.
const ANNOUNCING: Duration = Duration::from_secs(10);

/// How often the lock is tried of a link that is paused: the connection that had it has just been closed.
const LOCKING: usize = 50;

/// How many snapshots are tried before a table that will not hold still is parked instead.
const SNAPSHOTS: usize = 10;

/// What the carrier shares with its handle.
pub struct Orders {
    pub wish: watch::Receiver<Wish>,
    pub requests: mpsc::Receiver<Request>,
    /// Rung when the schemas have changed.
    pub schemas: watch::Receiver<()>,
    pub audience: Option<Arc<dyn Audience>>,
    pub sequences: Arc<Sequences>,
    pub watch: Arc<Watch>,
}

/// The carrier; see the module's text.
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
}

/// Whether a link that is given up is still to be written down as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    Yes,
    NotYet,
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
        let (applying, waiting) = (None, Vec::new());
        Carrier { config, ledger, standing, primary, orders, applying, restated: false, waiting }
    }

    /// Carries until the task is dropped. Dropping it at any point is safe: the marker says what was done.
    pub async fn run(mut self) {
        self.standing.starting("connecting");
        let mut beside = JoinSet::new();
        let standing = self.standing.clone();
        beside.spawn(async move { standing.watch().await });
        let (full_tx, mut full) = mpsc::channel(1);
        let (watch, ledger) = (Arc::clone(&self.orders.watch), Arc::clone(&self.ledger));
        beside.spawn(clean::keep_clean(self.config.clone(), self.primary, ledger, watch, full_tx));
        let (watch, ledger) = (Arc::clone(&self.orders.watch), Arc::clone(&self.ledger));
        beside.spawn(bypass::watch(self.config.clone(), self.primary, ledger, watch));
        let sequences = Arc::clone(&self.orders.sequences);
        beside.spawn(sequences.follow(self.config.clone(), self.primary, Arc::clone(&self.ledger)));
        let mut delay = self.config.link.retry_min;
        loop {
            let wish = self.orders.wish.borrow_and_update().clone();
            match wish {
                Wish::Detach(reason) => return self.detached(&reason, Noted::NotYet).await,
                Wish::Pause => {
                    self.standing.paused();
                    if !self.paused().await {
                        return;
                    }
                    self.standing.starting("connecting");
                    continue;
                }
                Wish::Run => {}
            }
            let before = self.ledger.applied();
            let ended = self.until_the_end(&mut full).await;
            self.orders.watch.end();
            match ended {
                Ended::Wish => continue,
                Ended::Full(reason) => return self.detached(&reason, Noted::NotYet).await,
                Ended::Failed(Failure::Detached(reason)) => return self.detached(&reason, Noted::NotYet).await,
                Ended::Failed(Failure::DetachedBefore(reason)) => return self.detached(&reason, Noted::Yes).await,
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

    /// Until the operator wants something else; `false`: nobody is left to want anything.
    async fn paused(&mut self) -> bool {
        let mut wish = self.orders.wish.clone();
        let holding = async {
            let _held = self.hold_back_others().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            changed = wish.changed() => changed.is_ok(),
            () = holding => false,
        }
    }

    /// Takes the lock that the cycles had, so that no other instance carries on; as far as the primary answers, and none has it.
    async fn hold_back_others(&self) -> Option<Connection> {
        let (side, timeouts) = (self.primary, &self.config.timeouts);
        let connection = Connection::open(side, self.config.backends.get(side), Purpose::Link, timeouts).await.ok()?;
        for _ in 0..LOCKING {
            if begin::take_lock(&connection).await.ok()? {
                return Some(connection);
            }
            tokio::time::sleep(self.config.link.follow).await;
        }
        tracing::warn!("paused here, but another instance holds the link: pause it there");
        None
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
        self.orders.schemas.mark_unchanged();
        let mut session = self.open().await?;
        self.settle(&session).await?;
        let (mut moved, mut others, mut asked) = (Instant::now(), false, Instant::now());
        loop {
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
            if asked.elapsed() >= self.config.link.poll {
                (others, asked) = (begin::others_write(&session.primary.connection).await?, Instant::now());
            }
            self.wait_for_work(if others { self.config.link.follow } else { self.config.link.poll }).await;
        }
    }

    /// Connects, and follows whoever holds the link until it is this instance's.
    async fn open(&mut self) -> Result<Session, Failure> {
        let (primary, secondary) = open_both(&self.config, self.primary).await?;
        if !begin::take_lock(&primary).await? {
            let ends = [&primary, &secondary];
            let follower = Follower::new(ends, &self.ledger, &self.standing, &self.config).await?;
            follower.until_taken_over(&mut self.orders.requests).await?;
            tracing::info!("the link is this instance's now");
            // Counted by another one until now.
            self.restated = false;
        }
        let session = Session::open(primary, secondary, &self.config, self.primary).await?;
        self.standing.holds();
        self.orders.watch.begin(session.schemas.catalog());
        Ok(session)
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

    /// Until there is something to carry; where nobody waits for it, a little longer, because a cycle of many commits costs both
    /// databases hardly more than a cycle of one.
    /// `unasked`: how long until the journal is looked at although no commit was announced.
    async fn wait_for_work(&mut self, unasked: Duration) {
        if !self.waiting.is_empty() {
            return;
        }
        let ledger = Arc::clone(&self.ledger);
        let unhurried = async {
            ledger.unhurried.notified().await;
            tokio::time::sleep(self.config.link.gather).await;
        };
        tokio::select! {
            () = ledger.commits.notified() => {}
            () = unhurried => {}
            () = tokio::time::sleep(unasked) => {}
            Some(request) = self.orders.requests.recv() => self.waiting.push(request),
            _ = self.orders.schemas.changed() => self.orders.schemas.mark_changed(),
        }
    }

    /// One cycle: quick if it can be, thorough if it must.
    async fn cycle(&mut self, session: &mut Session) -> Result<(), Failure> {
        let begun = Instant::now();
        // Before the snapshot: see the ledger.
        let cycle = self.ledger.cycle_starts();
        failpoint::pass("link.starts");
        if self.orders.schemas.has_changed().unwrap_or(false) {
            self.orders.schemas.mark_unchanged();
            return self.thorough(session, cycle, begun, Renewal::Wanted).await;
        }
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
            Ok(Quick::Beyond) => return self.thorough(session, cycle, begun, Renewal::IfNeeded).await,
            Err(failure) if failure.remedy() != Remedy::Retry => {
                tracing::debug!(%failure, "a quick cycle was refused, a thorough one follows");
                session.recover().await?;
                return self.thorough(session, cycle, begun, Renewal::IfNeeded).await;
            }
            Err(failure) => return Err(failure),
        }
        if hold {
            self.serve_requests(session).await?;
        }
        Ok(())
    }

    fn ends<'a>(&'a self, session: &'a mut Session) -> Ends<'a> {
        let Session { primary, secondary, schemas, hot, .. } = session;
        let place = Place { primary: self.primary, mirror: &self.config.mirror };
        Ends { primary, secondary, schemas, hot, chunk: self.config.link.chunk, place }
    }

    fn applied(&mut self, cycle: Cycle, begun: Instant, carried: Carried) {
        self.applying = None;
        self.ledger.cycle_applied(cycle, begun, carried);
        failpoint::pass("link.booked");
        self.standing.applied();
    }

    /// Tries other orders and other snapshots, as far as the attempts ask for them.
    async fn thorough(
        &mut self,
        session: &mut Session,
        cycle: Cycle,
        begun: Instant,
        mut renewal: Renewal,
    ) -> Result<(), Failure> {
        let (mut order, mut snapshots) = (Order::InPlace, 1);
        loop {
            let (mut applying, since, mark) = (None, Instant::now(), self.mark());
            let (marker, silent) = (session.marker.clone(), session.silent);
            let patience = Patience { order, silent, again: snapshots < SNAPSHOTS, renewal };
            let outcome = thorough::run(&mut self.ends(session), &marker, patience, &mut applying).await;
            self.applying = applying.map(|applying| (cycle, begun, applying));
            match outcome? {
                Thorough::Applied(snapshot, carried, renewed) => {
                    session.advance(snapshot);
                    let parked = carried.parked > 0;
                    self.adopt(session, renewed, News { catalogs: None, parked, since, mark, statement: 0 }).await;
                    self.applied(cycle, begun, carried);
                    return Ok(());
                }
                Thorough::Entangled => {
                    tracing::debug!("rows exchange unique values: they are deleted before they are written");
                    order = Order::DeleteFirst;
                }
                Thorough::Outdated => {
                    tracing::debug!("a table was truncated or altered while it was read: another snapshot is taken");
                    (snapshots, renewal) = (snapshots + 1, Renewal::Wanted);
                }
            }
        }
    }

    fn mark(&self) -> u64 {
        self.orders.audience.as_ref().map_or(0, |audience| audience.mark())
    }

    /// The schemas that a cycle has read count from here on; whoever analyses statements is told.
    async fn adopt(&self, session: &mut Session, renewed: Option<Box<Schemas>>, mut news: News) {
        if let Some(schemas) = renewed {
            news.catalogs = Some(schemas.catalogs.clone());
            news.statement = schemas.statement;
            session.adopt(*schemas);
            self.orders.watch.begin(session.schemas.catalog());
        }
        let is_news = news.parked || news.catalogs.is_some();
        if let Some(audience) = self.orders.audience.as_ref().filter(|_| is_news)
            && tokio::time::timeout(ANNOUNCING, audience.tell(news)).await.is_err()
        {
            tracing::warn!("the sessions have not learnt of the schemas' change in time");
        }
    }

    /// Nothing was touched, but time went on: the marker follows, so that the journal can be cleaned.
    async fn move_marker(&mut self, session: &mut Session) -> Result<(), Failure> {
        if session.seen == session.marker {
            return Ok(());
        }
        flushed::everything(&session.primary.connection).await?;
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
    async fn detached(&mut self, reason: &str, noted: Noted) {
        tracing::error!(reason, "the link is detached: the secondary is stale until it is begun anew");
        self.standing.detached(reason);
        let mut noted = noted;
        let mut ticks = tokio::time::interval(self.config.link.clean_up);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.note_detached(reason, noted).await {
                Ok(Some(discarded)) => {
                    noted = Noted::Yes;
                    self.ledger.discarded(discarded);
                }
                // Begun anew by another instance; this one is told to start, or to stop, by the policy.
                Ok(None) => noted = Noted::Yes,
                Err(failure) => tracing::warn!(%failure, "the journal could not be cleared"),
            }
        }
    }

    async fn note_detached(&self, reason: &str, noted: Noted) -> Result<Option<u64>, Failure> {
        let (side, timeouts) = (self.primary, &self.config.timeouts);
        let connection = Connection::open(side, self.config.backends.get(side), Purpose::CleanUp, timeouts).await?;
        if noted == Noted::NotYet {
            detached::write(&connection, reason).await?;
            let evidence = serde_json::json!({ "detached": reason });
            tables::set_all(&connection, tables::SyncState::Stale, &evidence).await?;
        }
        Ok(journal::clear_detached(&connection).await?)
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
