//! Who writes to a table without leaving touches: another role, a cron job, a forgotten instance. Triggers see them; capture by RETURNING cannot.
//!
//! The server's counters of a table cannot tell them from the proxy's own writes: they count what was rolled back, what a failing statement
//! had done so far, and cascades. A row can: its `xmin` names the (sub)transaction that wrote it, and a captured write leaves a touch in the very same
//! one. So a row is somebody else's if its `xmin` is neither among the touches that the journal has, nor among those that were removed from it. The
//! counters only say which tables need no look. What was rolled back is not there to be seen: no alarm is false by it.
//!
//! What has to hold for that:
//!   1. everything is captured from the id on that is compared with ([`Watch::begin`]): all sessions are in the phase, and some time has passed since
//!      this instance has the link (a former holder may still have removed touches);
//!   2. nobody else removes touches: only the holder cleans ([`Watch::is_watching`]);
//!   3. what was removed is known before a snapshot is taken that does not see it any more ([`Watch::removal`]);
//!   4. subtransactions out of sight (in a function) leave rows under ids of their own, and one touch of the whole table: such a table
//!      is looked at again from there on, and so are all after DDL.
//!
//! It sees no deletion, and nothing in a table that is larger than `link.watch_bypass`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::Failure;
use super::ledger::{Ledger, LinkState};
use crate::backend::control::{Connection, Purpose};
use crate::catalog::Catalog;
use crate::config::Live;
use crate::side::Side;
use crate::store::journal::Removed;
use crate::store::{Snapshot, bypass};

/// Between two looks at the counters.
const LOOK: Duration = Duration::from_secs(1);
/// From the moment on that this instance has the link, until rows count.
const SETTLING: Duration = Duration::from_secs(2);
/// Looking through tables may take this part of the time.
const SHARE: u32 = 50;
/// Ids that are remembered after their touches are gone. With more, tables are looked at from there on only.
const REMEMBERED: usize = 200_000;

/// A table that somebody writes to who does not come through the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bypassed {
    pub table: String,
    /// How many of their transactions have left rows that were seen.
    pub transactions: u64,
}

/// A table that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watched {
    rel: u32,
    name: String,
    /// As SQL names it.
    qualified: String,
    /// Rows of transactions before this one are known, or do not count.
    since: u64,
    /// The server's counter when it was last looked through.
    counter: Option<i64>,
    /// Strangers, `since` or later, that were counted already.
    counted: BTreeSet<u64>,
}

impl Watched {
    fn new(rel: u32, name: String, qualified: String) -> Self {
        Watched { rel, name, qualified, since: u64::MAX, counter: None, counted: BTreeSet::new() }
    }

    fn is_the_same(&self, other: &Watched) -> bool {
        self.rel == other.rel && self.qualified == other.qualified
    }
}

/// What the cleaner, the carrier and the looks have in common.
#[derive(Debug, Default)]
pub struct Watch {
    watching: AtomicBool,
    inner: Mutex<Inner>,
    /// Held while touches are removed, and while a snapshot is taken.
    removal: tokio::sync::Mutex<()>,
    found: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Since when this instance has the link.
    held: Option<Instant>,
    /// Whether all sessions capture.
    captured: bool,
    tables: Vec<Watched>,
    /// Ids whose touches were removed.
    explained: BTreeSet<u64>,
    /// Tables that were touched as a whole since they were looked at.
    renewed: BTreeSet<u32>,
    renew_all: bool,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every session captures from here on.
    pub fn all_captured(&self) {
        self.lock().captured = true;
    }

    /// This instance has the link, with these tables; or they have changed.
    pub fn begin(&self, catalog: &Catalog) {
        let mut inner = self.lock();
        inner.held = inner.held.or(Some(Instant::now()));
        let watched = catalog
            .tables()
            .iter()
            .filter(|t| t.mirrored && !t.by_trigger && t.has_rows() && catalog.unpaired(t.oid).is_none());
        let watched = watched.map(|t| Watched::new(t.oid, t.display_name(), t.qualified()));
        let known = std::mem::take(&mut inner.tables);
        // A table that is as it was goes on from where it was.
        inner.tables = watched.map(|new| known.iter().find(|t| t.is_the_same(&new)).cloned().unwrap_or(new)).collect();
        self.watching.store(true, Ordering::Release);
    }

    /// The link is another one's, or nobody's.
    pub fn end(&self) {
        self.watching.store(false, Ordering::Release);
        let captured = self.lock().captured;
        *self.lock() = Inner { captured, ..Inner::default() };
    }

    /// No phase captures any more.
    pub fn forget(&self) {
        self.end();
        self.lock().captured = false;
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether this instance removes touches.
    pub fn is_watching(&self) -> bool {
        self.watching.load(Ordering::Acquire)
    }

    /// To be held from before touches are removed until [`Watch::removed`] knows them.
    pub async fn removal(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.removal.lock().await
    }

    pub fn removed(&self, removed: &Removed) {
        let mut inner = self.lock();
        inner.explained.extend(&removed.ids);
        inner.renewed.extend(&removed.wholes);
        inner.renew_all |= removed.statements;
        if inner.explained.len() > REMEMBERED {
            inner.explained.clear();
            inner.renew_all = true;
        }
    }

    /// What was found so far.
    pub fn bypassed(&self) -> Vec<Bypassed> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().map(|(table, &transactions)| Bypassed { table: table.clone(), transactions }).collect()
    }

