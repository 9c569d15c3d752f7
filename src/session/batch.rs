//! What a backend still owes an answer to, in order: one batch for each ReadyForQuery to come.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;

use super::look::{self, Own};
use super::passed::Passed;
use super::read::Read;
use super::resolved::Resolved;
use super::statements::{Change, Prepared, Void};
use super::tally::Class;
use super::told::{self, Question};
use super::transaction::{Control, Footprint, Touches};
use super::unread::Unread;
use crate::routing::{Cut, Why};
use crate::shadow::Line;
use crate::side::Side;
use crate::sql::Rewritten;
use crate::trace;
use crate::wire::{
    Writer, asked_alone, back, command_tag, data_row_without_last, error_field, row_description_without_last,
    with_position, without_origin,
};

/// One statement's run, up to its CommandComplete.
#[derive(Debug)]
pub struct Run {
    pub cut: Cut,
    /// What it has journalled so far; rows are counted as their capture columns pass.
    pub touches: Touches,
    pub after: After,
    /// In the simple protocol, the last statement's CommandComplete reports its commit.
    pub reports_commit: bool,
}

impl Run {
    pub fn plain() -> Self {
        Run { cut: Cut::Nothing, touches: Touches::None, after: After::Nothing, reports_commit: false }
    }
}

impl Run {
    /// An EXECUTE of a statement that is captured.
    pub fn captured_like(self, executed: &Resolved) -> Run {
        match executed.only() {
            Some(part) => Run { cut: part.cut, touches: part.touches, ..self },
            None => self,
        }
    }

    /// A COMMIT of a failed transaction succeeds as a ROLLBACK.
    fn ended(self, frame: &[u8]) -> Run {
        match self.after {
            After::Control(Control::Commit) if command_tag(frame) == Some(b"ROLLBACK") => {
                Run { after: After::Control(Control::Rollback), ..self }
            }
            _ => self,
        }
    }
}

/// What a statement's success means for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Nothing,
    Control(Control),
    /// The schema has changed.
    Ddl,
    /// Protocol-level prepared statements are gone: DEALLOCATE ALL, DISCARD ALL.
    ForgetStatements,
    /// One of them is.
    ForgetStatement(Vec<u8>),
    /// The session's routing key is set, or removed.
    RoutingKey(Option<String>),
    /// The analysis does not know what it has done.
    Unread(Unread),
}

/// The next answer of a batch.
#[derive(Debug)]
pub enum Step {
    Parse(Change),
    /// pgduet's own, of a statement of the client's, which must not see its answer. If it fails, that side has the statement no more.
    ParseAnew {
        statement: Rc<Prepared>,
        side: Side,
    },
    Bind,
    /// `undo`: of one of the client's statements.
    Close {
        injected: bool,
        undo: Option<Change>,
    },
    /// `tells`: the client knows the shape of this read's answer from here on.
    Describe {
        cut: Cut,
        tells: Option<Rc<Prepared>>,
    },
    /// The client knows a shape, or asks for binary values: pgduet asks whether it can read the rows to come.
    Told(Question),
    /// The shape of a simple query's rows, asked for by pgduet.
    Shape {
        cut: Cut,
        /// A simple query tells the shape once the statement has run: behind its notices, and not at all if it fails.
        late: bool,
    },
    Run(Run),
    Own(Own),
}

/// All that one ReadyForQuery will end.
#[derive(Debug)]
pub struct Batch {
    pub class: Class,
    /// What is to come, in order. A batch that cares for nothing has none, and its frames pass as they come.
    pub steps: VecDeque<Step>,
    pub care: Care,
    pub ending: Ending,
    pub failed: bool,
    /// The client would misread the rows to come: pgduet has refused them, although the server has not.
    pub refused: Option<Why>,
    /// Where text was inserted into the client's own (simple protocol), for error positions.
    pub rewritten: Option<Rc<Rewritten>>,
    pub sent: Instant,
    pub read: Option<Read>,
    /// What it leaves in the transaction around it, if it ran on the primary.
    pub footprint: Footprint,
    /// It opens a transaction, and does nothing else that matters.
    pub begins: bool,
    pub voice: Voice,
    /// Its row in the table of statements.
    pub line: Option<Line>,
    /// Messages in the place of a simple query of the client's.
    pub stands_for_query: bool,
    /// The shape of rows of which none has come yet.
    pub shape: BytesMut,
    /// The word of a statement's success, until the look behind it has succeeded as well.
    pub held: BytesMut,
    pub trace: trace::Statement,
    pub passed: Passed,
}

/// The message that asks for the ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// None was sent yet: more messages may join.
    Open,
    Sync,
    /// A simple query or a function call, whose own steps are the last so many. Where messages of the extended protocol stand before it
    /// and one of them fails, the server skips it too, up to the next Sync.
    Query {
        steps: usize,
    },
}

