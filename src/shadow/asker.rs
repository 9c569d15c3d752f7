//! Asking a backend what a client asked, as that client, on a connection of our own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::login::{Address, Backend, Identity, LoginError, login, next_frame};
use crate::net::Channel;
use crate::rows::Answer;
use crate::side::{BySide, Side};
use crate::wire::{Writer, back};

/// No backend sends a longer message, bytes.
const MAX_MESSAGE: usize = 1 << 30;

/// Idle connections, by side and identity. Bounded: the one unused for longest goes.
pub struct Askers {
    addresses: BySide<Address>,
    connect: Duration,
    bound: usize,
    idle: Mutex<Vec<Asker>>,
}

/// One connection. Give it back only in between transactions.
pub struct Asker {
    side: Side,
    identity: Arc<Identity>,
    channel: Channel,
}

impl Askers {
    pub fn new(addresses: BySide<Address>, connect: Duration, bound: usize) -> Self {
        Askers { addresses, connect, bound, idle: Mutex::default() }
    }

    pub async fn take(&self, side: Side, identity: &Arc<Identity>) -> Result<Asker, LoginError> {
        let fits = |a: &Asker| a.side == side && a.identity.is_same(identity);
        let idle = {
            let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().position(fits).map(|at| all.remove(at))
        };
        if let Some(asker) = idle {
            return Ok(asker);
        }
        let address = self.addresses.get(side);
        let credentials = identity.credentials.get(side);
        let Backend { channel, .. } = login(address, credentials, &identity.parameters, self.connect).await?;
        Ok(Asker { side, identity: Arc::clone(identity), channel })
    }

    pub fn give_back(&self, asker: Asker) {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asker);
        if all.len() > self.bound {
            all.remove(0);
        }
    }
}

impl Asker {
    /// Sends a request and digests its answer as it streams past.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer, LoginError> {
        self.channel.outbound.extend_from_slice(request);
        let mut answer = Answer::default();
        loop {
            let frame = next_frame(&mut self.channel, MAX_MESSAGE).await?;
            answer.take(&frame);
            if frame.first() == Some(&back::READY_FOR_QUERY) {
                self.channel.release_buffers();
                return Ok(answer);
            }
        }
    }

    /// Runs SQL of our own; an error of the server's is an error here.
    pub async fn run(&mut self, sql: &str) -> Result<(), LoginError> {
        let mut request = bytes::BytesMut::new();
        Writer::query(&mut request, sql.as_bytes());
        match self.ask(&request).await? {
            Answer::Rows(_) => Ok(()),
            Answer::Error(_) => Err(LoginError::Protocol),
        }
    }
}
