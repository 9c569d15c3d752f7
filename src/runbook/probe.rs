//! The probe: whether the secondary answers, and how far it is behind. Reads are withdrawn at once and return slowly.
//!
//! The link notices a dead secondary too, but only when it has something to carry, and a frozen one not before its time-outs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Conductor, Trouble};
use crate::backend::control::Connection;
use crate::session::Withdrawn;
use crate::side::Side;

/// What the probe has seen so far. Pure, but for the time that it is told.
#[derive(Debug, Default)]
struct Watch {
    well_since: Option<Instant>,
}

/// What follows for the reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Withdraw(Withdrawn),
    Restore,
    AsItIs,
}

impl Watch {
    /// `lag`: `None` if the secondary does not answer.
    fn look(&mut self, lag: Option<Duration>, now: Instant, max_lag: Duration, return_after: Duration) -> Verdict {
        let Some(lag) = lag else {
            self.well_since = None;
            return Verdict::Withdraw(Withdrawn::Down);
        };
        if lag > max_lag {
            self.well_since = None;
            return Verdict::Withdraw(Withdrawn::Behind);
        }
        // Between the bound and half of it nothing changes.
        if lag > max_lag / 2 {
            self.well_since = None;
            return Verdict::AsItIs;
        }
        let since = *self.well_since.get_or_insert(now);
        match now.duration_since(since) >= return_after {
            true => Verdict::Restore,
            false => Verdict::AsItIs,
        }
    }
}

impl Conductor {
    /// Looks at the secondary until the process ends, in phases that have one.
    pub async fn probe(self: Arc<Self>) {
        let mut watch = Watch::default();
        let mut known: Option<Connection> = None;
        loop {
            // Read anew each time: the configuration may have been reloaded.
            let reads = &self.context.config.reads;
            tokio::time::sleep(reads.probe).await;
            let policy = self.policy();
            if !policy.phase.captures() {
                known = None;
                watch = Watch::default();
                self.context.withdrawal.restore();
                continue;
            }
            let side = policy.primary().other();
            let asked = tokio::time::timeout(reads.probe_timeout, self.ask(side, known.take())).await;
            known = asked.ok().and_then(|answer| answer.inspect_err(|e| tracing::debug!(%e, "the probe failed")).ok());
            let lag =
                known.as_ref().map(|_| Duration::from_secs_f64(self.context.ledger.report().lag_seconds.max(0.0)));
            match watch.look(lag, Instant::now(), reads.max_lag, reads.return_after) {
                Verdict::Withdraw(reason) => self.context.withdrawal.withdraw(reason),
                Verdict::Restore => self.context.withdrawal.restore(),
                Verdict::AsItIs => {}
            }
        }
    }

    async fn ask(&self, side: Side, known: Option<Connection>) -> Result<Connection, Trouble> {
        let connection = match known.filter(|c| c.side() == side && !c.is_closed()) {
            Some(connection) => connection,
            None => self.connect(side).await?,
        };
        connection.batch_execute("SELECT").await.map_err(Trouble::Introspect)?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_withdrawn_at_once_and_return_after_a_while() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let mut look = |lag: Option<u64>, at: u64| {
            let lag = lag.map(Duration::from_secs);
            watch.look(lag, start + Duration::from_secs(at), Duration::from_secs(10), Duration::from_secs(2))
        };
        assert_eq!(look(None, 0), Verdict::Withdraw(Withdrawn::Down));
        assert_eq!(look(Some(0), 1), Verdict::AsItIs);
        assert_eq!(look(Some(11), 2), Verdict::Withdraw(Withdrawn::Behind));
        assert_eq!(look(Some(7), 10), Verdict::AsItIs);
        assert_eq!(look(Some(5), 11), Verdict::AsItIs);
        assert_eq!(look(Some(0), 12), Verdict::AsItIs);
        assert_eq!(look(Some(0), 13), Verdict::Restore);
    }
}
