//! The ledger is where sessions and the link meet: commits are announced here, and acknowledged from here.
//!
//! The race it excludes:
//!   1. a session's commit returns from the primary;
//!   2. the link had already taken the snapshot of cycle 7, which does not see that commit;
//!   3. cycle 7 is applied: whoever waits for "the next cycle" would be acknowledged without being on the secondary.
//!
//! So a cycle gets its number *before* its snapshot is taken ([`Ledger::cycle_starts`]), and a commit waits for the number after the
//! last one that had started when the commit returned ([`Ledger::committed`]).
//!
//! Nothing here blocks or does IO: one short mutex, held for a few assignments.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use super::books::Books;
pub use super::books::{Carried, Counts};
use crate::trace;

/// The number of a cycle; the first is 1.
pub type Cycle = u64;

/// How the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// No link is wanted: `old_only` or `new_only`.
    Stopped,
    /// Wanted, not yet connected or not yet holding the marker.
    Starting,
    /// Cycles follow the commits.
    Running,
    /// The secondary stayed behind for longer than `ack_timeout`: commits are acknowledged by the primary alone until it has
    /// caught up. Entered once, left once.
    Degraded,
    /// A cycle failed and is tried again.
    Retrying,
    /// Held by the operator.
    Paused,
    /// Given up (journal full, or by the operator): the tables are stale.
    Detached,
}

impl LinkState {
    pub const ALL: [LinkState; 7] = [
        LinkState::Stopped,
        LinkState::Starting,
        LinkState::Running,
        LinkState::Degraded,
        LinkState::Retrying,
        LinkState::Paused,
        LinkState::Detached,
    ];

    /// Whether the secondary is being carried on, if late: reads that may be as old as that may go there.
    pub fn carries(self) -> bool {
        matches!(self, LinkState::Running | LinkState::Degraded | LinkState::Paused)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Stopped => "stopped",
            LinkState::Starting => "starting",
            LinkState::Running => "running",
            LinkState::Degraded => "degraded",
            LinkState::Retrying => "retrying",
            LinkState::Paused => "paused",
            LinkState::Detached => "detached",
        }
    }
}

/// How a commit's wait ended. In each case it *is* committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    OnBoth,
    /// The link is degraded, or gone: on the primary and in the journal.
    OnPrimary,
}

#[derive(Debug)]
struct Inner {
    books: Books,
    state: LinkState,
    reason: String,
    /// Whether commits are acknowledged by the primary alone (degraded, or no link).
    release: bool,
    started: Cycle,
    /// Announced touches that were queued when the last cycle started.
    waiting_at_start: u64,
    /// When the cycle last applied was begun: the secondary shows the data of that moment.
    as_of: Option<Instant>,
    /// When the oldest commit that is not yet applied was announced, by the cycle it waits for: the next two at most.
    waiting_since: Vec<(Cycle, Instant)>,
    waiters: HashMap<u64, (Cycle, Waker)>,
    next_waiter: u64,
    /// Commits whose statements are traced.
    traced: trace::Carrying,
}

/// See the module's text. Shared by every session and the link.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
    applied: AtomicU64,
    /// Rung at each announced commit that somebody waits for.
    pub commits: Notify,
    /// Rung at each other one.
    pub unhurried: Notify,
    /// Rung whenever a cycle was applied or the state changed.
    pub progress: Notify,
}