/// What the client hears of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Full,
    /// The client's own messages with a Sync of ours behind them: no ReadyForQuery. Unless they have failed: then so many bytes
    /// that the client sent behind them are skipped, up to its own Sync.
    NoReady {
        rest: usize,
    },
    /// pgduet's own statement in the place of the client's: the ReadyForQuery alone.
    ReadyOnly,
    /// pgduet's own statement: nothing.
    Silent,
    /// The same, and pgduet waits for its answer: see `carrying`.
    Errand,
}

/// Whether a batch's frames are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Only its ReadyForQuery.
    End,
    /// Each frame: something was injected, is cut off, or is counted.
    Frames,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Drop,
    Replace,
}

/// What a frame meant.
pub struct Answered {
    pub outcome: Outcome,
    /// The statement that it ended, with success.
    pub done: Option<Run>,
    /// What has come to nothing.
    pub undone: Undone,
}

/// Changes that have come to nothing, the newest first.
pub type Undone = Vec<(Change, Void)>;

impl Outcome {
    pub fn alone(self) -> Answered {
        Answered { outcome: self, done: None, undone: Vec::new() }
    }
}

impl Voice {
    /// The client knows nothing of it.
    pub fn is_unheard(self) -> bool {
        matches!(self, Voice::Silent | Voice::Errand)
    }
}

impl Batch {
    pub fn new(class: Class, care: Care, ending: Ending) -> Self {
        Batch {
            class,
            steps: VecDeque::new(),
            care,
            ending,
            failed: false,
            refused: None,
            rewritten: None,
            sent: Instant::now(),
            read: None,
            footprint: Footprint::Nothing,
            begins: false,
            line: None,
            stands_for_query: false,
            shape: BytesMut::new(),
            held: BytesMut::new(),
            voice: Voice::Full,
            trace: trace::Statement::default(),
            passed: Passed::default(),
        }
    }

    /// A statement of pgduet's own.
    pub fn own(voice: Voice) -> Self {
        Batch { voice, ..Batch::new(Class::Other, Care::Frames, Ending::Query { steps: 0 }) }
    }

    pub fn is_open(&self) -> bool {
        self.ending == Ending::Open
    }

    /// A simple query follows its messages without a Sync between them: one ReadyForQuery ends both.
    pub fn join(&mut self, query: Batch) {
        if self.failed {
            return; // the server skips it
        }
        self.ending = Ending::Query { steps: query.steps.len() };
        self.steps.extend(query.steps);
        self.class = query.class;
        self.footprint = self.footprint.max(query.footprint);
        self.begins = false;
        self.rewritten = query.rewritten;
        self.held = query.held;
    }

    /// Whether an error that comes now is that of a message in front of the query: its position is none of the query's.
    fn skips_its_query(&self) -> bool {
        matches!(self.ending, Ending::Query { steps } if self.steps.len() > steps)
    }

    fn is_own(&self) -> bool {
        matches!(self.voice, Voice::ReadyOnly | Voice::Silent | Voice::Errand)
    }

    /// Whether a frame of this type may pass without being looked at, even before it has arrived whole.
    pub fn passes(&mut self, tag: u8) -> bool {
        self.failed |= tag == back::ERROR;
        self.passed.hears(tag);
        let asynchronous = matches!(tag, back::NOTICE | back::NOTIFICATION | back::PARAMETER_STATUS);
        let bulk = matches!(tag, back::COPY_DATA | back::DATA_ROW);
        match tag {
            back::READY_FOR_QUERY | back::COPY_IN_RESPONSE => false,
            _ if self.care == Care::End => true,
            _ if self.is_own() || self.refused.is_some() => false,
            _ if asynchronous => self.read.as_ref().is_none_or(|r| r.replay.is_none()),
            _ if bulk => self.read.as_ref().is_none_or(|r| r.replay.is_none() && r.sample.is_none()) && !self.cuts(),
            _ => false,
        }
    }

    fn cuts(&self) -> bool {
        match self.steps.front() {
            Some(Step::Run(run)) => run.cut != Cut::Nothing || !self.shape.is_empty(),
            Some(Step::Own(_)) => true,
            _ => false,
        }
    }

    /// Takes one whole frame, not a ReadyForQuery. What replaces it is written to `out`.
    pub fn take(&mut self, frame: &[u8], out: &mut BytesMut) -> Answered {
        if self.is_own() {
            self.failed |= frame.first() == Some(&back::ERROR);
            let told = matches!(frame.first(), Some(&(back::NOTIFICATION | back::PARAMETER_STATUS)));
            return if told { Outcome::Pass } else { Outcome::Drop }.alone();
        }
        if self.refused.is_some() {
            return self.take_refused(frame, out);
        }
        if let Some(answered) = self.take_told(frame, out) {
            return answered;
        }
        let answered = self.take_step(frame, out);
        match &mut self.read {
            Some(read) => read.take(frame, answered, out),
            None => answered,
        }
    }

