//! The link as the control plane sees it: started, held, given up; asked for an aligned pair, or to wait.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::LinkError;
use super::align::{Aligned, Request};
use super::bypass::{Bypassed, Watch};
use super::carrier::{self, Carrier, Orders, Wish};
use super::failure::Failure;
use super::ledger::{Ledger, LinkState};
use super::news::Audience;
use super::sequences::Sequences;
use super::standing::Standing;
use crate::backend::control::{Connection, Purpose};
use crate::config::Live;
use crate::side::Side;
use crate::store::parked;

/// Requests for an aligned pair that may wait at once; more are told that the link is busy.
const WAITING_FOR_ALIGNMENT: usize = 64;

/// See the module's text. One for each process; the link itself is a task that it starts and stops.
pub struct LinkHandle {
    config: Live,
    ledger: Arc<Ledger>,
    running: Mutex<Option<Running>>,
    audience: OnceLock<Arc<dyn Audience>>,
    sequences: Arc<Sequences>,
    watch: Arc<Watch>,
}

#[derive(Debug)]
struct Running {
    primary: Side,
    wish: watch::Sender<Wish>,
    requests: mpsc::Sender<Request>,
    schemas: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LinkHandle {
    pub fn new(config: Live, ledger: Arc<Ledger>) -> Self {
        let (sequences, watch) = Default::default();
        LinkHandle { config, ledger, running: Mutex::new(None), audience: OnceLock::new(), sequences, watch }
    }

    /// Whom to tell when a cycle has read the schemas, or changed what is known of the tables, before its commits are acknowledged.
    /// The first call counts.
    pub fn on_schemas(&self, audience: Arc<dyn Audience>) {
        let _ = self.audience.set(audience);
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Starts to carry from `primary` to the other side. With `fresh` the marker is set to the primary as it is now, before
    /// this returns: errors are those of doing so. Otherwise it returns at once, and the link goes on from the marker that it
    /// finds; without one it is detached, and the ledger says why. A link that runs already is stopped first.
    pub async fn start(&self, primary: Side, fresh: bool) -> Result<(), LinkError> {
        let mut running = self.running.lock().await;
        stop_task(running.take()).await;
        if fresh {
            let (on_primary, on_secondary) = carrier::open_both(&self.config, primary).await?;
            carrier::begin(&on_primary, &on_secondary).await?;
        }
        let (wish, wish_rx) = watch::channel(Wish::Run);
        let (requests, requests_rx) = mpsc::channel(WAITING_FOR_ALIGNMENT);
        let (schemas, schemas_rx) = watch::channel(());
        let audience = self.audience.get().cloned();
        let (sequences, watch) = (Arc::clone(&self.sequences), Arc::clone(&self.watch));
        let orders = Orders { wish: wish_rx, requests: requests_rx, schemas: schemas_rx, audience, sequences, watch };
        let carrier = Carrier::new(self.config.clone(), Arc::clone(&self.ledger), primary, orders);
        // Before the first session can ask: a commit must wait from now on.
        self.standing().starting("connecting");
        let task = tokio::spawn(carrier.run());
        *running = Some(Running { primary, wish, requests, schemas, task });
        Ok(())
    }

    fn standing(&self) -> Standing {
        Standing::new(Arc::clone(&self.ledger), self.config.clone())
    }

    /// Stops the link, at any point of a cycle; whoever waits for an acknowledgement is released.
    pub async fn stop(&self) {
        let mut running = self.running.lock().await;
        stop_task(running.take()).await;
        self.watch.forget();
        self.standing().stopped();
    }

    /// Every transaction of the former phase has ended: who leaves no touches from here on does not come through the proxy.
    pub fn all_captured(&self) {
        self.watch.all_captured();
    }

    /// The tables that somebody writes to without the proxy, as far as this instance has seen; see [`super::bypass`].
    pub fn bypassed(&self) -> Vec<Bypassed> {
        self.watch.bypassed()
    }

    /// Holds the link until [`LinkHandle::resume`]: the journal grows, nothing is carried.
    pub async fn pause(&self) -> Result<(), LinkError> {
        self.wish(Wish::Pause).await
    }

    pub async fn resume(&self) -> Result<(), LinkError> {
        self.wish(Wish::Run).await
    }

    /// Gives the link up: durable, every table becomes `stale`. Only a fresh start leads on from there.
    pub async fn detach(&self, reason: &str) -> Result<(), LinkError> {
        self.wish(Wish::Detach(reason.to_string())).await
    }

    async fn wish(&self, wish: Wish) -> Result<(), LinkError> {
        if self.ledger.state() == LinkState::Detached {
            return Err(LinkError::NoLink(LinkState::Detached));
        }
        let running = self.running.lock().await;
        let sender = &running.as_ref().ok_or(LinkError::NoLink(LinkState::Stopped))?.wish;
        sender.send(wish).map_err(|_| LinkError::NoLink(LinkState::Stopped))
    }

    /// The schemas have changed: the next cycle reads them again.
    pub async fn look_again(&self) {
        if let Some(running) = self.running.lock().await.as_ref() {
            running.schemas.send_replace(());
        }
    }

    /// An aligned pair of snapshots, at the end of the next cycle. Open both transactions at once ([`Aligned::open`]): the link
    /// holds still meanwhile, for `link.align_hold` at most. `limit`: how long to wait for the cycle.
    pub async fn align(&self, limit: Duration) -> Result<Aligned, LinkError> {
        let requests = self.running.lock().await.as_ref().map(|running| running.requests.clone());
        let requests = requests.ok_or(LinkError::NoLink(LinkState::Stopped))?;
        let (request, answer) = oneshot::channel();
        requests.try_send(request).map_err(|_| LinkError::Busy)?;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(aligned)) => Ok(aligned),
            Ok(Err(_)) => Err(LinkError::NoLink(self.ledger.state())),
            Err(_) => Err(LinkError::TimedOut { limit, missing: self.missing() }),
        }
    }

