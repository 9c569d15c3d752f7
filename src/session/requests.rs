//! From the client to a backend.
//!
//! In a phase without capture nothing is parsed: messages pass, and only statements' names are noted, so that they can be prepared anew
//! once the phase changes. In a phase with capture a simple query, or all messages up to a Sync, are looked at together, planned
//! (`resolved`, `routing::choose`), and sent.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::answers::class_of;
use super::batch::{After, Batch, Care, Ending, Heard, Run, Step};
use super::opaque::can_be_watched;
use super::owed;
use super::resolved::{Mark, Resolved, SingleRead};
use super::statements::Prepared;
use super::tally::Class;
use super::transaction::{Control, Footprint, Status};
use super::{BACK_PRESSURE, End, Moved, Session};
use crate::routing::{Cut, Opaque, Policy};
use crate::side::Side;
use crate::wire::{Bind, CloseOrDescribe, HEADER, Header, Parse, ResultFormats, Writer, front};

/// Messages up to a Sync are planned together if they are no more than this, bytes; a longer batch goes to the primary as it comes.
const GATHERED: usize = 64 << 10;

/// What became of a request.
pub(super) enum Took {
    It,
    NeedsMore,
    Needs(Side),
}

/// How the messages up to a Sync are sent.
enum Gathered {
    NotYet,
    /// Too long, or flushed half-way: one message after the other, to the primary.
    Apart,
    /// Bytes up to and with the Sync.
    Together(usize),
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

