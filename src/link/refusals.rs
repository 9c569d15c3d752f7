//! Entries that the secondary refuses: collected while a cycle is carried, and parked before it is applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::entry::{Entry, Op};
use super::failure::Failure;
use super::ledger::Carried;
use super::plan::TablePlan;
use crate::backend::control::Connection;
use crate::store::{parked, tables};

/// A refused entry.
#[derive(Debug)]
pub struct Refused {
    pub plan: Option<Arc<TablePlan>>,
    /// What it is called in the list of parked entries.
    pub named: String,
    /// Tables that differ because of it, as schema and name.
    pub diverged: Vec<(String, String)>,
    pub entry: Entry,
    pub sqlstate: String,
    pub error: String,
    /// A touch, not a child found by the way.
    pub counted: bool,
}

impl Refused {
    /// An entry of a table that is carried.
    pub fn of(plan: &Arc<TablePlan>, entry: Entry, failure: &Failure, counted: bool) -> Self {
        Refused {
            plan: Some(Arc::clone(plan)),
            named: plan.display_name.clone(),
            diverged: vec![(plan.schema.clone(), plan.name.clone())],
            entry,
            sqlstate: failure.sqlstate().to_string(),
            error: failure.to_string(),
            counted,
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Refusals {
    list: Vec<Refused>,
    limit: usize,
}

impl Refusals {
    /// A list longer than `limit` is folded into one entry for each table.
    pub fn new(limit: usize) -> Self {
        Refusals { list: Vec::new(), limit }
    }

    pub fn add(&mut self, refused: Refused, carried: &mut Carried) {
        self.list.push(refused);
        if self.list.len() <= self.limit {
            return;
        }
        let mut folded: BTreeMap<u32, Refused> = BTreeMap::new();
        let mut statements = Vec::new();
        for mut refused in std::mem::take(&mut self.list) {
            if refused.entry.op == Op::Statement {
                statements.push(refused);
                continue;
            }
            refused.entry.op = Op::Whole;
            refused.entry.values.clear();
            if let Some(other) = folded.insert(refused.entry.rel, refused) {
                carried.superseded += u64::from(other.counted);
            }
        }
        self.list.extend(folded.into_values());
        self.list.extend(statements);
    }

    pub fn take(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.list)
    }

    pub fn put_back(&mut self, refused: Refused) {
        self.list.push(refused);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes them down, on the primary and durably, before the cycle that leaves them out is applied. Counts each as parked, or
    /// as superseded where it was parked already.
    pub async fn park(&self, connection: &Connection, carried: &mut Carried) -> Result<(), Failure> {
        for refused in &self.list {
            let new = write_down(connection, refused).await?;
            match (refused.counted, new) {
                (true, true) => carried.parked += 1,
                (true, false) => carried.superseded += 1,
                (false, _) => {}
            }
        }
        Ok(())
    }
}

async fn write_down(connection: &Connection, refused: &Refused) -> Result<bool, Failure> {
    let Refused { named, sqlstate, error, entry, .. } = refused;
    let (op, key) = (entry.op.as_str(), entry.texts());
    let parking = parked::Parking { rel: entry.rel, table: named, op, key: &key, sqlstate, error };
    let new = parked::park(connection, &[parking]).await? > 0;
    let evidence = json!({ "parked": { "sqlstate": sqlstate, "error": error } });
    let names: Vec<(&str, &str)> =
        refused.diverged.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).collect();
    tables::set(connection, &names, tables::SyncState::Diverged, &evidence).await?;
    tracing::warn!(
        table = named,
        sqlstate,
        error,
        "an entry was parked: the secondary differs there until it is retried"
    );
    Ok(new)
}
