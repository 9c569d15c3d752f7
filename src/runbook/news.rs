//! What the link tells of the schemas. A cycle that has run statements has read both schemas for itself; what it has read counts for the sessions as
//! well, so that a migration of hundreds of statements reads them once for each, not once more for everybody who might want to know.
//!
//! The race it excludes:
//!   1. a cycle takes its snapshot, and reads the schemas as of it;
//!   2. a statement changes a table; somebody else reads the schemas, and they are put in force;
//!   3. what the cycle has read comes in, and a session goes by a table that is no more.
//!
//! So news from before the last reading are an occasion to read again, and nothing else. And since nobody is sure to tell (the link
//! may be down, or another instance's), a change that was not told of within [`PATIENCE`] is read.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::{Conductor, Trouble};
use crate::backend::control::Connection;
use crate::link::ledger::LinkState;
use crate::link::news::{Audience, News};
use crate::routing::Policy;

/// How long the link is given to tell of a change.
const PATIENCE: Duration = Duration::from_millis(500);

/// The last reading of the schemas, and a connection that is kept for the next news.
#[derive(Default)]
pub(super) struct Reading {
    pub ended: Option<Instant>,
    connection: Option<Connection>,
}

/// The conductor, as the link knows it.
pub(super) struct Ear(pub Weak<Conductor>);

impl Audience for Ear {
    fn mark(&self) -> u64 {
        self.0.upgrade().map_or(0, |conductor| conductor.context.schema_changes.last())
    }

    fn tell(&self, news: News) -> BoxFuture<'static, ()> {
        let conductor = Weak::clone(&self.0);
        Box::pin(async move {
            if let Some(conductor) = conductor.upgrade() {
                conductor.hear(news).await;
            }
        })
    }
}

/// A change that the link is expected to tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    until: Instant,
    change: u64,
    statement: i64,
}

impl Expected {
    /// Nothing else is to be done until then.
    pub fn until(expected: Option<Expected>) -> Option<Instant> {
        expected.map(|expected| expected.until)
    }
}

impl Conductor {
    /// The schemas have changed, by this many changes of sessions here and captured statements of anybody's.
    pub(super) async fn expect(&self, expected: &mut Option<Expected>, statement: i64) {
        let change = self.context.schema_changes.last();
        if self.context.ledger.state() != LinkState::Running {
            *expected = None;
            return self.read_untold(statement).await;
        }
        expected.get_or_insert(Expected { until: Instant::now() + PATIENCE, change, statement });
    }

    /// The time is over: what was not told is read.
    pub(super) async fn stop_expecting(&self, expected: &mut Option<Expected>) {
        let Some(former) = expected.take() else { return };
        if !self.was_told(former.change, former.statement) {
            return self.read_untold(former.statement).await;
        }
        // What came after it has its own time.
        let (change, statement) = (self.context.schema_changes.last(), former.statement);
        if !self.was_told(change, statement) {
            *expected = Some(Expected { until: Instant::now() + PATIENCE, change, statement });
        }
    }

    async fn read_untold(&self, statement: i64) {
        self.refresh_schemas().await;
        self.statements.fetch_max(statement, Ordering::AcqRel);
    }

    fn was_told(&self, change: u64, statement: i64) -> bool {
        self.context.schema_changes.knows(change) && self.statements.load(Ordering::Acquire) >= statement
    }

    async fn hear(&self, news: News) {
        let mut reading = self.refreshing.lock().await;
        let now = self.policy();
        if !now.phase.captures() {
            return;
        }
        let heard = match &news.catalogs {
            Some(_) if reading.ended.is_some_and(|ended| ended > news.since) => {
                self.read_again(&now, &mut reading).await
            }
            _ => self.adopt(&now, &news, &mut reading).await,
        };
        match heard {
            Ok(()) => {
                if news.catalogs.is_some() {
                    self.context.schema_changes.read_up_to(news.mark);
                }
                self.statements.fetch_max(news.statement, Ordering::AcqRel);
            }
            Err(error) => tracing::warn!(%error, "the link's schemas could not be put in force; they are read again"),
        }
    }

    /// Puts in force what the link has read.
    async fn adopt(&self, now: &Policy, news: &News, reading: &mut Reading) -> Result<(), Trouble> {
        let catalogs = news.catalogs.clone().unwrap_or_else(|| now.catalog.clone());
        if catalogs == now.catalog && !news.parked {
            return Ok(());
        }
        let primary = now.primary();
        let kept = reading.connection.take().filter(|c| c.side() == primary && !c.is_closed());
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect(primary).await?,
        };
        let catalog = catalogs.get(primary);
        self.assume_equal(&connection, catalog).await?;
        if self.remake_triggers(primary, catalog, Some(now.catalog.get(primary))).await? {
            return self.read_again(now, reading).await;
        }
        self.put_catalogs_in_force(&connection, now, catalogs).await?;
        reading.connection = Some(connection);
        Ok(())
    }
}
