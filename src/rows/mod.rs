//! Row sets, compared without keeping them.

mod detail;
mod digest;
mod value;

pub use detail::{Detail, Difference, Order, Rules, SortColumn};
pub use digest::{Answer, Digest, Ending};
