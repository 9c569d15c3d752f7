//! How the link stands with the sessions: when `ack: both` waits, and when it no longer does.
//!
//! `degraded` is a state of the link, not a time-out of each commit: it is entered once, when the oldest waiting commit has
//! waited for `mirror.ack_timeout` (a watch that runs beside the cycles sees to it: a cycle may hang), and left once, when a cycle
//! was applied and the lag is small again.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Ledger, LinkState};
use crate::config::{Live, OnSecondaryFailure};

/// A lag that counts as small again.
const SMALL_LAG: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Standing {
    ledger: Arc<Ledger>,
    config: Live,
}

impl Standing {
    pub fn new(ledger: Arc<Ledger>, config: Live) -> Self {
        Standing { ledger, config }
    }

    pub fn starting(&self, reason: &str) {
        self.ledger.set_state(LinkState::Starting, reason, true);
    }

    /// A cycle failed and will be tried again. A link that is degraded stays so.
    pub fn failed(&self, reason: &str) {
        match self.ledger.state() {
            LinkState::Degraded => self.ledger.set_state(LinkState::Degraded, reason, false),
            LinkState::Starting => self.ledger.set_state(LinkState::Starting, reason, true),
            _ => self.ledger.set_state(LinkState::Retrying, reason, true),
        }
    }

    /// A cycle was applied.
    pub fn applied(&self) {
        match self.ledger.state() {
            LinkState::Running => {}
            LinkState::Degraded if !self.lag_is_small() => {}
            _ => self.ledger.set_state(LinkState::Running, "", true),
        }
    }

    /// Another instance has applied a cycle that brought what was committed here.
    pub fn follows(&self) {
        match self.ledger.state() {
            LinkState::Degraded if !self.lag_is_small() => {}
            LinkState::Running if !self.ledger.report().reason.is_empty() => {}
            _ => self.ledger.set_state(LinkState::Running, "another instance holds the link", true),
        }
    }

    /// The link is this instance's from here on.
    pub fn holds(&self) {
        if self.ledger.state() == LinkState::Running {
            self.ledger.set_state(LinkState::Running, "", true);
        }
    }

    fn lag_is_small(&self) -> bool {
        let report = self.ledger.report();
        report.lag_seconds < SMALL_LAG.as_secs_f64() && report.lag_entries <= self.few()
    }

    /// A queue up to this counts as small: touches.
    fn few(&self) -> u64 {
        self.config.link.chunk as u64
    }

    fn blocks(&self) -> bool {
        self.config.mirror.on_secondary_failure == OnSecondaryFailure::Block
    }

    /// Held by the operator. Under `block` commits wait all the same: that is what it promises.
    pub fn paused(&self) {
        let hold = self.blocks();
        self.ledger.set_state(LinkState::Paused, "paused by the operator", hold);
    }

    pub fn detached(&self, reason: &str) {
        self.ledger.set_state(LinkState::Detached, reason, false);
    }

    pub fn stopped(&self) {
        self.ledger.set_state(LinkState::Stopped, "", false);
    }

    /// Degrades the link when commits wait for too long. Never ends.
    pub async fn watch(&self) {
        loop {
            let period = self.config.mirror.ack_timeout / 10;
            tokio::time::sleep(period.clamp(Duration::from_millis(5), Duration::from_millis(200))).await;
            self.look();
        }
    }

    fn look(&self) {
        let waits = matches!(self.ledger.state(), LinkState::Starting | LinkState::Running | LinkState::Retrying);
        let limit = self.config.mirror.ack_timeout;
        let late = self.ledger.oldest_wait().is_some_and(|wait| wait > limit);
        if !waits || !late || self.blocks() {
            return;
        }
        let former = self.ledger.report().reason;
        let because = if former.is_empty() { String::new() } else { format!(": {former}") };
        let limit = limit.as_secs_f64();
        let reason = format!("the secondary did not confirm a commit within {limit}s{because}");
        tracing::warn!(reason, "the link is degraded: commits are acknowledged by the primary alone");
        self.ledger.set_state(LinkState::Degraded, reason, false);
    }
}
