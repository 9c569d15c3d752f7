//! Starting from the durable policy, and following it: other instances may change it, and sessions may change the schema.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::captured::Entered;
use super::change::with_settings;
use super::complaint::Complaint;
use super::news::Expected;
use super::{Conductor, PolicyPatch, Trouble};
use crate::backend::control::Connection;
use crate::routing::Policy;
use crate::side::Side;
use crate::store::captures;
use crate::store::control::{self, Control};

/// The pause between two looks at the primary.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two readings of the schemas that nobody asked for.
const LOOKS_PER_SCHEMA: u32 = 30;
/// The pause between two attempts to find the durable policy.
const RETRY: Duration = Duration::from_millis(250);

impl Conductor {
    /// Finds the durable policy and puts it in force; tries until it can. Clients are served from then on.
    pub async fn start(self: &Arc<Self>) {
        let mut complaint = Complaint::default();
        while let Err(error) = self.try_start().await {
            let error = error.to_string();
            if complaint.is_due(&error, Instant::now()) {
                tracing::warn!(error, "not ready yet; clients are told so until the durable policy can be read");
            }
            self.set_ready(Some(error));
            tokio::time::sleep(RETRY).await;
        }
        tokio::spawn(Arc::clone(self).listen());
        self.seed_phase().await;
        self.context.registry.open();
        self.set_ready(None);
    }

    async fn try_start(&self) -> Result<(), Trouble> {
        let found = self.durable().await?;
        self.introduce(found.as_ref().map_or(Side::Old, |durable| durable.settings.phase.primary())).await?;
        // Again: a change may have been made before anybody knew of this instance.
        match self.durable().await? {
            Some(durable) => {
                self.warn_of_differences(&durable);
                self.follow(&durable).await
            }
            None => {
                let seeds = self.seeds();
                let policy = self.policy_from(seeds, 0).await?;
                self.enforce(&policy);
                Ok(())
            }
        }
    }

    /// The policy that counts: the side that claims to be primary, with the higher epoch. The other side need not answer.
    async fn durable(&self) -> Result<Option<Control>, Trouble> {
        let (old, new) = tokio::join!(self.claim(Side::Old), self.claim(Side::New));
        let claims = [(Side::Old, old), (Side::New, new)];
        let best = claims.iter().filter_map(|(_, c)| c.as_ref().ok().cloned().flatten()).max_by_key(|c| c.epoch);
        let primary = best.as_ref().map_or(Side::Old, |c| c.settings.phase.primary());
        let (own, other): (Vec<_>, Vec<_>) = claims.into_iter().partition(|(side, _)| *side == primary);
        // The primary itself must have spoken: what the other side knows of it may be out of date.
        for (_, claim) in own {
            claim?;
        }
        for (side, claim) in other {
            if let Err(error) = claim {
                tracing::warn!(%side, %error, "the secondary does not answer");
            }
        }
        Ok(best)
    }

    async fn claim(&self, side: Side) -> Result<Option<Control>, Trouble> {
        let connection = self.connect(side).await?;
        Ok(control::read(&connection).await?)
    }

    /// Puts a durable policy in force here, with the link that it wants.
    async fn follow(&self, durable: &Control) -> Result<(), Trouble> {
        let former = self.policy();
        if former.epoch > 0 && former.phase == durable.settings.phase {
            // Percentages and acknowledgements need nothing of the databases: in force at once.
            let (settings, epoch) = (durable.settings, durable.epoch);
            self.put_in_force(|policy| Policy { epoch, ..with_settings(policy, settings) });
            return Ok(());
        }
        let policy = self.policy_from(durable.settings, durable.epoch).await?;
        let generation = self.enforce(&policy);
        let (was, is) = (former.phase.captures(), policy.phase.captures());
        if is && (!was || former.epoch == 0) {
            self.link.start(policy.primary(), false).await?;
            let (primary, epoch) = (policy.primary(), policy.epoch);
            self.await_capture(Entered { primary, generation, epoch, asked_here: false });
        }
        if was && !is {
            self.link.stop().await;
        }
        Ok(())
    }

    /// At a very first start the configuration may ask for `dual_write`.
    async fn seed_phase(&self) {
        let policy = self.policy();
        if policy.epoch > 0 || self.context.config.phase == policy.phase {
            return;
        }
        let patch = PolicyPatch {
            phase: Some(self.context.config.phase),
            by: Some("configuration".into()),
            ..PolicyPatch::default()
        };
        if let Err(error) = self.patch(&patch).await {
            tracing::error!(%error, "the configured phase could not be entered; change it with PATCH /api/policy");
        }
    }

    /// Follows the durable policy and the schemas until the process ends.
    pub async fn watch(self: Arc<Self>) {
        let mut connection: Option<Connection> = None;
        let (mut looks, mut expected) = (1, None);
        loop {
            let patience = Expected::until(expected);
            tokio::select! {
                () = self.context.shutdown.begun() => return,
                () = self.context.schema_changes.rung() => self.expect(&mut expected, 0).await,
                () = until(patience) => self.stop_expecting(&mut expected).await,
                () = self.told.notified() => {}
                () = tokio::time::sleep(LOOK) => looks = (looks + 1) % LOOKS_PER_SCHEMA,
            }
            if looks == 0 {
                looks = 1;
                // Beside the looks: it takes a while, and a change of policy must not wait for it.
                let myself = Arc::clone(&self);
                tokio::spawn(async move { myself.refresh_schemas().await });
            }
            match self.look(connection.take(), &mut expected).await {
                Ok(alive) => {
                    self.set_ready(None);
                    connection = Some(alive);
                }
                Err(error) => self.set_ready(Some(format!("the primary does not answer: {error}"))),
            }
        }
    }

    /// One look at the primary's row.
    async fn look(
        &self,
        connection: Option<Connection>,
        expected: &mut Option<Expected>,
    ) -> Result<Connection, Trouble> {
        let policy = self.policy();
        let side = policy.primary();
        let limit = self.context.config.timeouts.connect;
        let connection = match connection.filter(|c| c.side() == side) {
            Some(connection) => connection,
            None => self.connect(side).await?,
        };
        let durable = tokio::time::timeout(limit, control::read(&connection)).await;
        let durable = durable.map_err(|_| Trouble::Slow(side, limit))??;
        if let Some(durable) = durable.filter(|d| d.epoch > policy.epoch) {
            // A change of this instance's own is under way, or has just ended: it is not another's.
            if let Ok(_idle) = self.changing.try_lock()
                && durable.epoch > self.policy().epoch
            {
                tracing::info!(epoch = durable.epoch, "another instance has changed the policy");
                self.follow(&durable).await?;
            }
        }
        self.follow_rules(&connection).await?;
        if policy.phase.captures() {
            self.look_for_statements(&connection, expected).await?;
        }
        Ok(connection)
    }

    /// Another instance's sessions may have changed the schema.
    async fn look_for_statements(
        &self,
        connection: &Connection,
        expected: &mut Option<Expected>,
    ) -> Result<(), Trouble> {
        let number = captures::statements(connection).await?;
        if number > self.statements.load(Ordering::Acquire) {
            self.expect(expected, number).await;
        }
        Ok(())
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
