//! Where a statement goes, decided without IO: phase, percentage and bucket.

mod bucket;
mod plan;
mod policy;
mod resolve;
mod server_local;

pub use bucket::{BUCKETS, bucket};
pub use plan::{Choice, Situation, Transaction, Why, choose};
pub use policy::Policy;
pub use resolve::{Action, Cut, Names, Reading, Traits, Verdicts, resolve};

pub use crate::phase::{Ack, Percent, Phase};