    /// Which tables are watched; none before rows count.
    fn rels(&self) -> Vec<u32> {
        let inner = self.lock();
        match inner.captured && inner.held.is_some_and(|held| held.elapsed() >= SETTLING) {
            true => inner.tables.iter().map(|t| t.rel).collect(),
            false => Vec::new(),
        }
    }

    /// The tables as they are to be looked at. Those that are new, or were touched as a whole, from `now` on, which is an id that no
    /// transaction had when the counters were read.
    fn tables(&self, now: u64, counters: &HashMap<u32, i64>) -> Vec<Watched> {
        let mut inner = self.lock();
        let (renewed, all) = (std::mem::take(&mut inner.renewed), std::mem::take(&mut inner.renew_all));
        for table in &mut inner.tables {
            if all || table.since == u64::MAX || renewed.contains(&table.rel) {
                (table.since, table.counter) = (now, counters.get(&table.rel).copied());
            }
        }
        inner.tables.clone()
    }

    /// A table was looked through: these transactions have written rows that the journal does not explain.
    fn looked(&self, table: &Watched, counter: i64, seen: &Snapshot, unexplained: &BTreeSet<u64>) {
        let mut inner = self.lock();
        let since = table.since;
        // Touched as a whole meanwhile, or no longer this instance's: what was found may be explained.
        if inner.renew_all || inner.renewed.contains(&table.rel) {
            return;
        }
        let Inner { tables, explained, .. } = &mut *inner;
        let Some(known) = tables.iter_mut().find(|t| t.rel == table.rel && t.since == since) else { return };
        let strangers: BTreeSet<u64> = unexplained.difference(explained).copied().collect();
        let transactions = strangers.difference(&known.counted).count() as u64;
        (known.since, known.counter) = (seen.xmin, Some(counter));
        // Somebody who began earlier is still there: the next look finds these once more.
        known.counted = strangers.into_iter().filter(|&xid| xid >= seen.xmin).collect();
        let oldest = tables.iter().map(|t| t.since).min().unwrap_or(0);
        *explained = explained.split_off(&oldest);
        drop(inner);
        if transactions > 0 {
            tracing::warn!(table = table.name, transactions, "somebody writes to a mirrored table without the proxy");
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            *found.entry(table.name.clone()).or_default() += transactions;
        }
    }
}

/// Looks at the tables for as long as the link is wanted.
pub async fn watch(config: Live, primary: Side, ledger: Arc<Ledger>, watch: Arc<Watch>) {
    let mut connection = None;
    let mut next = 0;
    let mut sees = true;
    loop {
        tokio::time::sleep(LOOK).await;
        if config.link.watch_bypass == 0 || !watch.is_watching() || ledger.state() != LinkState::Running {
            continue;
        }
        let begun = Instant::now();
        let looked = look_with(connection.take(), primary, &config, &watch, &mut next).await;
        match &looked {
            Ok(_) => sees = true,
            // Once for each time that it begins: writes that nobody looks for are not named, and the operator has to know.
            Err(failure) if std::mem::take(&mut sees) => {
                tracing::warn!(%failure, "writes without the proxy cannot be looked for; tried again");
            }
            Err(failure) => tracing::debug!(%failure, "tables could not be looked through"),
        }
        // Only what the primary has worked counts against its share of the time, not the wait for a connection.
        if !matches!(looked, Err(Failure::Connect(_))) {
            tokio::time::sleep(begun.elapsed() * SHARE).await;
        }
        connection = looked.ok();
    }
}

/// One look; gives the connection back, to be used again.
async fn look_with(
    open: Option<Connection>,
    primary: Side,
    config: &Live,
    watch: &Watch,
    next: &mut usize,
) -> Result<Connection, Failure> {
    let connection = match open {
        Some(open) => open,
        None => Connection::open(primary, config.backends.get(primary), Purpose::CleanUp, &config.timeouts).await?,
    };
    look(&connection, config, watch, next).await?;
    Ok(connection)
}

/// Looks through the next table whose counter has moved.
async fn look(connection: &Connection, config: &Live, watch: &Watch, next: &mut usize) -> Result<(), Failure> {
    let rels = watch.rels();
    if rels.is_empty() {
        return Ok(());
    }
    let counters = bypass::counters(connection, &rels, config.link.watch_bypass).await?;
    let tables = watch.tables(bypass::next_id(connection).await?, &counters);
    for i in 0..tables.len() {
        let at = next.wrapping_add(i) % tables.len();
        let Some(table) = tables.get(at) else { continue };
        let Some(&counter) = counters.get(&table.rel).filter(|&&counter| table.counter != Some(counter)) else {
            continue;
        };
        *next = at + 1;
        let removal = watch.removal().await;
        let seen = bypass::begin(connection).await?;
        drop(removal);
        let unexplained = bypass::unexplained(connection, table.rel, &table.qualified, table.since, &seen).await?;
        if let Some(unexplained) = unexplained {
            watch.looked(table, counter, &seen, &unexplained);
        }
        return Ok(());
    }
    Ok(())
}
