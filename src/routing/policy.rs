//! The policy: what the operator decided, as one immutable value that a session takes once per transaction.

use std::collections::HashSet;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::Rules;
use crate::phase::{Ack, Percent, Phase};
use crate::side::{BySide, Side};

/// What is in force for every transaction that begins now. Swapped whole, never changed in place.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Counts swaps in this process: a transaction says which policy it runs under by this number. Begins at 1.
    pub generation: u64,
    /// Counts durable changes (`pgduet.control`), the same on every instance. 0: nothing durable exists yet.
    pub epoch: u64,
    pub phase: Phase,
    pub read_percent: Percent,
    pub ack: Ack,
    pub shadow_sample: Percent,
    /// The schemas as last read; empty in `old_only`, where nothing needs them.
    pub catalog: BySide<Arc<Catalog>>,
    /// Tables whose reads must stay on the primary (`stale`, `diverged`, `copying`, `excluded`), by primary's oid.
    pub unequal: Arc<HashSet<u32>>,
    /// Columns, segments and pins.
    pub rules: Arc<Rules>,
    /// Counts durable changes of the rules; 0: the configuration's are in force.
    pub rules_version: u64,
}

impl Policy {
    /// The policy of a first start, before anything durable is known.
    pub fn old_only() -> Self {
        Policy {
            generation: 1,
            epoch: 0,
            phase: Phase::OldOnly,
            read_percent: Percent::ZERO,
            ack: Ack::Both,
            shadow_sample: Percent::ZERO,
            catalog: BySide::default(),
            unequal: Arc::default(),
            rules: Arc::default(),
            rules_version: 0,
        }
    }

    /// Whether any read may go to the secondary without being told to.
    pub fn moves_reads(&self) -> bool {
        self.phase.captures() && (self.read_percent > Percent::ZERO || self.rules.move_reads())
    }

    pub fn primary(&self) -> Side {
        self.phase.primary()
    }
}
