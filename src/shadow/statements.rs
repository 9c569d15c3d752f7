//! The table of statements: by fingerprint, what the sessions answered and what the comparisons found. Bounded.
//!
//! A session's hot path must not wait for a lock per statement. Each worker thread counts into a table of its own ([`Local`]), which
//! is emptied into the shared one once a second; what was counted since the last save is kept apart, so that any number of instances can
//! add theirs to the same rows of the database.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::spread::Spread;
use crate::side::{BySide, Side};
use crate::sql::{Fingerprint, read_shape};

/// What is counted of a statement. In the order in which the database keeps them ([`Counts::to_array`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers to clients.
    pub calls: BySide<u64>,
    /// Of these, errors.
    pub errors: BySide<u64>,
    pub compared: u64,
    pub matched: u64,
    pub mismatched: u64,
    pub raced: u64,
    pub inconclusive: u64,
    pub failed: u64,
}

impl Counts {
    pub fn to_array(self) -> [i64; 10] {
        let c = self;
        [
            c.calls.old,
            c.calls.new,
            c.errors.old,
            c.errors.new,
            c.compared,
            c.matched,
            c.mismatched,
            c.raced,
            c.inconclusive,
            c.failed,
        ]
        .map(|n| n as i64)
    }

    /// Counts that are missing are zero.
    pub fn from_slice(counts: &[i64]) -> Self {
        let at = |i: usize| counts.get(i).map_or(0, |n| (*n).max(0) as u64);
        Counts {
            calls: BySide { old: at(0), new: at(1) },
            errors: BySide { old: at(2), new: at(3) },
            compared: at(4),
            matched: at(5),
            mismatched: at(6),
            raced: at(7),
            inconclusive: at(8),
            failed: at(9),
        }
    }

    pub fn add(&mut self, other: &Counts) {
        let (a, b) = (self.to_array(), other.to_array());
        let sums: Vec<i64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        *self = Counts::from_slice(&sums);
    }
}

/// Counts and times, since some moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tallied {
    pub counts: Counts,
    pub took: BySide<Spread>,
}

impl Tallied {
    pub fn merge(&mut self, other: &Tallied) {
        self.counts.add(&other.counts);
        for side in Side::BOTH {
            self.took.get_mut(side).merge(other.took.get(side));
        }
    }

    fn is_empty(&self) -> bool {
        self.counts == Counts::default()
    }
}

/// One statement, for the table and the database. Times are Unix seconds.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its normal form: an example without values.
    pub statement: String,
    pub tables: Vec<String>,
    pub total: Tallied,
    /// Counted since the last save.
    pub unsaved: Tallied,
    pub first_seen: f64,
    pub last_seen: f64,
    pub last_mismatch: Option<serde_json::Value>,
}

impl Entry {
    pub fn new(statement: String, tables: Vec<String>, now: f64) -> Self {
        Entry {
            statement,
            tables,
            total: Tallied::default(),
            unsaved: Tallied::default(),
            first_seen: now,
            last_seen: now,
            last_mismatch: None,
        }
    }

    pub fn count(&mut self, tallied: &Tallied, now: f64) {
        self.total.merge(tallied);
        self.unsaved.merge(tallied);
        self.last_seen = now;
    }

    /// Findings stay longest, then what was seen last.
    pub fn rank(&self) -> (bool, f64) {
        (self.total.counts.mismatched > 0, self.last_seen)
    }

    pub fn report(&self, fingerprint: Fingerprint, all_calls: u64) -> StatementReport {
        let c = &self.total.counts;
        let calls = c.calls.old + c.calls.new;
        let quantile = |q: f64| BySide::from_fn(|side| self.total.took.get(side).quantile_ms(q));
        let (p50, p95, p99) = (quantile(0.5), quantile(0.95), quantile(0.99));
        let ratio = |p: &BySide<f64>| (p.old > 0.0 && p.new > 0.0).then(|| p.new / p.old);
        StatementReport {
            fingerprint: fingerprint.to_string(),
            statement: self.statement.clone(),
            tables: self.tables.clone(),
            calls,
            calls_by_side: c.calls,
            share_percent: if all_calls == 0 { 0.0 } else { calls as f64 * 100.0 / all_calls as f64 },
            compared: c.compared,
            matched: c.matched,
            mismatched: c.mismatched,
            raced: c.raced,
            inconclusive: c.inconclusive,
            failed: c.failed,
            errors: c.errors.old + c.errors.new,
            errors_by_side: c.errors,
            ratio_p50: ratio(&p50),
            ratio_p99: ratio(&p99),
            p50_ms: p50,
            p95_ms: p95,
            p99_ms: p99,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            last_mismatch: self.last_mismatch.clone(),
        }
    }
}

/// The tables that a read names.
pub fn tables_of(sql: &[u8]) -> Vec<String> {
    let shape = std::str::from_utf8(sql).ok().and_then(|s| read_shape(s).ok()).unwrap_or_default();
    let mut tables: Vec<String> = shape.tables.into_iter().map(|t| t.name).collect();
    tables.sort();
    tables.dedup();
    tables
}

