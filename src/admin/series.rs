//! The last quarter of an hour, second by second: a page that is opened in the night begins with what led there.
//!
//! A bounded ring of samples, taken by a task of the admin port from the same figures that `/api/status` shows. Totals are kept as they are;
//! rates are the reader's. Latency is of the reads that ended within the last few seconds, not since the start.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::link::ledger::{Counts, LinkState};
use crate::routing::{Percent, Phase, Why};
use crate::runbook::Conductor;
use crate::session::tally::{Class, LATENCY_BOUNDS};
use crate::side::{BySide, Side};

/// Between two samples.
pub const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept.
const KEPT: usize = 900;
/// Samples over which latency is taken.
const WINDOW: usize = 5;

/// The figures of one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Counts samples since the start of the process; the first is 1.
    pub n: u64,
    /// Unix seconds.
    pub at: f64,
    pub phase: Phase,
    pub read_percent: Percent,
    pub clients: usize,
    pub reads: BySide<u64>,
    pub fallback: u64,
    pub stale: u64,
    pub writes: u64,
    pub link_state: LinkState,
    pub lag_entries: u64,
    pub lag_seconds: f64,
    pub counts: Counts,
    pub matched: u64,
    pub mismatched: u64,
    pub raced: u64,
    pub dropped: u64,
    pub uncaptured: u64,
    /// Of reads, in the last seconds; `null` where there were none.
    pub latency: BySide<Option<Latency>>,
}

/// Milliseconds, interpolated within the tally's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

type Buckets = BySide<Vec<u64>>;

#[derive(Default)]
struct Ring {
    samples: VecDeque<Sample>,
    buckets: VecDeque<Buckets>,
    taken: u64,
}

/// See the module's text.
#[derive(Default)]
pub struct Series(Mutex<Ring>);

impl Series {
    /// Takes a sample every second, for as long as the process lives.
    pub async fn follow(&self, conductor: &Conductor) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.take(conductor);
        }
    }

    fn take(&self, conductor: &Conductor) {
        let now = buckets(conductor);
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ring.buckets.front().cloned().unwrap_or_default();
        let latency = BySide::from_fn(|side| latency(before.get(side), now.get(side)));
        ring.taken += 1;
        let sample = sample(conductor, ring.taken, latency);
        ring.buckets.push_back(now);
        if ring.buckets.len() > WINDOW {
            ring.buckets.pop_front();
        }
        ring.samples.push_back(sample);
        if ring.samples.len() > KEPT {
            ring.samples.pop_front();
        }
    }

    /// The samples after number `since`, oldest first.
    pub fn since(&self, since: u64) -> Vec<Sample> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.samples.iter().filter(|sample| sample.n > since).cloned().collect()
    }
}

fn sample(conductor: &Conductor, n: u64, latency: BySide<Option<Latency>>) -> Sample {
    let context = &conductor.context;
    let policy = conductor.policy();
    let tally = &context.tally;
    let report = context.ledger.report();
    let totals = conductor.findings.totals();
    let sum = |why: Why| Side::BOTH.into_iter().map(|side| tally.reads(side, why)).sum::<u64>();
    let writes = |side| tally.latency(Class::Write, side).read().0.iter().sum::<u64>();
    let load = |total: &std::sync::atomic::AtomicU64| total.load(std::sync::atomic::Ordering::Relaxed);
    Sample {
        n,
        at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        phase: policy.phase,
        read_percent: policy.read_percent,
        clients: context.registry.clients(),
        reads: BySide::from_fn(|side| tally.reads_on(side)),
        fallback: sum(Why::Fallback),
        stale: sum(Why::Stale),
        writes: Side::BOTH.into_iter().map(writes).sum(),
        link_state: report.state,
        lag_entries: report.lag_entries,
        lag_seconds: report.lag_seconds,
        counts: report.counts,
        matched: totals.matched_total,
        mismatched: totals.mismatched_total,
        raced: totals.raced_total,
        dropped: load(&context.samples.dropped) + totals.over_budget_total,
        uncaptured: load(&tally.uncaptured),
        latency,
    }
}

fn buckets(conductor: &Conductor) -> Buckets {
    BySide::from_fn(|side| conductor.context.tally.latency(Class::Read, side).read().0)
}

/// Of the answers that were counted between two readings.
fn latency(before: &[u64], now: &[u64]) -> Option<Latency> {
    let earlier = before.iter().copied().chain(std::iter::repeat(0));
    let counts: Vec<u64> = now.iter().zip(earlier).map(|(now, before)| now.saturating_sub(before)).collect();
    Some(Latency { p50_ms: quantile(&counts, 0.5)?, p99_ms: quantile(&counts, 0.99)? })
}

/// The value below which the share `q` lies, as if each bucket were filled evenly. What lies beyond the last bound counts as the bound.
fn quantile(counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    let wanted = q * total as f64;
    let mut below = 0.0;
    let mut from = 0.0;
    for (at, &count) in counts.iter().enumerate() {
        let Some(to) = LATENCY_BOUNDS.get(at).map(|&bound| bound as f64 / 1000.0) else { break };
        let reached = below + count as f64;
        if count > 0 && reached >= wanted {
            return Some(from + (to - from) * (wanted - below) / count as f64);
        }
        (below, from) = (reached, to);
    }
    (total > 0).then_some(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_the_bucket_that_holds_them() {
        assert_eq!(quantile(&[0, 0, 0], 0.5), None);
        assert_eq!(quantile(&[10], 0.5), Some(0.05));
        assert_eq!(quantile(&[0, 100, 0], 0.5), Some(0.1 + 0.15 * 0.5));
        let mut slow = vec![0; LATENCY_BOUNDS.len() + 1];
        slow[LATENCY_BOUNDS.len()] = 3;
        assert_eq!(quantile(&slow, 0.99), Some(5000.0));
    }

    #[test]
    fn latency_is_of_what_came_since() {
        assert_eq!(latency(&[], &[0, 0]), None);
        assert_eq!(latency(&[7, 0], &[7, 0]), None);
        let found = latency(&[1_000_000, 0], &[1_000_000, 10]).expect("ten answers");
        assert!(found.p50_ms > 0.1 && found.p99_ms <= 0.25);
    }
}
