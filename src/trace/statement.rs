//! A client's statement, as long as anybody holds it: its span ends when the last one lets go, which the commit's wait for the secondary may be.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, Parent};
use super::outlet::{self, Facts, Failure, Outlet, Span, Work};
use super::{Asked, Described, Tracer};
use crate::phase::Percent;
use crate::routing::BUCKETS;
use crate::side::Side;
use crate::wire::error_field;

/// A longer text is not kept, bytes: the queue's memory has a bound.
const MAX_TEXT: usize = 8 << 10;

/// The trace of a statement, from the moment on that it is known whether there is one.
#[derive(Clone, Debug, Default)]
pub enum Statement {
    #[default]
    Undecided,
    Unsampled,
    Recorded(Rc<Recording>),
}

#[derive(Debug)]
pub struct Recording {
    outlet: Arc<Outlet>,
    context: Context,
    parent: Option<[u8; 8]>,
    began: Instant,
    told: RefCell<Told>,
}

#[derive(Debug, Default)]
struct Told {
    facts: Facts,
    failure: Option<Failure>,
    /// When the backend's last word was there, which may be long before it is passed on.
    done: Option<u64>,
}

impl Statement {
    /// A text has come: what its comment says of a trace decides.
    pub fn hear(&mut self, tracer: &Tracer, text: &[u8], began: Instant) {
        let Some(outlet) = tracer.outlet().filter(|_| matches!(self, Statement::Undecided)) else { return };
        let parent = crate::sql::comment_tag(text, b"traceparent").and_then(|tag| Parent::read(&tag));
        match parent {
            None => {}
            Some(Parent { sampled: false, .. }) => *self = Statement::Unsampled,
            Some(Parent { context, .. }) => *self = record(outlet, context.another(), Some(context.span), began),
        }
    }

    /// It is sent: where nothing has decided yet, chance does.
    pub fn begin(&mut self, tracer: &Tracer, share: Percent, began: Instant) {
        let Some(outlet) = tracer.outlet().filter(|_| matches!(self, Statement::Undecided)) else { return };
        *self = match share.opens(rand::random::<u16>() % BUCKETS) {
            true => record(outlet, Context::root(), None, began),
            false => Statement::Unsampled,
        };
    }

    fn recording(&self) -> Option<&Rc<Recording>> {
        match self {
            Statement::Recorded(recording) => Some(recording),
            Statement::Undecided | Statement::Unsampled => None,
        }
    }

    /// Of several statements up to one ReadyForQuery the first is shown, and all are counted.
    pub fn describe<'a>(&self, described: impl FnOnce() -> Described<'a>) {
        let Some(recording) = self.recording() else { return };
        let mut told = recording.told.borrow_mut();
        let (facts, described) = (&mut told.facts, described());
        facts.statements += 1;
        if facts.statements == 1 {
            facts.text = described.text.filter(|text| text.len() <= MAX_TEXT).map(Arc::from);
            (facts.phase, facts.class) = (Some(described.phase), Some(described.class));
            (facts.capture, facts.bucket) = (described.capture, described.bucket);
        }
    }

    /// The backend has said ERROR; `frame`: if all of it is there.
    pub fn failed(&self, frame: Option<&[u8]>) {
        let Some(recording) = self.recording() else { return };
        let code = frame.and_then(|frame| error_field(frame, b'C')).and_then(|code| code.try_into().ok());
        recording.told.borrow_mut().failure = Some(code.map_or(Failure::Unanswered, Failure::Sqlstate));
    }

    /// The backend has done all that it was asked.
    pub fn done(&self) {
        if let Some(recording) = self.recording() {
            recording.told.borrow_mut().done = Some(outlet::unix_nanos());
        }
    }

    /// Its answer is complete.
    pub fn answered(&self, asked: Asked) {
        let Some(recording) = self.recording() else { return };
        recording.told.borrow_mut().facts.answer = Some((asked.side, asked.why));
        recording.backend(asked);
    }

    /// That backend has not answered, and the other one is asked.
    pub fn fell_back(&self, asked: Asked) {
        let Some(recording) = self.recording() else { return };
        recording.told.borrow_mut().failure.get_or_insert(Failure::Unanswered);
        recording.backend(asked);
        *recording.told.borrow_mut() = Told::default();
    }

    /// For whoever goes on with what the statement has begun.
    pub fn mark(&self, secondary: Side) -> Mark {
        Mark(self.recording().map(|recording| {
            Box::new(Marked { outlet: Arc::clone(&recording.outlet), context: recording.context, secondary })
        }))
    }

    /// Its commit waits for a cycle of the link, until this is dropped.
    pub fn wait(&self, cycle: u64) -> Wait {
        Wait(self.recording().map(|recording| (Rc::clone(recording), Instant::now(), cycle)))
    }
}

fn record(outlet: &Arc<Outlet>, context: Context, parent: Option<[u8; 8]>, began: Instant) -> Statement {
    let (outlet, told) = (Arc::clone(outlet), RefCell::default());
    Statement::Recorded(Rc::new(Recording { outlet, context, parent, began, told }))
}

impl Recording {
    fn child(&self, since: Instant, work: Work) -> Span {
        Span::since(since, self.context.another(), Some(self.context.span), work)
    }

    fn backend(&self, Asked { side, primary, why, since }: Asked) {
        let told = self.told.borrow();
        let work = Work::Backend { side, primary, why, text: told.facts.text.clone() };
        let span = self.child(since, work);
        let end = told.done.unwrap_or(span.end);
        self.outlet.offer(Span { failure: told.failure, end, ..span });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Told { facts, failure, .. } = std::mem::take(self.told.get_mut());
        let failure = failure.or(facts.answer.is_none().then_some(Failure::Unanswered));
        let span = Span::since(self.began, self.context, self.parent, Work::Statement(Box::new(facts)));
        self.outlet.offer(Span { failure, ..span });
    }
}

/// A commit that waits for the secondary.
#[derive(Debug)]
pub struct Wait(Option<(Rc<Recording>, Instant, u64)>);

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some((recording, since, cycle)) = self.0.take() {
            recording.outlet.offer(recording.child(since, Work::Ack { cycle }));
        }
    }
}

/// Stands for a statement where it is told of from another thread, and later.
#[derive(Clone, Debug, Default)]
pub struct Mark(pub(super) Option<Box<Marked>>);

#[derive(Clone, Debug)]
pub(super) struct Marked {
    pub outlet: Arc<Outlet>,
    pub context: Context,
    pub secondary: Side,
}

impl Mark {
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// It was asked of the other side, too.
    pub fn compared(&self, since: Instant, outcome: &'static str) {
        if let Some(Marked { outlet, context, secondary }) = self.0.as_deref() {
            let work = Work::Shadow { side: *secondary, outcome };
            outlet.offer(Span::since(since, context.another(), Some(context.span), work));
        }
    }
}
