//! What a client was told of an answer's columns, and whether it would read a side's rows by it.
//!
//! The race it excludes:
//!   1. a client prepares `SELECT a FROM t`, and the primary tells it that `a` is an integer;
//!   2. `a` becomes a bigint, on the primary, and with the next cycle on the secondary;
//!   3. the client executes the statement, and the read goes to the secondary, which has never prepared it. So nobody there says `cached plan must
//!      not change result type`: eight bytes come where the client takes four.
//!
//! So whenever pgduet prepares a statement for a client that was told its shape, it asks for the shape in the same breath, in front of the client's Bind,
//! and compares ([`Question`]). A read on the secondary whose shape is another one is the primary's again, which says what it says. On the
//! primary, where it cannot go elsewhere, the client hears PostgreSQL's own error. Of a statement that was prepared and described unseen (in
//! `old_only`), the primary is asked for its shape before the first read of it moves.
//!
//! An error in front of a Sync takes all of the implicit transaction with it, a write in front of the read as well, and nothing behind it is run. So
//! where the read cannot go elsewhere, what follows waits for the answer; if that is another one, the server gets an error of its own instead
//! ([`Session::fail_batch`]).
//!
//! The same question finds binary values that name types by the secondary's numbers: see [`Shape::is_misread`].

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

use super::Session;
use super::baggage::Errand;
use super::batch::{Answered, Batch, Outcome, Step, Voice};
use super::look;
use super::single::Single;
use super::statements::Prepared;
use super::transaction::Status;
use crate::catalog::Catalog;
use crate::catalog::shape::Shape;
use crate::routing::{Policy, Why};
use crate::side::Side;
use crate::wire::{HEADER, Notice, Writer, back, front};

/// There is no statement of this name.
const NOBODY: &[u8] = b"pgduet_it_was_described_otherwise";

/// A statement's shape is asked for.
#[derive(Debug)]
pub struct Question {
    statement: Rc<Prepared>,
    side: Side,
    /// Of the policy under which it is asked.
    generation: u64,
    guard: Option<Guard>,
}

/// What the client asks to have in binary form, of a side that may number types otherwise than the primary does.
#[derive(Debug)]
struct Guard {
    /// The primary's.
    catalog: Arc<Catalog>,
    /// Result formats, as a Bind has them.
    formats: Vec<u8>,
}

impl Question {
    /// Takes a RowDescription, in the primary's numbers, or a NoData. `Err`: the client would misread the rows.
    pub fn answered(&self, frame: &[u8]) -> Result<(), Why> {
        let shape = shape_of(frame);
        let otherwise = self.statement.told().is_some_and(|told| shape.as_ref() != Some(told));
        let misread = |guard: &Guard| match &shape {
            Some(shape) => shape.is_misread(&guard.formats, guard.catalog.twins()),
            None => true,
        };
        let why = match self.guard.as_ref().is_some_and(misread) {
            _ if otherwise => Why::Described,
            true => Why::BinaryTypes,
            false => return Ok(()),
        };
        self.statement.stay(self.generation, why);
        // It may come to be as the client was told: then it is to be prepared, and asked for, again.
        self.statement.set_there(self.side, None);
        Err(why)
    }
}

pub fn shape_of(frame: &[u8]) -> Option<Shape> {
    match frame.first() {
        Some(&back::NO_DATA) => Some(Shape::none()),
        _ => Shape::read(frame),
    }
}

impl Batch {
    /// What may follow hangs on an answer that is still to come. Behind the question is at most the message that it was asked for.
    pub fn awaits_shape(&self) -> bool {
        !self.may_fall_back() && self.steps.iter().rev().take(2).any(|step| matches!(step, Step::Told(_)))
    }

    /// An answer to [`Step::Told`], which is none of the client's.
    pub fn take_told(&mut self, frame: &[u8], out: &mut BytesMut) -> Option<Answered> {
        let Some(Step::Told(question)) = self.steps.front() else { return None };
        let refused = match frame.first() {
            Some(&back::PARAMETER_DESCRIPTION) => return Some(Outcome::Drop.alone()),
            Some(&(back::ROW_DESCRIPTION | back::NO_DATA)) => question.answered(frame).err(),
            _ => return None,
        };
        self.steps.pop_front();
        let Some(why) = refused else { return Some(Outcome::Drop.alone()) };
        (self.failed, self.refused) = (true, Some(why));
        if self.may_fall_back() {
            return Some(Outcome::Drop.alone());
        }
        refusal(why).put(out);
        Some(Outcome::Replace.alone())
    }

    /// What still comes of a batch that pgduet has refused: booked, and not heard.
    pub fn take_refused(&mut self, frame: &[u8], out: &mut BytesMut) -> Answered {
        if matches!(frame.first(), Some(&(back::NOTIFICATION | back::PARAMETER_STATUS))) {
            return Outcome::Pass.alone();
        }
        let answered = match self.take_told(frame, out) {
            Some(answered) => answered,
            None => self.take_step(frame, out),
        };
        out.clear();
        Answered { outcome: Outcome::Drop, ..answered }
    }
}

