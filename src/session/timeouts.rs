//! What a session does once it has waited for too long: its own part of the [`vigil`](super::vigil).
//!
//! A statement that runs too long is cancelled as a client would cancel it (see [`cancel`](super::cancel)): the session lives on.

use std::rc::Weak;
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

use super::vigil::Waiting;
use super::withdrawal::Withdrawn;
use super::{BACK_PRESSURE, End, Session, Worker, transaction};

impl Session {
    /// Notes what the session waits for from now on.
    pub(super) fn note_wait(&self) {
        self.seat.wait_for(self.waiting(), &self.worker.vigil);
    }

    fn waiting(&self) -> Waiting {
        if self.withheld.is_some() || self.client_is_slow() {
            return Waiting::Unbounded;
        }
        let front = self.peers.get(self.active).as_ref().and_then(|p| p.batches.front());
        match (front, self.transaction.status) {
            (Some(batch), _) if self.active != self.primary() && !batch.may_fall_back() => Waiting::Rest,
            (Some(batch), _) => Waiting::Statement(batch.sent),
            (None, _) if self.owes(self.active.other()) => Waiting::Unbounded,
            (None, transaction::Status::Idle) => Waiting::Client,
            (None, _) => Waiting::ClientInTransaction,
        }
    }

    /// It does not read: what a backend has to say waits for it, not the other way round.
    fn client_is_slow(&self) -> bool {
        self.client.outbound.len() + self.answers.approved >= BACK_PRESSURE
    }

    /// Does what a call of the worker asks for. True: something has moved.
    pub(super) fn heed_call(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, End> {
        if !self.seat.is_called(cx) {
            return Ok(false);
        }
        if self.worker.context.shutdown.is_cut() {
            return Err(End::Shutdown);
        }
        match self.seat.overdue(&self.worker.context.config.timeouts, &self.worker.vigil) {
            None | Some(Waiting::Unbounded) => Ok(false),
            Some(Waiting::Client) => Err(End::Idle),
            Some(Waiting::ClientInTransaction) => Err(End::IdleInTransaction),
            Some(Waiting::Statement(sent)) => self.overruns(sent),
            Some(Waiting::Rest) => Ok(self.has_stalled()),
        }
    }

    /// A statement is asked to end first. Where that does not help, the session ends, unless the client may still be sending.
    fn overruns(&mut self, sent: Instant) -> Result<bool, End> {
        let front = self.peers.get(self.active).as_ref().and_then(|p| p.batches.front());
        if self.overrun == Some(sent) && !front.is_some_and(|batch| batch.is_open()) {
            return Err(End::Overrun);
        }
        self.overrun = Some(sent);
        self.seat.again(&self.worker.vigil);
        // Left with this session itself; nobody waits for it.
        drop(self.slot.request.leave());
        Ok(true)
    }

    /// The secondary has said nothing for a while in the middle of an answer. Where the probe finds it dead, it is given up.
    fn has_stalled(&mut self) -> bool {
        self.seat.again(&self.worker.vigil);
        let is_dead = self.worker.context.withdrawal.reason() == Some(Withdrawn::Down);
        if is_dead {
            self.give_up_secondary();
        }
        is_dead
    }
}

/// How often a worker that drains is looked at: it ends with its last session.
const ENDING: Duration = Duration::from_millis(20);

/// Looks after a worker's sessions for as long as there may be any: calls those that wait for too long, and all of them when the process drains.
pub async fn watch(worker: Weak<Worker>) {
    let (mut begun, mut cut) = (false, false);
    while let Some(alive) = worker.upgrade() {
        let shutdown = alive.context.shutdown.clone();
        let next = alive.vigil.look(&alive.context.config.timeouts, Instant::now());
        drop(alive);
        tokio::select! {
            () = tokio::time::sleep(if begun { ENDING } else { next }) => continue,
            () = shutdown.begun(), if !begun => begun = true,
            () = shutdown.was_cut(), if !cut => cut = true,
        }
        worker.upgrade().into_iter().for_each(|alive| alive.vigil.call_all());
    }
}
