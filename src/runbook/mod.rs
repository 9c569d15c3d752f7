//! The runbook: what decides over changes of policy and carries them out, and what an operator may ask.
//!
//! The order in which `dual_write` is entered excludes a lost write:
//!   1. the marker is set to a snapshot L of the primary, with the journal empty: whatever is journalled from here on is carried;
//!   2. the policy becomes durable;
//!   3. it is swapped: every transaction that begins now is captured;
//!   4. transactions that began before are waited for. Until the last of them has ended, the tables are not what the marker says they are;
//!      only then, and when every other instance has done the same (`listen`), is the change reported as done.
//!
//! A process that dies between two of these is started again by the durable policy alone (`start`).

mod alerts;
mod captured;
mod change;
mod complaint;
mod gates;
mod listen;
mod news;
mod probe;
mod reload;
mod report;
mod route;
mod rules;
mod schemas;
mod statements;
mod triggers;
mod watch;

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

pub use alerts::Alert;
pub use change::{PolicyPatch, Refused};
pub use gates::Gate;
pub use reload::{Reloaded, Reloader};
pub use report::{PolicyView, Status, TableReport, capture_by};
pub use route::{RouteQuestion, RouteReport};
pub use triggers::wants_triggers;

use crate::backend::control::{ConnectError, Connection, Purpose};
use crate::backend::introspect::{self, Paired};
use crate::link::LinkHandle;
use crate::routing::Policy;
use crate::session::Context;
use crate::shadow::Findings;
use crate::side::Side;
use crate::store::StoreError;
use crate::store::control::{Control, Settings};

/// Why the control plane could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the schema could not be read: {}", crate::backend::control::describe(.0))]
    Introspect(tokio_postgres::Error),
    #[error(transparent)]
    Link(#[from] crate::link::LinkError),
    #[error("no answer from {0} within {1:?}")]
    Slow(Side, Duration),
}

/// See the module's text.
pub struct Conductor {
    pub context: Arc<Context>,
    pub link: Arc<LinkHandle>,
    pub findings: Arc<Findings>,
    reloader: Reloader,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// The schemas are read by one at a time.
    refreshing: tokio::sync::Mutex<news::Reading>,
    myself: Weak<Conductor>,
    /// The generation of the policy that entered the phase last; see `captured`.
    entered: AtomicU64,
    /// The number of the last captured statement that this instance knows of.
    statements: AtomicI64,
    /// Why this instance is not ready; `None`: it is.
    not_ready: Mutex<Option<String>>,
    /// Rung when the durable policy may have changed.
    told: Arc<tokio::sync::Notify>,
    /// Rung when a policy was put in force.
    in_force: tokio::sync::Notify,
    announced: tokio::sync::Mutex<Option<listen::Announced>>,
    alerts: Mutex<Vec<Alert>>,
}

impl Conductor {
    pub fn new(context: Arc<Context>, link: Arc<LinkHandle>, findings: Arc<Findings>, reloader: Reloader) -> Arc<Self> {
        let not_ready = Mutex::new(Some("the durable policy has not been read yet".to_owned()));
        Arc::new_cyclic(|myself| {
            link.on_schemas(Arc::new(news::Ear(Weak::clone(myself))));
            let (changing, refreshing) = Default::default();
            Conductor {
                context,
                link,
                findings,
                reloader,
                changing,
                refreshing,
                myself: Weak::clone(myself),
                entered: AtomicU64::new(0),
                statements: AtomicI64::new(0),
                not_ready,
                told: Arc::default(),
                in_force: tokio::sync::Notify::new(),
                announced: tokio::sync::Mutex::default(),
                alerts: Mutex::default(),
            }
        })
    }

    /// Reads the configuration again; see [`Reloader::reload`].
    pub fn reload(&self) -> Result<Reloaded, String> {
        self.reloader.reload(&self.context)
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.context.registry.policy()
    }

    /// Whether clients can be served: the durable policy is known and the primary can be reached.
    pub fn ready(&self) -> Result<(), String> {
        if self.context.shutdown.is_announced() {
            return Err("draining".into());
        }
        let reason = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reason.map_or(Ok(()), Err)
    }

    fn set_ready(&self, reason: Option<String>) {
        *self.not_ready.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    async fn connect(&self, side: Side) -> Result<Connection, ConnectError> {
        let config = &self.context.config;
        Connection::open(side, config.backends.get(side), Purpose::Control, &config.timeouts).await
    }

    /// Both schemas, paired. With `new` out of reach at a start, the primary's alone: every table of it counts as mirrored, so that
    /// nothing goes uncaptured.
    async fn read_schemas(&self) -> Result<Paired, Trouble> {
        let (old, new) = tokio::join!(self.read_schema(Side::Old), self.read_schema(Side::New));
        Ok(introspect::pair(old?, new?))
    }

    async fn read_schema(&self, side: Side) -> Result<introspect::Schema, Trouble> {
        let connection = self.connect(side).await?;
        introspect::read(&connection, &self.context.config.mirror).await.map_err(Trouble::Introspect)
    }

    /// The policy that a durable row means, with the schemas that it needs.
    async fn policy_from(&self, settings: Settings, epoch: u64) -> Result<Policy, Trouble> {
        let mut policy = Policy {
            generation: 0,
            epoch,
            phase: settings.phase,
            read_percent: settings.read_percent,
            ack: settings.ack,
            shadow_sample: settings.shadow_sample,
            ..Policy::old_only()
        };
        let stored = self.rules(policy.primary()).await?;
        (policy.rules, policy.rules_version) = (Arc::new(stored.rules), stored.version);
        if settings.phase.captures() {
            policy.catalog = match self.read_schemas().await {
                Ok(paired) => paired.catalogs,
                Err(error) => {
                    tracing::warn!(%error, "one schema cannot be read; every table of the primary is captured meanwhile");
                    self.primary_alone(&policy).await?
                }
            };
            let primary = policy.primary();
            let connection = self.connect(primary).await?;
            policy.unequal = Arc::new(schemas::unequal(&connection, policy.catalog.get(primary)).await?);
        }
        Ok(policy)
    }

    fn enforce(&self, policy: &Policy) -> u64 {
        self.put_in_force(|_| policy.clone())
    }

    fn seeds(&self) -> Settings {
        let config = &self.context.config;
        Settings {
            phase: crate::routing::Phase::OldOnly,
            read_percent: config.reads.percent,
            ack: config.mirror.ack,
            shadow_sample: config.shadow.sample_percent,
        }
    }

    fn warn_of_differences(&self, durable: &Control) {
        let seeds = Settings { phase: self.context.config.phase, ..self.seeds() };
        if seeds != durable.settings {
            tracing::warn!(configured = %seeds.to_json(), durable = %durable.settings.to_json(), "the durable policy counts, not the configuration's seeds");
        }
    }
}
