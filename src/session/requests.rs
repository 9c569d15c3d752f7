//! From the client to a backend.
//!
//! In a phase without capture nothing is parsed: messages pass, and only statements' names are noted, so that they can be prepared anew
//! once the phase changes. In a phase with capture a simple query, or all messages up to a Sync, are looked at together ([`planning`](super::planning)),
//! and sent ([`sending`](super::sending)).

use std::rc::Rc;
use std::sync::Arc;

use bytes::Buf;

use super::batch::{After, Batch, Care, Ending};
use super::resolved::forgotten;
use super::statements::{Change, Form, Prepared};
use super::tally::Class;
use super::{BACK_PRESSURE, End, Moved, Session};
use crate::routing::Policy;
use crate::side::Side;
use crate::wire::{CloseOrDescribe, HEADER, Header, Parse, front};

/// A text that deallocates statements is no longer: its message in bytes.
const MAX_FORGETTING: usize = 4096;

/// What became of a request.
pub(super) enum Took {
    It,
    NeedsMore,
    Needs(Side),
}

impl Session {
    pub(super) fn take_requests(&mut self) -> Result<Moved, End> {
        let mut moved = Moved::Nothing;
        while self.may_send() {
            match self.take_request()? {
                Took::It => moved = Moved::Something,
                Took::NeedsMore => break,
                Took::Needs(side) => return Ok(Moved::Needs(side)),
            }
        }
        match self.statements.bytes() > self.worker.context.config.clients.max_statement_bytes {
            true => Err(End::TooManyStatements),
            false => Ok(moved),
        }
    }

    /// Not while the secondary owes an answer (the next request may be the primary's), not beyond what the backend takes, not while a
    /// cancel request or an errand is under way, not while pgduet waits for the shape of what it has just sent, and not while half of a
    /// notification is passed on.
    pub(super) fn may_send(&self) -> bool {
        let waits =
            self.requests.approved + self.peers.get(self.active).as_ref().map_or(0, |p| p.channel.outbound.len());
        let on_secondary = self.policy.as_ref().is_some_and(|p| p.primary() != self.active);
        waits < BACK_PRESSURE
            && !self.cancelling.is_under_way()
            && self.baggage.errand.is_none()
            && !self.awaits_shape()
            && !self.hears_half()
            && !(on_secondary && self.owes(self.active) && !self.goes_on_there())
    }

    /// Half of a word that nobody asked for has been passed on: the next request may be another side's.
    fn hears_half(&self) -> bool {
        self.answers.frame_left > 0 && !self.owes(self.active)
    }

    /// In a transaction that lives on the secondary, the messages up to a Sync belong together.
    fn goes_on_there(&self) -> bool {
        let last = self.peers.get(self.active).as_ref().and_then(|p| p.batches.back());
        self.transaction.lives_on_secondary() && last.is_some_and(Batch::is_open)
    }

    pub(super) fn owes(&self, side: Side) -> bool {
        self.peers.get(side).as_ref().is_some_and(|p| !p.batches.is_empty())
    }

