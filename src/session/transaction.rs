//! Where a session's transaction on the primary stands, as far as capture and routing must know: what it has touched, what a partial
//! rollback takes back, and where its reads may still go.
//!
//! A READ COMMITTED transaction gives each statement a snapshot of its own, so that its first reads may each be asked of the secondary, in
//! no transaction there. What it must not do is go back in time:
//!   1. the transaction reads a row on the primary;
//!   2. its next read goes to the secondary, which is a cycle behind;
//!   3. the row is not there.
//!
//! So the way is one-way ([`Place`]): from the secondary to the primary, never back before the end. A REPEATABLE READ transaction that is READ
//! ONLY has one snapshot: it lives where its first read ran, to its end.

use crate::routing;
use crate::sql::{Isolation, Modes};

/// What a transaction-control statement does, once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    Begin(Modes),
    /// SET TRANSACTION
    Modes(Modes),
    Commit,
    Rollback,
    Savepoint(Vec<u8>),
    RollbackTo(Vec<u8>),
    Release(Vec<u8>),
}

/// The transaction status that ReadyForQuery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Idle,
    Open,
    Failed,
}

impl Status {
    pub fn byte(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::Open => b'T',
            Status::Failed => b'E',
        }
    }

    pub fn from_byte(byte: u8) -> Option<Status> {
        match byte {
            b'I' => Some(Status::Idle),
            b'T' => Some(Status::Open),
            b'E' => Some(Status::Failed),
            _ => None,
        }
    }
}

/// What a statement that ran on the primary leaves in the transaction around it. Ordered: the gravest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Footprint {
    /// Transaction control, and what reads no table.
    #[default]
    Nothing,
    Read,
    /// It writes, locks, sets, or may.
    Any,
}

/// Where the statements of the open transaction run from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Undecided: each read by itself.
    Free,
    Primary(Footprint),
    /// All of it has its one snapshot on the secondary.
    Secondary,
}

#[derive(Debug)]
pub struct Transaction {
    pub status: Status,
    pub place: Place,
    modes: Modes,
    /// Rows captured and not rolled back so far.
    touches: u64,
    /// Open savepoints, with the touches when each was set.
    savepoints: Vec<(Vec<u8>, u64)>,
}

impl Default for Transaction {
    fn default() -> Self {
        Transaction {
            status: Status::Idle,
            place: Place::Free,
            modes: Modes::default(),
            touches: 0,
            savepoints: Vec::new(),
        }
    }
}

impl Transaction {
    /// A captured statement has succeeded.
    pub fn touched(&mut self, rows: u64) {
        self.touches += rows;
    }

    /// A transaction-control statement has succeeded. Returns the touches that it committed.
    pub fn control(&mut self, control: &Control) -> u64 {
        match control {
            Control::Begin(modes) | Control::Modes(modes) => {
                self.modes.isolation = modes.isolation.or(self.modes.isolation);
                self.modes.read_only = modes.read_only.or(self.modes.read_only);
                0
            }
            Control::Commit => self.end(),
            Control::Rollback => {
                self.end();
                0
            }
            Control::Savepoint(name) => {
                self.savepoints.push((name.clone(), self.touches));
                0
            }
            Control::RollbackTo(name) => {
                if let Some(at) = self.position(name) {
                    self.savepoints.truncate(at + 1);
                    self.touches = self.savepoints.last().map_or(0, |(_, touches)| *touches);
                }
                0
            }
            Control::Release(name) => {
                if let Some(at) = self.position(name) {
                    self.savepoints.truncate(at);
                }
                0
            }
        }
    }

    /// A batch with this footprint has run on the primary, to its end.
    pub fn ran(&mut self, footprint: Footprint) {
        let before = match self.place {
            Place::Primary(before) => before,
            Place::Free => Footprint::Nothing,
            Place::Secondary => return,
        };
        if self.status != Status::Idle && footprint > before {
            self.place = Place::Primary(footprint);
        }
    }

    /// For the routing of its next read. `usual`: a BEGIN that does not say otherwise is READ COMMITTED.
    pub fn standing(&self, usual: bool) -> routing::Transaction {
        match (self.status, self.place) {
            (Status::Idle, _) => routing::Transaction::None,
            (Status::Failed, _) => routing::Transaction::Special,
            (Status::Open, Place::Primary(Footprint::Any)) => routing::Transaction::Wrote,
            (Status::Open, Place::Free) if self.is_one_snapshot() => routing::Transaction::Clean,
            (Status::Open, _) if !is_read_committed(self.modes, usual) => routing::Transaction::Special,
            (Status::Open, Place::Primary(_)) => routing::Transaction::Read,
            (Status::Open, Place::Free | Place::Secondary) => routing::Transaction::Clean,
        }
    }

