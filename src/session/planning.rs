//! Requests in a phase with capture: what is looked at together, and which side it is sent to.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::answers::class_of;
use super::batch::{After, Batch, Care, Ending};
use super::owed;
use super::requests::Took;
use super::resolved::Resolved;
use super::statements::put_query;
use super::tally::Class;
use super::transaction::{Control, Status};
use super::{End, Session};
use crate::routing::Policy;
use crate::wire::{HEADER, Header, front};

/// Messages up to a Sync are planned together if they are no more than this, bytes; a longer batch goes to the primary as it comes.
const GATHERED: usize = 64 << 10;

/// Answers that may be owed before more is asked for. A server flushes what it has to say by the eight kilobytes, and an answer has five bytes or
/// more: so many are never owed without some being on their way.
const OWED: usize = 8 << 10;

/// How the messages up to a Sync are sent.
enum Gathered {
    NotYet,
    /// Too long, or flushed half-way: one message after the other, to the primary.
    Apart,
    /// Bytes up to and with the Sync.
    Together(usize),
}

impl Session {
    pub(super) fn plan(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        // From here on messages are taken apart: what was approved before goes first.
        self.seal_requests();
        if self.owes_too_much() {
            return Ok(Took::NeedsMore);
        }
        self.end_definition();
        if self.transaction.lives_on_secondary() {
            return self.plan_there(policy, header);
        }
        let calm = !self.owes(self.active);
        if !calm && self.waits_for_begin(policy) {
            return Ok(Took::NeedsMore);
        }
        if header.tag == front::QUERY {
            return match self.client.inbound.len() >= header.len {
                true => self.plan_query(policy, header),
                false => Ok(Took::NeedsMore),
            };
        }
        if calm && header.tag != front::FUNCTION_CALL {
            return match self.gather() {
                Gathered::NotYet => Ok(Took::NeedsMore),
                Gathered::Apart => self.send_one(policy, header),
                Gathered::Together(len) => self.plan_gathered(policy, len),
            };
        }
        self.send_one(policy, header)
    }

    /// A client that sends without end and waits for nothing does not fill the memory with what it is owed.
    fn owes_too_much(&self) -> bool {
        let Some(peer) = self.peers.get(self.active) else { return false };
        peer.batches.len() + peer.batches.back().map_or(0, |batch| batch.steps.len()) > OWED
    }

    pub(super) fn seal_requests(&mut self) {
        if let Some(peer) = self.peers.get_mut(self.active) {
            self.requests.seal(&mut self.client.inbound, &mut peer.channel.outbound);
        }
    }

    pub(super) fn resolve(&self, policy: &Policy, sql: &[u8]) -> Resolved {
        Resolved::new(sql, policy, &self.names, &mut self.worker.verdicts.borrow_mut())
    }