/// The link's figures at one instant.
#[derive(Clone, Debug, Serialize)]
pub struct LinkReport {
    pub state: LinkState,
    pub reason: String,
    pub counts: Counts,
    pub lag_entries: u64,
    pub lag_seconds: f64,
    pub cycle: Cycle,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            inner: Mutex::new(Inner {
                books: Books::default(),
                state: LinkState::Stopped,
                reason: String::new(),
                release: true,
                started: 0,
                waiting_at_start: 0,
                as_of: None,
                waiting_since: Vec::new(),
                waiters: HashMap::new(),
                next_waiter: 0,
                traced: trace::Carrying::default(),
            }),
            applied: AtomicU64::new(0),
            commits: Notify::new(),
            unhurried: Notify::new(),
            progress: Notify::new(),
        }
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds this lock; if it ever did, the plain numbers inside are still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the sessions' side

    /// A transaction with so many touches was committed on the primary. Returns the cycle that will bring it, at the latest. Somebody
    /// waits for that cycle: it begins at once.
    pub fn committed(&self, touches: u64) -> Cycle {
        let cycle = self.announce(touches);
        self.commits.notify_one();
        cycle
    }

    /// The same where nobody waits: the cycle may gather more commits first (`link.gather`).
    pub fn committed_unhurried(&self, touches: u64) -> Cycle {
        let cycle = self.announce(touches);
        self.unhurried.notify_one();
        cycle
    }

    fn announce(&self, touches: u64) -> Cycle {
        let (mut inner, now) = (self.lock(), Instant::now());
        inner.books.announced(touches, now);
        let cycle = inner.started + 1;
        if inner.waiting_since.last().is_none_or(|&(c, _)| c < cycle) {
            inner.waiting_since.push((cycle, now));
        }
        cycle
    }

    /// A traced transaction was committed on the primary, and is about to be announced: any cycle that starts from now on brings it.
    pub fn follow(&self, mark: trace::Mark) {
        if !mark.is_none() {
            let mut inner = self.lock();
            let cycle = inner.started + 1;
            inner.traced.add(cycle, mark);
        }
    }

    /// The last cycle whose data the secondary shows.
    pub fn applied(&self) -> Cycle {
        self.applied.load(Ordering::Acquire)
    }

    /// Whether commits have to wait for the secondary at all.
    pub fn holds_commits(&self) -> bool {
        !self.lock().release
    }

    /// Waits until `cycle` is applied, or until the link stops holding commits. Dropping the future leaves nothing behind.
    pub fn acked(self: &Arc<Self>, cycle: Cycle) -> AckWait {
        AckWait { ledger: Arc::clone(self), cycle, waiter: None }
    }

    // ---- the link's side

    /// A number for the cycle whose snapshot is about to be taken. Call it before the snapshot, never after.
    pub fn cycle_starts(&self) -> Cycle {
        let mut inner = self.lock();
        inner.started += 1;
        inner.waiting_at_start = inner.books.waiting();
        inner.started
    }

    /// The cycle is committed on the secondary. `begun`: an instant not later than its snapshot.
    pub fn cycle_applied(&self, cycle: Cycle, begun: Instant, carried: Carried) {
        let (woken, traced) = {
            let mut inner = self.lock();
            inner.as_of = Some(begun);
            inner.waiting_since.retain(|&(c, _)| c > cycle);
            let all_announced = inner.waiting_since.is_empty();
            inner.books.carried(carried, all_announced, Instant::now());
            self.applied.fetch_max(cycle, Ordering::AcqRel);
            (take_waiters(&mut inner, cycle), inner.traced.take(cycle))
        };
        wake(woken);
        self.progress.notify_waiters();
        let Carried { applied, superseded, parked, .. } = carried;
        traced.end(trace::Cycle { number: cycle, begun, applied, superseded, parked });
    }

    /// Another instance has brought everything that was committed before `cycle` started. `begun`: as for [`Ledger::cycle_applied`].
    pub fn cycle_followed(&self, cycle: Cycle, begun: Instant) {
        let applied = {
            let inner = self.lock();
            let all_announced = inner.waiting_since.iter().all(|&(c, _)| c <= cycle);
            let waiting = inner.books.waiting();
            if all_announced { waiting } else { waiting.min(inner.waiting_at_start) }
        };
        self.cycle_applied(cycle, begun, Carried { applied, ..Carried::default() });
    }

    /// Restates the totals, at the start of a link, from what is durable: `queued` is what the journal still holds.
    pub fn restate(&self, counts: Counts) {
        self.lock().books.restate(counts);
    }

    /// So many touches that no session announces waited in the journal after `cycle` was applied; if another one has been since, that
    /// is no longer so.
    pub fn surveyed(&self, touches: u64, cycle: Cycle) {
        let mut inner = self.lock();
        if self.applied() == cycle {
            inner.books.surveyed(touches);
        }
    }

    /// Touches that will never be carried: the journal was cleared.
    pub fn discarded(&self, touches: u64) {
        let mut inner = self.lock();
        inner.books.discarded(touches, Instant::now());
        inner.traced.clear();
    }

    /// Parked entries went back into the journal.
    pub fn parked_retried(&self, entries: u64) {
        self.lock().books.retried(entries);
        self.commits.notify_one();
    }

    /// Parked entries were given up.
    pub fn parked_discarded(&self, entries: u64) {
        self.lock().books.given_up(entries);
    }

    /// The figures of touches alone.
    pub fn counts(&self) -> Counts {
        self.lock().books.counts()
    }

    /// How long the oldest commit has been waiting for the secondary.
    pub fn oldest_wait(&self) -> Option<Duration> {
        self.lock().waiting_since.first().map(|&(_, since)| since.elapsed())
    }

    /// Sets the state that operators see. `hold_commits`: whether `ack: both` waits in this state.
    pub fn set_state(&self, state: LinkState, reason: impl Into<String>, hold_commits: bool) {
        let woken = {
            let mut inner = self.lock();
            inner.state = state;
            inner.reason = reason.into();
            inner.release = !hold_commits;
            match hold_commits {
                true => Vec::new(),
                false => take_waiters(&mut inner, Cycle::MAX),
            }
        };
        wake(woken);
        self.progress.notify_waiters();
    }

    pub fn state(&self) -> LinkState {
        self.lock().state
    }

    pub fn report(&self) -> LinkReport {
        let inner = self.lock();
        let counts = inner.books.counts();
        let behind = !inner.waiting_since.is_empty() || counts.queued > 0;
        let as_of = inner.as_of.or(inner.waiting_since.first().map(|&(_, since)| since));
        LinkReport {
            state: inner.state,
            reason: inner.reason.clone(),
            counts,
            lag_entries: counts.queued,
            lag_seconds: match as_of {
                Some(instant) if behind => instant.elapsed().as_secs_f64(),
                _ => 0.0,
            },
            cycle: self.applied(),
        }
    }
}