    /// REPEATABLE READ READ ONLY: it may run on either side, but all of it on one.
    pub fn is_one_snapshot(&self) -> bool {
        self.modes == Modes { isolation: Some(Isolation::RepeatableRead), read_only: Some(true) }
    }

    /// Once it is sent to its end on the secondary, what the primary has of it is an empty transaction.
    pub fn lives_on_secondary(&self) -> bool {
        self.status != Status::Idle && self.place == Place::Secondary
    }

    /// The server is ready, with this status. `failed`: the batch had an error. Returns the touches that an implicit
    /// transaction committed.
    pub fn ready(&mut self, status: Status, failed: bool) -> u64 {
        self.status = status;
        match status {
            Status::Idle if failed => {
                self.end();
                0
            }
            Status::Idle => self.end(),
            Status::Open | Status::Failed => 0,
        }
    }

    /// Ends the transaction and returns its touches.
    fn end(&mut self) -> u64 {
        self.savepoints.clear();
        self.place = Place::Free;
        self.modes = Modes::default();
        std::mem::take(&mut self.touches)
    }

    /// The innermost savepoint of that name, as in SQL.
    fn position(&self, name: &[u8]) -> Option<usize> {
        self.savepoints.iter().rposition(|(n, _)| n == name)
    }
}

fn is_read_committed(modes: Modes, usual: bool) -> bool {
    match modes.isolation {
        Some(isolation) => isolation == Isolation::ReadCommitted,
        None => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(modes: Modes) -> Transaction {
        let mut tx = Transaction::default();
        tx.control(&Control::Begin(modes));
        tx.ready(Status::Open, false);
        tx
    }

    #[test]
    fn the_way_of_a_transaction_leads_to_the_primary_and_never_back() {
        let mut tx = begun(Modes::default());
        assert_eq!(tx.standing(true), routing::Transaction::Clean);
        assert_eq!(tx.standing(false), routing::Transaction::Special);
        tx.ran(Footprint::Nothing);
        assert_eq!(tx.standing(true), routing::Transaction::Clean);
        tx.ran(Footprint::Any);
        tx.ran(Footprint::Read);
        assert_eq!(tx.standing(true), routing::Transaction::Wrote);
        tx.ready(Status::Idle, false);
        tx.ran(Footprint::Any);
        assert_eq!(tx.standing(true), routing::Transaction::None);
    }

    #[test]
    fn one_snapshot_moves_only_if_no_write_can_follow() {
        let modes = |read_only| Modes { isolation: Some(Isolation::RepeatableRead), read_only };
        assert_eq!(begun(modes(Some(true))).standing(false), routing::Transaction::Clean);
        assert_eq!(begun(modes(Some(false))).standing(true), routing::Transaction::Special);
        assert_eq!(begun(modes(None)).standing(true), routing::Transaction::Special);
        let mut tx = begun(modes(Some(true)));
        tx.ran(Footprint::Read);
        assert_eq!(tx.standing(true), routing::Transaction::Special);
    }

    #[test]
    fn a_partial_rollback_takes_its_touches_along() {
        let mut tx = Transaction::default();
        tx.control(&Control::Begin(Modes::default()));
        tx.touched(1);
        tx.control(&Control::Savepoint(b"a".to_vec()));
        tx.touched(10);
        tx.control(&Control::Savepoint(b"a".to_vec()));
        tx.touched(100);
        tx.control(&Control::RollbackTo(b"a".to_vec()));
        assert_eq!(tx.touches, 11);
        tx.control(&Control::Release(b"a".to_vec()));
        tx.control(&Control::RollbackTo(b"a".to_vec()));
        assert_eq!(tx.control(&Control::Commit), 1);
        assert_eq!(tx.ready(Status::Idle, false), 0);
    }

    #[test]
    fn a_failed_implicit_transaction_commits_nothing() {
        let mut tx = Transaction::default();
        tx.touched(3);
        assert_eq!(tx.ready(Status::Idle, true), 0);
        tx.touched(2);
        assert_eq!(tx.ready(Status::Idle, false), 2);
    }
}
