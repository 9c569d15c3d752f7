//! One signal that everybody can wait for, or look at: the process is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicBool,
    bell: Notify,
}

impl Shutdown {
    pub fn begin(&self) {
        self.inner.begun.store(true, Ordering::SeqCst);
        self.inner.bell.notify_waiters();
    }

    pub fn has_begun(&self) -> bool {
        self.inner.begun.load(Ordering::SeqCst)
    }

    /// Ends when the shutdown has begun, at once if it already has.
    pub async fn begun(&self) {
        let bell = self.inner.bell.notified();
        tokio::pin!(bell);
        bell.as_mut().enable();
        if !self.has_begun() {
            bell.await;
        }
    }
}
