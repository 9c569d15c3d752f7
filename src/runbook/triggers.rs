//! Capture by triggers: which tables get them, and when they are made and removed.
//!
//! The order excludes a write that nobody captures:
//!   1. triggers are made while sessions still capture by RETURNING: making one waits for the table's writers, and whoever writes later has it;
//!   2. only then is the catalog read that tells sessions to leave the table to its triggers.
//!
//! They are removed after the last session has left the phase. What both have captured is carried once more, which changes nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::gates::{self, Gate};
use super::{Conductor, Refused, Trouble};
use crate::catalog::{Catalog, Table};
use crate::config::CaptureMode;
use crate::side::Side;
use crate::store::captures;

/// Attempts to get a table's lock between its writers.
const ATTEMPTS: usize = 3;

/// What making triggers came to.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Tables that have them now and had not, or others.
    pub changed: Vec<u32>,
    /// Tables that cannot have them, and why.
    pub refused: Vec<Value>,
}

impl Conductor {
    /// Makes the triggers that the configuration asks for, on a primary with this schema. Tables that are as `known` has them, and had
    /// their triggers, have them still.
    pub(super) async fn make_triggers(
        &self,
        primary: Side,
        catalog: &Catalog,
        known: Option<&Catalog>,
    ) -> Result<Made, Trouble> {
        let mode = self.context.config.mirror.capture;
        let is_known = |table: &Arc<Table>| table.by_trigger && known.and_then(|k| k.by_oid(table.oid)) == Some(table);
        let wanted = catalog.tables().iter().filter(|t| wants_triggers(mode, t, catalog) && !is_known(t));
        let wanted: Vec<u32> = wanted.map(|t| t.oid).collect();
        let mut made = Made::default();
        if wanted.is_empty() {
            return Ok(made);
        }
        let connection = self.connect(primary).await?;
        for table in captures::with_partitions(&connection, &wanted).await? {
            let mut result = captures::watch(&connection, table).await;
            for _ in 1..ATTEMPTS {
                if !result.as_ref().is_err_and(|e| e.sqlstate() == Some("55P03")) {
                    break;
                }
                result = captures::watch(&connection, table).await;
            }
            match result {
                Ok(true) => made.changed.push(table),
                Ok(false) => {}
                Err(error) => {
                    let name = catalog.by_oid(table).map_or_else(|| format!("oid {table}"), |t| t.display_name());
                    made.refused.push(json!({ "table": name, "reason": error.to_string() }));
                }
            }
        }
        Ok(made)
    }

    /// The same on the way into a phase: what cannot be made is a gate that does not hold where triggers are demanded, and a warning
    /// where they are the better of two ways.
    pub(super) async fn make_triggers_first(&self, primary: Side, catalog: &Catalog) -> Result<(), Refused> {
        let made = self.make_triggers(primary, catalog, None).await?;
        if made.refused.is_empty() {
            return Ok(());
        }
        let gate = gates::triggers_made(&made.refused);
        match self.context.config.mirror.capture {
            CaptureMode::Trigger => Err(Refused::Gates(vec![gate])),
            CaptureMode::Auto | CaptureMode::Returning => {
                warn_of(&gate);
                Ok(())
            }
        }
    }

    /// Follows the schema. Returns whether the catalog has to be read again.
    pub(super) async fn remake_triggers(
        &self,
        primary: Side,
        catalog: &Catalog,
        known: Option<&Catalog>,
    ) -> Result<bool, Trouble> {
        let made = self.make_triggers(primary, catalog, known).await?;
        if !made.refused.is_empty() {
            warn_of(&gates::triggers_made(&made.refused));
        }
        if !made.changed.is_empty() {
            // What was written under the former ones may name another key.
            self.touch(&made.changed).await?;
        }
        Ok(!made.changed.is_empty())
    }

    /// Once no phase captures any more.
    pub(super) async fn remove_triggers(&self, primary: Side) -> Result<(), Trouble> {
        let connection = self.connect(primary).await?;
        for table in captures::watched(&connection).await? {
            if let Err(error) = captures::unwatch(&connection, table).await {
                tracing::warn!(%error, "triggers of a table were not removed; they are when the phase is left again, or by init --uninstall");
            }
        }
        Ok(())
    }
}

fn warn_of(gate: &Gate) {
    tracing::warn!(evidence = %gate.evidence, "triggers could not be made; these tables are captured by RETURNING and the server's counters");
}

/// Whether triggers are to capture it. Partitions are looked at with the table that they are partitions of.
pub fn wants_triggers(mode: CaptureMode, table: &Table, catalog: &Catalog) -> bool {
    let carried = table.mirrored && table.has_rows() && catalog.unpaired(table.oid).is_none();
    let incomplete = table.has_user_triggers || table.has_rules || table.row_security;
    carried
        && match mode {
            CaptureMode::Returning => false,
            CaptureMode::Auto => incomplete,
            CaptureMode::Trigger => true,
        }
}
