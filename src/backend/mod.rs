//! Connections to the two databases.

pub mod login;
