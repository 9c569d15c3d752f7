//! Sockets: one connection with its buffers, in clear or encrypted, and nothing of what the bytes mean.

pub mod certificate;
mod channel;
mod socket;
pub mod tls;
pub mod trust;

pub use channel::{Channel, tune, watch_closely};
pub use socket::Socket;
