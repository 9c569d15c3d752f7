//! How long a session waits for the secondary: a database that is frozen looks like one that is slow.
//!
//! As long as nothing of an answer was passed on, the primary may still give it. A read is given up when reads are withdrawn (the
//! probe has found the secondary dead or frozen) or after `reads.first_byte_timeout` (this read alone is stuck, behind a lock perhaps). The
//! timer is looked at a few times a second only, and costs a read nothing else.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::Session;
use super::baggage::Errand;
use super::batch::Voice;
use super::withdrawal::Withdrawn;
use crate::backend::login::{self, Backend, LoginError};
use crate::wire::error_field;

/// How often a read that waits for the secondary looks whether it should go on waiting.
const LOOK: Duration = Duration::from_millis(100);
/// After the secondary has refused this session's login, so long nothing is asked of it.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// What a session knows of its way to the secondary.
#[derive(Debug, Default)]
pub(super) struct Way {
    look: Option<Pin<Box<Sleep>>>,
    refused: Option<Instant>,
}

impl Way {
    /// The secondary may be asked.
    pub fn has_way(&self) -> bool {
        self.refused.is_none_or(|at| at.elapsed() > AFTER_REFUSAL)
    }
}

impl Session {
    /// Gives a read on the secondary up if it has waited too long. True: it did.
    pub(super) fn watch_secondary(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(since) = self.waits_on_secondary() else {
            // A look that is due later finds nothing to do.
            if self.way.look.as_mut().is_some_and(|look| look.as_mut().poll(cx).is_ready()) {
                self.way.look = None;
            }
            return false;
        };
        loop {
            let look = self.way.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            if look.as_mut().poll(cx) == Poll::Pending {
                return false;
            }
            self.way.look = None;
            if self.is_past(since) {
                self.give_up_secondary();
                return true;
            }
        }
    }

    /// Since when a read waits for the first byte of the secondary's answer.
    fn waits_on_secondary(&self) -> Option<Instant> {
        if let Some((side, Errand::Carrying)) = self.baggage.errand {
            return self.peers.get(side).as_ref()?.batches.front().map(|b| b.sent);
        }
        if self.policy.as_ref()?.primary() == self.active {
            return None;
        }
        let batches = &self.peers.get(self.active).as_ref()?.batches;
        batches.iter().find(|b| b.voice == Voice::Full).filter(|b| b.may_fall_back()).map(|b| b.sent)
    }

    fn is_past(&self, since: Instant) -> bool {
        let bound = self.worker.context.config.reads.first_byte_timeout;
        let withdrawn = self.worker.context.withdrawal.reason() == Some(Withdrawn::Down);
        withdrawn || (!bound.is_zero() && since.elapsed() >= bound)
    }

    /// The connection is given up with the read, which the server is asked to cancel.
    pub(super) fn give_up_secondary(&mut self) {
        let side = self.baggage.errand.map_or(self.active, |(side, _)| side);
        let Some(peer) = self.peers.get_mut(side) else { return };
        peer.lost = true;
        let key = peer.key;
        let address = self.worker.context.addresses.get(side).clone();
        let limit = self.worker.context.config.timeouts.connect;
        tokio::spawn(async move {
            // Best effort: a server that is frozen hears it when it wakes up.
            let _ = login::cancel(&address, key, limit).await;
        });
        tracing::debug!(%side, "a read got no answer in time; the primary answers");
    }

    /// A connection to the secondary, unless it takes so long, or is refused so, that the primary has to serve.
    pub(super) async fn reach_secondary(
        &mut self,
        login: impl Future<Output = Result<Backend, LoginError>>,
    ) -> Option<Backend> {
        let bound = self.worker.context.config.reads.first_byte_timeout;
        let since = Instant::now();
        tokio::pin!(login);
        let outcome = loop {
            match tokio::time::timeout(LOOK, &mut login).await {
                Ok(outcome) => break outcome,
                Err(_) if self.is_past(since) => break Err(LoginError::Timeout(bound)),
                Err(_) => {}
            }
        };
        outcome.inspect_err(|error| self.note_no_way(error)).ok()
    }

    fn note_no_way(&mut self, error: &LoginError) {
        tracing::debug!(%error, "no connection for a read; the primary answers");
        match is_about_the_server(error) {
            true => self.worker.context.withdrawal.withdraw(Withdrawn::Down),
            false => {
                tracing::warn!(%error, "the secondary refuses a client's login; the primary answers its reads");
                self.way.refused = Some(Instant::now());
            }
        }
    }
}

/// Not about this client alone.
fn is_about_the_server(error: &LoginError) -> bool {
    match error {
        LoginError::Refused(frame) | LoginError::Dismissed(frame) => {
            error_field(frame, b'C').is_some_and(|code| code.starts_with(b"57P"))
        }
        LoginError::NoPassword | LoginError::Method => false,
        _ => true,
    }
}
