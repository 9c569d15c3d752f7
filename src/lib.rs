//! pgduet: a Postgres-wire proxy in front of two databases, for moving a live application from one to the other.
//!
//! The modules stand in build order, which is reading order: each imports only what stands above it (`tests/layering.rs` holds
//! this). The spine is `server` (accept) → `auth` (start-up) → `session` (one client) → `routing` (the plan) → `link` (the carrier).

// ground
pub mod config;
pub mod error;
pub mod side;
pub mod telemetry;
// pure
pub mod catalog;
pub mod routing;
pub mod rows;
pub mod sql;
pub mod wire;
// sockets
pub mod auth;
pub mod net;
// databases
pub mod backend;
pub mod store;
// engines
pub mod link;
pub mod shadow;
// data plane
pub mod server;
pub mod session;
// control plane
pub mod admin;
pub mod runbook;
// assembly
pub mod cli;
pub mod demo;
