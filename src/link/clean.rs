//! Housekeeping beside the cycles, on connections of its own: what was carried is removed from the journal, and the journal's
//! size is watched.
//!
//! Only the holder of the link does it: it has to know what was removed, see [`super::bypass`].
//!
//! What it must not do: the secondary runs with `synchronous_commit = off`, so a marker that can be read there may be lost in
//! a crash of its server, and the touches between would be needed again. So the marker is read first, then something is
//! committed there *with* a flush (which flushes all that came before), and only then touches that the marker saw are removed.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::bypass::Watch;
use super::failure::Failure;
use super::ledger::{Cycle, Ledger};
use crate::backend::control::{Connection, Purpose};
use crate::config::{Config, Live};
use crate::failpoint;
use crate::side::Side;
use crate::store::journal::{self, Removed};
use crate::store::{Snapshot, marker};

/// Cleans up every `link.clean_up`. Ends only when the journal has reached `journal.max_bytes`: the reason is sent.
pub async fn keep_clean(
    config: Live,
    primary: Side,
    ledger: Arc<Ledger>,
    watch: Arc<Watch>,
    full: mpsc::Sender<String>,
) {
    let mut ends = None;
    let mut survey = Survey { ledger, marker: None, due: Instant::now() };
    let mut ticks = tokio::time::interval(config.link.clean_up);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = match take_or_open(&mut ends, &config, primary).await {
            Ok(mut open) => {
                let result = turn(&mut open, &config, &mut survey, &watch).await;
                ends = result.is_ok().then_some(open);
                result
            }
            Err(failure) => Err(failure),
        };
        match result {
            Ok(None) => {}
            Ok(Some(reason)) => {
                let _ = full.send(reason).await;
                return;
            }
            Err(failure) => tracing::debug!(%failure, "the journal could not be cleaned"),
        }
    }
}

struct Ends {
    primary: Connection,
    /// The journal is watched even while the secondary is down.
    secondary: Option<Connection>,
}

async fn take_or_open(ends: &mut Option<Ends>, config: &Config, primary: Side) -> Result<Ends, Failure> {
    let open =
        async |side: Side| Connection::open(side, config.backends.get(side), Purpose::CleanUp, &config.timeouts).await;
    match ends.take() {
        Some(Ends { primary, secondary: Some(secondary) }) => Ok(Ends { primary, secondary: Some(secondary) }),
        Some(Ends { primary: connection, secondary: None }) => {
            Ok(Ends { primary: connection, secondary: open(primary.other()).await.ok() })
        }
        None => Ok(Ends { primary: open(primary).await?, secondary: open(primary.other()).await.ok() }),
    }
}

/// One turn; `Some(reason)`: the journal is full.
async fn turn(ends: &mut Ends, config: &Config, survey: &mut Survey, watch: &Watch) -> Result<Option<String>, Failure> {
    let bytes = journal::size_bytes(&ends.primary).await?.unwrap_or(0);
    if bytes > config.journal.max_bytes {
        return Ok(Some(format!(
            "the journal has {bytes} bytes, more than journal.max_bytes = {}; begin anew once the secondary keeps up",
            config.journal.max_bytes
        )));
    }
    match tokio::time::timeout(config.timeouts.connect, flushed(ends.secondary.as_ref(), survey)).await {
        Ok(Ok(Some(marker))) => {
            failpoint::pass("clean.flushed");
            while watch.is_watching() && remove(&ends.primary, &marker, watch).await?.more_to_clean() {}
            failpoint::pass("clean.removed");
        }
        Ok(Ok(None)) => {}
        // It is gone, or hangs. The journal is watched all the same.
        Ok(Err(_)) | Err(_) => ends.secondary = None,
    }
    survey.take(&ends.primary).await?;
    Ok(None)
}

async fn remove(primary: &Connection, marker: &Snapshot, watch: &Watch) -> Result<Removed, Failure> {
    let _removing = watch.removal().await;
    // Without an answer it is not known what is gone.
    let removed = journal::clean_up(primary, marker).await.inspect_err(|_| watch.removed(&Removed::unknown()))?;
    watch.removed(&removed);
    Ok(removed)
}

/// A marker that can no longer be lost.
async fn flushed(secondary: Option<&Connection>, survey: &mut Survey) -> Result<Option<Snapshot>, Failure> {
    let Some(secondary) = secondary else { return Ok(None) };
    let cycle = survey.ledger.applied();
    let Some(marker) = marker::peek(secondary).await? else { return Ok(None) };
    survey.marker = Some((cycle, marker.clone()));
    marker::flush(secondary).await?;
    Ok(Some(marker))
}

/// A survey may take this part of the time.
const SHARE: u32 = 20;

/// What waits in the journal without a session that announces it: where the link does not run, nobody else would count it.
struct Survey {
    ledger: Arc<Ledger>,
    /// The marker, and the last cycle that was known to be applied before it was read.
    marker: Option<(Cycle, Snapshot)>,
    due: Instant,
}

impl Survey {
    async fn take(&mut self, primary: &Connection) -> Result<(), Failure> {
        let begun = Instant::now();
        let Some((cycle, marker)) = self.marker.as_ref().filter(|_| begun >= self.due) else { return Ok(()) };
        let waiting = journal::unannounced(primary, marker).await?;
        self.ledger.surveyed(waiting, *cycle);
        self.due = Instant::now() + begun.elapsed() * SHARE;
        Ok(())
    }
}
