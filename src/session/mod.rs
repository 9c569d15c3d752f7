//! One client's session.
//!
//! The loop is one line long: move what can be moved ([`requests`], [`answers`]), then wait for a socket. Both directions run at once,
//! so that neither a client that pipelines without reading nor a backend that answers without pause can lock the other up. A reader that
//! is slow stops the sender: nothing is read for it beyond a bound.
//!
//! At most one backend has answers under way. A read that goes to the secondary therefore starts and ends in a calm session, and the
//! order of answers is the order of requests without any bookkeeping.

mod admission;
mod answers;
mod baggage;
mod batch;
mod carrying;
mod cancel;
pub mod console;
mod context;
mod farewell;
pub mod gate;
mod handshake;
mod leaving;
mod look;
mod looking;
mod marks;
mod owed;
mod passed;
mod patience;
mod peer;
mod planning;
mod read;
mod reading;
pub mod registry;
mod reply;
mod requests;
mod resolved;
mod schema_changes;
mod sending;
mod single;
mod statements;
pub mod tally;
mod timeouts;
mod told;
mod traces;
mod transaction;
mod unread;
pub mod vigil;
mod withdrawal;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use bytes::{Buf, BytesMut};

pub use context::{Context, Login, Uncaptured, Worker};
pub use gate::Gate;
pub use handshake::begin;
pub use timeouts::watch;
pub use withdrawal::{Withdrawal, Withdrawn};

use crate::backend::login::LoginError;
use crate::link::ledger::{AckWait, Cycle};
use crate::net::Channel;
use crate::routing::{Names, Policy, Why};
use crate::side::{BySide, Side};
use crate::trace;
use baggage::Baggage;
use cancel::Cancelling;
use leaving::Leaving;
use peer::Peer;
use registry::Slot;
use statements::Statements;
use told::Asked;
use transaction::Transaction;
use vigil::Seat;

/// Bytes that may wait in one direction before its sender is no longer read.
const BACK_PRESSURE: usize = 256 << 10;

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("the client left")]
    ClientLeft,
    #[error("the client's connection broke: {0}")]
    Client(io::Error),
    #[error("the connection to {0} was lost")]
    Backend(Side),
    #[error("no connection to {0}: {1}")]
    Login(Side, LoginError),
    #[error("the client's prepared statements and portals take more than clients.max_statement_bytes")]
    TooManyStatements,
    #[error("the client sent what is no message: {0}")]
    Violation(String),
    #[error("the server is shutting down")]
    Shutdown,
    #[error("the client was silent for longer than timeouts.idle")]
    Idle,
    #[error("the client was silent for longer than timeouts.idle_in_transaction")]
    IdleInTransaction,
    #[error("a statement went on after timeouts.statement, and after it was asked to stop")]
    Overrun,
}

/// Bytes at the front of a channel's `inbound` that pass as they are: straight from there to the other socket.
#[derive(Debug, Default)]
struct Passing {
    approved: usize,
    /// Bytes of the last approved frame that have not arrived yet.
    frame_left: usize,
}

impl Passing {
    /// Approves the next frame, as far as it has arrived.
    fn approve(&mut self, frame_len: usize, arrived: usize) {
        let now = frame_len.min(arrived.saturating_sub(self.approved));
        self.approved += now;
        self.frame_left = frame_len - now;
    }

    /// Goes on with a frame that had not arrived whole. True: there was one.
    fn go_on(&mut self, arrived: usize) -> bool {
        let more = self.frame_left.min(arrived.saturating_sub(self.approved));
        self.approved += more;
        self.frame_left -= more;
        more > 0
    }

    /// Copies what was approved behind what the receiver already has, so that something else can follow it.
    fn seal(&mut self, from: &mut BytesMut, to: &mut BytesMut) {
        if self.approved > 0 {
            to.extend_from_slice(from.get(..self.approved).unwrap_or_default());
            from.advance(self.approved);
            self.approved = 0;
        }
    }
}

/// What follows a commit and waits for the secondary.
struct Withheld {
    /// The frame that reports the commit.
    frame: BytesMut,
    wait: AckWait,
    since: Instant,
    /// Ends the statement's trace, once the client is told.
    _trace: trace::Wait,
}

