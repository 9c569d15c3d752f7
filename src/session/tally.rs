//! What the sessions count: plain atomics, read together when metrics or status are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::routing::{Choice, Why};
use crate::side::Side;

/// The kinds that statements are counted under: the label `kind` of `pgduet_statements_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passed without being looked at (`old_only`, `new_only`).
    Unread,
    Read,
    Write,
    Other,
}

impl Class {
    pub const ALL: [Class; 4] = [Class::Unread, Class::Read, Class::Write, Class::Other];

    pub fn as_str(self) -> &'static str {
        match self {
            Class::Unread => "unread",
            Class::Read => "read",
            Class::Write => "write",
            Class::Other => "other",
        }
    }
}

/// Upper bounds of the latency buckets, microseconds; one more bucket holds the rest.
pub const LATENCY_BOUNDS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];

/// A histogram of fixed buckets that any thread may add to.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Latency {
    pub fn add(&self, took: Duration) {
        let micros = took.as_micros().min(u128::from(u64::MAX)) as u64;
        let at = LATENCY_BOUNDS.partition_point(|&bound| bound < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Counts by bucket (not cumulated), and the sum in seconds.
    pub fn read(&self) -> (Vec<u64>, f64) {
        let counts = self.buckets.iter().map(|b| b.load(Relaxed)).collect();
        (counts, self.sum_micros.load(Relaxed) as f64 / 1e6)
    }
}

/// Shared by all sessions.
#[derive(Debug, Default)]
pub struct Tally {
    reads: [[AtomicU64; Why::ALL.len()]; 2],
    statements: [[Latency; 2]; Class::ALL.len()],
    pub ack_wait: Latency,
    /// Statements that may have changed a mirrored table and were not captured.
    pub uncaptured: AtomicU64,
    pub sampled: AtomicU64,
    pub client_errors: AtomicU64,
    backend_errors: [AtomicU64; 2],
    connections: [Arc<AtomicUsize>; 2],
}

/// A session's connection to a backend, counted for as long as this is there.
#[derive(Debug)]
pub struct Connected(Arc<AtomicUsize>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Old => 0,
        Side::New => 1,
    }
}

impl Tally {
    pub fn read(&self, choice: Choice) {
        if let Some(cell) = self.reads.get(index(choice.side)).and_then(|r| r.get(choice.why as usize)) {
            cell.fetch_add(1, Relaxed);
        }
    }

    pub fn reads(&self, side: Side, why: Why) -> u64 {
        self.reads.get(index(side)).and_then(|r| r.get(why as usize)).map_or(0, |c| c.load(Relaxed))
    }

    pub fn reads_on(&self, side: Side) -> u64 {
        Why::ALL.iter().map(|&why| self.reads(side, why)).sum()
    }

    /// One answer, whole: from the request's arrival to its ReadyForQuery.
    pub fn answered(&self, class: Class, side: Side, took: Duration) {
        self.latency(class, side).add(took);
    }

    pub fn latency(&self, class: Class, side: Side) -> &Latency {
        &self.statements[class as usize][index(side)]
    }

    pub fn backend_errors_on(&self, side: Side) -> u64 {
        self.backend_errors[index(side)].load(Relaxed)
    }

    pub fn backend_error(&self, side: Side) {
        self.backend_errors[index(side)].fetch_add(1, Relaxed);
    }

    /// Counts a connection that a session has made.
    pub fn connected(&self, side: Side) -> Connected {
        let count = &self.connections[index(side)];
        count.fetch_add(1, Relaxed);
        Connected(Arc::clone(count))
    }

    /// Connections that sessions hold.
    pub fn connections(&self, side: Side) -> usize {
        self.connections[index(side)].load(Relaxed)
    }
}
