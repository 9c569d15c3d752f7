//! Connections to the two databases.

mod authenticate;
pub mod control;
mod driver;
pub mod endpoint;
pub mod introspect;
pub mod login;
pub mod passfile;
pub mod target;
pub mod types;
