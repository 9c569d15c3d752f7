//! What a session hands over after an answered read: everything needed to ask again, elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backend::login::Identity;
use crate::catalog::Catalog;
use crate::rows::Answer;
use crate::side::Side;
use crate::sql::Fingerprint;
use crate::trace::Mark;

/// One answered read.
#[derive(Clone)]
pub struct Sample {
    pub fingerprint: Fingerprint,
    /// The client's text, for its normalised form; never shown as it is.
    pub sql: Vec<u8>,
    /// The client's messages, ending with Sync or being one Query, with an unnamed statement.
    pub request: Vec<u8>,
    /// The side that answered.
    pub side: Side,
    pub answer: Answer,
    pub took: Duration,
    pub identity: Arc<Identity>,
    /// Some of its values were asked for in binary form.
    pub binary: bool,
    /// The primary's.
    pub catalog: Arc<Catalog>,
    /// Of the client's statement.
    pub trace: Mark,
}

impl std::fmt::Debug for Sample {
    /// Without the client's text and values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sample")
            .field("fingerprint", &self.fingerprint)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

/// The way from the sessions to the comparing engine. Bounded: what finds no room is dropped and counted, never waited for.
pub struct Samples {
    queue: mpsc::Sender<Box<Sample>>,
    pub dropped: AtomicU64,
}

impl Samples {
    /// `bound`: samples that may wait.
    pub fn channel(bound: usize) -> (Arc<Self>, mpsc::Receiver<Box<Sample>>) {
        let (queue, receiver) = mpsc::channel(bound.max(1));
        (Arc::new(Samples { queue, dropped: AtomicU64::new(0) }), receiver)
    }

    pub fn offer(&self, sample: Box<Sample>) {
        if self.queue.try_send(sample).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}
