//! Segments and pins: read with the policy, changed by the operator, followed when another instance has changed them.

use std::sync::Arc;

use serde_json::json;

use super::{Conductor, PolicyPatch, Refused, Trouble};
use crate::config::Rules;
use crate::routing::Policy;
use crate::store::rules::{self, Stored};

impl Conductor {
    /// The durable rules; before a first change those of the configuration.
    pub(super) async fn rules(&self, primary: crate::side::Side) -> Result<Stored, Trouble> {
        let connection = self.connect(primary).await?;
        let seeds = || Stored { rules: self.context.config.reads.rules(), version: 0 };
        Ok(rules::read(&connection).await?.unwrap_or_else(seeds))
    }

    /// Carries the part of a change out that is about rules: durable first, in force then. True: there was one.
    pub(super) async fn change_rules(&self, patch: &PolicyPatch) -> Result<bool, Refused> {
        let (columns, segments, pins) = (patch.columns.clone(), patch.segments.clone(), patch.pins.clone());
        if (columns.is_none() && segments.is_none() && pins.is_none()) || patch.dry_run {
            return Ok(false);
        }
        let now = self.policy();
        let former = &now.rules;
        let wanted = Rules {
            columns: columns.unwrap_or_else(|| former.columns.clone()),
            segments: segments.unwrap_or_else(|| former.segments.clone()),
            pins: pins.unwrap_or_else(|| former.pins.clone()),
        };
        if let Some(problem) = wanted.problem() {
            return Err(Refused::Rules(problem));
        }
        let by = patch.by.as_deref().unwrap_or("unknown");
        let version = match now.epoch {
            // Before any `init` nothing durable may be left behind.
            0 if !now.phase.captures() => 0,
            _ => {
                let primary = self.connect(now.primary()).await?;
                rules::write(&primary, &wanted, by, &json!({ "forced": patch.force })).await?
            }
        };
        tracing::info!(by, version, "the routing rules were changed");
        self.put_rules_in_force(Stored { rules: wanted, version });
        Ok(true)
    }

    fn put_rules_in_force(&self, stored: Stored) {
        let rules = Arc::new(stored.rules);
        self.context.registry.swap(|now| Policy {
            rules: Arc::clone(&rules),
            rules_version: stored.version,
            ..now.clone()
        });
    }

    /// Takes over what another instance has changed.
    pub(super) async fn follow_rules(&self, connection: &crate::backend::control::Connection) -> Result<(), Trouble> {
        let Some(stored) = rules::read(connection).await? else { return Ok(()) };
        if stored.version > self.policy().rules_version
            && let Ok(_idle) = self.changing.try_lock()
        {
            tracing::info!(version = stored.version, "another instance has changed the routing rules");
            self.put_rules_in_force(stored);
        }
        Ok(())
    }
}
