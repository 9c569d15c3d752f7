//! The client's start-up: what it asks for, and proof of who it is; and pgduet's own proof to a backend.

mod keys;
mod scram;
mod startup;

pub use keys::{KeyError, KeyProof, ScramKeys};
pub use scram::{Exchange, MECHANISM, MECHANISM_PLUS, Mechanism, ScramError, Verifier};
pub use startup::{Cancel, Hello, Opening, OpeningError, read_opening};