pub struct Session {
    worker: Rc<Worker>,
    login: Arc<Login>,
    slot: Slot,
    client: Channel,
    peers: BySide<Option<Peer>>,
    /// The side whose answers are under way; the primary when none are.
    active: Side,
    /// Held while a transaction, or anything unanswered, is under way.
    policy: Option<Arc<Policy>>,
    transaction: Transaction,
    statements: Statements,
    /// A backend may have one of them in its captured form.
    captures_statements: bool,
    names: Names,
    baggage: Baggage,
    routing_key: RoutingKey,
    /// The cycle that brings this session's last write to the secondary.
    last_write: Cycle,
    requests: Passing,
    answers: Passing,
    withheld: Option<Withheld>,
    cancelling: Cancelling,
    /// The next batch was tried on the secondary in vain: as what it counts.
    fallback: Option<Why>,
    /// The trace that goes on with it.
    resumed: trace::Statement,
    /// What the primary is asked of a statement on an errand.
    asked: Option<Asked>,
    way: patience::Way,
    /// Where the worker sees what this session waits for.
    seat: Rc<Seat>,
    /// The statement, by when it was sent, that was cancelled because it took too long.
    overrun: Option<Instant>,
    leaving: Leaving,
}

/// The key's bucket: by connection, unless the session has set its own.
#[derive(Clone, Debug)]
struct RoutingKey {
    connection: u16,
    setting: Option<String>,
}

/// What a pass over the buffers came to.
enum Moved {
    Something,
    Nothing,
    /// A backend's connection is needed first.
    Needs(Side),
}

