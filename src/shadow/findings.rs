//! What came of the comparisons and of the sessions' answers, by statement: one bounded table for the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::statements::{Counts, Delta, Entry, StatementReport, Tallied, Unsaved, tables_of, unix_now};
use crate::side::{BySide, Side};
use crate::sql::Fingerprint;

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

impl Outcome {
    /// The word for it in metrics and traces.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Matched => "matched",
            Outcome::Raced => "raced",
            Outcome::Mismatched { .. } => "mismatched",
            Outcome::Inconclusive => "inconclusive",
            Outcome::Failed => "failed",
        }
    }
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

/// What the table of statements is sorted by, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    Calls,
    Mismatched,
    Errors,
    /// p99 of the slower side.
    P99,
    /// How much slower new is, by p50.
    Ratio,
    LastSeen,
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

    /// Books one comparison. `took`: how long the side needed that was asked for it.
    pub fn book(&self, fingerprint: Fingerprint, sql: &[u8], outcome: &Outcome, took: BySide<Option<Duration>>) {
        let now = unix_now();
        let mut tallied = Tallied { counts: counts_of(outcome), ..Tallied::default() };
        for side in Side::BOTH {
            took.get(side).iter().for_each(|took| tallied.took.get_mut(side).add(*took));
        }
        let mut inner = self.lock();
        inner.totals.add(outcome);
        let new = || Entry::new(crate::sql::normalised(sql), tables_of(sql), now);
        let entry = inner.entry(fingerprint, self.bound, new);
        entry.count(&tallied, now);
        if let Outcome::Mismatched { old, new, what, samples } = outcome {
            // Once is news; how often it goes on, the counters say.
            if entry.last_mismatch.is_none() {
                tracing::warn!(statement = %entry.statement, what, "a read answers differently on the two sides");
            }
            let last = serde_json::json!({ "at": now, "old": old, "new": new, "what": what, "samples": samples });
            entry.last_mismatch = Some(last);
        }
    }

    /// Takes in what a worker has counted.
    pub fn merge(&self, deltas: Vec<Delta>) {
        if deltas.is_empty() {
            return;
        }
        let now = unix_now();
        let mut inner = self.lock();
        for delta in deltas {
            let (statement, tables) = (delta.statement, delta.tables);
            inner
                .entry(delta.fingerprint, self.bound, || Entry::new(statement, tables, now))
                .count(&delta.tallied, now);
        }
    }

    /// Takes in what earlier processes, or other instances, have saved.
    pub fn load(&self, saved: Vec<(Fingerprint, Entry)>) {
        let mut inner = self.lock();
        for (fingerprint, entry) in saved {
            let known = inner.entry(fingerprint, self.bound, || Entry { total: Tallied::default(), ..entry.clone() });
            known.total.merge(&entry.total);
            known.first_seen = known.first_seen.min(entry.first_seen);
            known.last_mismatch = known.last_mismatch.take().or(entry.last_mismatch);
        }
    }

    /// What was counted since this was last asked; to be given back if it cannot be saved.
    pub fn take_unsaved(&self) -> Vec<Unsaved> {
        self.lock().entries.iter_mut().filter_map(|(fingerprint, entry)| Unsaved::take(*fingerprint, entry)).collect()
    }

    pub fn give_back(&self, unsaved: Vec<Unsaved>) {
        let mut inner = self.lock();
        for Unsaved { fingerprint, entry } in unsaved {
            if let Some(known) = inner.entries.get_mut(&fingerprint) {
                known.unsaved.merge(&entry.unsaved);
            }
        }
    }

    /// A sample was dropped for its statement's budget.
    pub fn over_budget(&self) {
        self.lock().totals.over_budget_total += 1;
    }

    /// All statements together.
    pub fn sums(&self) -> Tallied {
        let mut sums = Tallied::default();
        self.lock().entries.values().for_each(|entry| sums.merge(&entry.total));
        sums
    }

    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Statements with confirmed differences, those that differ most first.
    pub fn findings(&self) -> Vec<StatementReport> {
        let mut found = self.statements(Sort::Mismatched, usize::MAX);
        found.retain(|s| s.mismatched > 0);
        found
    }

    /// The table, sorted, at most so many.
    pub fn statements(&self, sort: Sort, limit: usize) -> Vec<StatementReport> {
        let mut all: Vec<_> = {
            let inner = self.lock();
            let calls = |e: &Entry| e.total.counts.calls.old + e.total.counts.calls.new;
            let all_calls = inner.entries.values().map(calls).sum();
            inner.entries.iter().map(|(f, entry)| entry.report(*f, all_calls)).collect()
        };
        all.sort_by(|a, b| sort.rank(b).total_cmp(&sort.rank(a)).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
        all.truncate(limit);
        all
    }
}

