//! Traces: what becomes of a client's statement, told to an OpenTelemetry collector.
//!
//! ```text
//! the application's span          the statement's comment traceparent='...' names it
//! └─ SELECT account               the statement, from its arrival to the end of its answer
//!    ├─ new: SELECT account       a backend's answer
//!    ├─ old: SELECT account       another one's: the read has fallen back
//!    ├─ ack                       its commit waited for the secondary
//!    ├─ link                      a cycle brought its commit ──▶ cycle (a trace of its own, with a link to every commit that it brought)
//!    └─ shadow                    it was asked of the other side, too, and compared
//! ```
//!
//! The trace can neither slow nor fail a client. A session writes spans of the statements that are sampled into a queue that drops, and counts,
//! what it has no room for; all else (the normal form of texts, the encoding, the collector) happens on a thread of its own. A span holds no value: of
//! the text its normal form, of an error its SQLSTATE.
//!
//! All of it exists in a build with the feature `otel` alone. In another one each type here is empty and each call does nothing.

#[cfg(feature = "otel")]
mod carried;
#[cfg(feature = "otel")]
mod context;
#[cfg(feature = "otel")]
mod exporter;
#[cfg(feature = "otel")]
mod otlp;
#[cfg(feature = "otel")]
mod outlet;
#[cfg(feature = "otel")]
mod post;
#[cfg(not(feature = "otel"))]
mod silent;
#[cfg(feature = "otel")]
mod statement;
#[cfg(feature = "otel")]
mod tracer;
#[cfg(feature = "otel")]
mod words;

use std::time::Instant;

#[cfg(feature = "otel")]
pub use carried::{Carried, Carrying};
#[cfg(not(feature = "otel"))]
pub use silent::{Carried, Carrying, Mark, Statement, Tracer, Wait};
#[cfg(feature = "otel")]
pub use statement::{Mark, Statement, Wait};
#[cfg(feature = "otel")]
pub use tracer::Tracer;

use crate::phase::Phase;
use crate::routing::Why;
use crate::side::Side;

/// Whether this build has traces.
pub const BUILT: bool = cfg!(feature = "otel");

/// Where a backend is, as its spans name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A host, or the directory of a Unix socket.
    pub address: String,
    pub port: u16,
    pub database: String,
}

/// What has become of the spans that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The collector has taken them.
    pub sent: u64,
    /// There was no room in the queue.
    pub dropped: u64,
    /// The collector could not be reached in time, or has refused them.
    pub failed: u64,
}

/// What a session knows of a statement that it sends.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Left out where its constants cannot be told from its words.
    pub text: Option<&'a [u8]>,
    pub phase: Phase,
    /// Its kind, as `pgduet_statements_total` has it.
    pub class: &'static str,
    /// How its write is captured.
    pub capture: Option<&'static str>,
    pub bucket: Option<u16>,
}

/// A backend that was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub side: Side,
    pub primary: Side,
    pub why: Option<Why>,
    pub since: Instant,
}

/// A cycle of the link that was applied.
#[derive(Clone, Copy, Debug)]
pub struct Cycle {
    pub number: u64,
    pub begun: Instant,
    pub applied: u64,
    pub superseded: u64,
    pub parked: u64,
}
