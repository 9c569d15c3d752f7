//! From a backend to the client: frames pass as they are, but for what pgduet itself put in, and for what has to wait for the secondary.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::batch::{After, Answered, Batch, Outcome, Run, Voice};
use super::peer::MAX_BACKEND_MESSAGE;
use super::statements::Void;
use super::tally::Class;
use super::transaction::{Control, Status, Touches};
use super::{BACK_PRESSURE, End, Session, Withheld};
use super::{owed, passed};
use crate::catalog::twins::Twins;
use crate::failpoint;
use crate::routing::{Ack, Choice, Why};
use crate::side::Side;
use crate::trace;
use crate::wire::{Header, back, error_field};

/// What one look at a backend's output came to.
enum Taken {
    Frame,
    NeedsMore,
}

impl Session {
    /// Takes in what the active backend has sent. True: something has moved.
    pub(super) fn take_answers(&mut self) -> Result<bool, End> {
        let mut moved = false;
        while self.withheld.is_none() && self.baggage.errand.is_none() {
            match self.take_answer()? {
                Taken::Frame => moved = true,
                Taken::NeedsMore => break,
            }
        }
        moved |= self.hear_out(self.active.other())?;
        moved |= self.hear_errand()?;
        Ok(moved | self.notice_lost_peers()?)
    }

