//! Housekeeping beside the cycles, on connections of its own: what was carried is removed from the journal, and the journal's
//! size is watched.
//!
//! What it must not do: the secondary runs with `synchronous_commit = off`, so a marker that can be read there may be lost in
//! a crash of its server, and the touches between would be needed again. So the marker is read first, then something is
//! committed there *with* a flush (which flushes all that came before), and only then touches that the marker saw are removed.

use tokio::sync::mpsc;

use super::failure::Failure;
use crate::backend::control::{Connection, Purpose};
use crate::config::{Config, Live};
use crate::failpoint;
use crate::side::Side;
use crate::store::{journal, marker};

/// Cleans up every `link.clean_up`. Ends only when the journal has reached `journal.max_bytes`: the reason is sent.
pub async fn keep_clean(config: Live, primary: Side, full: mpsc::Sender<String>) {
    let mut ends = None;
    let mut ticks = tokio::time::interval(config.link.clean_up);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = match take_or_open(&mut ends, &config, primary).await {
            Ok(open) => {
                let result = turn(&open, &config).await;
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
async fn turn(ends: &Ends, config: &Config) -> Result<Option<String>, Failure> {
    let bytes = journal::size_bytes(&ends.primary).await?.unwrap_or(0);
    if bytes > config.journal.max_bytes {
        return Ok(Some(format!(
            "the journal has {bytes} bytes, more than journal.max_bytes = {}; begin anew once the secondary keeps up",
            config.journal.max_bytes
        )));
    }
    let Some(secondary) = &ends.secondary else { return Ok(None) };
    let Some(marker) = marker::peek(secondary).await? else { return Ok(None) };
    marker::flush(secondary).await?;
    failpoint::pass("clean.flushed");
    while journal::more_to_clean(journal::clean_up(&ends.primary, &marker).await?) {}
    failpoint::pass("clean.removed");
    Ok(None)
}
