//! Shadow reads: the same read sent to the other backend, after the client has its answer, to be compared.

mod sample;

pub use sample::{Sample, Samples};
