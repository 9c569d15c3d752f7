//! When everything is captured: once every transaction of the former phase has ended, here and on every other instance.
//!
//! A change of phase waits for that, and gives up after `timeouts.phase_change`, for a forgotten transaction may live for days. The phase is in
//! force all the same, and what hangs on its being complete must not be left out: the look for writes around the proxy, and for what was prepared
//! meanwhile. So it is waited for beside the change, until the phase is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Conductor, Refused};
use crate::session::registry::StillRunning;
use crate::side::Side;

/// The pause between two looks whether the last transaction has ended.
const LOOK: Duration = Duration::from_secs(1);

/// One entering of a phase that captures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    pub primary: Side,
    /// The policy's number in this process.
    pub generation: u64,
    /// The durable policy's.
    pub epoch: u64,
    /// Whether it was asked for here: then what was prepared meanwhile is told of here.
    pub asked_here: bool,
}

impl Conductor {
    /// Waits until every transaction of the former phase has ended, within `timeouts.phase_change`; goes on waiting beside the caller if
    /// one has not.
    pub(super) async fn captured_from(&self, entered: Entered) -> Result<(), Refused> {
        self.entered.store(entered.generation, Ordering::Release);
        let ended = self.all_ended(entered, self.context.config.timeouts.phase_change).await;
        match ended.is_ok() {
            true => self.all_captured(entered).await,
            false => self.await_capture(entered),
        }
        ended
    }

    /// The same for an instance that follows: nobody waits for it here.
    pub(super) fn await_capture(&self, entered: Entered) {
        self.entered.store(entered.generation, Ordering::Release);
        let Some(myself) = self.myself.upgrade() else { return };
        tokio::spawn(async move { myself.keep_awaiting(entered).await });
    }

    async fn keep_awaiting(self: Arc<Self>, entered: Entered) {
        while self.entered.load(Ordering::Acquire) == entered.generation && self.policy().phase.captures() {
            if self.all_ended(entered, Duration::ZERO).await.is_ok() {
                return self.all_captured(entered).await;
            }
            tokio::select! {
                () = self.context.shutdown.begun() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn all_ended(&self, entered: Entered, limit: Duration) -> Result<(), Refused> {
        self.context.registry.all_past(entered.generation, limit).await.map_err(|e: StillRunning| Refused::from(e))?;
        self.all_follow(entered.primary, entered.epoch, limit).await
    }

    async fn all_captured(&self, entered: Entered) {
        if entered.asked_here {
            self.warn_of_prepared(entered.primary).await;
        }
        tracing::info!(phase = %self.policy().phase, "every transaction of the former phase has ended");
        self.link.all_captured();
    }

    /// What was prepared between the gate and the end of the former phase is not captured. Nor is it lost in silence.
    async fn warn_of_prepared(&self, primary: Side) {
        let gids = match self.prepared_transactions(primary).await {
            Ok(gids) => gids,
            Err(error) => {
                return tracing::warn!(%error, "it is not known whether transactions were prepared while the phase changed: look at pg_prepared_xacts");
            }
        };
        if !gids.is_empty() {
            tracing::warn!(
                ?gids,
                "transactions were prepared while the phase changed; their writes may not be carried"
            );
            let (fingerprint, reason) = (crate::sql::Fingerprint(0), "it was prepared while the phase changed");
            self.context.count_uncaptured(fingerprint, b"prepare transaction", reason);
        }
    }
}
