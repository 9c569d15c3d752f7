//! The whole: two servers, the clients' transactions, two instances of the proxy, and what may go wrong how often.

use super::explorer::{Broken, Model, Outcome};
use super::server::{ROWS, Server, Snapshot, TXNS, Value, Xid};
use super::{clients, cutover, faults, link};

pub const OLD: usize = 0;
pub const NEW: usize = 1;
pub const INSTANCES: usize = 2;

/// What is done wrong, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// The marker is a largest id: what was in progress below it is never looked at again.
    TouchesByLargestId,
    /// Clean-up removes all below the marker's xmax, those in progress too.
    CleanUpToXmax,
    /// Clean-up goes by a marker that a crash of the secondary may take back.
    CleanUpUnflushed,
    /// The marker is set, wherever it was.
    MarkerWithoutCompare,
    /// The rows are read in another snapshot than the marker names.
    RowsOfALaterSnapshot,
    /// The cycle goes by a snapshot of which the primary has not flushed all.
    SnapshotNotFlushed,
    /// Every commit is taken for one that has waited for the flush.
    AsynchronousTakenForFlushed,
    /// The primary's role is handed over although touches wait.
    HandOverBeforeTheLastCycle,
    /// The gate turns away who begins, and does not wait for who is inside.
    FenceWithoutWaiting,
    /// Who calls a cutover off leaves the epoch as it is.
    CallOffWithoutEpoch,
}

/// What is explored: how much of everything.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub txns: usize,
    pub instances: usize,
    pub faults: Faults,
    /// How often a cutover may be begun.
    pub cutovers: u8,
    pub cleaning: bool,
    /// Clients may commit without waiting for a flush.
    pub asynchronous: bool,
    pub mistake: Mistake,
}

/// How often each may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// An instance is killed, or loses its connections and with them the answer to its commit.
    pub kills: u8,
    /// The primary ends the session that holds the lock; its holder does not know.
    pub locks_lost: u8,
    pub secondary_crashes: u8,
    pub primary_crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Txn {
    New,
    /// Has written so many rows.
    Open {
        side: u8,
        xid: Xid,
        written: u8,
    },
    Committed {
        side: u8,
        xid: Xid,
    },
    RolledBack,
}

/// One cycle's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Work {
    pub former: Snapshot,
    pub latter: Snapshot,
    /// Which rows are touched, and what they have.
    pub touched: [bool; ROWS],
    pub rows: [Value; ROWS],
    /// The primary's log has to be flushed first: `link::flushed`.
    pub flush: bool,
    /// For the checker alone, as in `Copied`.
    pub carries: u8,
}

/// An instance's link: `link::carrier`, with the role that it takes the primary to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Idle,
    Locked {
        primary: u8,
    },
    Ready {
        primary: u8,
        marker: Snapshot,
    },
    Looked {
        primary: u8,
        work: Work,
    },
    Read {
        primary: u8,
        work: Work,
    },
    /// All of the transaction is sent, its COMMIT included; the answer is waited for.
    Sent {
        primary: u8,
    },
}

/// A cycle's transaction on the secondary. The last slot is for one whose client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flight {
    None,
    Waiting {
        secondary: u8,
        work: Work,
    },
    /// It has the marker's row.
    Holding {
        secondary: u8,
        work: Work,
    },
}

pub const ORPHAN: usize = INSTANCES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cleaner {
    Idle,
    /// Has read the marker, unlocked.
    Peeked {
        primary: u8,
        marker: Snapshot,
    },
    Flushed {
        primary: u8,
        marker: Snapshot,
    },
}

