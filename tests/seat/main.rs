//! The operator's seat: what is seen, what can be changed from there and by whom, and that what is said of it is so.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod command;
mod console;
mod dashboard;
mod docs;
mod hostile;
mod metrics;
mod openapi;
mod rig;
