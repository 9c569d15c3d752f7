//! The proxy's own life: its start, its end, and what changes while it runs.

#[path = "../support/mod.rs"]
mod support;

mod cold_start;