impl Session {
    /// Serves the client until either leaves. Dropping the future closes the connections; a transaction that is open then is rolled back by
    /// the backend, as if the client had vanished.
    pub async fn run(mut self: Box<Self>) -> End {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(_) if self.leaving != Leaving::No => End::ClientLeft,
            Err(end) => end,
        };
        self.count_unheard();
        Box::pin(self.say_farewell(&end)).await;
        end
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            loop {
                let answered = self.take_answers()?;
                match self.take_requests()? {
                    // In a box: it is needed once or twice in a session, and would take its room for all of it.
                    Moved::Needs(side) => Box::pin(self.connect(side)).await?,
                    Moved::Something => {}
                    Moved::Nothing if answered => {}
                    Moved::Nothing => break,
                }
            }
            self.go_on_leaving()?;
            self.note_wait();
            std::future::poll_fn(|cx| self.poll_sockets(cx)).await?;
        }
    }

    /// Sends what is to be sent and reads what is there. Ready once anything has arrived (or an awaited acknowledgement has).
    fn poll_sockets(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), End>> {
        let mut moved = self.flush_client(cx)? | self.flush_active(cx)?;
        self.flush_other(cx);
        if let Some(withheld) = &mut self.withheld
            && Pin::new(&mut withheld.wait).poll(cx).is_ready()
        {
            self.release_withheld();
            moved = true;
        }
        moved |= self.fill_client(cx)?;
        moved |= self.fill_peers(cx)?;
        moved |= self.watch_secondary(cx);
        moved |= self.heed_call(cx)?;
        moved |= self.poll_cancel(cx, moved);
        moved |= self.has_passed_on();
        if self.worker.context.shutdown.has_begun() && self.is_calm() {
            return Poll::Ready(Err(End::Shutdown));
        }
        if moved {
            return Poll::Ready(Ok(()));
        }
        self.client.release_buffers();
        for side in Side::BOTH {
            if let Some(peer) = self.peers.get_mut(side) {
                peer.channel.release_buffers();
            }
        }
        Poll::Pending
    }

    /// True: there is room again for a sender that had been stopped.
    fn flush_client(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, End> {
        let Some(peer) = self.peers.get_mut(self.active) else {
            let sent = self.client.flush_with(cx, &[]);
            self.unless_left(sent, 0)?;
            return Ok(false);
        };
        let inbound = &mut peer.channel.inbound;
        let was_full = inbound.len() >= BACK_PRESSURE;
        let tail = inbound.get(..self.answers.approved).unwrap_or_default();
        let (sent, all) = (self.client.flush_with(cx, tail), tail.len());
        let sent = self.unless_left(sent, all)?;
        let Some(peer) = self.peers.get_mut(self.active) else { return Ok(false) };
        peer.channel.inbound.advance(sent);
        self.answers.approved -= sent;
        Ok(was_full && sent > 0)
    }

    /// What was sent to the client; all of it, once nobody is there to read it.
    fn unless_left(&mut self, sent: std::io::Result<usize>, all: usize) -> Result<usize, End> {
        match sent {
            Err(_) if self.leaving != Leaving::No => {
                self.client.outbound.clear();
                Ok(all)
            }
            sent => sent.map_err(End::Client),
        }
    }

    /// True: some of what kept the client from being read has gone. What waits beyond the approved bytes can then be looked at, however
    /// much it is; else nobody would wake this session again.
    fn flush_active(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, End> {
        let Some(peer) = self.peers.get_mut(self.active) else { return Ok(false) };
        let before = self.client.inbound.len() + peer.channel.outbound.len();
        let tail = self.client.inbound.get(..self.requests.approved).unwrap_or_default();
        match peer.channel.flush_with(cx, tail) {
            Ok(sent) => {
                self.client.inbound.advance(sent);
                self.requests.approved -= sent;
            }
            // Its last words may still be readable; they decide how the session ends.
            Err(_) => peer.broken = true,
        }
        Ok(before >= BACK_PRESSURE && self.client.inbound.len() + peer.channel.outbound.len() < before)
    }

    /// The side that is not active hears statements of pgduet's own at most.
    fn flush_other(&mut self, cx: &mut TaskContext<'_>) {
        let Some(peer) = self.peers.get_mut(self.active.other()) else { return };
        if peer.channel.has_unsent() && peer.channel.flush_with(cx, &[]).is_err() {
            peer.broken = true;
        }
    }

    fn fill_client(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, End> {
        let waits =
            self.requests.approved + self.peers.get(self.active).as_ref().map_or(0, |p| p.channel.outbound.len());
        let full = waits >= BACK_PRESSURE || self.client.inbound.len() >= self.client_bound();
        if full || self.leaving != Leaving::No {
            return Ok(false);
        }
        match self.client.poll_fill(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(e)) => self.leave(End::Client(e)).map(|()| true),
            Poll::Ready(Ok(())) if self.client.is_closed() => self.leave(End::ClientLeft).map(|()| true),
            Poll::Ready(Ok(())) => Ok(true),
        }
    }

    /// How much of the client's input may wait: a message that has to be read whole may be as long as the configuration allows.
    fn client_bound(&self) -> usize {
        let max = self.worker.context.config.clients.max_message_bytes;
        match crate::wire::Header::peek(self.client.inbound.get(self.requests.approved..).unwrap_or_default(), max) {
            Ok(Some(header)) => (self.requests.approved + header.len).max(BACK_PRESSURE),
            _ => BACK_PRESSURE,
        }
    }

    fn fill_peers(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, End> {
        let mut moved = false;
        for side in Side::BOTH {
            let client_is_slow =
                side == self.active && self.client.outbound.len() + self.answers.approved >= BACK_PRESSURE;
            let Some(peer) = self.peers.get_mut(side) else { continue };
            if client_is_slow || peer.lost || peer.channel.inbound.len() >= peer.bound() {
                continue;
            }
            match peer.channel.poll_fill(cx) {
                Poll::Pending => continue,
                Poll::Ready(Ok(())) if !peer.channel.is_closed() => {}
                Poll::Ready(_) => peer.lost = true,
            }
            moved = true;
        }
        Ok(moved)
    }

    /// This side serves the client from here on. What the other one has said unasked, a notification or its last word, goes in front: it is
    /// approved in *its* buffer.
    fn turn_to(&mut self, side: Side) {
        if side == self.active {
            return;
        }
        if let Some(peer) = self.peers.get_mut(self.active) {
            self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
        }
        self.active = side;
    }

    fn primary(&self) -> Side {
        self.policy.as_ref().map_or(self.active, |p| p.primary())
    }

    /// Nothing is under way: no transaction, no unanswered request, nothing half read.
    fn is_calm(&self) -> bool {
        let owed = Side::BOTH.into_iter().any(|s| self.peers.get(s).as_ref().is_some_and(|p| !p.batches.is_empty()));
        !owed
            && self.transaction.status == transaction::Status::Idle
            && self.withheld.is_none()
            && self.client.inbound.is_empty()
    }
}
