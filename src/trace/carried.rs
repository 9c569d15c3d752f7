//! Commits whose statements are traced, from their announcement to the cycle that brings them.

use super::Cycle;
use super::context::Context;
use super::outlet::{Span, Work};
use super::statement::{Mark, Marked};

/// A cycle's span names so many of its commits, at most.
const MAX_LINKS: usize = 128;

/// Those that no cycle has brought yet, each with the cycle that will at the latest.
#[derive(Debug, Default)]
pub struct Carrying(Vec<(u64, Marked)>);

/// Those that one cycle has brought.
#[derive(Debug)]
pub struct Carried(Vec<Marked>);

impl Carrying {
    /// No more wait than may wait in the queue.
    pub fn add(&mut self, cycle: u64, mark: Mark) {
        let Some(marked) = mark.0 else { return };
        match self.0.len() < marked.outlet.bound {
            true => self.0.push((cycle, *marked)),
            false => marked.outlet.dropped(1),
        }
    }

    pub fn take(&mut self, cycle: u64) -> Carried {
        Carried(self.0.extract_if(.., |(waits_for, _)| *waits_for <= cycle).map(|(_, marked)| marked).collect())
    }

    /// They will never be brought.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Carried {
    /// The secondary has them, as of now. One cycle has many parents, or none: so it is a trace of its own, and each statement's trace has a
    /// span of the same duration that leads there.
    pub fn end(self, cycle: Cycle) {
        let Some(Marked { outlet, secondary, .. }) = self.0.first() else { return };
        let (own, number, begun) = (Context::root(), cycle.number, cycle.begun);
        let Cycle { applied, superseded, parked, .. } = cycle;
        let (secondary, commits) = (*secondary, self.0.len());
        let work = Work::Cycle { cycle: number, secondary, commits, applied, superseded, parked };
        let links = self.0.iter().take(MAX_LINKS).map(|marked| marked.context).collect();
        outlet.offer(Span { links, ..Span::since(begun, own, None, work) });
        for Marked { outlet, context, .. } in &self.0 {
            let work = Work::Link { cycle: number, secondary };
            let span = Span::since(begun, context.another(), Some(context.span), work);
            outlet.offer(Span { links: vec![own], ..span });
        }
    }
}
