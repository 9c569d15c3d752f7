//! What a session tells the traces of its statements. In a build without them the compiler finds nothing to do here.

use super::Session;
use super::batch::Batch;
use super::resolved::{Part, Resolved};
use super::statements::Prepared;
use super::tally::Class;
use super::transaction::Touches;
use crate::routing::{Cut, Policy, Why};
use crate::side::Side;
use crate::trace::{self, Asked, Described};
use crate::wire::{HEADER, Header, Parse, front};

impl Session {
    /// The trace of a simple query, which may be one that goes on.
    pub(super) fn traced(
        &mut self,
        policy: &Policy,
        resolved: &Resolved,
        sql: &[u8],
        since: std::time::Instant,
    ) -> trace::Statement {
        let mut trace = std::mem::take(&mut self.resumed);
        if trace::BUILT {
            let context = &self.worker.context;
            trace.hear(&context.tracer, sql, since);
            trace.begin(&context.tracer, context.config.traces.sample_percent, since);
            trace.describe(|| self.described(policy, resolved, sql));
        }
        trace
    }

    /// The text of a Parse, which joins the last batch.
    pub(super) fn trace_text(&mut self, sql: &[u8]) {
        if trace::BUILT
            && let Some(batch) = self.peers.get_mut(self.active).as_mut().and_then(|p| p.batches.back_mut())
        {
            batch.trace.hear(&self.worker.context.tracer, sql, batch.sent);
        }
    }

    /// An Execute, which joins the last batch. Without a statement: one that the protocol has not prepared.
    pub(super) fn trace_execute(&mut self, policy: &Policy, statement: Option<(&Prepared, &Resolved)>) {
        if !trace::BUILT {
            return;
        }
        let context = &self.worker.context;
        let last = self.peers.get_mut(self.active).as_mut().and_then(|p| p.batches.back_mut());
        let Some(batch) = last else { return };
        batch.trace.begin(&context.tracer, context.config.traces.sample_percent, batch.sent);
        let trace = batch.trace.clone();
        if let Some((prepared, resolved)) = statement {
            trace.describe(|| self.described(policy, resolved, &prepared.sql));
        }
    }

    /// A message that passes without being read, but for what its comment says of a trace.
    pub(super) fn trace_unread(&mut self, header: Header) {
        if !trace::BUILT {
            return;
        }
        let context = &self.worker.context;
        let last = self.peers.get_mut(self.active).as_mut().and_then(|p| p.batches.back_mut());
        let (Some(batch), Some(policy)) = (last, &self.policy) else { return };
        let rest = self.client.inbound.get(self.requests.approved..).unwrap_or_default();
        let frame = rest.get(..header.len.min(rest.len())).unwrap_or_default();
        match header.tag {
            front::QUERY => {
                batch.trace.hear(&context.tracer, frame.get(HEADER..).unwrap_or_default(), batch.sent);
            }
            front::PARSE => {
                let text = Parse::read(frame).map_or(&[][..], |parse| parse.sql);
                return batch.trace.hear(&context.tracer, text, batch.sent);
            }
            front::EXECUTE | front::FUNCTION_CALL => {}
            _ => return,
        }
        batch.trace.begin(&context.tracer, context.config.traces.sample_percent, batch.sent);
        let class = Class::Unread.as_str();
        batch.trace.describe(|| Described { text: None, phase: policy.phase, class, capture: None, bucket: None });
    }

    fn described<'a>(&self, policy: &Policy, resolved: &Resolved, sql: &'a [u8]) -> Described<'a> {
        let movable = resolved.read.as_ref().filter(|read| read.movable.is_ok());
        Described {
            text: resolved.readable.then_some(sql),
            phase: policy.phase,
            class: super::answers::class_of(&resolved.parts).as_str(),
            capture: resolved.parts.iter().find_map(|part| captured_by(part, resolved)),
            bucket: movable.map(|read| self.bucket(read)),
        }
    }

    // ---- answers

    /// The last word of its answer has come.
    pub(super) fn trace_answer(&self, side: Side, batch: &Batch) {
        let why = batch.read.as_ref().map(|read| read.why);
        batch.trace.answered(self.asked(side, batch, why));
    }

    /// The other side will be asked in its place, under the same trace.
    pub(super) fn trace_fallback(&mut self, side: Side, batch: &Batch) {
        batch.trace.fell_back(self.asked(side, batch, batch.read.as_ref().map(|read| read.why)));
        self.resumed = batch.trace.clone();
    }

    /// The side is gone, and what it has not said will not be said.
    pub(super) fn trace_loss(&self, side: Side, batch: &Batch) {
        batch.trace.failed(None);
        self.trace_answer(side, batch);
    }

    fn asked(&self, side: Side, batch: &Batch, why: Option<Why>) -> Asked {
        Asked { side, primary: self.primary(), why, since: batch.sent }
    }
}

/// How a write comes into the journal.
fn captured_by(part: &Part, resolved: &Resolved) -> Option<&'static str> {
    match part.class {
        _ if part.uncaptured.is_some() => Some("none"),
        _ if part.look.is_some() => Some("counters"),
        Class::Write if part.cut != Cut::Nothing || resolved.rewritten.is_some() => Some("returning"),
        Class::Write if part.touches != Touches::None => Some("trigger"),
        _ => None,
    }
}
