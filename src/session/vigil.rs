//! Who waits for too long: one look of a worker at all its sessions, several times a second, instead of a timer for each message.
//!
//! A session notes in its seat what it waits for, and since when by the worker's own coarse clock, each time before it waits: two stores, no system call. The
//! worker's look finds seats whose limit has passed, and calls their sessions, which then do what is to be done themselves. A session is called at
//! the earliest when its limit has passed, at the latest a quarter of it later. A call is kept in the seat until its session
//! has heard it, and a session that has moved on meanwhile finds it void: it asks its seat again.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context as TaskContext, Waker};
use std::time::{Duration, Instant};

use crate::config::Timeouts;

/// The time between two looks, at least and at most.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing that a limit is set for.
    Unbounded,
    /// The client's next request.
    Client,
    /// The same, inside a transaction.
    ClientInTransaction,
    /// The answer to a request that was sent at this time.
    Statement(Instant),
    /// More of an answer that the secondary has begun.
    Rest,
}

impl Waiting {
    /// How long it may last. `None`: for ever.
    pub fn limit(self, timeouts: &Timeouts) -> Option<Duration> {
        let limit = match self {
            Waiting::Unbounded => Duration::ZERO,
            Waiting::Client => timeouts.idle,
            Waiting::ClientInTransaction => timeouts.idle_in_transaction,
            Waiting::Statement(_) => timeouts.statement,
            Waiting::Rest => timeouts.stalled,
        };
        (!limit.is_zero()).then_some(limit)
    }
}

/// One session's place in its worker's [`Vigil`].
#[derive(Debug)]
pub struct Seat {
    waiting: Cell<Waiting>,
    since: Cell<Instant>,
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    /// Waits from now on. A statement that is waited for already goes on from when it began.
    pub fn wait_for(&self, waiting: Waiting, vigil: &Vigil) {
        let goes_on = matches!(waiting, Waiting::Statement(_)) && self.waiting.get() == waiting;
        if !goes_on {
            self.waiting.set(waiting);
            self.since.set(vigil.now.get());
        }
    }

    /// The clock starts anew for what is waited for.
    pub fn again(&self, vigil: &Vigil) {
        self.since.set(vigil.now.get());
    }

    /// Whether the worker has called; asked once for each call. The task of `cx` is the one to be called next.
    pub fn is_called(&self, cx: &TaskContext<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.called.take()
    }

    /// What was waited for too long by now.
    pub fn overdue(&self, timeouts: &Timeouts, vigil: &Vigil) -> Option<Waiting> {
        let waiting = self.waiting.get();
        // The coarse clock may have been behind by a period when the wait began.
        let limit = waiting.limit(timeouts)? + vigil.period.get();
        (vigil.now.get().duration_since(self.since.get()) >= limit).then_some(waiting)
    }

    fn call(&self) {
        self.called.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Vigil {
    now: Cell<Instant>,
    period: Cell<Duration>,
    seats: RefCell<Vec<Weak<Seat>>>,
}

impl Default for Vigil {
    fn default() -> Self {
        Vigil { now: Cell::new(Instant::now()), period: Cell::new(SELDOM), seats: RefCell::default() }
    }
}

impl Vigil {
    pub fn seat(&self) -> Rc<Seat> {
        let seat = Rc::new(Seat {
            waiting: Cell::new(Waiting::Unbounded),
            since: Cell::new(self.now.get()),
            called: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.seats.borrow_mut().push(Rc::downgrade(&seat));
        seat
    }

    /// Looks at all seats. Returns when to look next.
    pub fn look(&self, timeouts: &Timeouts, now: Instant) -> Duration {
        self.now.set(now);
        self.each(|seat| {
            if seat.overdue(timeouts, self).is_some() {
                seat.call();
            }
        });
        let shortest = [timeouts.idle, timeouts.idle_in_transaction, timeouts.statement, timeouts.stalled];
        let shortest = shortest.into_iter().filter(|limit| !limit.is_zero()).min().unwrap_or(SELDOM);
        let next = (shortest / 8).clamp(OFTEN, SELDOM);
        self.period.set(next);
        next
    }

    /// Calls every session: something has changed for all of them.
    pub fn call_all(&self) {
        self.each(Seat::call);
    }

    fn each(&self, visit: impl Fn(&Seat)) {
        self.seats.borrow_mut().retain(|seat| {
            let seat = seat.upgrade();
            seat.as_deref().into_iter().for_each(&visit);
            seat.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Timeouts {
        Timeouts {
            idle: Duration::from_secs(10),
            idle_in_transaction: Duration::ZERO,
            statement: Duration::from_secs(4),
            ..Timeouts::default()
        }
    }

    fn called(seat: &Seat) -> bool {
        seat.is_called(&TaskContext::from_waker(Waker::noop()))
    }

    #[test]
    fn a_session_is_called_after_its_limit_and_never_before() {
        let (vigil, limits, start) = (Vigil::default(), limits(), Instant::now());
        let seat = vigil.seat();
        vigil.look(&limits, start);
        seat.wait_for(Waiting::Client, &vigil);
        let mut at = Duration::ZERO;
        let woken = loop {
            at += vigil.look(&limits, start + at);
            if called(&seat) {
                break at;
            }
        };
        assert!(woken >= Duration::from_secs(10) && woken <= Duration::from_secs(13), "{woken:?}");
    }

    #[test]
    fn what_arrives_starts_an_idle_clock_anew_but_not_a_statements() {
        let (vigil, limits, start) = (Vigil::default(), limits(), Instant::now());
        let (idle, busy) = (vigil.seat(), vigil.seat());
        for second in 0..9 {
            vigil.look(&limits, start + Duration::from_secs(second));
            idle.wait_for(Waiting::Client, &vigil);
            busy.wait_for(Waiting::Statement(start), &vigil);
        }
        assert_eq!((idle.overdue(&limits, &vigil), busy.overdue(&limits, &vigil).is_some()), (None, true));
    }

    #[test]
    fn no_limit_calls_nobody_and_seats_are_given_back() {
        let (vigil, limits, start) = (Vigil::default(), limits(), Instant::now());
        let seat = vigil.seat();
        seat.wait_for(Waiting::ClientInTransaction, &vigil);
        vigil.look(&limits, start + Duration::from_secs(3600));
        assert!(!called(&seat));
        drop(seat);
        vigil.look(&limits, start);
        assert!(vigil.seats.borrow().is_empty());
    }
}