    fn plan_query(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        let frame = self.client.inbound.get(..header.len).unwrap_or_default();
        let sql = frame.get(HEADER..header.len - 1).unwrap_or_default();
        let resolved = self.resolve(policy, sql);
        if self.asks_first(policy, &resolved) {
            return Ok(Took::NeedsMore);
        }
        let choice = resolved.read.as_ref().map(|read| self.choose(policy, read));
        if let Some(choice) = choice.filter(|c| c.side != policy.primary())
            && self.peers.get(choice.side).is_none()
        {
            return Ok(Took::Needs(choice.side));
        }
        if choice.is_some_and(|c| self.carries_first(policy, c)) {
            return Ok(Took::NeedsMore);
        }
        self.statements.unnamed_gone();
        let frame = self.client.inbound.split_to(header.len);
        let sql = frame.get(HEADER..header.len - 1).unwrap_or_default();
        let side = choice.map_or(policy.primary(), |c| c.side);
        let on_primary = side == policy.primary();
        // In a failed transaction nothing is run, and PostgreSQL says so of the query that it is.
        let refused = self.transaction.status == Status::Failed && !self.owes(self.active);
        let look = self.look_around(&resolved).filter(|_| on_primary && !refused);
        if let Some(look) = look.filter(|look| !look.inline && !self.has_open_batch()) {
            self.send_looked_around(policy, &resolved, look, sql);
            return Ok(Took::It);
        }
        self.mark(&resolved, sql, !on_primary);
        self.settle_on(side, policy);
        let steps = self.steps(&resolved, look.is_some());
        let ending = Ending::Query { steps: steps.len() };
        let mut batch = Batch::new(class_of(&resolved.parts), Care::Frames, ending);
        batch.footprint = resolved.footprint();
        batch.line = self.line_of(&resolved, sql);
        batch.trace = self.traced(policy, &resolved, sql, batch.sent);
        batch.begins = resolved.only().is_some_and(|part| matches!(part.after, After::Control(Control::Begin(_))));
        batch.steps.extend(steps);
        batch.read = choice
            .zip(resolved.read.as_ref())
            .map(|(choice, read)| self.read(policy, choice, read, sql, &frame, &frame));
        if batch.read.as_ref().is_some_and(|r| r.replay.is_none() && r.sample.is_none()) {
            batch.care = Care::End;
        }
        let inline = look.and_then(|_| resolved.inline(sql)).map(Rc::new);
        batch.rewritten = inline.or_else(|| resolved.rewritten.clone()).filter(|_| on_primary);
        self.turn_to(side);
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Took::NeedsMore) };
        match &batch.rewritten {
            Some(rewritten) => put_query(&mut peer.channel.outbound, sql, rewritten),
            None => peer.channel.outbound.extend_from_slice(&frame),
        }
        owed::expect_query(&mut peer.batches, batch);
        Ok(Took::It)
    }

    /// Where the next Sync is, in a calm session.
    fn gather(&self) -> Gathered {
        let max = self.worker.context.config.clients.max_message_bytes;
        let (mut at, mut not_yet) = (0, Gathered::NotYet);
        loop {
            let rest = self.client.inbound.get(at..).unwrap_or_default();
            match Header::peek(rest, max) {
                Ok(Some(header)) if at + header.len > GATHERED => return Gathered::Apart,
                Ok(Some(header)) if rest.len() < header.len => return not_yet,
                Ok(Some(header)) => {
                    at += header.len;
                    match header.tag {
                        front::SYNC => return Gathered::Together(at),
                        front::PARSE | front::BIND | front::DESCRIBE | front::EXECUTE | front::CLOSE => {}
                        // The client may wait for answers before it sends more. If the Sync is here already it does not.
                        front::FLUSH => not_yet = Gathered::Apart,
                        _ => return Gathered::Apart,
                    }
                }
                Ok(None) => return not_yet,
                Err(_) => return Gathered::Apart,
            }
        }
    }

    /// Messages up to a Sync, all here, in a calm session: one read may move, all else goes to the primary.
    fn plan_gathered(&mut self, policy: &Arc<Policy>, len: usize) -> Result<Took, End> {
        let whole = self.client.inbound.split_to(len);
        if self.asks_first_for(policy, &whole) {
            self.put_back(&whole);
            return Ok(Took::NeedsMore);
        }
        if let Some(opening) = self.opening(policy, &whole) {
            self.send_opening(policy, &opening, &whole)?;
            return Ok(Took::It);
        }
        let single = self.single_read(policy, &whole);
        let choice = single.as_ref().map(|s| self.choose(policy, &s.read));
        let side = choice.map_or(policy.primary(), |c| c.side);
        if self.peers.get(side).is_none() {
            self.put_back(&whole);
            return Ok(Took::Needs(side));
        }
        if choice.is_some_and(|c| self.carries_first(policy, c)) {
            self.put_back(&whole);
            return Ok(Took::NeedsMore);
        }
        if let Some(single) = single.as_ref().filter(|_| side != policy.primary())
            && self.asks_shape_first(policy, single, whole.len())
        {
            self.put_back(&whole);
            return Ok(Took::NeedsMore);
        }
        self.turn_to(side);
        self.settle_on(side, policy);
        if let (Some(choice), Some(single)) = (choice, single) {
            let request = single.request(&whole);
            let mut read = self.read(policy, choice, &single.read, &single.statement.sql, &request, &whole);
            // The other side would take its parameters for those of other types.
            read.sample = read.sample.filter(|_| !single.names_own_types() && single.read.stays.is_none());
            let mut batch = Batch::new(Class::Read, Care::Frames, Ending::Open);
            batch.read = Some(read);
            batch.trace = std::mem::take(&mut self.resumed);
            if let Some(peer) = self.peers.get_mut(side) {
                peer.batches.push_back(batch);
            }
        }
        self.send_frames(policy, &whole)?;
        Ok(Took::It)
    }

    /// Sends whole messages, up to one whose answer decides about the rest, which is put back.
    pub(super) fn send_frames(&mut self, policy: &Arc<Policy>, frames: &[u8]) -> Result<(), End> {
        let mut rest = frames;
        while let Ok(Some(header)) = Header::peek(rest, usize::MAX) {
            let Some((frame, tail)) = rest.split_at_checked(header.len) else { break };
            self.send_frame(policy, header.tag, frame)?;
            rest = tail;
            if self.awaits_shape() {
                self.put_back(rest);
                break;
            }
        }
        Ok(())
    }

    pub(super) fn put_back(&mut self, whole: &[u8]) {
        let mut again = BytesMut::with_capacity(whole.len() + self.client.inbound.len());
        again.extend_from_slice(whole);
        again.extend_from_slice(&self.client.inbound);
        self.client.inbound = again;
    }
}
