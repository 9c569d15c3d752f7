//! What came of the comparisons, by statement: a bounded table.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::side::{BySide, Side};
use crate::sql::{Fingerprint, read_shape};

/// How one comparison ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Matched,
    /// Different at first, equal at an aligned pair.
    Raced,
    /// Different at an aligned pair; both answers in short, without values.
    Mismatched {
        old: String,
        new: String,
        /// How they differ, in words.
        what: &'static str,
        /// Some of the rows that differ: hashes, and values only if the operator asked for them.
        samples: Vec<String>,
    },
    /// It could not be decided: no aligned pair, or a statement whose answer is not determined.
    Inconclusive,
    /// The other side could not be asked.
    Failed,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Totals {
    pub compared_total: u64,
    pub matched_total: u64,
    pub mismatched_total: u64,
    pub raced_total: u64,
    pub inconclusive_total: u64,
    pub failed_total: u64,
    /// Not compared: their statement's budget for the second was spent.
    pub over_budget_total: u64,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.compared_total += 1;
        match outcome {
            Outcome::Matched => self.matched_total += 1,
            Outcome::Raced => self.raced_total += 1,
            Outcome::Mismatched { .. } => self.mismatched_total += 1,
            Outcome::Inconclusive => self.inconclusive_total += 1,
            Outcome::Failed => self.failed_total += 1,
        }
    }
}

struct Entry {
    statement: String,
    tables: Vec<String>,
    totals: Totals,
    latency: BySide<Option<Histogram<u64>>>,
    first_seen: f64,
    last_seen: f64,
    last_mismatch: Option<serde_json::Value>,
}

/// One statement's row in `/api/statements` and, with a mismatch, in `/api/findings`. Times are Unix seconds, latencies milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct StatementReport {
    pub fingerprint: String,
    pub statement: String,
    pub tables: Vec<String>,
    pub calls: u64,
    pub matched: u64,
    pub mismatched: u64,
    pub raced: u64,
    pub inconclusive: u64,
    pub errors: u64,
    pub p50_ms: BySide<f64>,
    pub p99_ms: BySide<f64>,
    pub first_seen: f64,
    pub last_seen: f64,
    /// The last mismatch: when, and what each side answered in short, values left out.
    pub last_mismatch: Option<serde_json::Value>,
}

#[derive(Default)]
struct Inner {
    totals: Totals,
    entries: HashMap<Fingerprint, Entry>,
}

/// See the module's text.
pub struct Findings {
    inner: Mutex<Inner>,
    /// Statements kept; with more, the one without a mismatch that was seen least recently goes.
    bound: usize,
}

impl Findings {
    pub fn new(bound: usize) -> Self {
        Findings { inner: Mutex::default(), bound: bound.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books one comparison. `took`: how long each side needed, where it answered.
    pub fn book(&self, fingerprint: Fingerprint, sql: &[u8], outcome: &Outcome, took: BySide<Option<Duration>>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut inner = self.lock();
        inner.totals.add(outcome);
        if !inner.entries.contains_key(&fingerprint) {
            make_room(&mut inner.entries, self.bound);
        }
        let entry = inner.entries.entry(fingerprint).or_insert_with(|| Entry::new(sql, now));
        entry.totals.add(outcome);
        entry.last_seen = now;
        for side in Side::BOTH {
            if let (Some(took), Some(latency)) = (took.get(side), entry.latency.get_mut(side)) {
                latency.saturating_record(took.as_micros() as u64);
            }
        }
        if let Outcome::Mismatched { old, new, what, samples } = outcome {
            tracing::warn!(statement = %entry.statement, what, "a read answers differently on the two sides");
            let last = serde_json::json!({ "at": now, "old": old, "new": new, "what": what, "samples": samples });
            entry.last_mismatch = Some(last);
        }
    }

    /// A sample was dropped for its statement's budget.
    pub fn over_budget(&self) {
        self.lock().totals.over_budget_total += 1;
    }

    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Statements with confirmed differences, those that differ most first.
    pub fn findings(&self) -> Vec<StatementReport> {
        let mut found = self.statements();
        found.retain(|s| s.mismatched > 0);
        found.sort_by_key(|s| std::cmp::Reverse(s.mismatched));
        found
    }

    /// Every statement that was compared, the most called first.
    pub fn statements(&self) -> Vec<StatementReport> {
        let inner = self.lock();
        let mut all: Vec<_> = inner.entries.iter().map(|(f, entry)| entry.report(*f)).collect();
        all.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
        all
    }
}

fn make_room(entries: &mut HashMap<Fingerprint, Entry>, bound: usize) {
    if entries.len() < bound {
        return;
    }
    let oldest = entries.iter().min_by(|(_, a), (_, b)| {
        let rank = |e: &Entry| (e.totals.mismatched_total > 0, e.last_seen);
        rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal)
    });
    if let Some(oldest) = oldest.map(|(f, _)| *f) {
        entries.remove(&oldest);
    }
}

impl Entry {
    fn new(sql: &[u8], now: f64) -> Self {
        let shape = std::str::from_utf8(sql).ok().and_then(|s| read_shape(s).ok()).unwrap_or_default();
        let mut tables: Vec<String> = shape.tables.into_iter().map(|t| t.name).collect();
        tables.sort();
        tables.dedup();
        Entry {
            statement: crate::sql::normalised(sql),
            tables,
            totals: Totals::default(),
            // Two significant digits, up to a minute: 8 KiB each.
            latency: BySide::from_fn(|_| Histogram::new_with_max(60_000_000, 2).ok()),
            first_seen: now,
            last_seen: now,
            last_mismatch: None,
        }
    }

    fn report(&self, fingerprint: Fingerprint) -> StatementReport {
        let at = |side, q: f64| self.latency.get(side).as_ref().map_or(0, |h| h.value_at_quantile(q));
        let quantile = |q: f64| BySide::from_fn(|side| at(side, q) as f64 / 1000.0);
        let t = &self.totals;
        StatementReport {
            fingerprint: fingerprint.to_string(),
            statement: self.statement.clone(),
            tables: self.tables.clone(),
            calls: t.compared_total,
            matched: t.matched_total,
            mismatched: t.mismatched_total,
            raced: t.raced_total,
            inconclusive: t.inconclusive_total,
            errors: t.failed_total,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            last_mismatch: self.last_mismatch.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(findings: &Findings, n: u128, outcome: &Outcome) {
        findings.book(Fingerprint(n), b"select 1 from t", outcome, BySide::default());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_differs() {
        let findings = Findings::new(3);
        book(
            &findings,
            0,
            &Outcome::Mismatched { old: "1 rows".into(), new: "2 rows".into(), what: "", samples: vec![] },
        );
        (1..10).for_each(|n| book(&findings, n, &Outcome::Matched));
        assert_eq!(findings.statements().len(), 3);
        assert_eq!(findings.findings().len(), 1);
        assert_eq!(findings.findings()[0].tables, ["t"]);
        let totals = findings.totals();
        assert_eq!((totals.compared_total, totals.matched_total, totals.mismatched_total), (10, 9, 1));
    }
}
