//! `pgduet demo`: two throw-away servers, the proxy between them, a load, and the proof at the end that both hold the same.
//!
//! The tests stand on the same parts.

pub mod admin;
pub mod binaries;
pub mod cluster;
pub mod compare;
mod failure;
mod guard;
pub mod pgbench;
pub mod process;
pub mod proxy;

pub use failure::Failure;
pub use guard::Guard;
