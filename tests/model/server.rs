//! One PostgreSQL server, as far as the protocol leans on it: transaction ids, snapshots, row versions, the journal, the write-ahead log.

/// Rows of the one table.
pub const ROWS: usize = 2;
/// Transactions of clients, at most; each writes both rows.
pub const TXNS: usize = 3;

pub type Xid = u8;
/// A row's value is the number of the transaction that wrote it; 0: what was there at first.
pub type Value = u8;

/// `pg_current_snapshot()`: `store::snapshot::Snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub xmax: Xid,
    /// The ids in progress below `xmax`, one bit each.
    pub in_progress: u8,
}

impl Snapshot {
    pub fn sees(self, xid: Xid) -> bool {
        xid < self.xmax && self.in_progress & bit(xid) == 0
    }

    pub fn xmin(self) -> Xid {
        match self.in_progress {
            0 => self.xmax,
            ids => ids.trailing_zeros() as Xid,
        }
    }

    /// Whether it sees all that the other sees.
    pub fn covers(self, other: Snapshot) -> bool {
        (0..other.xmax).all(|xid| !other.sees(xid) || self.sees(xid))
    }
}

pub fn bit(n: u8) -> u8 {
    1 << n
}

/// What a secondary's transactions change: the rows, and with them the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copied {
    pub rows: [Value; ROWS],
    pub marker: Snapshot,
    /// For the checker alone: which touches have come, one bit for each transaction and row.
    pub carried: u8,
}

/// A version of a row; no writer: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    pub xid: Xid,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub next_xid: Xid,
    /// The greatest id that has ended, by commit or rollback.
    pub completed: Xid,
    /// The next id that a server which crashed now would give out: ids are remembered by what of the log was flushed.
    pub logged: Xid,
    /// Committed, seen by everybody, and gone with a crash now: nothing was flushed since.
    pub unflushed: u8,
    /// The ids whose touches say that their commit waits for no flush: the journal's column.
    pub asynchronous: u8,
    pub running: u8,
    pub committed: u8,
    /// In the order of writing: a row's writers wait for each other.
    pub versions: [[Version; TXNS]; ROWS],
    /// By row: the ids that have left a touch.
    pub journal: [u8; ROWS],
    pub now: Copied,
    /// What a crash leaves: the secondary commits without a flush.
    pub durable: Copied,
}

impl Server {
    pub fn new() -> Self {
        let copied = Copied { rows: [0; ROWS], marker: Snapshot { xmax: 1, in_progress: 0 }, carried: 0 };
        Server {
            next_xid: 1,
            completed: 0,
            logged: 1,
            unflushed: 0,
            asynchronous: 0,
            running: 0,
            committed: 0,
            versions: [[Version::default(); TXNS]; ROWS],
            journal: [0; ROWS],
            now: copied,
            durable: copied,
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let xmax = self.completed + 1;
        Snapshot { xmax, in_progress: self.running & (bit(xmax) - 1) }
    }

    pub fn assign(&mut self) -> Xid {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.running |= bit(xid);
        xid
    }

    /// Whether another transaction that is still running has written the row.
    pub fn is_locked(&self, row: usize, xid: Option<Xid>) -> bool {
        self.versions[row].iter().any(|v| v.xid != 0 && self.running & bit(v.xid) != 0 && Some(v.xid) != xid)
    }

    /// The row and its touch, in one transaction: `pgduet.capture` in the statement's own RETURNING list.
    pub fn write(&mut self, xid: Xid, row: usize, value: Value) {
        let free = self.versions[row].iter_mut().find(|v| v.xid == 0).expect("as many versions as transactions");
        *free = Version { xid, value };
        self.journal[row] |= bit(xid);
    }

    /// Durable before it is seen: everything logged so far is flushed with it.
    pub fn commit(&mut self, xid: Xid) {
        self.committed |= bit(xid);
        self.flush();
        self.end(xid);
    }

    /// `synchronous_commit = off`: seen before it is durable.
    pub fn commit_unflushed(&mut self, xid: Xid) {
        self.committed |= bit(xid);
        self.unflushed |= bit(xid);
        self.asynchronous |= bit(xid);
        self.end(xid);
    }

    pub fn flush(&mut self) {
        self.logged = self.next_xid;
        self.unflushed = 0;
    }

    pub fn is_flushed(&self) -> bool {
        self.logged == self.next_xid && self.unflushed == 0
    }

    /// A rollback is logged, and flushes nothing.
    pub fn roll_back(&mut self, xid: Xid) {
        for row in 0..ROWS {
            self.versions[row] = without(self.versions[row], |v| v.xid == xid);
            self.journal[row] &= !bit(xid);
        }
        self.end(xid);
    }

    fn end(&mut self, xid: Xid) {
        self.running &= !bit(xid);
        self.completed = self.completed.max(xid);
    }

    /// The row as a snapshot has it.
    pub fn read(&self, row: usize, snapshot: Snapshot) -> Value {
        let seen = |v: &&Version| v.xid != 0 && self.committed & bit(v.xid) != 0 && snapshot.sees(v.xid);
        self.versions[row].iter().rev().find(seen).map_or(self.now.rows[row], |v| v.value)
    }

    pub fn rows(&self, snapshot: Snapshot) -> [Value; ROWS] {
        [0, 1].map(|row| self.read(row, snapshot))
    }

    /// The ids that have touched the row, are committed as far as `seen_by` knows, and are not what the marker says was carried.
    pub fn touches(&self, row: usize, seen_by: Snapshot, carried: impl Fn(Xid) -> bool) -> u8 {
        let pending = |&xid: &Xid| seen_by.sees(xid) && !carried(xid);
        let visible = self.journal[row] & self.committed;
        (1..self.next_xid).filter(|&xid| visible & bit(xid) != 0).filter(pending).fold(0, |ids, xid| ids | bit(xid))
    }

    /// Another side is the primary from here on: what is here is what was committed last.
    pub fn becomes_secondary(&mut self) {
        self.now.rows = self.rows(self.snapshot());
        self.versions = [[Version::default(); TXNS]; ROWS];
        self.durable = self.now;
    }

    /// The primary crashes: what ran is gone, and what was committed without a flush; ids of which nothing was flushed are given out
    /// again. Returns the ids that are gone.
    pub fn crash(&mut self) -> u8 {
        let lost = self.running | self.unflushed;
        for xid in (1..self.next_xid).filter(|&xid| lost & bit(xid) != 0) {
            self.roll_back(xid);
        }
        self.committed &= !lost;
        self.asynchronous &= !lost;
        self.unflushed = 0;
        self.next_xid = self.logged;
        self.completed = self.logged - 1;
        lost
    }
}

/// The versions that remain, moved up.
fn without(versions: [Version; TXNS], gone: impl Fn(&Version) -> bool) -> [Version; TXNS] {
    let mut kept = [Version::default(); TXNS];
    let remaining = versions.into_iter().filter(|v| !gone(v));
    kept.iter_mut().zip(remaining).for_each(|(slot, v)| *slot = v);
    kept
}
