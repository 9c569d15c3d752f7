//! pgduet: a Postgres-wire proxy in front of two databases, for moving a live application from one to the other.
//!
//! The modules stand in build order, which is reading order: each imports only what stands above it (`tests/layering.rs` holds
//! this). The spine is `server` (accept) → `auth` (start-up) → `session` (one client) → `routing` (the plan) → `link` (the carrier).
#![warn(unsafe_code)]

// ground
pub mod side;
pub mod phase;
pub mod shutdown;
pub mod failpoint;
pub mod config;
// pure
pub mod wire;
pub mod catalog;
pub mod rows;
pub mod sql;
pub mod routing;
// sockets
pub mod net;
pub mod auth;
pub mod trace;
// databases
pub mod backend;
pub mod store;
// engines
pub mod link;
pub mod shadow;
// data plane
pub mod session;
pub mod server;
// control plane
pub mod runbook;
pub mod doctor;
pub mod admin;
// assembly
pub mod app;
pub mod demo;
pub mod cli;
