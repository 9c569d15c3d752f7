//! Traces, as a collector sees them: real requests, decoded here by the numbers of OTLP's definition, not by the code that writes them.

#![cfg(feature = "otel")]

#[path = "../support/mod.rs"]
mod support;

mod collector;
mod otlp;
mod statements;
mod trouble;