impl Sort {
    fn rank(self, report: &StatementReport) -> f64 {
        match self {
            Sort::Calls => report.calls.max(report.compared) as f64,
            Sort::Mismatched => report.mismatched as f64,
            Sort::Errors => report.errors as f64,
            Sort::P99 => report.p99_ms.old.max(report.p99_ms.new),
            Sort::Ratio => report.ratio_p50.unwrap_or_default(),
            Sort::LastSeen => report.last_seen,
        }
    }
}

fn counts_of(outcome: &Outcome) -> Counts {
    let one = |yes: bool| u64::from(yes);
    Counts {
        compared: 1,
        matched: one(*outcome == Outcome::Matched),
        mismatched: one(matches!(outcome, Outcome::Mismatched { .. })),
        raced: one(*outcome == Outcome::Raced),
        inconclusive: one(*outcome == Outcome::Inconclusive),
        failed: one(*outcome == Outcome::Failed),
        ..Counts::default()
    }
}

impl Inner {
    fn entry(&mut self, fingerprint: Fingerprint, bound: usize, new: impl FnOnce() -> Entry) -> &mut Entry {
        if !self.entries.contains_key(&fingerprint) {
            make_room(&mut self.entries, bound);
        }
        self.entries.entry(fingerprint).or_insert_with(new)
    }
}

fn make_room(entries: &mut HashMap<Fingerprint, Entry>, bound: usize) {
    if entries.len() < bound {
        return;
    }
    let oldest =
        entries.iter().min_by(|(_, a), (_, b)| a.rank().partial_cmp(&b.rank()).unwrap_or(std::cmp::Ordering::Equal));
    if let Some(oldest) = oldest.map(|(f, _)| *f) {
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::statements::Local;

    fn book(findings: &Findings, n: u128, outcome: &Outcome) {
        findings.book(Fingerprint(n), b"select 1 from t", outcome, BySide::default());
    }

    fn mismatch() -> Outcome {
        Outcome::Mismatched { old: "1 rows".into(), new: "2 rows".into(), what: "", samples: vec![] }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_differs() {
        let findings = Findings::new(3);
        book(&findings, 0, &mismatch());
        (1..10).for_each(|n| book(&findings, n, &Outcome::Matched));
        assert_eq!(findings.statements(Sort::Calls, 100).len(), 3);
        assert_eq!(findings.statements(Sort::Calls, 2).len(), 2);
        assert_eq!(findings.findings().len(), 1);
        assert_eq!(findings.findings()[0].tables, ["t"]);
        let totals = findings.totals();
        assert_eq!((totals.compared_total, totals.matched_total, totals.mismatched_total), (10, 9, 1));
    }

    #[test]
    fn what_was_saved_once_is_not_saved_again_and_comes_back_after_a_restart() {
        let findings = Findings::new(10);
        book(&findings, 1, &mismatch());
        let mut local = Local::new(10);
        let place = local.place(Fingerprint(1), b"select 1 from t").unwrap();
        local.add(place, Side::Old, Duration::from_millis(2), false);
        findings.merge(local.drain());
        let unsaved = findings.take_unsaved();
        assert_eq!(unsaved.len(), 1);
        assert_eq!(unsaved[0].entry.unsaved.counts.calls.old, 1);
        assert!(findings.take_unsaved().is_empty());
        findings.give_back(unsaved);
        let saved = findings.take_unsaved();
        let later = Findings::new(10);
        later.load(
            saved.into_iter().map(|u| (u.fingerprint, Entry { total: u.entry.unsaved.clone(), ..u.entry })).collect(),
        );
        let found = &later.findings()[0];
        assert_eq!((found.calls, found.mismatched, found.share_percent), (1, 1, 100.0));
        assert!(found.last_mismatch.is_some() && found.p50_ms.old > 1.8 && found.p50_ms.old < 2.2);
    }
}