/// Who carries a cutover out, with the epoch that it began at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conductor {
    Off,
    Fenced {
        epoch: u8,
    },
    Drained {
        epoch: u8,
    },
    /// The reverse link's marker is set.
    Prepared {
        epoch: u8,
    },
    /// Calls off the cutover whose fence it has found: the epoch has moved.
    CallingOff {
        fence: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub servers: [Server; 2],
    pub txns: [Txn; TXNS],
    /// By primary: the instance that has the advisory lock.
    pub locks: [Option<u8>; 2],
    pub holders: [Holder; INSTANCES],
    pub flights: [Flight; INSTANCES + 1],
    pub cleaner: Cleaner,
    pub conductors: [Conductor; INSTANCES],
    /// On `old`, with the epoch it was set up at plus one; 0: none.
    pub fence: u8,
    /// On `new`.
    pub epoch: u8,
    pub new_is_primary: bool,
    pub cutovers_left: u8,
    pub faults_left: Faults,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Write { txn: u8, row: u8, on: &'static str },
    Commit { txn: u8 },
    CommitUnflushed { txn: u8 },
    RollBack { txn: u8 },
    TakeLock { by: u8 },
    ReadMarker { by: u8 },
    LookAtTouches { by: u8 },
    ReadRows { by: u8 },
    SendCycle { by: u8 },
    MarkerCompared { of: u8 },
    CycleCommits { of: u8 },
    ServerDropsCycle,
    FindsLockGone { by: u8 },
    LearnsOfCutover { by: u8 },
    CleanerReadsMarker,
    CleanerFlushes,
    CleanerRemoves,
    WalWriterFlushesSecondary,
    FenceCloses { by: u8 },
    LastCycleSeen { by: u8 },
    ReverseLinkPrepared { by: u8 },
    RolesSwitch { by: u8 },
    EpochRefused { by: u8 },
    CallOffMovesEpoch { by: u8 },
    CallOffOpensFence { by: u8 },
    KillInstance { which: u8 },
    LockLost { of: u8 },
    SecondaryCrashes,
    PrimaryCrashes,
}

pub type Out = Vec<(Action, Outcome<State>)>;

impl State {
    pub fn primary(&self) -> usize {
        usize::from(self.new_is_primary)
    }

    pub fn has_marker_locked(&self, on: usize) -> bool {
        self.flights.iter().any(|f| matches!(f, Flight::Holding { secondary, .. } if usize::from(*secondary) == on))
    }

    /// The transaction that has this id on this side.
    pub fn txn_of(&self, side: usize, xid: Xid) -> Option<usize> {
        let has_it = |txn: &Txn| matches!(txn, Txn::Committed { side: s, xid: x } | Txn::Open { side: s, xid: x, .. } if usize::from(*s) == side && *x == xid);
        self.txns.iter().position(has_it)
    }

    pub fn is_committed(&self, value: Value) -> bool {
        value == 0 || matches!(self.txns[usize::from(value) - 1], Txn::Committed { .. })
    }
}

/// The checker's name of a touch.
pub fn touch(txn: usize, row: usize) -> u8 {
    1 << (txn * ROWS + row)
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State {
            servers: [Server::new(), Server::new()],
            txns: [Txn::New; TXNS],
            locks: [None; 2],
            holders: [Holder::Idle; INSTANCES],
            flights: [Flight::None; INSTANCES + 1],
            cleaner: Cleaner::Idle,
            conductors: [Conductor::Off; INSTANCES],
            fence: 0,
            epoch: 0,
            new_is_primary: false,
            cutovers_left: self.cutovers,
            faults_left: self.faults,
        }
    }

    fn steps(&self, state: &State, out: &mut Out) {
        clients::steps(self, state, out);
        link::steps(self, state, out);
        if self.cleaning {
            link::cleaner_steps(self, state, out);
        }
        cutover::steps(self, state, out);
        faults::steps(self, state, out);
    }

    fn check(&self, state: &State, at_rest: bool) -> Result<(), Broken> {
        nothing_is_lost(state)?;
        nothing_rolled_back_is_anywhere(state)?;
        if at_rest { all_is_equal(self, state) } else { Ok(()) }
    }

    fn is_fault(&self, action: Action) -> bool {
        use Action::*;
        matches!(action, KillInstance { .. } | LockLost { .. } | SecondaryCrashes | PrimaryCrashes)
    }
}

/// Design §10, 1: a touch that is committed has come to the secondary, or the next cycle will find it.
fn nothing_is_lost(state: &State) -> Result<(), Broken> {
    let primary = state.primary();
    let (source, copied) = (&state.servers[primary], state.servers[1 - primary].now);
    for (number, txn) in state.txns.iter().enumerate() {
        let Txn::Committed { side, xid } = *txn else { continue };
        for row in (0..ROWS).filter(|_| usize::from(side) == primary) {
            let waits = source.journal[row] & (1 << xid) != 0 && !copied.marker.sees(xid);
            if copied.carried & touch(number, row) == 0 && !waits {
                return Err("a committed touch is neither on the secondary nor will a cycle ever find it");
            }
        }
    }
    Ok(())
}

/// Design §10, 2.
fn nothing_rolled_back_is_anywhere(state: &State) -> Result<(), Broken> {
    let secondary = &state.servers[1 - state.primary()];
    let mut values = secondary.now.rows.into_iter().chain(secondary.durable.rows);
    match values.all(|value| state.is_committed(value)) {
        true => Ok(()),
        false => Err("the secondary has a row that was never committed"),
    }
}

fn all_is_equal(world: &World, state: &State) -> Result<(), Broken> {
    let primary = &state.servers[state.primary()];
    let ended = |txn: &Txn| matches!(txn, Txn::Committed { .. } | Txn::RolledBack);
    if !state.txns[..world.txns].iter().all(ended) {
        return Err("a transaction can never end");
    }
    match primary.rows(primary.snapshot()) == state.servers[1 - state.primary()].now.rows {
        true => Ok(()),
        false => Err("at rest, the two sides differ"),
    }
}
