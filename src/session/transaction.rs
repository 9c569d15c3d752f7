//! Where a session's transaction on the primary stands, as far as capture and routing must know: what it has touched, and what a partial
//! rollback takes back.

/// What a transaction-control statement does, once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    Begin,
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
    pub fn from_byte(byte: u8) -> Option<Status> {
        match byte {
            b'I' => Some(Status::Idle),
            b'T' => Some(Status::Open),
            b'E' => Some(Status::Failed),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub struct Transaction {
    pub status: Status,
    /// Rows captured and not rolled back so far.
    touches: u64,
    /// Open savepoints, with the touches when each was set.
    savepoints: Vec<(Vec<u8>, u64)>,
}

impl Default for Transaction {
    fn default() -> Self {
        Transaction { status: Status::Idle, touches: 0, savepoints: Vec::new() }
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
            Control::Begin => 0,
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
        std::mem::take(&mut self.touches)
    }

    /// The innermost savepoint of that name, as in SQL.
    fn position(&self, name: &[u8]) -> Option<usize> {
        self.savepoints.iter().rposition(|(n, _)| n == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_rollback_takes_its_touches_along() {
        let mut tx = Transaction::default();
        tx.control(&Control::Begin);
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
