//! The proxy's own life: its start, its end, what changes while it runs, and whom it lets go.

#[path = "../support/mod.rs"]
mod support;

mod cold_start;
mod drain;
mod last_words;
mod leaving;
mod limits;
mod raw;
mod reload;
mod timeouts;
