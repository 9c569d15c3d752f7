//! Where a statement goes, decided without IO: phase, percentage and bucket.

mod bucket;
mod policy;

pub use bucket::{BUCKETS, bucket};
pub use policy::{Ack, Percent, Phase, Policy};