    /// Not while the secondary owes an answer (the next request may be the primary's), not beyond what the backend takes, and not while a
    /// cancel request is under way.
    pub(super) fn may_send(&self) -> bool {
        let waits =
            self.requests.approved + self.peers.get(self.active).as_ref().map_or(0, |p| p.channel.outbound.len());
        let on_secondary = self.policy.as_ref().is_some_and(|p| p.primary() != self.active);
        waits < BACK_PRESSURE
            && !self.cancelling.is_under_way()
            && !(on_secondary && self.owes(self.active) && !self.goes_on_there())
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
        match header.tag {
            front::TERMINATE => {
                self.client.inbound.truncate(self.requests.approved);
                return self.leave(End::ClientLeft).map(|()| Took::NeedsMore);
            }
            front::COPY_DATA | front::COPY_DONE | front::COPY_FAIL => {
                self.requests.approve(header.len, arrived);
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
            false => Ok(self.relay(header)),
        }
    }

    /// After an error the server skips everything up to the next Sync: none of it means anything, and nothing is kept of it.
    fn is_skipping(&self) -> bool {
        let last = self.peers.get(self.active).as_ref().and_then(|p| p.batches.back());
        last.is_some_and(|batch| batch.is_open() && batch.failed)
    }

    fn policy_in_use(&mut self) -> Arc<Policy> {
        if let Some(policy) = &self.policy {
            return Arc::clone(policy);
        }
        let policy = self.slot.enter();
        self.active = policy.primary();
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
        if named {
            self.note_statement(header);
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
        self.requests.approve(header.len, arrived);
        Took::It
    }

    /// Notes what is prepared, uncaptured, and what is closed.
    fn note_statement(&mut self, header: Header) {
        let frame = self.client.inbound.get(self.requests.approved..self.requests.approved + header.len);
        let frame = frame.unwrap_or_default();
        if let Some(parse) = Parse::read(frame).filter(|_| header.tag == front::PARSE) {
            let prepared = Prepared::new(parse.name, parse.sql, parse.types);
            prepared.set_there(self.active, Some(Rc::clone(&prepared.sql)));
            self.statements.put(Rc::new(prepared));
        } else if let Some(CloseOrDescribe::Statement(name)) = CloseOrDescribe::read(frame)
            && header.tag == front::CLOSE
        {
            self.statements.remove(name);
        }
    }

    // ---- with capture

    fn plan(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        // From here on messages are taken apart: what was approved before goes first.
        self.seal_requests();
        if self.transaction.lives_on_secondary() {
            return self.plan_there(policy, header);
        }
        let calm = !self.owes(self.active);
        if !calm && self.waits_for_begin(policy) {
            return Ok(Took::NeedsMore);
        }
        if header.tag == front::QUERY {
            return match self.client.inbound.len() >= header.len {
                true => self.plan_query(policy, header),
                false => Ok(Took::NeedsMore),
            };
        }
        if calm && header.tag != front::FUNCTION_CALL {
            return match self.gather() {
                Gathered::NotYet => Ok(Took::NeedsMore),
                Gathered::Apart => self.send_one(policy, header),
                Gathered::Together(len) => self.plan_gathered(policy, len),
            };
        }
        self.send_one(policy, header)
    }

    fn seal_requests(&mut self) {
        if let Some(peer) = self.peers.get_mut(self.active) {
            self.requests.seal(&mut self.client.inbound, &mut peer.channel.outbound);
        }
    }

    pub(super) fn resolve(&self, policy: &Policy, sql: &[u8]) -> Resolved {
        Resolved::new(sql, policy, &self.names, &mut self.worker.verdicts.borrow_mut(), None)
    }

    /// A simple query for the primary, with what has to stand around its statements.
    fn resolve_query(&self, policy: &Policy, sql: &[u8]) -> Resolved {
        let open = self.transaction.status != Status::Idle;
        Resolved::new(sql, policy, &self.names, &mut self.worker.verdicts.borrow_mut(), Some(open))
    }

    fn plan_query(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        let frame = self.client.inbound.get(..header.len).unwrap_or_default();
        let sql = frame.get(HEADER..header.len - 1).unwrap_or_default();
        let resolved = self.resolve_query(policy, sql);
        let choice = resolved.read.as_ref().map(|read| self.choose(policy, read));
        if let Some(choice) = choice.filter(|c| c.side != policy.primary())
            && self.peers.get(choice.side).is_none()
        {
            return Ok(Took::Needs(choice.side));
        }
        let frame = self.client.inbound.split_to(header.len);
        let sql = frame.get(HEADER..header.len - 1).unwrap_or_default();
        self.mark(&resolved, sql, false);
        let side = choice.map_or(policy.primary(), |c| c.side);
        self.settle_on(side, policy);
        let ending = Ending::Query { steps: resolved.runs().count() };
        let mut batch = Batch::new(class_of(&resolved.parts), Care::Frames, ending);
        batch.footprint = resolved.footprint();
        batch.line = self.line_of(&resolved, sql);
        batch.begins = resolved.only().is_some_and(|part| matches!(part.after, After::Control(Control::Begin(_))));
        batch.steps.extend(resolved.runs().map(Step::Run));
        batch.read = choice
            .zip(resolved.read.as_ref())
            .map(|(choice, read)| self.read(policy, choice, read, sql, &frame, &frame));
        if batch.read.as_ref().is_some_and(|r| r.replay.is_none() && r.sample.is_none()) {
            batch.care = Care::End;
        }
        batch.rewritten.clone_from(&resolved.rewritten);
        self.active = side;
        let Some(peer) = self.peers.get_mut(side) else { return Ok(Took::NeedsMore) };
        match &resolved.text {
            Some(text) => Writer::query(&mut peer.channel.outbound, text),
            None => peer.channel.outbound.extend_from_slice(&frame),
        }
        owed::expect_query(&mut peer.batches, batch);
        Ok(Took::It)
    }

    /// Where the next Sync is, in a calm session.
    fn gather(&self) -> Gathered {
        let max = self.worker.context.config.clients.max_message_bytes;
        let (mut at, mut not_yet) = (0, Gathered::NotYet);
        loop {
            let rest = self.client.inbound.get(at..).unwrap_or_default();
            match Header::peek(rest, max) {
                Ok(Some(header)) if at + header.len > GATHERED => return Gathered::Apart,
                Ok(Some(header)) if rest.len() < header.len => return not_yet,
                Ok(Some(header)) => {
                    at += header.len;
                    match header.tag {
                        front::SYNC => return Gathered::Together(at),
                        front::PARSE | front::BIND | front::DESCRIBE | front::EXECUTE | front::CLOSE => {}
                        // The client may wait for answers before it sends more. If the Sync is here already it does not.
                        front::FLUSH => not_yet = Gathered::Apart,
                        _ => return Gathered::Apart,
                    }
                }
                Ok(None) => return not_yet,
                Err(_) => return Gathered::Apart,
            }
        }
    }

    /// Messages up to a Sync, all here, in a calm session: one read may move, all else goes to the primary.
    fn plan_gathered(&mut self, policy: &Arc<Policy>, len: usize) -> Result<Took, End> {
        let whole = self.client.inbound.split_to(len);
        if let Some(opening) = self.opening(policy, &whole) {
            self.send_opening(policy, &opening, &whole)?;
            return Ok(Took::It);
        }
        let single = self.single_read(policy, &whole);
        let choice = single.as_ref().map(|s| self.choose(policy, &s.read));
        let side = choice.map_or(policy.primary(), |c| c.side);
        if self.peers.get(side).is_none() {
            self.put_back(&whole);
            return Ok(Took::Needs(side));
        }
        self.active = side;
        self.settle_on(side, policy);
        if let (Some(choice), Some(single)) = (choice, single) {
            let request = single.request(&whole);
            let read = self.read(policy, choice, &single.read, &single.statement.sql, &request, &whole);
            let mut batch = Batch::new(Class::Read, Care::Frames, Ending::Open);
            batch.read = Some(read);
            if let Some(peer) = self.peers.get_mut(side) {
                peer.batches.push_back(batch);
            }
        }
        self.send_frames(policy, &whole)?;
        Ok(Took::It)
    }

    pub(super) fn send_frames(&mut self, policy: &Arc<Policy>, frames: &[u8]) -> Result<(), End> {
        let mut rest = frames;
        while let Ok(Some(header)) = Header::peek(rest, usize::MAX) {
            let Some((frame, tail)) = rest.split_at_checked(header.len) else { break };
            self.send_frame(policy, header.tag, frame)?;
            rest = tail;
        }
        Ok(())
    }

    pub(super) fn put_back(&mut self, whole: &[u8]) {
        let mut again = BytesMut::with_capacity(whole.len() + self.client.inbound.len());
        again.extend_from_slice(whole);
        again.extend_from_slice(&self.client.inbound);
        self.client.inbound = again;
    }

    /// If the messages run one statement, once, and it is a read: that one.
    pub(super) fn single_read(&self, policy: &Policy, whole: &[u8]) -> Option<Single> {
        let mut parsed: Option<Rc<Prepared>> = None;
        let mut single: Option<Single> = None;
        let mut executed = false;
        let mut rest = whole;
        while let Ok(Some(header)) = Header::peek(rest, usize::MAX) {
            let (frame, tail) = rest.split_at_checked(header.len)?;
            rest = tail;
            match header.tag {
                front::PARSE => {
                    let parse = Parse::read(frame)?;
                    parsed = Some(Rc::new(Prepared::new(parse.name, parse.sql, parse.types)));
                }
                front::BIND if single.is_none() => {
                    let bind = Bind::read(frame)?;
                    let statement = match parsed.take_if(|p| p.name == bind.statement) {
                        Some(parsed) => parsed,
                        None => Rc::clone(self.statements.get(bind.statement)?),
                    };
                    let resolved = statement.resolved(policy.generation, |sql| self.resolve(policy, sql));
                    let mut read = resolved.read.clone()?;
                    read.lasting = !bind.portal.is_empty();
                    read.bind(&bind);
                    let (parameters, formats) = (bind.parameters.to_vec(), bind.result_formats.to_vec());
                    single = Some(Single { statement, read, parameters, formats });
                }
                front::EXECUTE if !executed => {
                    executed = true;
                    let (_, max_rows) = crate::wire::cstr(frame.get(HEADER..)?)?;
                    single.as_mut()?.read.lasting |= max_rows != [0; 4];
                }
                front::DESCRIBE | front::FLUSH | front::SYNC => {}
                _ => return None,
            }
        }
        single.filter(|_| executed)
    }

    /// One message of the extended protocol (or a function call), to the active side.
    pub(super) fn send_one(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        if self.client.inbound.len() < header.len {
            return Ok(Took::NeedsMore);
        }
        let frame = self.client.inbound.split_to(header.len);
        self.send_frame(policy, header.tag, &frame)?;
        Ok(Took::It)
    }

    fn send_frame(&mut self, policy: &Arc<Policy>, tag: u8, frame: &[u8]) -> Result<(), End> {
        let malformed = || End::Violation("invalid message format".into());
        self.open_batch(tag);
        match tag {
            front::PARSE => self.send_parse(policy, Parse::read(frame).ok_or_else(malformed)?),
            front::BIND => self.send_bind(policy, Bind::read(frame).ok_or_else(malformed)?, frame),
            front::DESCRIBE => self.send_describe(policy, CloseOrDescribe::read(frame).ok_or_else(malformed)?, frame),
            front::CLOSE => self.send_close(CloseOrDescribe::read(frame).ok_or_else(malformed)?, frame),
            front::EXECUTE => self.send_execute(policy, frame).ok_or_else(malformed)?,
            front::SYNC => {
                self.put(frame);
                self.batch(|b| b.ending = Ending::Sync);
            }
            front::FUNCTION_CALL => {
                let fingerprint = crate::sql::Fingerprint(0);
                self.worker.context.count_uncaptured(
                    fingerprint,
                    b"function call",
                    "a function call may write anything",
                );
                self.put(frame);
                let mut call = Batch::new(Class::Other, Care::Frames, Ending::Query { steps: 0 });
                call.footprint = Footprint::Any;
                if let Some(peer) = self.peers.get_mut(self.active) {
                    owed::expect_query(&mut peer.batches, call);
                }
            }
            _ => self.put(frame),
        }
        Ok(())
    }

    /// The batch that a message joins; a new one where the last is complete.
    fn open_batch(&mut self, tag: u8) {
        let Some(peer) = self.peers.get_mut(self.active) else { return };
        if tag != front::FUNCTION_CALL && !peer.batches.back().is_some_and(Batch::is_open) {
            peer.batches.push_back(Batch::new(Class::Other, Care::Frames, Ending::Open));
        }
    }

    fn put(&mut self, frame: &[u8]) {
        if let Some(peer) = self.peers.get_mut(self.active) {
            peer.channel.outbound.extend_from_slice(frame);
        }
    }

    pub(super) fn batch(&mut self, change: impl FnOnce(&mut Batch)) {
        if let Some(batch) = self.peers.get_mut(self.active).as_mut().and_then(|p| p.batches.back_mut()) {
            change(batch);
        }
    }

    fn step(&mut self, step: Step) {
        self.batch(|b| b.steps.push_back(step));
    }

    fn send_parse(&mut self, policy: &Arc<Policy>, parse: Parse<'_>) {
        let prepared = Rc::new(Prepared::new(parse.name, parse.sql, parse.types));
        let side = self.active;
        let text = self.text_for(policy, &prepared, side);
        if let Some(peer) = self.peers.get_mut(side) {
            Writer::parse(&mut peer.channel.outbound, parse.name, &text, parse.types);
        }
        prepared.set_there(side, Some(text));
        let undo = self.statements.put(Rc::clone(&prepared));
        self.step(Step::Parse { injected: false, name: parse.name.to_vec(), undo });
    }

    /// The text that a statement has to have on a side: the client's own on the secondary, the captured one on the primary.
    fn text_for(&self, policy: &Policy, prepared: &Prepared, side: Side) -> Rc<[u8]> {
        if side != policy.primary() {
            return Rc::clone(&prepared.sql);
        }
        let resolved = prepared.resolved(policy.generation, |sql| self.resolve(policy, sql));
        resolved.text.as_ref().map_or_else(|| Rc::clone(&prepared.sql), Rc::clone)
    }

    /// Makes sure that the active side has the statement in the form that is wanted now.
    fn ensure(&mut self, policy: &Arc<Policy>, prepared: &Rc<Prepared>) {
        let side = self.active;
        let wanted = self.text_for(policy, prepared, side);
        let there = prepared.there(side);
        if there.as_ref().is_some_and(|t| Rc::ptr_eq(t, &wanted) || **t == *wanted) {
            return;
        }
        let Some(peer) = self.peers.get_mut(side) else { return };
        if !prepared.name.is_empty() {
            Writer::close_statement(&mut peer.channel.outbound, &prepared.name);
            self.step(Step::Close { injected: true });
        }
        if let Some(peer) = self.peers.get_mut(side) {
            Writer::parse(&mut peer.channel.outbound, &prepared.name, &wanted, &prepared.types);
        }
        self.step(Step::Parse { injected: true, name: prepared.name.clone(), undo: None });
        prepared.set_there(side, Some(wanted));
    }

    /// What a prepared statement's rows lose on the active side, and whether it is a write.
    pub(super) fn resolved(&self, policy: &Policy, prepared: &Prepared) -> Rc<Resolved> {
        prepared.resolved(policy.generation, |sql| self.resolve(policy, sql))
    }

    fn cut_of(&self, policy: &Policy, prepared: Option<&Rc<Prepared>>) -> Cut {
        let resolved = prepared.filter(|_| self.active == policy.primary()).map(|p| self.resolved(policy, p));
        resolved.as_ref().and_then(|r| r.only()).map_or(Cut::Nothing, |part| part.cut)
    }

    fn send_bind(&mut self, policy: &Arc<Policy>, bind: Bind<'_>, frame: &[u8]) {
        let prepared = self.statements.get(bind.statement).cloned();
        if let Some(prepared) = &prepared {
            self.ensure(policy, prepared);
        }
        match self.cut_of(policy, prepared.as_ref()) {
            Cut::Nothing => self.put(frame),
            cut => {
                let formats = if cut == Cut::Rows { ResultFormats::None } else { ResultFormats::OneMore };
                if let Some(peer) = self.peers.get_mut(self.active) {
                    bind.write(&mut peer.channel.outbound, formats);
                }
            }
        }
        self.step(Step::Bind);
        match prepared {
            Some(prepared) => self.statements.bind(bind.portal, prepared),
            None => self.statements.close_portal(bind.portal),
        }
    }

    fn send_describe(&mut self, policy: &Arc<Policy>, what: CloseOrDescribe<'_>, frame: &[u8]) {
        let prepared = match what {
            CloseOrDescribe::Statement(name) => {
                let prepared = self.statements.get(name).cloned();
                if let Some(prepared) = &prepared {
                    self.ensure(policy, prepared);
                }
                prepared
            }
            CloseOrDescribe::Portal(name) => self.statements.portal(name).cloned(),
        };
        let cut = self.cut_of(policy, prepared.as_ref());
        self.put(frame);
        self.step(Step::Describe { cut });
    }

    fn send_close(&mut self, what: CloseOrDescribe<'_>, frame: &[u8]) {
        match what {
            CloseOrDescribe::Statement(name) => {
                self.statements.remove(name);
            }
            CloseOrDescribe::Portal(name) => self.statements.close_portal(name),
        }
        self.put(frame);
        self.step(Step::Close { injected: false });
    }

    fn send_execute(&mut self, policy: &Arc<Policy>, frame: &[u8]) -> Option<()> {
        let (portal, _) = crate::wire::cstr(frame.get(HEADER..)?)?;
        let mut run = Run::plain();
        let prepared = self.statements.portal(portal).cloned();
        let resolved = prepared.as_ref().map(|p| self.resolved(policy, p));
        let footprint = resolved.as_ref().map_or(Footprint::Any, |r| r.footprint());
        self.batch(|b| b.footprint = b.footprint.max(footprint));
        let watched = resolved.as_ref().is_some_and(|r| self.is_watched(policy, r));
        if let (Some(prepared), Some(resolved)) = (&prepared, &resolved) {
            self.mark(resolved, &prepared.sql, watched);
            self.set_on_primary_too(resolved, &prepared.sql);
            self.count_there(resolved);
            let line = self.line_of(resolved, &prepared.sql);
            self.batch(|b| b.line = b.line.or(line));
            if let Some(part) = resolved.only() {
                run.cut = self.cut_of(policy, Some(prepared));
                run.touches = part.touches;
                run.after = part.after.clone();
                let class = if watched { Class::Write } else { part.class };
                let begins = matches!(part.after, After::Control(Control::Begin(_)));
                self.batch(|b| {
                    b.class = class;
                    b.begins |= begins;
                });
            }
        }
        if watched {
            self.look_before();
            run.heard = Heard::Later;
        }
        match run.cut {
            // A statement without rows runs to its end whatever the row limit says; with capture's rows it would be suspended.
            Cut::Rows => {
                if let Some(peer) = self.peers.get_mut(self.active) {
                    Writer::execute(&mut peer.channel.outbound, portal, 0);
                }
            }
            _ => self.put(frame),
        }
        self.step(Step::Run(run));
        if watched {
            self.look_after();
        }
        Some(())
    }

    /// Whether the server is to be asked what a statement writes.
    fn is_watched(&self, policy: &Policy, resolved: &Resolved) -> bool {
        let open = self.transaction.status != Status::Idle;
        let opaque = resolved.only().and_then(|part| part.opaque);
        self.active == policy.primary() && opaque.is_some_and(|opaque| can_be_watched(opaque, open, true))
    }

    // ---- what both have in common

    /// Remembers what the session has to know of statements that are sent, and counts uncaptured writes.
    /// `watched`: nothing that it writes stays unseen, or it cannot write where it runs.
    pub(super) fn mark(&mut self, resolved: &Resolved, sql: &[u8], watched: bool) {
        for part in &resolved.parts {
            let unwatched = part.opaque.filter(|_| !watched && !part.watched).map(Opaque::reason);
            if let Some(reason) = part.uncaptured.or(unwatched) {
                self.worker.context.count_uncaptured(part.fingerprint, sql, reason);
            }
            match &part.mark {
                Mark::Nothing => {}
                Mark::Pins => self.pinned = true,
                Mark::SearchPath => {
                    self.pinned = true;
                    self.names.own_search_path = true;
                }
                Mark::Reading(reading) => {
                    self.pinned = true;
                    self.names.reading = *reading;
                }
                Mark::Temporary(name) => {
                    self.pinned = true;
                    self.names.temporary.extend(name.clone());
                }
            }
        }
    }
}

/// Messages that run one read, once.
pub(super) struct Single {
    pub statement: Rc<Prepared>,
    pub read: SingleRead,
    parameters: Vec<u8>,
    formats: Vec<u8>,
}

impl Single {
    /// The same read with an unnamed statement, for whoever asks again.
    fn request(&self, whole: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::with_capacity(whole.len() + self.statement.sql.len() + 32);
        Writer::parse(&mut out, b"", &self.statement.sql, &self.statement.types);
        Writer::begin(&mut out, front::BIND)
            .cstr(b"")
            .cstr(b"")
            .bytes(&self.parameters)
            .u16((self.formats.len() / 2) as u16)
            .bytes(&self.formats)
            .end();
        Writer::begin(&mut out, front::DESCRIBE).u8(b'P').cstr(b"").end();
        Writer::execute(&mut out, b"", 0);
        Writer::empty(&mut out, front::SYNC);
        out.to_vec()
    }
}
