//! Being told: a change that another instance has made durable is looked at when it is notified, not a second later.

use std::sync::Arc;
use std::time::Duration;

use super::Conductor;
use crate::backend::control::Connection;
use crate::store::control::CHANNEL;

/// The pause between two attempts, and between two looks whether the connection still is what is wanted.
const LOOK: Duration = Duration::from_secs(1);

impl Conductor {
    /// Listens on the primary until the process ends. Without a connection the policy is followed by looking, as ever.
    pub async fn listen(self: Arc<Self>) {
        let config = &self.context.config;
        let mut listening: Option<Connection> = None;
        loop {
            let side = self.policy().primary();
            if listening.as_ref().is_none_or(|c| c.is_closed() || c.side() != side) {
                let bell = Arc::clone(&self.told);
                let opened = Connection::listen(side, config.backends.get(side), CHANNEL, bell, &config.timeouts).await;
                listening = opened.inspect_err(|error| tracing::debug!(%error, "not listening for changes")).ok();
                // What was changed while nobody listened.
                self.told.notify_one();
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
