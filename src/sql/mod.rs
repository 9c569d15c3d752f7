//! What a statement is, in two tiers.
//!
//! The **token tier** ([`scan`]) reads any SQL text with a lexer of PostgreSQL's own lexical rules, finds the statements in it, their kind,
//! the target of a write, the place where RETURNING goes, and a fingerprint. It never fails and never allocates per token.
//!
//! The **tree tier** ([`tree::read_shape`]) parses one statement with `sqlparser` and says which tables and functions a read uses. What
//! it cannot parse is not a read that may move.
//!
//! Nothing that either tier prints is ever executed: rewriting inserts text into the client's own.

pub mod capture;
mod dml;
mod fingerprint;
mod hints;
pub mod lex;
mod scan;
pub mod tree;
mod view;

pub use dml::{Dml, Verb};
pub use fingerprint::{Fingerprint, normalised};
pub use hints::Hints;
pub use scan::{Kind, Script, Statement, scan};
pub use view::Name;