/// What the client hears where no other side can answer.
pub fn refusal(why: Why) -> Notice {
    match why {
        Why::Described => {
            Notice::error("0A000", "cached plan must not change result type").routine("RevalidateCachedQuery")
        }
        _ => Notice::error(
            "0A000",
            "values in binary form name types that this transaction's database numbers otherwise",
        )
        .hint("Ask for the rows in text form, or pin the statement to old."),
    }
}

/// The primary is asked what it has told of a statement, while the messages that run it wait.
#[derive(Debug)]
pub struct Asked {
    statement: Rc<Prepared>,
    generation: u64,
    /// Of the messages that wait: bytes.
    waiting: usize,
    shape: Option<Shape>,
    /// The primary's error, which is the answer to them.
    error: Option<BytesMut>,
}

impl Session {
    /// Asks for the shape of a statement on the active side, in front of what the client does with it.
    pub(super) fn ask_shape(&mut self, policy: &Policy, statement: &Rc<Prepared>) {
        self.ask_guarded(policy, statement, None);
    }

    /// The same where a Bind asks the secondary for values in binary form that may name types by its own numbers.
    pub(super) fn guard_formats(&mut self, policy: &Policy, statement: &Rc<Prepared>, formats: &[u8]) {
        let catalog = policy.catalog.get(policy.primary());
        let may_be_misread = || match statement.told() {
            Some(told) => told.is_misread(formats, catalog.twins()),
            None => !catalog.twins().agree(),
        };
        if self.active != policy.primary() && formats.iter().any(|&byte| byte != 0) && may_be_misread() {
            let guard = Guard { catalog: Arc::clone(catalog), formats: formats.to_vec() };
            self.ask_guarded(policy, statement, Some(guard));
        }
    }

    fn ask_guarded(&mut self, policy: &Policy, statement: &Rc<Prepared>, guard: Option<Guard>) {
        let side = self.active;
        let (question, generation) = (Rc::clone(statement), policy.generation);
        self.step(Step::Told(Question { statement: question, side, generation, guard }));
        let waits = self.awaits_shape();
        let Some(peer) = self.peers.get_mut(side) else { return };
        Writer::describe_statement(&mut peer.channel.outbound, &statement.name);
        if waits {
            Writer::empty(&mut peer.channel.outbound, front::FLUSH);
        }
    }

    /// See [`Batch::awaits_shape`].
    pub(super) fn awaits_shape(&self) -> bool {
        let last = self.peers.get(self.active).as_ref().and_then(|p| p.batches.back());
        last.is_some_and(Batch::awaits_shape)
    }

    /// pgduet has refused an answer, and the client knows: the server is to skip what follows, up to the Sync, and to roll back what an error would.
    pub(super) fn fail_batch(&mut self, side: Side) {
        if let Some(peer) = self.peers.get_mut(side) {
            look::put_bind(&mut peer.channel.outbound, NOBODY, NOBODY);
        }
    }

    /// Before a read moves whose shape only the client knows: the primary is asked. True: the messages, so many bytes, wait.
    pub(super) fn asks_shape_first(&mut self, policy: &Policy, single: &Single, waiting: usize) -> bool {
        let (primary, statement) = (policy.primary(), &single.statement);
        let is_known = statement.told().is_some() || statement.there(primary).is_none();
        if is_known || statement.there(primary.other()).is_some() || statement.stays(policy.generation).is_some() {
            return false;
        }
        self.turn_to(primary);
        let Some(peer) = self.peers.get_mut(primary) else { return false };
        self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
        let out = &mut peer.channel.outbound;
        Writer::describe_statement(out, &statement.name);
        Writer::empty(out, front::SYNC);
        peer.batches.push_back(Batch::own(Voice::Errand));
        self.baggage.errand = Some((primary, Errand::Describing));
        let (statement, generation) = (Rc::clone(statement), policy.generation);
        self.asked = Some(Asked { statement, generation, waiting, shape: None, error: None });
        true
    }

    /// A frame of the primary's answer.
    pub(super) fn hear_shape(&mut self, frame: &[u8]) {
        let Some(asked) = &mut self.asked else { return };
        match frame.first() {
            Some(&(back::ROW_DESCRIPTION | back::NO_DATA)) => asked.shape = shape_of(frame),
            Some(&back::ERROR) => asked.error = Some(frame.into()),
            _ => {}
        }
    }

    /// The answer is complete. Without a shape the messages are answered by the error that there was: the Bind among them would have met it.
    pub(super) fn was_told(&mut self, ready: &[u8]) {
        self.baggage.errand = None;
        let Some(asked) = self.asked.take() else { return };
        match (asked.shape, asked.error) {
            (_, Some(error)) => {
                self.client.inbound.advance(asked.waiting.min(self.client.inbound.len()));
                self.client.outbound.extend_from_slice(&error);
                self.client.outbound.extend_from_slice(ready);
                let status = ready.get(HEADER).copied().and_then(Status::from_byte).unwrap_or(Status::Failed);
                self.transaction.ready(status, true);
            }
            (Some(shape), None) => asked.statement.tell(shape),
            (None, None) => asked.statement.stay(asked.generation, Why::Described),
        }
    }
}
