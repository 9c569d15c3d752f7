//! What a statement is, in two tiers.
//!
//! The **token tier** ([`scan`]) reads any SQL text with a lexer of PostgreSQL's own lexical rules, finds the statements in it,
//! their kind, the target of a write, the place where RETURNING goes, and a fingerprint. It never fails and never allocates
//! per token.
//!
//! The **tree tier** ([`read_shape`]) parses one statement with `sqlparser` and says which tables and functions a read uses.
//! What it cannot parse is not a read that may move.
//!
//! Nothing that either tier prints is ever executed: rewriting ([`capture`]) inserts text into the client's own.
//!
//! Both read bytes as the server does, in an encoding that leaves ASCII alone. In the client encodings that do not (SJIS, BIG5,
//! GBK, UHC, GB18030, JOHAB) a byte of a character can look like a quote: texts with other than ASCII characters must not come
//! here under them.

pub mod capture;
pub mod lex;
pub mod scan;
pub mod tree;

mod calls;
mod classify;
mod cursor;
mod ddl;
mod dml;
mod hints;
mod keys;
mod kind;
mod name;
mod normal;
mod owner;
mod promise;
mod query;
mod rewritten;
mod surface;

pub use calls::calls_any;
pub use capture::{Capture, Reason, capture, insertions};
pub use ddl::{Ddl, ddl, explained, if_exists};
pub use dml::{Carrier, Dml, Verb};
pub use hints::{Hints, comment_tag};
pub use keys::{Equality, KeyValue};
pub use kind::{Copy, Isolation, Kind, Modes};
pub use lex::Backslash;
pub use name::{Name, constant};
pub use promise::{Promise, SortKey, Sorted};
pub use rewritten::{Insertion, Rewritten, rewrite};
pub use scan::{Fingerprint, Script, Statement, normalised, scan, scan_with};
pub use tree::{ReadShape, Unreadable, read_shape};