    fn take_request(&mut self) -> Result<Took, End> {
        let arrived = self.client.inbound.len();
        if self.requests.go_on(arrived) {
            return Ok(Took::It);
        }
        if self.requests.frame_left > 0 {
            return Ok(Took::NeedsMore);
        }
        let max = self.worker.context.config.clients.max_message_bytes;
        let rest = self.client.inbound.get(self.requests.approved..).unwrap_or_default();
        let header = match Header::peek(rest, max) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Took::NeedsMore),
            Err(_) => return Err(End::Violation("invalid message length".into())),
        };
        let rest_len = rest.len();
        match header.tag {
            front::TERMINATE => {
                self.client.inbound.truncate(self.requests.approved);
                return self.leave(End::ClientLeft).map(|()| Took::NeedsMore);
            }
            front::COPY_DATA | front::COPY_DONE | front::COPY_FAIL => {
                if header.tag != front::COPY_DATA && self.waits_for_copy(rest_len >= header.len) {
                    return Ok(Took::NeedsMore);
                }
                self.requests.approve(header.len, arrived);
                if header.tag != front::COPY_DATA {
                    if let Some(peer) = self.peers.get_mut(self.active) {
                        let asked = std::mem::take(&mut peer.copies_in);
                        peer.copied_ahead = !asked && !peer.batches.is_empty();
                    }
                    self.copy_ended();
                }
                return Ok(Took::It);
            }
            front::SYNC | front::FLUSH if self.copies_in() && rest_len >= header.len => {
                self.seal_requests();
                self.client.inbound.advance(header.len);
                return Ok(Took::It);
            }
            tag if !front::is_known(tag) => return Err(End::Violation(format!("invalid frontend message type {tag}"))),
            _ => {}
        }
        if header.tag != front::SYNC && self.is_skipping() {
            self.requests.approve(header.len, arrived);
            return Ok(Took::It);
        }
        let policy = self.policy_in_use();
        if self.peers.get(policy.primary()).is_none() {
            return Ok(Took::Needs(policy.primary()));
        }
        match policy.phase.captures() {
            true => self.plan(&policy, header),
            false => {
                self.restore_statements();
                Ok(self.relay(header))
            }
        }
    }

    /// After an error the server skips everything up to the next Sync: none of it means anything, and nothing is kept of it.
    fn is_skipping(&self) -> bool {
        let last = self.peers.get(self.active).as_ref().and_then(|p| p.batches.back());
        last.is_some_and(|batch| batch.is_open() && batch.failed)
    }

    fn copies_in(&self) -> bool {
        self.peers.get(self.active).as_ref().is_some_and(|p| p.copies_in)
    }

    fn policy_in_use(&mut self) -> Arc<Policy> {
        if let Some(policy) = &self.policy {
            return Arc::clone(policy);
        }
        let policy = self.slot.enter();
        self.turn_to(policy.primary());
        self.policy = Some(Arc::clone(&policy));
        policy
    }

    // ---- without capture

    fn relay(&mut self, header: Header) -> Took {
        let arrived = self.client.inbound.len();
        let whole = arrived - self.requests.approved >= header.len;
        let named = matches!(header.tag, front::PARSE | front::CLOSE);
        if named && !whole {
            return Took::NeedsMore;
        }
        let Some(forgets) = self.forgets(header, whole) else { return Took::NeedsMore };
        let change = if named { self.note_statement(header) } else { None };
        // What passes unread may change anything: it is asked for once reads may move.
        if !self.baggage.is_unknown() {
            self.baggage.unsettle();
            self.names.own_search_path = true;
            self.names.path = None;
        }
        let Some(peer) = self.peers.get_mut(self.active) else { return Took::NeedsMore };
        let ending = match header.tag {
            front::QUERY | front::FUNCTION_CALL => Ending::Query { steps: 0 },
            front::SYNC => Ending::Sync,
            _ => Ending::Open,
        };
        match peer.batches.back_mut() {
            Some(open) if open.is_open() => open.ending = ending,
            _ => peer.batches.push_back(Batch::new(Class::Unread, Care::End, ending)),
        }
        if let Some(batch) = peer.batches.back_mut().filter(|_| named || !forgets.is_empty()) {
            if named {
                batch.passed.sent(change);
            }
            batch.passed.forgets(forgets);
        }
        self.trace_unread(header);
        self.requests.approve(header.len, arrived);
        Took::It
    }

    /// What SQL in this message makes the session forget, for the few texts that do; `None`: it has not arrived far enough to tell.
    fn forgets(&self, header: Header, whole: bool) -> Option<Vec<After>> {
        if !matches!(header.tag, front::QUERY | front::PARSE) || header.len > MAX_FORGETTING {
            return Some(Vec::new());
        }
        let frame = self.client.inbound.get(self.requests.approved..).unwrap_or_default();
        let body = frame.get(HEADER..header.len.min(frame.len())).unwrap_or_default();
        // What has a name is prepared to be run later; the unnamed statement's text stands behind its empty name.
        let text = match header.tag {
            front::PARSE => body.strip_prefix(b"\0").unwrap_or_default(),
            _ => body,
        };
        match text.first() {
            None if !whole => None,
            Some(b'd' | b'D') if !whole => None,
            Some(b'd' | b'D') => Some(forgotten(text.split(|&byte| byte == 0).next().unwrap_or_default())),
            _ => Some(Vec::new()),
        }
    }

    /// Notes what is prepared, uncaptured, and what is closed; returns what that does to a name.
    fn note_statement(&mut self, header: Header) -> Option<Change> {
        let frame = self.client.inbound.get(self.requests.approved..self.requests.approved + header.len);
        let frame = frame.unwrap_or_default();
        if let Some(parse) = Parse::read(frame).filter(|_| header.tag == front::PARSE) {
            let prepared = Prepared::new(parse.name, parse.sql, parse.types);
            prepared.set_there(self.active, Some(Form::Own));
            let is_named = !prepared.name.is_empty();
            return Some(self.statements.put(Rc::new(prepared))).filter(|_| is_named);
        }
        if let Some(CloseOrDescribe::Statement(name)) = CloseOrDescribe::read(frame)
            && header.tag == front::CLOSE
        {
            return Some(self.statements.close(name)).filter(|_| !name.is_empty());
        }
        None
    }
}
