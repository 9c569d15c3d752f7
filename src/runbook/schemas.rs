//! Following the schemas: what sessions know of them is never older than what the link has acknowledged.
//!
//! The race it excludes, of a table that is created, or gets another key:
//!   1. session A takes the policy for its transaction, with the former catalog;
//!   2. session B alters the table and commits; the catalog is read again and put in force;
//!   3. A, whose transaction goes on, writes to the table. By what A knows there is nothing to capture, or the wrong key.
//!
//! So once every transaction that knew the former catalog has ended, such tables are touched as a whole.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::news::Reading;
use super::{Conductor, Trouble};
use crate::backend::control::Connection;
use crate::backend::introspect::{self, Paired};
use crate::catalog::{Catalog, Table};
use crate::routing::Policy;
use crate::side::BySide;
use crate::store::{captures, tables};

impl Conductor {
    /// Reads the schemas again, and puts them in force if they, or the tables' states, have changed.
    pub(super) async fn refresh_schemas(&self) {
        // Whoever reads last has read the latest.
        let mut reading = self.refreshing.lock().await;
        let now = self.policy();
        if !now.phase.captures() {
            return;
        }
        let changes = self.context.schema_changes.last();
        match self.read_again(&now, &mut reading).await {
            Ok(()) => self.context.schema_changes.read_up_to(changes),
            Err(error) => {
                tracing::warn!(%error, "the schemas could not be read again; the former ones stay in force");
            }
        }
    }

    /// The caller holds the one reading that there may be at a time.
    pub(super) async fn read_again(&self, now: &Policy, reading: &mut Reading) -> Result<(), Trouble> {
        let result = self.refresh(now).await;
        reading.ended = Some(Instant::now());
        result
    }

    async fn refresh(&self, now: &Policy) -> Result<(), Trouble> {
        let connection = self.connect(now.primary()).await?;
        let catalogs = match self.read_schemas().await {
            Ok(paired) => {
                let catalog = paired.catalogs.get(now.primary());
                self.assume_equal(&connection, catalog).await?;
                match self.remake_triggers(now.primary(), catalog, None).await? {
                    true => self.read_schemas().await?.catalogs,
                    false => paired.catalogs,
                }
            }
            Err(error) => {
                tracing::debug!(%error, "one side cannot be read: the primary's schema alone is looked at");
                self.primary_alone(now).await?
            }
        };
        if self.put_catalogs_in_force(&connection, now, catalogs).await? {
            self.link.look_again().await;
        }
        Ok(())
    }

    /// Returns whether anything has changed.
    pub(super) async fn put_catalogs_in_force(
        &self,
        connection: &Connection,
        now: &Policy,
        catalogs: BySide<Arc<Catalog>>,
    ) -> Result<bool, Trouble> {
        let unequal = unequal(connection, catalogs.get(now.primary())).await?;
        if catalogs == now.catalog && unequal == *now.unequal {
            return Ok(false);
        }
        tracing::info!("the schema has changed; statements are analysed anew");
        let primary = now.primary();
        let changed = captured_otherwise(now.catalog.get(primary), catalogs.get(primary));
        let unequal = Arc::new(unequal);
        let generation = self.context.registry.swap(|policy| match policy.phase == now.phase {
            true => Policy { catalog: catalogs.clone(), unequal: Arc::clone(&unequal), ..policy.clone() },
            false => policy.clone(),
        });
        self.touch_when_past(generation, changed);
        Ok(true)
    }

    /// The secondary as it was; of the primary's tables, those that have changed cannot be read there.
    pub(super) async fn primary_alone(&self, now: &Policy) -> Result<BySide<Arc<Catalog>>, Trouble> {
        let primary = now.primary();
        let former = now.catalog.get(primary);
        let schema = self.read_schema(primary).await?;
        let same =
            |table: &Table| former.by_oid(table.oid).is_some_and(|known| introspect::same_but_carry(known, table));
        let reason = |table: &Table| match same(table) {
            true => former.unpaired(table.oid).map(str::to_owned),
            false => Some("the other side could not be read".into()),
        };
        let unpaired = schema.tables.iter().filter_map(|table| Some((table.oid, reason(table)?))).collect();
        let mut catalogs = now.catalog.clone();
        *catalogs.get_mut(primary) = Arc::new(schema.into_catalog().with_unpaired(unpaired));
        Ok(catalogs)
    }

    fn touch_when_past(&self, generation: u64, tables: Vec<u32>) {
        if tables.is_empty() {
            return;
        }
        let Some(conductor) = self.myself.upgrade() else { return };
        tokio::spawn(async move {
            let limit = conductor.context.config.timeouts.phase_change;
            while let Err(error) = conductor.context.registry.all_past(generation, limit).await {
                tracing::info!(%error, "altered tables are touched once the transactions that knew them otherwise have ended");
            }
            if let Err(error) = conductor.touch(&tables).await {
                tracing::error!(%error, ?tables, "altered tables could not be touched; verify them");
            }
        });
    }

    pub(super) async fn touch(&self, tables: &[u32]) -> Result<(), Trouble> {
        let policy = self.policy();
        if policy.phase.captures() {
            let connection = self.connect(policy.primary()).await?;
            captures::touch(&connection, tables).await?;
            self.context.ledger.committed(tables.len() as u64);
        }
        Ok(())
    }

    /// What cannot be carried when a phase is entered is left out of it, and out of the catalogs.
    pub(super) async fn leave_out(&self, primary: crate::side::Side, paired: Paired) -> Result<Paired, Trouble> {
        let catalog = paired.catalogs.get(primary);
        let left_out: Vec<u32> =
            catalog.tables().iter().map(|t| t.oid).filter(|&oid| catalog.unpaired(oid).is_some()).collect();
        if left_out.is_empty() {
            return Ok(paired);
        }
        let connection = self.connect(primary).await?;
        captures::leave_out(&connection, &left_out).await?;
        let again = self.read_schemas().await?;
        Ok(Paired { catalogs: again.catalogs, left_out: paired.left_out })
    }
}

/// Tables whose reads must stay on the primary, by oid.
pub(super) async fn unequal(connection: &Connection, catalog: &Catalog) -> Result<HashSet<u32>, Trouble> {
    let states = tables::read_all(connection).await?;
    let unequal = states.iter().filter(|s| !s.state.may_be_read());
    Ok(unequal.filter_map(|s| catalog.qualified(&s.schema, &s.name)).map(|t| t.oid).collect())
}

/// Tables whose writes the latter catalog would have captured and the former not, or otherwise; by oid.
fn captured_otherwise(former: &Catalog, latter: &Catalog) -> Vec<u32> {
    let otherwise = |table: &&Arc<Table>| match former.by_oid(table.oid).filter(|known| known.mirrored) {
        None => true,
        Some(known) => captured(known) != captured(table) || known.by_trigger && !table.by_trigger,
    };
    latter.tables().iter().filter(|t| t.mirrored).filter(otherwise).map(|t| t.oid).collect()
}

/// The columns that a touch of the table names.
fn captured(table: &Table) -> Vec<(&str, u32)> {
    let columns: Vec<_> = match table.key.is_empty() {
        true => table.columns.iter().filter(|c| !c.generated).collect(),
        false => table.key_columns().collect(),
    };
    columns.into_iter().map(|c| (c.name.as_str(), c.type_oid)).collect()
}
