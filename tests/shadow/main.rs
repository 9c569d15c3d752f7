//! What a shadow comparison reports is a difference, and what differs it reports.

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod rules;
mod table;
