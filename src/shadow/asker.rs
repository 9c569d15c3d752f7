//! Asking a backend what a client asked, as that client, on a connection of our own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::login::{Address, Backend, Identity, LoginError, cancel, login, next_frame};
use crate::net::Channel;
use crate::rows::{Answer, Detail, Ending, Rules};
use crate::side::{BySide, Side};
use crate::wire::{Writer, back};

/// No backend sends a longer message, bytes.
const MAX_MESSAGE: usize = 1 << 30;

/// A connection that nobody has asked by for so long is closed: its client is gone, and whoever looks at the server wonders.
const UNUSED: Duration = Duration::from_secs(60);

/// Idle connections, by side and identity.
pub struct Askers {
    addresses: BySide<Address>,
    connect: Duration,
    idle: Mutex<Idle<Asker>>,
}

/// What is idle, with the time since when; the first for longest. Bounded: the first goes.
struct Idle<T> {
    bound: usize,
    all: Vec<(Instant, T)>,
}

impl<T> Idle<T> {
    fn push(&mut self, item: T, now: Instant) {
        self.all.push((now, item));
        if self.all.len() > self.bound {
            self.all.remove(0);
        }
    }

    fn take(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.all.iter().position(|(_, item)| fits(item))?;
        Some(self.all.remove(at).1)
    }

    /// Takes out what has been idle since then or longer.
    fn take_older(&mut self, since: Instant) -> Vec<(Instant, T)> {
        let older = self.all.iter().take_while(|(at, _)| *at <= since).count();
        self.all.drain(..older).collect()
    }
}

/// One connection. Give it back only in between transactions.
pub struct Asker {
    side: Side,
    identity: Arc<Identity>,
    channel: Channel,
    cancel: (Address, (i32, i32), Duration),
    /// A request is under way: dropped now, the server is asked to give it up.
    busy: bool,
}

impl Drop for Asker {
    fn drop(&mut self) {
        if self.busy && tokio::runtime::Handle::try_current().is_ok() {
            let (address, key, limit) = self.cancel.clone();
            tokio::spawn(async move {
                let _ = cancel(&address, key, limit).await;
            });
        }
    }
}

impl Askers {
    pub fn new(addresses: BySide<Address>, connect: Duration, bound: usize) -> Self {
        Askers { addresses, connect, idle: Mutex::new(Idle { bound, all: vec![] }) }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<Asker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has not been used for a while.
    pub fn close_unused(&self) {
        let Some(since) = Instant::now().checked_sub(UNUSED) else { return };
        let unused = self.idle().take_older(since);
        // Not under the lock.
        drop(unused);
    }

    pub async fn take(&self, side: Side, identity: &Arc<Identity>) -> Result<Asker, LoginError> {
        let fits = |a: &Asker| a.side == side && a.identity.is_same(identity);
        let idle = self.idle().take(fits);
        if let Some(asker) = idle {
            return Ok(asker);
        }
        let address = self.addresses.get(side);
        let credentials = identity.credentials.get(side);
        let Backend { channel, key, .. } = login(address, credentials, &identity.parameters, self.connect).await?;
        let cancel = (address.clone(), key, self.connect);
        let mut asker = Asker { side, identity: Arc::clone(identity), channel, cancel, busy: false };
        // What is asked is known to be a read; should it not be one, it fails.
        asker.run("SET default_transaction_read_only = on").await?;
        Ok(asker)
    }

    pub fn give_back(&self, asker: Asker) {
        self.idle().push(asker, Instant::now());
    }
}

impl Asker {
    /// Sends a request and digests its answer as it streams past.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer, LoginError> {
        let mut answer = Answer::default();
        self.each_frame(request, |frame| answer.take(frame)).await?;
        Ok(answer)
    }

    /// The same, with what a closer look needs.
    pub async fn ask_closely(&mut self, request: &[u8], rules: &Rules) -> Result<(Answer, Detail), LoginError> {
        let mut answer = Answer::default();
        let mut detail = Detail::new(rules.clone());
        let both = |frame: &[u8]| {
            answer.take(frame);
            detail.take(frame);
        };
        self.each_frame(request, both).await?;
        Ok((answer, detail))
    }

    async fn each_frame(&mut self, request: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), LoginError> {
        self.channel.outbound.extend_from_slice(request);
        self.busy = true;
        loop {
            let frame = next_frame(&mut self.channel, MAX_MESSAGE).await?;
            take(&frame);
            if frame.first() == Some(&back::READY_FOR_QUERY) {
                self.busy = false;
                self.channel.release_buffers();
                return Ok(());
            }
        }
    }

    /// Runs SQL of our own; an error of the server's is an error here.
    pub async fn run(&mut self, sql: &str) -> Result<(), LoginError> {
        let mut request = bytes::BytesMut::new();
        Writer::query(&mut request, sql.as_bytes());
        match self.ask(&request).await?.ending {
            Ending::Rows(_) => Ok(()),
            Ending::Error(_) => Err(LoginError::Protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_idle_is_bounded_in_number_and_in_time() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut idle = Idle { bound: 3, all: vec![] };
        (0..4).for_each(|second| idle.push(second, at(second)));
        assert_eq!(idle.take(|item| *item == 0), None, "the fourth took its place");
        assert_eq!(idle.take(|item| *item == 2), Some(2));
        assert_eq!(idle.take_older(at(2)), [(at(1), 1)]);
        assert_eq!(idle.take_older(at(3)), [(at(3), 3)]);
    }
}
