//! A client's wish that its statement be given up.
//!
//! The race it excludes:
//!   1. statement A runs; the client sends a cancel request, on a connection of its own;
//!   2. A ends by itself, and the client, which has been told that the request was acted on, sends statement B;
//!   3. the request, passed on all the while, reaches the backend: B is cancelled.
//!
//! So the request is left with the session ([`Request`]), which alone knows who owes an answer: only those backends are told, nothing new
//! is sent to them until they have acted on it (they close the connection then), and only then is the client's own
//! cancel connection closed. In a session that is owed nothing a request means nothing, as in PostgreSQL.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Session;
use super::batch::Voice;
use crate::backend::login::{self, Address};
use crate::side::Side;
use crate::wire::Notice;

/// Whoever waits is told by its being dropped.
type Acted = oneshot::Sender<()>;

/// Where requests for one session are left.
#[derive(Debug, Default)]
pub struct Request {
    /// Looked at on each turn of the session, so that the lock is not taken then.
    is_there: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// One at a time: a later request means the same, and whoever waited for the former is let go.
    asked: Option<Acted>,
    waker: Option<Waker>,
}

impl Request {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a request. The receiver ends once it was acted on, or was found to mean nothing.
    pub fn leave(&self) -> oneshot::Receiver<()> {
        let (acted, done) = oneshot::channel();
        let mut inner = self.lock();
        inner.asked = Some(acted);
        self.is_there.store(true, Ordering::SeqCst);
        if let Some(waker) = &inner.waker {
            waker.wake_by_ref();
        }
        done
    }

    fn wake(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    fn is_there(&self) -> bool {
        self.is_there.load(Ordering::SeqCst)
    }

    fn take(&self) -> Option<Acted> {
        let mut inner = self.lock();
        self.is_there.store(false, Ordering::SeqCst);
        inner.asked.take()
    }
}

/// The session's end of it.
#[derive(Default)]
pub(super) struct Cancelling {
    /// A request on its way to the backends.
    sending: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Whom requests wake; the same for all of a session's life, in all likelihood.
    waker: Option<Waker>,
}

impl Cancelling {
    /// Nothing new may be sent to a backend meanwhile.
    pub(super) fn is_under_way(&self) -> bool {
        self.sending.is_some()
    }
}

impl Session {
    /// Takes up a request that was left, and sees it through. True: something has changed. `moved`: bytes have just arrived; what they
    /// ask for may be what is to be given up, so a session that is owed nothing reads them first.
    pub(super) fn poll_cancel(&mut self, cx: &mut Context<'_>, moved: bool) -> bool {
        if let Some(sending) = &mut self.cancelling.sending {
            let acted = sending.as_mut().poll(cx).is_ready();
            if acted {
                self.cancelling.sending = None;
            }
            return acted;
        }
        if self.cancelling.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.cancelling.waker = Some(cx.waker().clone());
            self.slot.request.wake(cx.waker());
        }
        if !self.slot.request.is_there() {
            return false;
        }
        let targets = self.busy();
        if moved && targets.is_empty() && self.withheld.is_none() {
            return false;
        }
        let Some(acted) = self.slot.request.take() else { return false };
        if self.withheld.is_some() {
            self.stop_waiting();
            return true;
        }
        if targets.is_empty() {
            return false;
        }
        let limit = self.worker.context.config.timeouts.connect;
        let mut sending: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            tell(targets, limit).await;
            drop(acted);
        });
        // Polled once, so that somebody wakes the session when it goes on.
        if sending.as_mut().poll(cx).is_pending() {
            self.cancelling.sending = Some(sending);
        }
        true
    }

    /// As PostgreSQL's own synchronous replication: the commit stands, and the client is told what it no longer waits for.
    fn stop_waiting(&mut self) {
        Notice::warning("01000", "canceling wait for synchronous replication due to user request")
            .detail(
                "The transaction has already committed locally, but might not have been replicated to the secondary database.",
            )
            .put(&mut self.client.outbound);
        self.release_withheld();
    }

    /// The backends that owe an answer to something that the client sent.
    pub(super) fn busy(&self) -> Vec<(Address, (i32, i32))> {
        let addresses = &self.worker.context.addresses;
        let busy = |side| {
            let peer = self.peers.get(side).as_ref()?;
            let owes = peer.batches.iter().any(|batch| batch.voice != Voice::Silent);
            owes.then(|| (addresses.get(side).clone(), peer.key))
        };
        Side::BOTH.into_iter().filter_map(busy).collect()
    }
}

/// Tells the backends, all at once, and waits until they have acted.
pub(super) async fn tell(targets: Vec<(Address, (i32, i32))>, limit: Duration) {
    let each = targets.iter().map(|(address, key)| async move {
        if let Err(error) = login::cancel(address, *key, limit).await {
            tracing::warn!(side = %address.endpoint.side, %error, "a cancel request could not be passed on");
        }
    });
    futures_util::future::join_all(each).await;
}

/// A request for a session, and its answer: `None`, there is nobody to wait for.
pub(super) async fn act(request: Option<Arc<Request>>, limit: Duration) {
    if let Some(request) = request {
        let _ = tokio::time::timeout(limit, request.leave()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_whoever_left_it_hears_when_it_was_acted_on() {
        let request = Request::default();
        assert!(!request.is_there());
        let mut first = request.leave();
        let mut second = request.leave();
        assert!(first.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
        let acted = request.take().expect("a request");
        assert!(request.take().is_none());
        assert!(second.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        drop(acted);
        assert!(second.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
    }
}
