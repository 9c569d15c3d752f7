//! Carrying a change of policy out, step by step; see the order in the module `runbook`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::captured::Entered;
use super::gates::{self, Gate};
use super::{Conductor, PolicyView, Trouble};
use crate::backend::control::Connection;
use crate::backend::introspect::Paired;
use crate::catalog::{Catalog, Table};
use crate::link::ledger::LinkState;
use crate::routing::{Ack, Percent, Phase, Policy};
use crate::side::Side;
use crate::store::control::{self, Change, Settings, Swapped};
use crate::store::instances::Instance;
use crate::store::tables::{self, SyncState};
use crate::store::{captures, schema};

/// How long a link is given to carry the rest before `dual_write` is left.
const LAST_DRAIN: Duration = Duration::from_secs(10);

/// What an operator asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyPatch {
    pub phase: Option<Phase>,
    pub read_percent: Option<Percent>,
    pub ack: Option<Ack>,
    pub shadow_sample_percent: Option<Percent>,
    pub columns: Option<Vec<crate::config::ColumnRule>>,
    pub segments: Option<Vec<crate::config::Segment>>,
    pub pins: Option<Vec<crate::config::Pin>>,
    pub by: Option<String>,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub force: bool,
}

/// Why a change was not made, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("a gate does not hold")]
    Gates(Vec<Gate>),
    #[error("{0}; the change is in force for new transactions, and is complete once they have ended")]
    StillRunning(#[from] crate::session::registry::StillRunning),
    #[error("another instance has changed the policy at the same time; look at it and ask again")]
    Conflict,
    #[error("{} not followed yet; the change is in force here, and is complete once they have", in_words(.0))]
    Behind(Vec<Instance>),
    #[error("{0}")]
    Rules(String),
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

impl From<crate::store::StoreError> for Refused {
    fn from(error: crate::store::StoreError) -> Self {
        Refused::Trouble(error.into())
    }
}

impl From<crate::backend::control::ConnectError> for Refused {
    fn from(error: crate::backend::control::ConnectError) -> Self {
        Refused::Trouble(error.into())
    }
}

impl From<crate::link::LinkError> for Refused {
    fn from(error: crate::link::LinkError) -> Self {
        Refused::Trouble(error.into())
    }
}

impl Conductor {
    /// Changes the policy. Returns once it is in force for every new transaction, and for a change of phase once every transaction of the
    /// former phase has ended.
    pub async fn patch(&self, patch: &PolicyPatch) -> Result<PolicyView, Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let changed_rules = self.change_rules(patch).await?;
        let now = self.policy();
        let wanted = Settings {
            phase: patch.phase.unwrap_or(now.phase),
            read_percent: patch.read_percent.unwrap_or(now.read_percent),
            ack: patch.ack.unwrap_or(now.ack),
            shadow_sample: patch.shadow_sample_percent.unwrap_or(now.shadow_sample),
        };
        match (now.phase, wanted.phase) {
            (from, to) if from == to && changed_rules && wanted == settings_of(&now) => Ok(self.view()),
            (from, to) if from == to => self.adjust(&now, wanted, patch).await,
            (Phase::OldOnly, Phase::DualWrite) => self.enter_dual_write(&now, wanted, patch).await,
            (Phase::DualWrite, Phase::OldOnly) => self.leave_dual_write(&now, wanted, patch).await,
            (from, to) => Err(Refused::Gates(self.gates_of_another_phase(from, to))),
        }
    }

    /// Percentages and acknowledgements: one durable write and one swap.
    async fn adjust(&self, now: &Policy, wanted: Settings, patch: &PolicyPatch) -> Result<PolicyView, Refused> {
        let raised = wanted.read_percent > now.read_percent;
        let mut gates = vec![gates::reads_have_a_link(now.phase, raised)];
        if raised && now.phase.captures() {
            self.link_has_begun().await;
            gates.push(gates::link_follows(&self.link.ledger().report()));
        }
        pass(&gates, patch)?;
        if patch.dry_run {
            return Ok(PolicyView::dry_run(now, wanted, gates));
        }
        // In `old_only` before any `init`, nothing durable may be left behind: what is asked for counts from the next phase on.
        let epoch = match now.epoch {
            0 if !now.phase.captures() => 0,
            expected => self.make_durable(expected, wanted, patch, &gates).await?,
        };
        // Over what is in force at this moment: the schemas may have been read again meanwhile.
        self.put_in_force(|policy| Policy { epoch, ..with_settings(policy, wanted) });
        Ok(self.view())
    }

    async fn enter_dual_write(
        &self,
        now: &Policy,
        wanted: Settings,
        patch: &PolicyPatch,
    ) -> Result<PolicyView, Refused> {
        let (gates, paired) = self.gates_of_dual_write(patch.dry_run).await;
        pass(&gates, patch)?;
        if patch.dry_run {
            return Ok(PolicyView::dry_run(now, wanted, gates));
        }
        let paired = paired.ok_or_else(|| Refused::Gates(gates.clone()))?;
        let primary = wanted.phase.primary();
        let mut paired = self.leave_out(primary, paired).await?;
        self.make_triggers_first(primary, paired.catalogs.get(primary)).await?;
        paired.catalogs = self.read_schemas().await?.catalogs;
        self.link.start(primary, true).await?;
        let entered = self.enforce_dual_write(now, wanted, patch, &gates, &paired).await;
        if entered.is_err() && !self.policy().phase.captures() {
            self.link.stop().await;
        }
        let generation = entered?;
        let epoch = self.policy().epoch;
        self.captured_from(Entered { primary, generation, epoch, asked_here: true }).await?;
        self.link_has_begun().await;
        Ok(self.view())
    }

    pub(super) async fn prepared_transactions(&self, side: Side) -> Result<Vec<String>, Trouble> {
        let connection = self.connect(side).await?;
        Ok(control::prepared_transactions(&connection).await?)
    }

    /// What stands in the way of a phase that is not the next; and what would besides, where the link has to have carried everything.
    fn gates_of_another_phase(&self, from: Phase, to: Phase) -> Vec<Gate> {
        let mut gates = vec![gates::phase_order(from, to)];
        if from.captures() {
            let uncaptured = self.context.tally.uncaptured.load(std::sync::atomic::Ordering::Relaxed);
            gates.push(gates::writes_captured(uncaptured, &self.link.bypassed()));
        }
        gates
    }

    /// Gives the link the time to connect, so that a change that follows a phase or a restart at once finds it carrying. No phase depends
    /// on it.
    async fn link_has_begun(&self) {
        let ledger = self.link.ledger();
        let begun = async {
            loop {
                let progress = ledger.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if ledger.state() != LinkState::Starting {
                    return;
                }
                progress.await;
            }
        };
        if tokio::time::timeout(self.context.config.timeouts.connect, begun).await.is_err() {
            tracing::warn!("the link has not connected yet; it goes on trying");
        }
    }

    async fn enforce_dual_write(
        &self,
        now: &Policy,
        wanted: Settings,
        patch: &PolicyPatch,
        gates: &[Gate],
        paired: &Paired,
    ) -> Result<u64, Refused> {
        let primary = wanted.phase.primary();
        let connection = self.connect(primary).await?;
        self.assume_equal(&connection, paired.catalogs.get(primary)).await?;
        let epoch = self.make_durable(now.epoch, wanted, patch, gates).await?;
        let mut policy = Policy { epoch, ..with_settings(now, wanted) };
        policy.catalog = paired.catalogs.clone();
        policy.unequal = Arc::new(super::schemas::unequal(&connection, policy.catalog.get(primary)).await?);
        Ok(self.enforce(&policy))
    }

    /// Tables that were never followed are declared equal; tables that were left behind once stay `stale`.
    pub(super) async fn assume_equal(&self, connection: &Connection, catalog: &Catalog) -> Result<(), Trouble> {
        let known = tables::read_all(connection).await?;
        let known: HashSet<(&str, &str)> = known.iter().map(|k| (k.schema.as_str(), k.name.as_str())).collect();
        let is_new = |table: &&Arc<Table>| !known.contains(&(table.schema.as_str(), table.name.as_str()));
        let carried = |t: &&Arc<Table>| t.mirrored && catalog.unpaired(t.oid).is_none();
        let fresh: Vec<_> = catalog.tables().iter().filter(carried).filter(is_new).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let names: Vec<(&str, &str)> = fresh.iter().map(|t| (t.schema.as_str(), t.name.as_str())).collect();
        tables::set(connection, &names, SyncState::Assumed, &json!({ "by": "entering dual_write" })).await?;
        Ok(())
    }

    async fn gates_of_dual_write(&self, dry_run: bool) -> (Vec<Gate>, Option<Paired>) {
        let prepared = match dry_run {
            true => self.reach_both().await,
            false => self.install_anew().await,
        };
        let mut gates = vec![gates::prepared(prepared.err().map(|e| e.to_string()))];
        let paired = match self.read_schemas().await {
            Ok(paired) => paired,
            Err(error) => {
                gates.push(gates::prepared(Some(error.to_string())));
                return (gates, None);
            }
        };
        match self.prepared_transactions(Side::Old).await {
            Ok(gids) if gids.is_empty() => {}
            Ok(gids) => gates.push(gates::nothing_prepared(&gids)),
            Err(error) => gates.push(gates::prepared(Some(error.to_string()))),
        }
        let catalog = paired.catalogs.get(Side::Old);
        let carried = catalog.tables().iter().filter(|t| t.mirrored && catalog.unpaired(t.oid).is_none());
        let mut mirrored: Vec<String> = carried.map(|t| t.display_name()).collect();
        mirrored.sort();
        let left_out: Vec<Value> =
            paired.left_out.iter().map(|l| json!({ "table": l.table, "reason": l.reason })).collect();
        gates.push(gates::tables_paired(&mirrored, &left_out));
        (gates, Some(paired))
    }

    /// What a former phase left out is looked at again.
    async fn install_anew(&self) -> Result<(), Trouble> {
        self.install().await?;
        for side in Side::BOTH {
            captures::leave_out(&self.connect(side).await?, &[]).await?;
        }
        Ok(())
    }

    async fn reach_both(&self) -> Result<(), Trouble> {
        for side in Side::BOTH {
            self.connect(side).await?;
        }
        Ok(())
    }

    /// Installs or upgrades the schema on both backends.
    pub async fn install(&self) -> Result<(), Trouble> {
        for side in Side::BOTH {
            let connection = self.connect(side).await?;
            schema::install(&connection).await?;
        }
        Ok(())
    }

    async fn leave_dual_write(
        &self,
        now: &Policy,
        wanted: Settings,
        patch: &PolicyPatch,
    ) -> Result<PolicyView, Refused> {
        let wanted = Settings { read_percent: Percent::ZERO, ..wanted };
        let gates = vec![gates::phase_order(now.phase, wanted.phase)];
        if patch.dry_run {
            return Ok(PolicyView::dry_run(now, wanted, gates));
        }
        let epoch = self.make_durable(now.epoch, wanted, patch, &gates).await?;
        let generation = self.enforce(&Policy { epoch, ..with_settings(now, wanted) });
        let limit = self.context.config.timeouts.phase_change;
        let ended = self.context.registry.all_past(generation, limit).await;
        let followed = self.all_follow(now.primary(), epoch, limit).await;
        if let Err(error) = self.link.barrier(LAST_DRAIN).await {
            tracing::warn!(%error, "the link was stopped before it had carried everything");
        }
        self.link.stop().await;
        self.remove_triggers(now.primary()).await?;
        let connection = self.connect(now.primary()).await?;
        tables::set_all(&connection, SyncState::Stale, &json!({ "by": "leaving dual_write" })).await?;
        ended?;
        followed?;
        Ok(self.view())
    }

    /// Writes the policy to the primary, with its history, and a copy to the other side as far as that answers.
    async fn make_durable(
        &self,
        expected: u64,
        wanted: Settings,
        patch: &PolicyPatch,
        gates: &[Gate],
    ) -> Result<u64, Refused> {
        let primary = self.connect(wanted.phase.primary()).await?;
        let evidence = json!({ "gates": gates, "forced": patch.force });
        let by = patch.by.as_deref().unwrap_or("unknown");
        match control::swap(&primary, expected, &Change { settings: wanted, by, evidence: &evidence }).await? {
            Swapped::Conflict(_) => Err(Refused::Conflict),
            Swapped::Done(durable) => {
                tracing::info!(epoch = durable.epoch, by, policy = %wanted.to_json(), "the policy was changed");
                self.copy_to_secondary(&durable).await;
                Ok(durable.epoch)
            }
        }
    }

    async fn copy_to_secondary(&self, durable: &control::Control) {
        let side = durable.settings.phase.primary().other();
        let copied = async {
            let connection = self.connect(side).await?;
            control::copy_to(&connection, durable).await.map_err(Trouble::from)
        };
        if let Err(error) = copied.await {
            tracing::warn!(%error, "the policy's copy on {side} is older; the primary's counts");
        }
    }
}

fn in_words(behind: &[Instance]) -> String {
    let place = |i: &Instance| match &i.address {
        Some(address) => format!("{} at {address}", i.listens_on),
        None => i.listens_on.clone(),
    };
    let places: Vec<String> = behind.iter().map(place).collect();
    match places.as_slice() {
        [one] => format!("the instance on {one} has"),
        more => format!("the instances on {} have", more.join(", ")),
    }
}

/// Every gate holds, or may be forced and is.
fn pass(gates: &[Gate], patch: &PolicyPatch) -> Result<(), Refused> {
    match gates.iter().all(|g| g.holds || (g.may_be_forced && patch.force)) {
        true => Ok(()),
        false => Err(Refused::Gates(gates.to_vec())),
    }
}

fn settings_of(policy: &Policy) -> Settings {
    Settings {
        phase: policy.phase,
        read_percent: policy.read_percent,
        ack: policy.ack,
        shadow_sample: policy.shadow_sample,
    }
}

pub(super) fn with_settings(policy: &Policy, settings: Settings) -> Policy {
    Policy {
        phase: settings.phase,
        read_percent: settings.read_percent,
        ack: settings.ack,
        shadow_sample: settings.shadow_sample,
        ..policy.clone()
    }
}