    pub fn take_step(&mut self, frame: &[u8], out: &mut BytesMut) -> Answered {
        match frame.first().copied().unwrap_or_default() {
            back::ERROR => self.error(frame, out),
            tag if matches!(self.steps.front(), Some(Step::Own(_))) => self.of_own_message(tag, frame, out),
            back::PARSE_COMPLETE | back::BIND_COMPLETE | back::CLOSE_COMPLETE | back::NO_DATA => self.pop_small(),
            back::ROW_DESCRIPTION => self.row_description(frame, out),
            back::DATA_ROW => self.data_row(frame, out),
            back::COMMAND_COMPLETE | back::EMPTY_QUERY | back::PORTAL_SUSPENDED => {
                let done = match self.steps.pop_front() {
                    Some(Step::Run(run)) => Some(run.ended(frame)),
                    _ => None,
                };
                let outcome = match self.steps.front() {
                    Some(Step::Own(_)) => {
                        self.held.unsplit(self.shape.split());
                        self.held.extend_from_slice(frame);
                        Outcome::Drop
                    }
                    _ => Outcome::Pass,
                };
                Answered { done, ..outcome.alone() }
            }
            _ => Outcome::Pass.alone(),
        }
    }

    /// An answer to a message of pgduet's own. What was held back goes out once nothing of ours is left before the client's next
    /// statement; at the end of a simple query, once the query has committed.
    fn of_own_message(&mut self, tag: u8, frame: &[u8], out: &mut BytesMut) -> Answered {
        let mut done = None;
        match (tag, self.steps.front_mut()) {
            (back::NOTICE | back::NOTIFICATION | back::PARAMETER_STATUS, _) => return Outcome::Pass.alone(),
            (back::DATA_ROW, Some(Step::Own(Own::Look { wrote }))) => *wrote = look::says_true(frame),
            (back::COMMAND_COMPLETE, Some(Step::Own(Own::Look { wrote }))) => {
                let touches = if *wrote { Touches::Rows(0) } else { Touches::None };
                done = Some(Run { touches, ..Run::plain() });
                self.steps.pop_front();
            }
            (_, Some(Step::Own(Own::Small | Own::Query))) => {
                self.steps.pop_front();
            }
            _ => {}
        }
        let ours = matches!(self.steps.front(), Some(Step::Own(_)));
        let last = self.steps.is_empty() && self.voice == Voice::Full && self.ends_with_query();
        if self.held.is_empty() || ours || last {
            return Answered { done, ..Outcome::Drop.alone() };
        }
        out.extend_from_slice(&self.held.split());
        Answered { done, ..Outcome::Replace.alone() }
    }

    fn ends_with_query(&self) -> bool {
        matches!(self.ending, Ending::Query { .. }) || self.stands_for_query
    }

    fn pop_small(&mut self) -> Answered {
        match self.steps.pop_front() {
            Some(Step::ParseAnew { .. } | Step::Close { injected: true, .. } | Step::Shape { .. }) => {
                Outcome::Drop.alone()
            }
            _ => Outcome::Pass.alone(),
        }
    }

    fn row_description(&mut self, frame: &[u8], out: &mut BytesMut) -> Answered {
        let (cut, describing) = match self.steps.front() {
            Some(Step::Describe { cut, tells }) => {
                tells.iter().for_each(|statement| told::shape_of(frame).into_iter().for_each(|s| statement.tell(s)));
                (*cut, true)
            }
            Some(Step::Shape { cut, late }) => {
                let (cut, late) = (*cut, *late);
                self.steps.pop_front();
                return self.shape_of_query(cut, late, frame, out);
            }
            Some(Step::Run(run)) => (run.cut, false),
            _ => (Cut::Nothing, false),
        };
        if describing {
            self.steps.pop_front();
        }
        match cut {
            Cut::Nothing => Outcome::Pass.alone(),
            Cut::Rows if describing => {
                Writer::empty(out, back::NO_DATA);
                Outcome::Replace.alone()
            }
            Cut::Rows => Outcome::Drop.alone(),
            Cut::LastColumn => replaced(row_description_without_last(frame, out)),
        }
    }

    fn shape_of_query(&mut self, cut: Cut, late: bool, frame: &[u8], out: &mut BytesMut) -> Answered {
        let told = match cut {
            Cut::Nothing if late => {
                out.extend_from_slice(frame);
                Outcome::Replace.alone()
            }
            Cut::Nothing => Outcome::Pass.alone(),
            Cut::Rows => Outcome::Drop.alone(),
            Cut::LastColumn => replaced(row_description_without_last(frame, out)),
        };
        if !late {
            return told;
        }
        self.shape = out.split();
        Outcome::Drop.alone()
    }

