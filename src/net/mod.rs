//! Sockets: one connection with its buffers, and nothing of what the bytes mean.

mod channel;

pub use channel::{Channel, tune};
