//! Breaking things, seeded and repeatable: after each fault everything acknowledged is on both servers, nothing rolled back is
//! anywhere, nothing is there twice.
//!
//! In CI each kind of fault happens once or twice. The campaign is the same test with more rounds:
//! `PGDUET_FAULT_ROUNDS=50 PGDUET_FAULT_SEED=7 cargo test --release --test faults -- --nocapture --test-threads=1`.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod disk;
mod kills;
mod network;
mod rig;
mod seed;
mod unflushed;
mod wire;
mod workload;
