//! Row sets, compared without keeping them.

mod digest;

pub use digest::{Answer, Digest};
