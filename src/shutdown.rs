//! How far the end of the process has come: one value that everybody can look at, or wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

const LEAVING: u8 = 1;
const DRAINING: u8 = 2;
const CUT: u8 = 3;

/// It only ever goes forward: running (0), leaving (`/readyz` says no, clients are still taken), draining (nobody is taken any more, the idle are
/// let go), cut (whoever is left is let go).
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stage: AtomicU8,
    bell: Notify,
}

impl Shutdown {
    /// From now on load balancers are told to look elsewhere.
    pub fn announce(&self) {
        self.advance(LEAVING);
    }

    pub fn is_announced(&self) -> bool {
        self.stage() >= LEAVING
    }

    /// From now on nobody is accepted, and whoever is idle goes.
    pub fn begin(&self) {
        self.advance(DRAINING);
    }

    pub fn has_begun(&self) -> bool {
        self.stage() >= DRAINING
    }

    /// From now on nobody is waited for.
    pub fn cut(&self) {
        self.advance(CUT);
    }

    pub fn is_cut(&self) -> bool {
        self.stage() >= CUT
    }

    /// Ends when the shutdown has begun, at once if it already has.
    pub async fn begun(&self) {
        self.reached(DRAINING).await;
    }

    /// Ends when nobody is waited for any more, at once if that is so already.
    pub async fn was_cut(&self) {
        self.reached(CUT).await;
    }

    fn stage(&self) -> u8 {
        self.inner.stage.load(Ordering::SeqCst)
    }

    fn advance(&self, stage: u8) {
        self.inner.stage.fetch_max(stage, Ordering::SeqCst);
        self.inner.bell.notify_waiters();
    }

    async fn reached(&self, stage: u8) {
        loop {
            let bell = self.inner.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if self.stage() >= stage {
                return;
            }
            bell.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_forward_only_and_wakes_those_who_wait_for_a_stage() {
        let shutdown = Shutdown::default();
        let (begun, ()) = tokio::join!(shutdown.begun(), async {
            shutdown.announce();
            assert!(!shutdown.has_begun());
            tokio::task::yield_now().await;
            shutdown.cut();
            shutdown.begin();
        });
        assert_eq!((begun, shutdown.is_cut()), ((), true));
        shutdown.was_cut().await;
    }
}
