//! What sessions share: with everybody ([`Context`]), and with the others of their thread ([`Worker`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use super::console::{Console, Guests};
use super::gate::Gate;
use super::registry::Registry;
use super::schema_changes::SchemaChanges;
use super::tally::Tally;
use super::vigil::Vigil;
use super::withdrawal::Withdrawal;
use crate::backend::endpoint::Place;
use crate::backend::login::{Address, Identity};
use crate::config::{Config, Live};
use crate::link::ledger::Ledger;
use crate::routing::Verdicts;
use crate::shadow::{Findings, Local, Samples};
use crate::shutdown::Shutdown;
use crate::side::BySide;
use crate::sql::Fingerprint;
use crate::trace::{self, Tracer};

/// Uncaptured writes are remembered by fingerprint up to this many; the count goes on.
const MAX_UNCAPTURED: usize = 200;

/// An uncaptured write, for the operator.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Uncaptured {
    pub statement: String,
    pub reason: &'static str,
    pub count: u64,
}

/// What every session of the process works with.
pub struct Context {
    pub config: Live,
    pub addresses: BySide<Address>,
    pub registry: Arc<Registry>,
    pub ledger: Arc<Ledger>,
    pub tally: Tally,
    pub tracer: Tracer,
    pub withdrawal: Withdrawal,
    pub samples: Arc<Samples>,
    /// The table of statements.
    pub findings: Arc<Findings>,
    pub shutdown: Shutdown,
    pub schema_changes: SchemaChanges,
    /// Who may come in. Put another in its place to have changed certificates, users or lists count from the next client on.
    pub gate: ArcSwap<Gate>,
    /// What answers to the database `pgduet`, once the control plane has put it here.
    pub console: OnceLock<Arc<dyn Console>>,
    pub guests: Guests,
    uncaptured: Mutex<HashMap<Fingerprint, Uncaptured>>,
}

impl Context {
    pub fn new(
        config: Live,
        addresses: BySide<Address>,
        gate: Gate,
        registry: Arc<Registry>,
        ledger: Arc<Ledger>,
        (samples, findings): (Arc<Samples>, Arc<Findings>),
        shutdown: Shutdown,
    ) -> Self {
        let tracer = Tracer::new(&config.traces, BySide::from_fn(|side| place(addresses.get(side))));
        Context {
            config,
            addresses,
            registry,
            ledger,
            tally: Tally::default(),
            tracer,
            withdrawal: Withdrawal::default(),
            samples,
            findings,
            shutdown,
            schema_changes: SchemaChanges::default(),
            gate: ArcSwap::from_pointee(gate),
            console: OnceLock::new(),
            guests: Guests::default(),
            uncaptured: Mutex::default(),
        }
    }

    /// Reads users, secret files, certificates and the list of who is admitted anew, for the clients that come from now on. After an error
    /// everything stays as it was; its text names the key and the file.
    pub fn reload_gate(&self, config: &Config) -> Result<(), String> {
        self.gate.store(Arc::new(Gate::from_config(config)?));
        Ok(())
    }

    /// Counts a write that was not captured, and names it.
    pub fn count_uncaptured(&self, fingerprint: Fingerprint, sql: &[u8], reason: &'static str) {
        self.tally.uncaptured.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut known = self.uncaptured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get_mut(&fingerprint) {
            entry.count += 1;
        } else if known.len() < MAX_UNCAPTURED {
            let statement = crate::sql::normalised(sql);
            tracing::warn!(%statement, reason, "a write was not captured; the sides may differ until its table is verified");
            known.insert(fingerprint, Uncaptured { statement, reason, count: 1 });
        }
    }

    pub fn uncaptured(&self) -> Vec<Uncaptured> {
        let known = self.uncaptured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = known.values().cloned().collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.statement.cmp(&b.statement)));
        list
    }
}

fn place(address: &Address) -> trace::Place {
    let (address, port, database) = match (&address.endpoint.place, address.database.clone()) {
        (Place::Tcp { host, port, .. }, database) => (host.clone(), *port, database),
        (Place::Unix { directory, port }, database) => (directory.display().to_string(), *port, database),
    };
    trace::Place { address, port, database }
}

/// Who a session's client is.
pub struct Login {
    pub identity: Arc<Identity>,
}

/// One thread's share.
pub struct Worker {
    pub context: Arc<Context>,
    pub verdicts: RefCell<Verdicts>,
    pub statements: RefCell<Local>,
    pub vigil: Vigil,
}

impl Worker {
    pub fn new(context: Arc<Context>) -> Self {
        let statements = RefCell::new(Local::new(context.config.shadow.max_findings));
        Worker { context, verdicts: RefCell::default(), statements, vigil: Vigil::default() }
    }

    /// Gives what this thread has counted to the shared table.
    pub fn share_counts(&self) {
        self.context.findings.merge(self.statements.borrow_mut().drain());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.share_counts();
    }
}
