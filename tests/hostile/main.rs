//! Clients that mean ill, or are broken: whatever they do, the others are served, and what they take has a bound.

#[path = "../support/mod.rs"]
mod support;

#[path = "../life/raw.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod raw;

mod crowd;
mod floods;
mod giants;
mod ledger;
mod messages;
mod mutation;
mod seed;
mod witness;
