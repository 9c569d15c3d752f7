//! The way from the sessions and the link to the exporter. Bounded: what finds no room is dropped and counted, never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::Counts;
use super::context::Context;
use crate::phase::Phase;
use crate::routing::Why;
use crate::side::Side;

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Span {
    pub context: Context,
    pub parent: Option<[u8; 8]>,
    /// Unix time, nanoseconds.
    pub start: u64,
    pub end: u64,
    pub work: Work,
    pub failure: Option<Failure>,
    pub links: Vec<Context>,
}

/// What was done meanwhile.
#[derive(Debug)]
pub(super) enum Work {
    Statement(Box<Facts>),
    Backend { side: Side, primary: Side, why: Option<Why>, text: Option<Arc<[u8]>> },
    Ack { cycle: u64 },
    Link { cycle: u64, secondary: Side },
    Cycle { cycle: u64, secondary: Side, commits: usize, applied: u64, superseded: u64, parked: u64 },
    Shadow { side: Side, outcome: &'static str },
}

/// Of a client's statement.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub text: Option<Arc<[u8]>>,
    /// How many were run up to one ReadyForQuery.
    pub statements: u32,
    pub phase: Option<Phase>,
    pub class: Option<&'static str>,
    pub capture: Option<&'static str>,
    pub bucket: Option<u16>,
    /// Who has answered, and why that side.
    pub answer: Option<(Side, Option<Why>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Sqlstate([u8; 5]),
    /// There was no answer, or not all of it.
    Unanswered,
}

impl Span {
    /// It began then, and ends now.
    pub fn since(start: Instant, context: Context, parent: Option<[u8; 8]>, work: Work) -> Self {
        let end = unix_nanos();
        let start = end.saturating_sub(nanos(start.elapsed()));
        Span { context, parent, start, end, work, failure: None, links: Vec::new() }
    }
}

pub(super) fn unix_nanos() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: mpsc::Sender<Span>,
    /// Spans that may wait.
    pub bound: usize,
    pub sent: AtomicU64,
    dropped: AtomicU64,
    pub failed: AtomicU64,
}

impl Outlet {
    pub fn new(bound: usize) -> (Arc<Self>, mpsc::Receiver<Span>) {
        let (queue, waiting) = mpsc::channel(bound.max(1));
        let (sent, dropped, failed) = Default::default();
        (Arc::new(Outlet { queue, bound, sent, dropped, failed }), waiting)
    }

    /// The exporter looks by itself: nobody is woken, so that this costs no system call.
    pub fn offer(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped(1);
        }
    }

    pub fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Relaxed);
    }

    pub fn counts(&self) -> Counts {
        Counts { sent: self.sent.load(Relaxed), dropped: self.dropped.load(Relaxed), failed: self.failed.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let (outlet, mut waiting) = Outlet::new(2);
        let span = || Span::since(Instant::now(), Context::root(), None, Work::Ack { cycle: 1 });
        (0..5).for_each(|_| outlet.offer(span()));
        assert_eq!(outlet.counts(), Counts { dropped: 3, ..Counts::default() });
        assert!(waiting.try_recv().is_ok() && waiting.try_recv().is_ok() && waiting.try_recv().is_err());
    }
}
