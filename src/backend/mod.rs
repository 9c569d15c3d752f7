//! Connections to the two databases.

pub mod control;
pub mod introspect;
pub mod login;
pub mod passfile;
pub mod types;
