//! The sessions' own changes of the schema, numbered, and up to which of them the catalogs have been read.
//!
//! The race it excludes:
//!   1. a session alters a table, and is told that it has;
//!   2. it writes to the table before the catalogs were read again: by what they say the table has other columns, or another key;
//!   3. the write fails, or is captured by a key that is none.
//!
//! So from its change on until the catalogs know of it, a session's writes are looked around, whatever they are.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct SchemaChanges {
    made: AtomicU64,
    read: AtomicU64,
    bell: Notify,
}

impl SchemaChanges {
    /// A session has changed the schema. Returns the change's number.
    pub fn made(&self) -> u64 {
        let number = self.made.fetch_add(1, Ordering::AcqRel) + 1;
        self.bell.notify_one();
        number
    }

    /// The number of the last change: whoever reads the catalogs asks before it does.
    pub fn last(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// The catalogs in force know all changes up to this one.
    pub fn read_up_to(&self, number: u64) {
        self.read.fetch_max(number, Ordering::AcqRel);
    }

    pub fn knows(&self, number: u64) -> bool {
        self.read.load(Ordering::Acquire) >= number
    }

    /// Waits for a change. Cancellation-safe: one that comes meanwhile is told to the next who waits.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
