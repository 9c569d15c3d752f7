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

/// What a transaction has journalled, as far as its session knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touches {
    /// Nothing: its end need not wait for the secondary.
    #[default]
    None,
    /// At least so many rows. Those of a write inside a WITH clause nobody counts: its capture has no row of its own in the answer.
    Rows(u64),
}

#[derive(Debug)]
pub struct Transaction {
    pub status: Status,
    pub place: Place,
    modes: Modes,
    /// Rows captured and not rolled back so far.
    touches: Touches,
    /// Open savepoints, with the touches when each was set.
    savepoints: Vec<(Vec<u8>, Touches)>,
}

impl Default for Transaction {
    fn default() -> Self {
        Transaction {
            status: Status::Idle,
            place: Place::Free,
            modes: Modes::default(),
            touches: Touches::None,
            savepoints: Vec::new(),
        }
    }
}

impl Touches {
    pub fn and(self, more: Touches) -> Touches {
        match (self, more) {
            (Touches::None, other) | (other, Touches::None) => other,
            (Touches::Rows(a), Touches::Rows(b)) => Touches::Rows(a + b),
        }
    }
}

impl Transaction {
    /// A captured statement has succeeded.
    pub fn touched(&mut self, touches: Touches) {
        self.touches = self.touches.and(touches);
    }

    /// A transaction-control statement has succeeded. Returns the touches that it committed.
    pub fn control(&mut self, control: &Control) -> Touches {
        match control {
            Control::Begin(modes) | Control::Modes(modes) => {
                self.modes.isolation = modes.isolation.or(self.modes.isolation);
                self.modes.read_only = modes.read_only.or(self.modes.read_only);
                Touches::None
            }
            Control::Commit => self.end(),
            Control::Rollback => {
                self.end();
                Touches::None
            }
            Control::Savepoint(name) => {
                self.savepoints.push((name.clone(), self.touches));
                Touches::None
            }
            Control::RollbackTo(name) => {
                if let Some(at) = self.position(name) {
                    self.savepoints.truncate(at + 1);
                    self.touches = self.savepoints.last().map_or(Touches::None, |(_, touches)| *touches);
                }
                Touches::None
            }
            Control::Release(name) => {
                if let Some(at) = self.position(name) {
                    self.savepoints.truncate(at);
                }
                Touches::None
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
    pub fn ready(&mut self, status: Status, failed: bool) -> Touches {
        self.status = status;
        match status {
            Status::Idle if failed => {
                self.end();
                Touches::None
            }
            Status::Idle => self.end(),
            Status::Open | Status::Failed => Touches::None,
        }
    }

    /// Ends the transaction and returns its touches.
    fn end(&mut self) -> Touches {
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
        tx.touched(Touches::Rows(1));
        tx.control(&Control::Savepoint(b"a".to_vec()));
        tx.touched(Touches::Rows(10));
        tx.control(&Control::Savepoint(b"a".to_vec()));
        tx.touched(Touches::Rows(100));
        tx.control(&Control::RollbackTo(b"a".to_vec()));
        assert_eq!(tx.touches, Touches::Rows(11));
        tx.control(&Control::Release(b"a".to_vec()));
        tx.control(&Control::RollbackTo(b"a".to_vec()));
        assert_eq!(tx.control(&Control::Commit), Touches::Rows(1));
        assert_eq!(tx.ready(Status::Idle, false), Touches::None);
    }

    #[test]
    fn a_failed_implicit_transaction_commits_nothing() {
        let mut tx = Transaction::default();
        tx.touched(Touches::Rows(3));
        assert_eq!(tx.ready(Status::Idle, true), Touches::None);
        tx.touched(Touches::Rows(2));
        assert_eq!(tx.ready(Status::Idle, false), Touches::Rows(2));
    }

    #[test]
    fn a_write_whose_rows_nobody_counted_was_a_write() {
        let mut tx = begun(Modes::default());
        tx.touched(Touches::Rows(0));
        assert_eq!(tx.control(&Control::Commit), Touches::Rows(0));
    }
}
