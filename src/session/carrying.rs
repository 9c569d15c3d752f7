//! Bringing what the session has to the secondary, before the read that depends on it.
//!
//! Both errands run in an idle session, and the request that they are for waits in the client's buffer; it is planned anew once they are back. So
//! nothing of a request is sent twice, and what fails on an errand fails for nobody but pgduet.

use super::answers::ends_the_connection;
use super::baggage::{Errand, Missing, parameter_status};
use super::batch::Voice;
use super::peer::MAX_BACKEND_MESSAGE;
use super::resolved::{Resolved, SingleRead};
use super::transaction::Status;
use super::{End, Session};
use crate::routing::{Choice, Policy};
use crate::side::Side;
use crate::wire::{Header, back};

impl Session {
    /// Asks what the session has, if a request has to know: one that may move to the secondary, one that opens a transaction whose reads may,
    /// and any where a name may be that of a temporary table that is gone, or in another schema: a write has to be captured for its table.
    /// True: the request waits.
    pub(super) fn asks_first(&mut self, policy: &Policy, resolved: &Resolved) -> bool {
        let wants = match &resolved.read {
            Some(read) => self.may_want(policy, read),
            None => policy.moves_reads() && resolved.begins(),
        };
        (wants || self.has_doubtful_names(policy)) && self.ask(policy)
    }

    fn has_doubtful_names(&mut self, policy: &Policy) -> bool {
        if self.names.path.is_none() && !policy.catalog.get(policy.primary()).usual_path() {
            self.baggage.unsettle();
            return true;
        }
        !self.names.temporary.is_empty() || self.names.own_search_path
    }

    /// The same for messages up to a Sync.
    pub(super) fn asks_first_for(&mut self, policy: &Policy, whole: &[u8]) -> bool {
        let doubtful = self.has_doubtful_names(policy);
        if !self.baggage.is_unknown() {
            return false;
        }
        let wants = match self.single_read(policy, whole) {
            Some(single) => self.may_want(policy, &single.read),
            None => policy.moves_reads() && self.begins_with_begin(policy, whole),
        };
        (wants || doubtful) && self.ask(policy)
    }

    fn may_want(&self, policy: &Policy, read: &SingleRead) -> bool {
        read.movable.is_ok() && (policy.moves_reads() || read.forced == Some(policy.primary().other()))
    }

    fn ask(&mut self, policy: &Policy) -> bool {
        let side = policy.primary();
        let idle = self.transaction.status == Status::Idle && !self.owes(side) && self.answers.frame_left == 0;
        if !self.baggage.is_unknown() || !idle {
            return false;
        }
        let question = self.baggage.question();
        self.turn_to(side);
        if let Some(peer) = self.peers.get_mut(side) {
            self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
        }
        self.run_errand(side, Errand::Asking, question.as_bytes());
        true
    }

    /// Gives the secondary what the session has, if this read goes there and it has not got it yet. True: the read waits.
    pub(super) fn carries_first(&mut self, policy: &Policy, choice: Choice) -> bool {
        if choice.side == policy.primary() || self.peers.get(choice.side).is_none() {
            return false;
        }
        match self.baggage.missing() {
            Missing::Nothing => false,
            Missing::Script(script) => {
                self.run_errand(choice.side, Errand::Carrying, script.as_bytes());
                true
            }
        }
    }

    fn run_errand(&mut self, side: Side, errand: Errand, sql: &[u8]) {
        self.tell(side, sql, Voice::Errand);
        self.baggage.errand = Some((side, errand));
    }

    /// Takes in what has come back from an errand. True: something has.
    pub(super) fn hear_errand(&mut self) -> Result<bool, End> {
        let Some((side, errand)) = self.baggage.errand else { return Ok(false) };
        let on_primary = side == self.primary();
        let mut moved = false;
        while let Some(peer) = self.peers.get_mut(side).as_mut() {
            if !peer.batches.front().is_some_and(|b| b.voice == Voice::Errand) {
                break;
            }
            let inbound = &mut peer.channel.inbound;
            let header = Header::peek(inbound, MAX_BACKEND_MESSAGE).map_err(|_| End::Backend(side))?;
            let Some(header) = header.filter(|h| inbound.len() >= h.len) else { break };
            moved = true;
            match header.tag {
                back::READY_FOR_QUERY => {
                    let ready = inbound.split_to(header.len);
                    peer.batches.pop_front();
                    self.come_back(errand, &ready);
                    break;
                }
                _ => {
                    let frame = inbound.split_to(header.len);
                    peer.said_why |= frame.first() == Some(&back::ERROR) && ends_the_connection(&frame);
                    match on_primary && is_for_the_client(&frame) {
                        true => self.client.outbound.extend_from_slice(&frame),
                        false if errand == Errand::Describing => self.hear_shape(&frame),
                        false => self.baggage.take(&frame),
                    }
                }
            }
        }
        Ok(moved)
    }

    fn come_back(&mut self, errand: Errand, ready: &[u8]) {
        if errand == Errand::Describing {
            self.was_told(ready);
        } else if let Some(answer) = self.baggage.back() {
            self.names.own_search_path = self.starts_with_search_path() || self.baggage.sets_search_path();
            self.names.temporary = answer.temporary.into_iter().collect();
            self.names.path = Some(answer.path);
            self.statements.forget_meanings();
        } else if errand == Errand::Asking {
            // It did not say (a statement_timeout, perhaps): no name means a table that is known, and it is not asked for ever.
            self.names.path.get_or_insert_default();
        }
        if !self.owes(self.primary()) {
            self.calm_down();
        }
    }

    /// A search_path came with the start-up.
    pub(super) fn starts_with_search_path(&self) -> bool {
        let names = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("search_path")
                || (name == "options" && value.to_ascii_lowercase().replace('-', "_").contains("search_path"))
        };
        self.login.identity.parameters.iter().any(names)
    }

    /// A ParameterStatus: the primary's says how texts are to be read once the session is calm; the secondary's is none of the client's,
    /// unless the transaction lives there: then the primary's, which comes after it, says nothing new. True: it is not passed on.
    pub(super) fn note_parameter(&mut self, side: Side, header: Header) -> bool {
        if side != self.primary() && !self.transaction.lives_on_secondary() {
            return true;
        }
        let Some(peer) = self.peers.get_mut(side) else { return false };
        let frame = peer.channel.inbound.get(self.answers.approved..self.answers.approved + header.len);
        if let Some((name, value)) = frame.and_then(parameter_status) {
            self.baggage.heard.follow(name, value);
        }
        peer.batches.front().is_some_and(|batch| batch.voice == Voice::Silent)
    }
}

/// The primary's word to its client, which happens to come during an errand.
fn is_for_the_client(frame: &[u8]) -> bool {
    match frame.first() {
        Some(&(back::NOTIFICATION | back::PARAMETER_STATUS)) => true,
        Some(&back::ERROR) => ends_the_connection(frame),
        _ => false,
    }
}
