//! The spine, end to end: what went through the proxy is on both servers, row for row.

#[path = "../support/mod.rs"]
mod support;

mod append;
mod crash;
mod migration;
mod orm;
mod phase;
mod tpcb;
mod two_phase;
mod unread;
mod values;