pub fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// One statement's row in `/api/statements` and, with a mismatch, in `/api/findings`. Times are Unix seconds, latencies milliseconds;
/// those of a side are of what clients and comparisons asked of it.
#[derive(Clone, Debug, Serialize)]
pub struct StatementReport {
    pub fingerprint: String,
    pub statement: String,
    pub tables: Vec<String>,
    pub calls: u64,
    pub calls_by_side: BySide<u64>,
    /// Of all calls in the table.
    pub share_percent: f64,
    pub compared: u64,
    pub matched: u64,
    pub mismatched: u64,
    pub raced: u64,
    pub inconclusive: u64,
    /// Comparisons in which a side could not be asked.
    pub failed: u64,
    pub errors: u64,
    pub errors_by_side: BySide<u64>,
    pub p50_ms: BySide<f64>,
    pub p95_ms: BySide<f64>,
    pub p99_ms: BySide<f64>,
    /// new / old.
    pub ratio_p50: Option<f64>,
    pub ratio_p99: Option<f64>,
    pub first_seen: f64,
    pub last_seen: f64,
    /// The last mismatch: when, and what each side answered in short, values left out.
    pub last_mismatch: Option<serde_json::Value>,
}

/// What a worker counted of one statement since it was last asked.
#[derive(Clone, Debug)]
pub struct Delta {
    pub fingerprint: Fingerprint,
    pub statement: String,
    pub tables: Vec<String>,
    pub tallied: Tallied,
}

/// One thread's counts; see the module's text.
#[derive(Debug)]
pub struct Local {
    places: HashMap<Fingerprint, Line, BuildHasherDefault<Folded>>,
    rows: Vec<(Delta, bool)>,
    bound: usize,
}

/// A statement's row in a [`Local`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(u32);

impl Local {
    /// `bound`: statements that are followed; those that come later are not counted by name.
    pub fn new(bound: usize) -> Self {
        Local { places: HashMap::default(), rows: Vec::new(), bound }
    }

    /// The row of a statement, a new one if it was never seen. `None`: there is no room.
    pub fn place(&mut self, fingerprint: Fingerprint, sql: &[u8]) -> Option<Line> {
        if let Some(place) = self.places.get(&fingerprint) {
            return Some(*place);
        }
        if self.rows.len() >= self.bound {
            return None;
        }
        let place = Line(self.rows.len() as u32);
        let statement = crate::sql::normalised(sql);
        self.rows.push((Delta { fingerprint, statement, tables: tables_of(sql), tallied: Tallied::default() }, false));
        self.places.insert(fingerprint, place);
        Some(place)
    }

    /// Counts one answer to a client.
    pub fn add(&mut self, place: Line, side: Side, took: Duration, failed: bool) {
        let Some((row, changed)) = self.rows.get_mut(place.0 as usize) else { return };
        *row.tallied.counts.calls.get_mut(side) += 1;
        *row.tallied.counts.errors.get_mut(side) += u64::from(failed);
        row.tallied.took.get_mut(side).add(took);
        *changed = true;
    }

    /// Takes what was counted since the last time.
    pub fn drain(&mut self) -> Vec<Delta> {
        let changed = self.rows.iter_mut().filter(|(_, changed)| *changed);
        changed
            .map(|(row, changed)| {
                *changed = false;
                Delta { tallied: std::mem::take(&mut row.tallied), ..row.clone() }
            })
            .collect()
    }
}

/// A fingerprint is a hash already: its words are folded together.
#[derive(Debug, Default)]
pub struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64 ^ value as u64;
    }
}

/// What is to be saved of the table, and is given back if that fails.
#[derive(Clone, Debug)]
pub struct Unsaved {
    pub fingerprint: Fingerprint,
    pub entry: Entry,
}

impl Unsaved {
    pub(super) fn take(fingerprint: Fingerprint, entry: &mut Entry) -> Option<Self> {
        if entry.unsaved.is_empty() {
            return None;
        }
        let unsaved = Unsaved { fingerprint, entry: Entry { total: Tallied::default(), ..entry.clone() } };
        entry.unsaved = Tallied::default();
        Some(unsaved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_counts_by_statement_and_gives_each_count_away_once() {
        let mut local = Local::new(2);
        let place = |local: &mut Local, n: u128| local.place(Fingerprint(n), b"select a from t where b = 'secret'");
        let first = place(&mut local, 1).unwrap();
        assert_eq!(place(&mut local, 1), Some(first));
        assert!(place(&mut local, 2).is_some() && place(&mut local, 3).is_none());
        local.add(first, Side::New, Duration::from_millis(3), false);
        local.add(first, Side::Old, Duration::from_millis(3), true);
        let drained = local.drain();
        assert_eq!(drained.len(), 1);
        assert_eq!((drained[0].tallied.counts.calls.new, drained[0].tallied.counts.errors.old), (1, 1));
        assert_eq!(
            (drained[0].statement.as_str(), drained[0].tables.as_slice()),
            ("select a from t where b = ?", &["t".to_owned()][..])
        );
        assert!(local.drain().is_empty());
        local.add(first, Side::New, Duration::from_millis(3), false);
        assert_eq!(local.drain().len(), 1);
    }

    #[test]
    fn counts_survive_the_database() {
        let counts = Counts { calls: BySide { old: 1, new: 2 }, mismatched: 3, failed: 4, ..Counts::default() };
        assert_eq!(Counts::from_slice(&counts.to_array()), counts);
        assert_eq!(Counts::from_slice(&[7]).calls.old, 7);
    }
}