    fn take_answer(&mut self) -> Result<Taken, End> {
        let side = self.active;
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Taken::NeedsMore) };
        let inbound = &mut peer.channel.inbound;
        if self.answers.go_on(inbound.len()) {
            return Ok(Taken::Frame);
        }
        if self.answers.frame_left > 0 {
            return Ok(Taken::NeedsMore);
        }
        let rest = inbound.get(self.answers.approved..).unwrap_or_default();
        let Some(header) = Header::peek(rest, MAX_BACKEND_MESSAGE).map_err(|_| End::Backend(side))? else {
            return Ok(Taken::NeedsMore);
        };
        if header.tag == back::PARAMETER_STATUS && rest.len() >= header.len && self.note_parameter(side, header) {
            return Ok(self.drop_frame(side, header));
        }
        let is_secondary = side != self.primary();
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Taken::NeedsMore) };
        let inbound = &mut peer.channel.inbound;
        let rest = inbound.get(self.answers.approved..).unwrap_or_default();
        if header.tag == back::COPY_IN_RESPONSE {
            peer.copies_in = !std::mem::take(&mut peer.copied_ahead);
        } else if header.tag == back::ERROR {
            (peer.copies_in, peer.copied_ahead) = (false, false);
            peer.said_why |= rest.get(..header.len).is_some_and(ends_the_connection);
            peer.batches.front().iter().for_each(|batch| batch.trace.failed(rest.get(..header.len)));
        }
        let batch = peer.batches.front_mut();
        // What the secondary calls by its own numbers is looked at whoever asked.
        let named = is_secondary && matches!(header.tag, back::ROW_DESCRIPTION | back::PARAMETER_DESCRIPTION);
        if batch.is_none_or(|b| b.passes(header.tag) && !named) {
            self.answers.approve(header.len, inbound.len());
            return Ok(Taken::Frame);
        }
        if rest.len() < header.len {
            return Ok(Taken::NeedsMore);
        }
        if header.tag == back::READY_FOR_QUERY {
            return self.ready_for_query(side);
        }
        self.treat_frame(side, header)
    }

    fn drop_frame(&mut self, side: Side, header: Header) -> Taken {
        if let Some(peer) = self.peers.get_mut(side) {
            self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
            peer.channel.inbound.advance(header.len);
        }
        Taken::Frame
    }

    /// A frame that is not ReadyForQuery, whole, in a batch that cares.
    fn treat_frame(&mut self, side: Side, header: Header) -> Result<Taken, End> {
        let on_primary = self.primary() == side;
        let names = matches!(header.tag, back::ROW_DESCRIPTION | back::PARAMETER_DESCRIPTION) && !on_primary;
        let foreign = self.policy.as_ref().filter(|_| names).map(|policy| Arc::clone(policy.catalog.get(side)));
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Taken::NeedsMore) };
        let Some(batch) = peer.batches.front_mut() else { return Ok(Taken::NeedsMore) };
        let inbound = &mut peer.channel.inbound;
        if let Some(catalog) = foreign {
            let frame = inbound.get_mut(self.answers.approved..self.answers.approved + header.len).unwrap_or_default();
            name_as_primary(catalog.twins(), header.tag, frame);
        }
        let frame = inbound.get(self.answers.approved..self.answers.approved + header.len).unwrap_or_default();
        let mut replaced = BytesMut::new();
        let was_refused = batch.refused.is_some();
        let Answered { outcome, done, mut undone } = batch.take(frame, &mut replaced);
        let trace = batch.trace.clone();
        if batch.steps.is_empty() {
            trace.done();
        }
        let refused = batch.refused.is_some() && !was_refused && !batch.may_fall_back();
        if batch.failed && batch.is_open() {
            undone.splice(0..0, owed::skip_to_sync(&mut peer.batches));
        }
        if header.tag == back::COPY_IN_RESPONSE {
            owed::copies_in(&mut peer.batches);
        }
        if header.tag == back::ERROR {
            self.copy_failed();
        }
        let commit = done.as_ref().filter(|_| on_primary).map_or(Touches::None, |run| self.transaction_after(run));
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Taken::NeedsMore) };
        let inbound = &mut peer.channel.inbound;
        match outcome {
            // A frame that reports a commit is looked at below: it may have to wait.
            Outcome::Pass => match commit {
                Touches::None => self.answers.approve(header.len, inbound.len()),
                Touches::Rows(touches) => {
                    self.answers.seal(inbound, &mut self.client.outbound);
                    let frame = inbound.split_to(header.len);
                    self.committed(touches, frame, &trace);
                }
            },
            Outcome::Drop => {
                self.answers.seal(inbound, &mut self.client.outbound);
                inbound.advance(header.len);
            }
            Outcome::Replace => {
                self.answers.seal(inbound, &mut self.client.outbound);
                inbound.advance(header.len);
                match commit {
                    Touches::None => hand_on(replaced, &mut self.client.outbound),
                    Touches::Rows(touches) => self.committed(touches, replaced, &trace),
                }
            }
        }
        if refused {
            self.fail_batch(side);
        }
        for (change, void) in undone {
            self.statements.undo(change, void);
        }
        if let Some(run) = done {
            self.remember(side, run.after);
        }
        Ok(Taken::Frame)
    }

    /// Books a statement's success. Returns the touches that it has committed.
    fn transaction_after(&mut self, run: &Run) -> Touches {
        if run.touches != Touches::None {
            failpoint::pass("session.statement.captured");
        }
        self.transaction.touched(run.touches);
        let mut committed = match &run.after {
            After::Control(control) => {
                self.transaction.status = match control {
                    Control::Begin(_) => Status::Open,
                    Control::Commit | Control::Rollback => Status::Idle,
                    _ => self.transaction.status,
                };
                self.transaction.control(control)
            }
            _ => Touches::None,
        };
        if run.reports_commit && self.transaction.status == Status::Idle {
            committed = committed.and(self.transaction.ready(Status::Idle, false));
        }
        committed
    }

    fn remember(&mut self, side: Side, after: After) {
        match after {
            After::Nothing | After::Control(_) | After::Ddl => {}
            After::ForgetStatements => self.statements.clear(),
            After::ForgetStatement(name) => {
                self.statements.remove(&name);
            }
            After::RoutingKey(key) => self.routing_key.setting = key,
            After::Unread(unread) => self.count_unread(side, &unread),
        }
    }

    fn ready_for_query(&mut self, side: Side) -> Result<Taken, End> {
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Taken::NeedsMore) };
        let inbound = &mut peer.channel.inbound;
        self.answers.seal(inbound, &mut self.client.outbound);
        let mut frame = inbound.split_to(crate::wire::HEADER + 1);
        let status = frame.last().copied().and_then(Status::from_byte).ok_or(End::Backend(side))?;
        let Some(mut batch) = peer.batches.pop_front() else { return Ok(Taken::Frame) };
        let calm = peer.batches.is_empty();
        for (change, void) in batch.unanswered(Void::Skipped) {
            self.statements.undo(change, void);
        }
        let (undone, forgotten) = std::mem::take(&mut batch.passed).end(batch.failed);
        undone.into_iter().for_each(|change| self.statements.undo(change, passed::VOID));
        forgotten.into_iter().for_each(|after| self.remember(side, after));
        if let Some(replay) = batch.take_replay_if_failed() {
            self.fall_back(side, &batch, &replay);
            return Ok(Taken::Frame);
        }
        if batch.voice == Voice::Silent {
            if calm {
                self.calm_down();
            }
            return Ok(Taken::Frame);
        }
        if batch.voice != Voice::ReadyOnly {
            self.count_answer(side, &mut batch);
        }
        let committed = match self.primary() == side {
            true => {
                let committed = self.transaction.ready(status, batch.failed);
                self.transaction.ran(batch.footprint);
                committed
            }
            false if self.transaction.lives_on_secondary() => {
                self.transaction.status = status;
                if status == Status::Idle {
                    self.ended_there();
                }
                Touches::None
            }
            false if batch.failed && self.transaction.status == Status::Open => {
                self.fail_transaction();
                return Ok(Taken::Frame);
            }
            false => {
                // The read ran in no transaction there; the client's is open all the same.
                frame.last_mut().into_iter().for_each(|byte| *byte = self.transaction.status.byte());
                Touches::None
            }
        };
        if let Voice::NoReady { rest } = batch.voice {
            if !batch.failed {
                return Ok(Taken::Frame);
            }
            self.client.inbound.advance(rest.min(self.client.inbound.len()));
        }
        if calm {
            self.peers.get_mut(side).iter_mut().for_each(|peer| peer.copied_ahead = false);
        }
        if calm && self.transaction.status == Status::Idle {
            self.statements.close_portals();
        }
        if !batch.held.is_empty() {
            frame = [batch.held.split(), frame].concat().as_slice().into();
        }
        if calm {
            // Before the cycle that carries it can begin: what that one tells then counts for it.
            self.announce_definition();
        }
        match committed {
            Touches::None => self.client.outbound.extend_from_slice(&frame),
            Touches::Rows(touches) => self.committed(touches, frame, &batch.trace),
        }
        if calm {
            self.calm_down();
        }
        Ok(Taken::Frame)
    }

    /// Nothing is owed any more: the next request chooses anew; without an open transaction it does so under the policy of then.
    pub(super) fn calm_down(&mut self) {
        self.turn_to(self.primary());
        self.names.reading = self.baggage.heard;
        self.announce_definition();
        self.end_definition();
        if self.transaction.status == Status::Idle && self.withheld.is_none() {
            self.policy = None;
            self.slot.leave();
        }
    }

    fn count_answer(&mut self, side: Side, batch: &mut Batch) {
        let took = batch.sent.elapsed();
        let tally = &self.worker.context.tally;
        tally.answered(batch.class, side, took);
        if let Some(line) = batch.line {
            self.worker.statements.borrow_mut().add(line, side, took, batch.failed);
        }
        self.trace_answer(side, batch);
        let Some(read) = batch.read.take() else { return };
        tally.read(Choice { side, why: read.why });
        if let Some(mut sample) = read.sample {
            sample.took = took;
            sample.side = side;
            sample.answer = read.answer;
            sample.trace = batch.trace.mark(side.other());
            tally.sampled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.worker.context.samples.offer(sample);
        }
    }

    /// A transaction that touched so many rows is committed on the primary; `frame` is the first word of it to the client.
    fn committed(&mut self, touches: u64, frame: BytesMut, trace: &trace::Statement) {
        failpoint::pass("session.commit.reported");
        let ledger = &self.worker.context.ledger;
        ledger.follow(trace.mark(self.primary().other()));
        let waits = self.policy.as_ref().is_some_and(|p| p.ack == Ack::Both) && ledger.holds_commits();
        self.last_write = match waits {
            true => ledger.committed(touches),
            false => ledger.committed_unhurried(touches),
        };
        failpoint::pass("session.commit.announced");
        match waits {
            false => self.client.outbound.extend_from_slice(&frame),
            true => {
                let wait = ledger.acked(self.last_write);
                let _trace = trace.wait(self.last_write);
                self.withheld = Some(Withheld { frame, wait, since: Instant::now(), _trace });
            }
        }
    }

    /// The secondary has it, or the link does not make clients wait: tell the client.
    pub(super) fn release_withheld(&mut self) {
        let Some(withheld) = self.withheld.take() else { return };
        failpoint::pass("session.ack.released");
        self.worker.context.tally.ack_wait.add(withheld.since.elapsed());
        self.client.outbound.extend_from_slice(&withheld.frame);
        let calm = self.peers.get(self.active).as_ref().is_none_or(|p| p.batches.is_empty());
        if calm {
            self.calm_down();
        }
    }

    /// A backend that has closed: the secondary is only missed, the primary ends the session.
    fn notice_lost_peers(&mut self) -> Result<bool, End> {
        let mut moved = false;
        let primary = self.primary_or_only();
        for side in Side::BOTH {
            let Some(peer) = self.peers.get_mut(side).as_mut().filter(|p| p.lost) else { continue };
            if side == primary {
                // All that it said has been passed on, but for what waits behind a withheld commit.
                if self.withheld.is_some() {
                    continue;
                }
                return Err(End::Backend(side));
            }
            if side == self.active {
                self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
            }
            let mut owed = peer.batches.drain(..).find(|b| !b.voice.is_unheard());
            *self.peers.get_mut(side) = None;
            self.statements.lost(side);
            self.baggage.lost_there();
            moved = true;
            let replay = owed.as_mut().and_then(Batch::take_replay);
            match (replay, &owed) {
                (Some(replay), Some(owed)) => {
                    self.answers = super::Passing::default();
                    self.fall_back(side, owed, &replay);
                }
                (_, owed) => self.lose_secondary(side, owed.as_ref())?,
            }
        }
        Ok(moved)
    }

    fn primary_or_only(&self) -> Side {
        self.policy.as_ref().map_or_else(|| self.worker.context.registry.policy().primary(), |p| p.primary())
    }
}

