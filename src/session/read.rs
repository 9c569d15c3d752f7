//! A read's own half of a batch: what is kept of it until it is clear which side answers, and what a shadow read will need.
//!
//! Nothing that a failing secondary says reaches the client: its first frames are kept back together with the client's messages, and the
//! primary answers in its place. With the first row, or the end, that is over.

use bytes::BytesMut;

use super::batch::{Answered, Batch, Outcome};
use crate::catalog::shape::Shape;
use crate::routing::Why;
use crate::rows::Answer;
use crate::shadow::Sample;
use crate::wire::{back, error_field};

const QUERY_CANCELED: &[u8] = b"57014";

/// A batch that is one read.
#[derive(Debug)]
pub struct Read {
    pub why: Why,
    /// The client's own messages, as long as the primary may still answer in the secondary's place: until the first byte of
    /// the secondary's answer is passed on.
    pub replay: Option<Vec<u8>>,
    /// Answers that came before the first row or the end, kept back together with `replay`.
    pub prelude: BytesMut,
    pub sample: Option<Box<Sample>>,
    pub answer: Answer,
}

impl Batch {
    /// It is a read on the secondary, and nothing of its answer was passed on yet.
    pub fn may_fall_back(&self) -> bool {
        self.read.as_ref().is_some_and(|r| r.replay.is_some())
    }

    /// The client's messages, if nothing of an answer was passed on yet.
    pub fn take_replay(&mut self) -> Option<Vec<u8>> {
        self.read.as_mut().and_then(|read| read.replay.take())
    }

    /// The same, if the batch has failed.
    pub fn take_replay_if_failed(&mut self) -> Option<Vec<u8>> {
        if self.failed { self.take_replay() } else { None }
    }
}

impl Read {
    /// A read that is counted, and nothing more.
    pub fn counted(why: Why) -> Self {
        Read { why, replay: None, prelude: BytesMut::new(), sample: None, answer: Answer::default() }
    }

    /// Keeps the first frames of a secondary's answer back until it is clear that the secondary can answer.
    pub fn take(&mut self, frame: &[u8], answered: Answered, out: &mut BytesMut) -> Answered {
        if let Some(sample) = &self.sample {
            self.answer.take(frame);
            if frame.first() == Some(&back::ROW_DESCRIPTION) && cannot_be_compared(sample, frame) {
                self.sample = None;
            }
        }
        if self.replay.is_none() {
            return answered;
        }
        match frame.first() {
            Some(&back::ERROR) if error_field(frame, b'C') != Some(QUERY_CANCELED) => {
                Answered { outcome: Outcome::Drop, ..answered }
            }
            Some(
                &(back::DATA_ROW | back::COMMAND_COMPLETE | back::EMPTY_QUERY | back::PORTAL_SUSPENDED | back::ERROR),
            ) => {
                self.replay = None;
                let mut whole = std::mem::take(&mut self.prelude);
                keep(frame, answered.outcome, out, &mut whole);
                *out = whole;
                Answered { outcome: Outcome::Replace, ..answered }
            }
            _ => {
                keep(frame, answered.outcome, out, &mut self.prelude);
                Answered { outcome: Outcome::Drop, ..answered }
            }
        }
    }
}

/// The same values in binary form name types by each side's own numbers.
fn cannot_be_compared(sample: &Sample, description: &[u8]) -> bool {
    let twins = sample.catalog.twins();
    sample.binary && Shape::read(description).is_none_or(|shape| shape.is_misread(&[0, 1], twins))
}

fn keep(frame: &[u8], outcome: Outcome, replaced: &BytesMut, to: &mut BytesMut) {
    match outcome {
        Outcome::Pass => to.extend_from_slice(frame),
        Outcome::Replace => to.extend_from_slice(replaced),
        Outcome::Drop => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Care, Ending, Run, Step};
    use super::super::tally::Class;
    use super::*;
    use crate::wire::Writer;

    fn frame(tag: u8, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        Writer::begin(&mut out, tag).bytes(body).end();
        out
    }

    #[test]
    fn what_a_failing_secondary_said_first_is_never_passed_on() {
        let mut batch = Batch::new(Class::Read, Care::Frames, Ending::Query { steps: 1 });
        batch.steps.push_back(Step::Run(Run::plain()));
        batch.read = Some(Read { replay: Some(b"the request".to_vec()), ..Read::counted(Why::BucketOpen) });
        let mut out = BytesMut::new();
        assert_eq!(batch.take(&frame(back::ROW_DESCRIPTION, b"\0\0"), &mut out).outcome, Outcome::Drop);
        assert_eq!(batch.take(&frame(back::ERROR, b"C42P01\0\0"), &mut out).outcome, Outcome::Drop);
        assert_eq!(batch.take_replay_if_failed().as_deref(), Some(&b"the request"[..]));
    }
}
