//! Where a statement goes, decided without IO: phase, percentage and bucket.

mod bucket;
pub mod key;
mod plan;
mod policy;
mod resolve;
mod segments;
mod server_local;

pub use bucket::{BUCKETS, bucket};
pub use plan::{Choice, Situation, Transaction, Why, choose};
pub use policy::Policy;
pub use resolve::{Action, Column, Cut, Names, Opaque, Reading, Traits, Verdicts, column_key, resolve};
pub use segments::{Share, Who, segment};

pub use crate::phase::{Ack, Percent, Phase};
