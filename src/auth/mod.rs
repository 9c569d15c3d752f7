//! The client's start-up: what it asks for, and proof of who it is.

mod scram;
mod startup;

pub use scram::{Exchange, ScramError, Verifier};
pub use startup::{Cancel, Hello, Opening, OpeningError, read_opening};
