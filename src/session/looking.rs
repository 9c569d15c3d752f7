//! Looks around the client's statements: see [`look`](super::look) for why they stand where they stand.

use std::sync::Arc;

use super::Session;
use super::answers::class_of;
use super::batch::{Batch, Care, Ending, Run, Step};
use super::look::{self, Look, Own};
use super::read::Read;
use super::resolved::{Part, Resolved};
use super::statements::put_parse;
use super::tally::Class;
use super::transaction::Status;
use crate::routing::Policy;
use crate::side::Side;
use crate::wire::{Writer, front};

impl Session {
    /// What is asked around the one statement of a text: nothing if it is captured otherwise, or must be alone where it stands.
    pub(super) fn look_around<'a>(&self, resolved: &'a Resolved) -> Option<&'a Look> {
        let part = resolved.only().filter(|_| resolved.parts.len() == 1)?;
        let look = part.look.as_ref().filter(|_| self.executed(part).is_none())?;
        (!look.in_block || self.transaction.status != Status::Idle).then_some(look)
    }

    /// Why what a statement writes is seen by nobody, if so.
    pub(super) fn uncaptured(&self, resolved: &Resolved, part: &Part) -> Option<&'static str> {
        let alone = resolved.parts.len() == 1 && self.transaction.status == Status::Idle;
        let unseen =
            part.look.as_ref().filter(|look| look.in_block && alone).map(|_| "it may commit what it writes itself");
        part.uncaptured.or(unseen).filter(|_| self.executed(part).is_none())
    }

    /// What the answer of a simple query consists of. `looks`: the text of its only statement has the looks in it, as that of several always has.
    pub(super) fn steps(&self, resolved: &Resolved, looks: bool) -> Vec<Step> {
        let mut steps = Vec::with_capacity(resolved.parts.len());
        let looks = looks || resolved.parts.len() > 1;
        for (part, run) in resolved.runs() {
            let look = part.look.as_ref().filter(|_| looks);
            steps.extend(look.filter(|l| l.first).map(|_| Step::Own(look::LOOK)));
            steps.push(Step::Run(self.captured(part, run)));
            steps.extend(look.map(|_| Step::Own(look::LOOK)));
        }
        steps
    }

    /// An EXECUTE of what the protocol has prepared is captured as that is.
    fn captured(&self, part: &Part, run: Run) -> Run {
        match self.executed(part) {
            Some(executed) => run.captured_like(&executed),
            None => run,
        }
    }

    pub(super) fn has_open_batch(&self) -> bool {
        self.peers.get(self.active).as_ref().and_then(|p| p.batches.back()).is_some_and(Batch::is_open)
    }

    /// A simple query of one statement, as the messages that it stands for. Their answers are the query's once those that a query has not are
    /// left out.
    pub(super) fn send_looked_around(&mut self, policy: &Arc<Policy>, resolved: &Resolved, look: &Look, sql: &[u8]) {
        let Some((part, run)) = resolved.runs().next() else { return };
        self.mark(resolved, sql, false);
        self.turn_to(policy.primary());
        let mut batch = Batch::new(class_of(&resolved.parts), Care::Frames, Ending::Open);
        batch.footprint = resolved.footprint();
        batch.line = self.line_of(resolved, sql);
        batch.trace = self.traced(policy, resolved, sql, batch.sent);
        batch.rewritten.clone_from(&resolved.rewritten);
        batch.stands_for_query = true;
        batch.read = resolved.read.as_ref().map(|read| Read::counted(self.choose(policy, read).why));
        let run = self.captured(part, run);
        let Some(peer) = self.peers.get_mut(self.active) else { return };
        peer.batches.push_back(batch);
        put_parse(&mut peer.channel.outbound, b"", sql, resolved.rewritten.as_deref(), &[0, 0]);
        self.step(Step::Own(Own::Query));
        self.look_before(look);
        let Some(peer) = self.peers.get_mut(self.active) else { return };
        let out = &mut peer.channel.outbound;
        look::put_bind(out, b"", b"");
        Writer::begin(out, front::DESCRIBE).u8(b'P').cstr(b"").end();
        Writer::execute(out, b"", 0);
        self.batch(|b| {
            b.steps.extend([
                Step::Own(Own::Query),
                Step::Shape { cut: run.cut, late: part.class != Class::Read },
                Step::Run(run),
            ])
        });
        match look.copies_in {
            true => self.look_after_copy(look),
            false => {
                self.close_unnamed_portal();
                self.look_after(look);
                self.send_sync(self.active);
            }
        }
    }

    /// A simple query leaves none behind.
    fn close_unnamed_portal(&mut self) {
        if let Some(peer) = self.peers.get_mut(self.active) {
            Writer::close_portal(&mut peer.channel.outbound, b"");
        }
        self.step(Step::Own(Own::Small));
    }

    /// The first look, in front of a statement's Execute.
    pub(super) fn look_before(&mut self, look: &Look) {
        if look.first {
            self.send_look(&Look::before());
        }
    }

    /// The second look, behind it.
    pub(super) fn look_after(&mut self, look: &Look) {
        self.send_look(&look.after);
    }

    fn send_look(&mut self, sql: &[u8]) {
        if let Some(peer) = self.peers.get_mut(self.active) {
            look::put(&mut peer.channel.outbound, sql);
        }
        self.batch(|b| b.steps.extend(look::ANSWERS.map(Step::Own)));
    }

    fn send_sync(&mut self, side: Side) {
        if let Some(peer) = self.peers.get_mut(side) {
            Writer::empty(&mut peer.channel.outbound, front::SYNC);
        }
        self.batch(|b| b.ending = Ending::Sync);
    }

    // ---- COPY FROM STDIN: the second look follows the client's last word

    pub(super) fn look_after_copy(&mut self, look: &Look) {
        if let Some(peer) = self.peers.get_mut(self.active) {
            peer.after_copy = Some(look.clone());
        }
    }

    /// Whether the end of the client's data has to wait: until it is here as a whole, and the server is known to take data at all.
    pub(super) fn waits_for_copy(&self, whole: bool) -> bool {
        self.peers.get(self.active).as_ref().is_some_and(|p| p.after_copy.is_some() && !(whole && p.copies_in))
    }

    /// The client has ended its data.
    pub(super) fn copy_ended(&mut self) {
        let look = self.peers.get_mut(self.active).as_mut().and_then(|p| p.after_copy.take());
        let Some(look) = look else { return };
        self.seal_requests();
        self.look_after(&look);
        if self.stands_for_query() {
            self.send_sync(self.active);
        }
    }

    /// The statement that asked for data has failed: a simple query has no Sync that would end it.
    pub(super) fn copy_failed(&mut self) {
        let waited = self.peers.get_mut(self.active).as_mut().and_then(|p| p.after_copy.take()).is_some();
        if waited && self.stands_for_query() {
            self.send_sync(self.active);
        }
    }

    fn stands_for_query(&self) -> bool {
        self.peers.get(self.active).as_ref().and_then(|p| p.batches.back()).is_some_and(|b| b.stands_for_query)
    }
}