/// The client has looked types and tables up on the primary.
fn name_as_primary(twins: &Twins, tag: u8, frame: &mut [u8]) {
    match (tag, frame.get_mut(crate::wire::HEADER..)) {
        (back::ROW_DESCRIPTION, Some(_)) => twins.translate_row_description(frame),
        (back::PARAMETER_DESCRIPTION, Some(types)) => twins.translate_types(types),
        _ => {}
    }
}

/// What is large is not copied once more.
fn hand_on(frame: BytesMut, to: &mut BytesMut) {
    match to.is_empty() && frame.len() > BACK_PRESSURE {
        true => *to = frame,
        false => to.extend_from_slice(&frame),
    }
}

/// A FATAL or PANIC.
pub(super) fn ends_the_connection(error: &[u8]) -> bool {
    matches!(error_field(error, b'V'), Some(b"FATAL" | b"PANIC"))
}

/// What a batch is counted as: its gravest statement.
pub(super) fn class_of(parts: &[super::resolved::Part]) -> Class {
    let has = |class| parts.iter().any(|p| p.class == class);
    match () {
        _ if has(Class::Write) => Class::Write,
        _ if !parts.is_empty() && parts.iter().all(|p| p.class == Class::Read) => Class::Read,
        _ => Class::Other,
    }
}

/// Kept here so that the reason stands beside its use: a fallback is a read on the primary.
pub(super) const FALLBACK: Why = Why::Fallback;