    /// Waits until everything that was committed on the primary before the call is on the secondary, through outages.
    pub async fn barrier(&self, limit: Duration) -> Result<(), LinkError> {
        let cycle = self.ledger.committed(0);
        let reached = async {
            loop {
                let progress = self.ledger.progress.notified();
                tokio::pin!(progress);
                // Enlisted before the look, so that what happens between the two is not missed.
                progress.as_mut().enable();
                if self.ledger.applied() >= cycle {
                    return self.sequences_too().await;
                }
                let state = self.ledger.state();
                if matches!(state, LinkState::Stopped | LinkState::Detached) {
                    return Err(LinkError::NoLink(state));
                }
                progress.await;
            }
        };
        match tokio::time::timeout(limit, reached).await {
            Ok(result) => result,
            Err(_) => Err(LinkError::TimedOut { limit, missing: self.missing() }),
        }
    }

    /// Sets every sequence of the secondary to where the primary's stands now.
    pub async fn carry_sequences(&self) -> Result<(), LinkError> {
        let primary = self.running.lock().await.as_ref().map(|running| running.primary);
        let primary = primary.ok_or(LinkError::NoLink(LinkState::Stopped))?;
        let (on_primary, on_secondary) = carrier::open_both(&self.config, primary).await?;
        Ok(self.sequences.carry(&on_primary, &on_secondary, &self.config.mirror).await?)
    }

    /// The same, through outages.
    async fn sequences_too(&self) -> Result<(), LinkError> {
        loop {
            match self.carry_sequences().await {
                Err(LinkError::Failed(failure)) => {
                    tracing::debug!(%failure, "sequences are carried again");
                    tokio::time::sleep(self.config.link.retry_min).await;
                }
                settled => return settled,
            }
        }
    }

    fn missing(&self) -> String {
        let report = self.ledger.report();
        let reason = if report.reason.is_empty() { String::new() } else { format!(" ({})", report.reason) };
        let (entries, seconds, state) = (report.lag_entries, report.lag_seconds, report.state.as_str());
        format!("{entries} entries, {seconds:.1}s behind; the link is {state}{reason}")
    }

    /// Puts parked entries back into the journal; `ids` empty: all. Returns how many.
    pub async fn retry_parked(&self, ids: &[i64]) -> Result<u64, LinkError> {
        let connection = self.on_primary().await?;
        let retried = parked::retry(&connection, ids).await.map_err(Failure::from)?;
        self.ledger.parked_retried(retried);
        Ok(retried)
    }

    /// Gives parked entries up, recorded; `ids` empty: all. Returns how many.
    pub async fn discard_parked(&self, ids: &[i64], by: &str) -> Result<u64, LinkError> {
        let connection = self.on_primary().await?;
        let discarded = parked::discard(&connection, ids, by).await.map_err(Failure::from)?;
        self.ledger.parked_discarded(discarded);
        Ok(discarded)
    }

    async fn on_primary(&self) -> Result<Connection, LinkError> {
        let primary = self.running.lock().await.as_ref().map(|running| running.primary);
        let side = primary.ok_or(LinkError::NoLink(LinkState::Stopped))?;
        let backend = self.config.backends.get(side);
        let opened = Connection::open(side, backend, Purpose::Control, &self.config.timeouts).await;
        opened.map_err(|error| LinkError::Failed(error.into()))
    }
}

/// Waits for the task's end, so that its connections and its lock are gone before another one starts.
async fn stop_task(running: Option<Running>) {
    if let Some(mut running) = running {
        running.task.abort();
        let _ = (&mut running.task).await;
    }
}