fn take_waiters(inner: &mut Inner, up_to: Cycle) -> Vec<Waker> {
    let due: Vec<u64> = inner.waiters.iter().filter(|(_, (c, _))| *c <= up_to).map(|(&id, _)| id).collect();
    due.iter().filter_map(|id| inner.waiters.remove(id)).map(|(_, waker)| waker).collect()
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// The wait of one commit; see [`Ledger::acked`].
#[derive(Debug)]
pub struct AckWait {
    ledger: Arc<Ledger>,
    cycle: Cycle,
    waiter: Option<u64>,
}

impl Future for AckWait {
    type Output = Acked;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Acked> {
        if self.ledger.applied() >= self.cycle {
            return Poll::Ready(Acked::OnBoth);
        }
        let cycle = self.cycle;
        let known = self.waiter;
        let ledger = Arc::clone(&self.ledger);
        let mut inner = ledger.lock();
        // Again under the lock: the cycle may have been applied between the look above and here.
        if ledger.applied() >= cycle {
            return Poll::Ready(Acked::OnBoth);
        }
        if inner.release {
            return Poll::Ready(Acked::OnPrimary);
        }
        let id = known.unwrap_or_else(|| {
            inner.next_waiter += 1;
            inner.next_waiter
        });
        inner.waiters.insert(id, (cycle, cx.waker().clone()));
        drop(inner);
        self.waiter = Some(id);
        Poll::Pending
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            self.ledger.lock().waiters.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(wait: &mut AckWait) -> Poll<Acked> {
        Pin::new(wait).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_cycle_that_began_before_the_commit_acknowledges_nothing() {
        let ledger = Arc::new(Ledger::default());
        ledger.set_state(LinkState::Running, "", true);
        let seventh = ledger.cycle_starts();
        let target = ledger.committed(1);
        let mut wait = ledger.acked(target);
        ledger.cycle_applied(seventh, Instant::now(), Carried::default());
        assert_eq!(poll(&mut wait), Poll::Pending);
        let eighth = ledger.cycle_starts();
        ledger.cycle_applied(eighth, Instant::now(), Carried { applied: 1, ..Carried::default() });
        assert_eq!(poll(&mut wait), Poll::Ready(Acked::OnBoth));
        assert_eq!(ledger.report().counts, Counts { captured: 1, applied: 1, ..Counts::default() });
    }

    #[test]
    fn what_another_instance_has_brought_is_what_was_announced_before() {
        let ledger = Arc::new(Ledger::default());
        ledger.set_state(LinkState::Running, "", true);
        let mut early = ledger.acked(ledger.committed(2));
        let cycle = ledger.cycle_starts();
        let mut late = ledger.acked(ledger.committed(3));
        ledger.cycle_followed(cycle, Instant::now());
        assert_eq!((poll(&mut early), poll(&mut late)), (Poll::Ready(Acked::OnBoth), Poll::Pending));
        assert_eq!(ledger.counts(), Counts { captured: 5, applied: 2, queued: 3, ..Counts::default() });
        ledger.cycle_followed(ledger.cycle_starts(), Instant::now());
        assert_eq!(poll(&mut late), Poll::Ready(Acked::OnBoth));
        assert_eq!(ledger.counts(), Counts { captured: 5, applied: 5, ..Counts::default() });
    }

    #[test]
    fn a_link_that_degrades_releases_every_waiter() {
        let ledger = Arc::new(Ledger::default());
        ledger.set_state(LinkState::Running, "", true);
        let mut wait = ledger.acked(ledger.committed(1));
        assert_eq!(poll(&mut wait), Poll::Pending);
        ledger.set_state(LinkState::Degraded, "secondary is down", false);
        assert_eq!(poll(&mut wait), Poll::Ready(Acked::OnPrimary));
        drop(wait);
        assert!(ledger.lock().waiters.is_empty());
    }
}
