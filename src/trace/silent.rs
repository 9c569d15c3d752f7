//! A build without traces: nothing is kept, and nothing is done.

use std::time::Instant;

use super::{Asked, Counts, Cycle, Described, Place};
use crate::config::Traces;
use crate::phase::Percent;
use crate::side::{BySide, Side};

#[derive(Debug)]
pub struct Tracer {}

#[derive(Clone, Debug, Default)]
pub struct Statement {}

#[derive(Debug)]
pub struct Wait {}

#[derive(Clone, Debug, Default)]
pub struct Mark {}

#[derive(Debug, Default)]
pub struct Carrying {}

#[derive(Debug)]
pub struct Carried {}

impl Tracer {
    pub fn new(_: &Traces, _: BySide<Place>) -> Self {
        Tracer {}
    }

    pub fn start(&self) {}

    pub async fn flush(&self) {}

    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}

impl Statement {
    pub fn hear(&mut self, _: &Tracer, _: &[u8], _: Instant) {}

    pub fn begin(&mut self, _: &Tracer, _: Percent, _: Instant) {}

    pub fn describe<'a>(&self, _: impl FnOnce() -> Described<'a>) {}

    pub fn failed(&self, _: Option<&[u8]>) {}

    pub fn done(&self) {}

    pub fn answered(&self, _: Asked) {}

    pub fn fell_back(&self, _: Asked) {}

    pub fn mark(&self, _: Side) -> Mark {
        Mark {}
    }

    pub fn wait(&self, _: u64) -> Wait {
        Wait {}
    }
}

impl Mark {
    pub fn is_none(&self) -> bool {
        true
    }

    pub fn compared(&self, _: Instant, _: &'static str) {}
}

impl Carrying {
    pub fn add(&mut self, _: u64, _: Mark) {}

    pub fn take(&mut self, _: u64) -> Carried {
        Carried {}
    }

    pub fn clear(&mut self) {}
}

impl Carried {
    pub fn end(self, _: Cycle) {}
}
