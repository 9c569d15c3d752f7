//! Instances and their policy: each announces itself at the primary with the epoch it has brought into force, and is told of changes there.
//!
//! The race it excludes, between an instance that starts and one that changes the phase:
//!   1. the first reads the durable policy: `old_only`;
//!   2. the second makes `dual_write` durable, sees no other instance, and reports the change as done;
//!   3. clients of the first write, uncaptured, until it looks again.
//!
//! So an instance announces itself before it reads the policy that it will serve clients under, and a change of phase is done when everyone who is
//! announced has followed: when no transaction of the former policy runs there. An instance whose connection was just cut is not announced; it
//! looks as soon as it is back, within the second, if its clients' connections to the same server were left alive at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Conductor, Refused, Trouble};
use crate::backend::control::Connection;
use crate::routing::Policy;
use crate::side::Side;
use crate::store::control::CHANNEL;
use crate::store::instances::{self, Instance};

/// The pause between two attempts, and between two looks whether the connection still is what is wanted.
const LOOK: Duration = Duration::from_secs(1);
/// The pause between two looks at how far the others are.
const PAUSE: Duration = Duration::from_millis(10);

/// The connection at the primary that this instance is known by, and told on.
pub(super) struct Announced {
    connection: Connection,
    epoch: u64,
}

impl Announced {
    fn is_alive_on(&self, side: Side) -> bool {
        self.connection.side() == side && !self.connection.is_closed()
    }
}

impl Conductor {
    /// Announces this instance, unless it is: from then on changes wait for it, and it is told of them.
    pub(super) async fn introduce(&self, side: Side) -> Result<(), Trouble> {
        let mut announced = self.announced.lock().await;
        if announced.as_ref().is_some_and(|a| a.is_alive_on(side)) {
            return Ok(());
        }
        *announced = None;
        let config = &self.context.config;
        let bell = Arc::clone(&self.told);
        let connection = Connection::listen(side, config.backends.get(side), CHANNEL, bell, &config.timeouts).await?;
        // What it has in force may be out of date already.
        let epoch = 0;
        instances::announce(&connection, epoch, &config.listen.to_string()).await?;
        *announced = Some(Announced { connection, epoch });
        // What was changed while nobody listened.
        self.told.notify_one();
        Ok(())
    }

    /// Stays announced, with what is in force, until the process ends. Without a connection the policy is followed by looking, as ever.
    pub async fn listen(self: Arc<Self>) {
        loop {
            if let Err(error) = self.say_what_is_in_force().await {
                tracing::debug!(%error, "this instance is not announced");
            }
            // A permit that was given meanwhile counts: nothing is missed.
            let _ = tokio::time::timeout(LOOK, self.in_force.notified()).await;
        }
    }

    async fn say_what_is_in_force(&self) -> Result<(), Trouble> {
        let policy = self.policy();
        self.introduce(policy.primary()).await?;
        let mut announced = self.announced.lock().await;
        let Some(announced) = announced.as_mut().filter(|a| a.epoch != policy.epoch) else { return Ok(()) };
        if self.context.registry.all_past(policy.generation, LOOK).await.is_ok() {
            instances::announce(&announced.connection, policy.epoch, &self.context.config.listen.to_string()).await?;
            announced.epoch = policy.epoch;
        }
        Ok(())
    }

    /// Puts a policy in force for transactions that begin now. Returns its generation.
    pub(super) fn put_in_force(&self, change: impl Fn(&Policy) -> Policy) -> u64 {
        let generation = self.context.registry.swap(change);
        self.in_force.notify_one();
        generation
    }

    /// Waits until every instance has followed the policy of this epoch, and ended its transactions of former ones.
    pub(super) async fn all_follow(&self, primary: Side, epoch: u64, limit: Duration) -> Result<(), Refused> {
        let end = Instant::now() + limit;
        let connection = self.connect(primary).await?;
        loop {
            let mut behind = instances::announced(&connection).await?;
            behind.retain(|instance| instance.epoch < epoch);
            if behind.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Refused::Behind(behind));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The instances that are announced at the primary, this one among them.
    pub async fn instances(&self) -> Result<Vec<Instance>, Trouble> {
        let connection = self.connect(self.policy().primary()).await?;
        Ok(instances::announced(&connection).await?)
    }
}
