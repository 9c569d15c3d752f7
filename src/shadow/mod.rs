//! Shadow reads: the same read sent to the other backend, after the client has its answer, to be compared.
//!
//! Two answers may differ although both backends are right:
//!   1. the client's read runs on `old` and sees a balance of 10;
//!   2. another client's write makes it 11, and the link carries it;
//!   3. the shadow read runs on `new` and sees 11.
//!
//! So a difference is only a suspicion. It is asked again on both sides at an aligned pair of snapshots, which must show the same data:
//! equal there, it was a race; different there, it is a mismatch, and becomes a finding.
//!
//! How answers are compared once they are suspect, [`judgement`] and `rows::Detail` say.
//!
//! Nothing here can delay or fail a client: samples come through a queue that drops what it has no room for, comparisons run on
//! connections of their own, a bounded number at once, each for a bounded time.

mod asker;
mod budget;
mod engine;
mod findings;
mod judgement;
mod pair;
mod sample;
mod spread;
mod statements;

pub use engine::Engine;
pub use findings::{Findings, Outcome, Sort, Totals};
pub use pair::{Align, Pair};
pub use sample::{Sample, Samples};
pub use spread::Spread;
pub use statements::{Counts, Delta, Entry, Line, Local, StatementReport, Tallied, Unsaved};
