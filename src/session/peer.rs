//! A session's connection to one backend.

use std::collections::VecDeque;

use super::BACK_PRESSURE;
use super::batch::Batch;
use super::look::Look;
use super::tally::Connected;
use crate::net::Channel;
use crate::wire::Header;

/// PostgreSQL sends no message longer than this, bytes.
pub const MAX_BACKEND_MESSAGE: usize = (1 << 30) + 64;

#[derive(Debug)]
pub struct Peer {
    pub channel: Channel,
    /// What it owes, oldest first.
    pub batches: VecDeque<Batch>,
    /// For cancel requests.
    pub key: (i32, i32),
    /// Writing failed; what it still says is read.
    pub broken: bool,
    /// It has closed, or reading failed.
    pub lost: bool,
    /// It takes COPY data, and ignores Sync and Flush meanwhile.
    pub copies_in: bool,
    /// The client has ended its COPY data before the server has asked for any.
    pub copied_ahead: bool,
    /// What is asked of it once the client has ended its COPY data.
    pub after_copy: Option<Look>,
    /// It has said why it ends the connection.
    pub said_why: bool,
    _counted: Connected,
}

impl Peer {
    pub fn new(channel: Channel, key: (i32, i32), counted: Connected) -> Self {
        Peer {
            channel,
            batches: VecDeque::new(),
            key,
            broken: false,
            lost: false,
            copies_in: false,
            copied_ahead: false,
            after_copy: None,
            said_why: false,
            _counted: counted,
        }
    }

    /// How much of its output may wait: a frame that has to be read whole may be longer than the usual bound.
    pub fn bound(&self) -> usize {
        match Header::peek(&self.channel.inbound, MAX_BACKEND_MESSAGE) {
            Ok(Some(header)) => header.len.max(BACK_PRESSURE),
            _ => BACK_PRESSURE,
        }
    }
}
