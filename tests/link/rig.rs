//! One link between two databases, and short words for what the tests do with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pgduet::backend::control::Connection;
use pgduet::config::{Config, Live};
use pgduet::link::LinkHandle;
use pgduet::link::ledger::{Ledger, LinkState};
use pgduet::side::Side;
use pgduet::store::schema;

use crate::cluster::{Servers, open};

const BOUND: Duration = Duration::from_secs(60);

/// Databases with the schema installed, before the link is started: the configuration may still be changed.
pub struct Prepared {
    pub config: Arc<Config>,
}

pub struct Rig {
    pub config: Arc<Config>,
    pub ledger: Arc<Ledger>,
    pub link: LinkHandle,
    old: Connection,
    new: Connection,
}

impl Rig {
    pub async fn start(name: &str, schema: &str) -> Rig {
        Rig::prepare(name, schema, schema).await.go().await
    }

    pub async fn start_differing(name: &str, on_old: &str, on_new: &str) -> Rig {
        Rig::prepare(name, on_old, on_new).await.go().await
    }

    pub async fn prepare(name: &str, on_old: &str, on_new: &str) -> Prepared {
        Rig::prepare_in(Servers::shared().database(name).await, on_old, on_new).await
    }

    pub async fn prepare_in(mut config: Config, on_old: &str, on_new: &str) -> Prepared {
        config.link.poll = Duration::from_millis(20);
        for (side, sql) in [(Side::Old, on_old), (Side::New, on_new)] {
            let connection = open(&config, side).await;
            connection.batch_execute(sql).await.expect("schema");
            schema::install(&connection).await.expect("install");
            schema::install(&connection).await.expect("install again");
        }
        Prepared { config: Arc::new(config) }
    }

    /// Runs SQL on the primary, as an application would.
    pub async fn run(&self, sql: &str) {
        self.on(Side::Old, sql).await;
    }

    pub async fn on(&self, side: Side, sql: &str) {
        let connection = if side == Side::Old { &self.old } else { &self.new };
        connection.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    pub async fn primary(&self, sql: &str) -> String {
        self.old.query_one(sql, &[]).await.expect(sql).get(0)
    }

    pub async fn secondary(&self, sql: &str) -> String {
        self.new.query_one(sql, &[]).await.expect(sql).get(0)
    }

    pub async fn barrier(&self) {
        self.link.barrier(BOUND).await.expect("barrier");
    }

    /// After a barrier, the tables hold the same rows on both sides.
    pub async fn equal(&self, tables: &[&str]) {
        self.barrier().await;
        for table in tables {
            let (old, new) = (contents(&self.old, table).await, contents(&self.new, table).await);
            let parked = "SELECT coalesce(string_agg(DISTINCT error, '; '), 'nothing') FROM pgduet.parked";
            let parked = if old == new { String::new() } else { self.primary(parked).await };
            assert!(old == new, "{table}: {} rows on old, {} on new; parked: {parked}", old.len(), new.len());
        }
    }

    pub async fn bounded<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(BOUND, future).await.expect("in time")
    }

    /// Waits until the link is in this state.
    pub async fn state(&self, state: LinkState) {
        let reached = async {
            while self.ledger.state() != state {
                let progress = self.ledger.progress.notified();
                let _ = tokio::time::timeout(Duration::from_millis(20), progress).await;
            }
        };
        let reached = tokio::time::timeout(BOUND, reached).await;
        assert!(reached.is_ok(), "the link is {:?}", self.ledger.report());
    }

    /// Waits until a query answers true.
    pub async fn until(&self, side: Side, sql: &str) {
        let connection = open(&self.config, side).await;
        let reached = async {
            while !connection.query_one(sql, &[]).await.expect(sql).get::<_, bool>(0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(BOUND, reached).await.expect(sql);
    }
}

impl Prepared {
    pub async fn go(self) -> Rig {
        let config = self.config;
        let old = open(&config, Side::Old).await;
        let new = open(&config, Side::New).await;
        let ledger = Arc::new(Ledger::default());
        let link = LinkHandle::new(Live::new(Config::clone(&config)), Arc::clone(&ledger));
        link.start(Side::Old, true).await.expect("start");
        Rig { config, ledger, link, old, new }
    }
}

/// Every row of a table as text, in an order of its own.
pub async fn contents(connection: &Connection, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT (every_row.*)::text FROM public.{table} AS every_row ORDER BY (every_row.*)::text COLLATE \"C\""
    );
    let rows = connection.query(&sql, &[]).await.expect(table);
    rows.iter().map(|row| row.get(0)).collect()
}