    fn data_row(&mut self, frame: &[u8], out: &mut BytesMut) -> Answered {
        let Some(Step::Run(run)) = self.steps.front_mut() else { return Outcome::Pass.alone() };
        out.unsplit(self.shape.split());
        match run.cut {
            Cut::Nothing if !out.is_empty() => {
                out.extend_from_slice(frame);
                Outcome::Replace.alone()
            }
            Cut::Nothing => Outcome::Pass.alone(),
            Cut::Rows => {
                run.touches = run.touches.and(Touches::Rows(1));
                Outcome::Drop.alone()
            }
            Cut::LastColumn => {
                run.touches = run.touches.and(Touches::Rows(1));
                replaced(data_row_without_last(frame, out))
            }
        }
    }

    fn error(&mut self, frame: &[u8], out: &mut BytesMut) -> Answered {
        self.failed = true;
        if self.skips_its_query() {
            self.ending = Ending::Open;
            self.rewritten = None;
        }
        self.held.clear();
        self.shape.clear();
        let own = matches!(self.steps.front(), Some(Step::Own(own)) if *own != Own::Query) && !self.is_misspelt(frame);
        let undone = self.unanswered(Void::Failed);
        if own && let Some(plain) = without_origin(frame) {
            out.extend_from_slice(&plain);
            return Answered { outcome: Outcome::Replace, done: None, undone };
        }
        let alone = asked_alone(frame).filter(|_| self.stands_for_query);
        let positioned = || self.rewritten.as_ref().and_then(|r| with_position(frame, |p| r.client_position(p)));
        let moved = alone.or_else(positioned);
        let outcome = match moved {
            Some(moved) => {
                out.extend_from_slice(&moved);
                Outcome::Replace
            }
            None => Outcome::Pass,
        };
        Answered { outcome, done: None, undone }
    }

    /// A text that the server cannot read fails as a whole, in front of its first statement, which may be one of pgduet's.
    fn is_misspelt(&self, error: &[u8]) -> bool {
        let position = error_field(error, b'P').and_then(|p| std::str::from_utf8(p).ok()?.parse().ok());
        self.rewritten.as_ref().zip(position).is_some_and(|(r, position)| r.is_the_clients(position))
    }

    /// Takes the steps that will not be answered any more, and says what they would have changed. `first`: what became of the first of them.
    pub fn unanswered(&mut self, first: Void) -> Undone {
        let void = |at| if at == 0 { first } else { Void::Skipped };
        let changes = self.steps.drain(..).enumerate().filter_map(|(at, step)| match step {
            Step::Parse(change) => Some((change, void(at))),
            Step::Close { undo, .. } => undo.map(|change| (change, void(at))),
            Step::ParseAnew { statement, side } => {
                statement.set_there(side, None);
                None
            }
            _ => None,
        });
        // The first of a name says what stood there before the batch, so it has to come last.
        changes.collect::<Vec<_>>().into_iter().rev().collect()
    }
}

fn replaced(written: Option<()>) -> Answered {
    match written {
        Some(()) => Outcome::Replace.alone(),
        None => Outcome::Pass.alone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(cut: Cut) -> Batch {
        let mut batch = Batch::new(Class::Write, Care::Frames, Ending::Query { steps: 1 });
        batch.steps.push_back(Step::Run(Run { cut, ..Run::plain() }));
        batch
    }

    fn frame(tag: u8, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        Writer::begin(&mut out, tag).bytes(body).end();
        out
    }

    #[test]
    fn a_client_that_asked_for_no_rows_sees_none_and_each_counts_as_a_touch() {
        let mut batch = captured(Cut::Rows);
        let mut out = BytesMut::new();
        for tag in [back::ROW_DESCRIPTION, back::DATA_ROW, back::DATA_ROW] {
            assert_eq!(batch.take(&frame(tag, b"\0\x01\0\0\0\0"), &mut out).outcome, Outcome::Drop);
        }
        let answered = batch.take(&frame(back::COMMAND_COMPLETE, b"UPDATE 2\0"), &mut out);
        assert_eq!((answered.outcome, answered.done.map(|run| run.touches)), (Outcome::Pass, Some(Touches::Rows(2))));
    }

    #[test]
    fn a_describe_of_a_captured_statement_says_no_data() {
        let mut batch = Batch::new(Class::Write, Care::Frames, Ending::Open);
        batch.steps.push_back(Step::Describe { cut: Cut::Rows, tells: None });
        let mut out = BytesMut::new();
        assert_eq!(batch.take(&frame(back::ROW_DESCRIPTION, b"\0\x01"), &mut out).outcome, Outcome::Replace);
        assert_eq!(out, frame(back::NO_DATA, b""));
    }
}
