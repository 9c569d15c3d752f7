//! Messages of the extended protocol, one by one, to the active side: statements in the form that it has to have there.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::batch::{After, Batch, Care, Ending, Run, Step, Voice};
use super::owed;
use super::requests::Took;
use super::resolved::{Part, Resolved};
use super::statements::{Form, Prepared, put_parse};
use super::tally::Class;
use super::transaction::{Control, Footprint};
use super::{End, Session};
use crate::routing::{Cut, Policy};
use crate::side::Side;
use crate::wire::{Bind, CloseOrDescribe, HEADER, Header, Parse, ResultFormats, Writer, front};

impl Session {
    /// One message of the extended protocol (or a function call), to the active side.
    pub(super) fn send_one(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        if self.client.inbound.len() < header.len {
            return Ok(Took::NeedsMore);
        }
        let frame = self.client.inbound.split_to(header.len);
        self.send_frame(policy, header.tag, &frame)?;
        Ok(Took::It)
    }

    pub(super) fn send_frame(&mut self, policy: &Arc<Policy>, tag: u8, frame: &[u8]) -> Result<(), End> {
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
                if !calls_the_servers_own(frame) {
                    let (fingerprint, reason) = (crate::sql::Fingerprint(0), "a function call may write anything");
                    self.worker.context.count_uncaptured(fingerprint, b"function call", reason);
                }
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
            let mut batch = Batch::new(Class::Other, Care::Frames, Ending::Open);
            batch.trace = std::mem::take(&mut self.resumed);
            peer.batches.push_back(batch);
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

    pub(super) fn step(&mut self, step: Step) {
        self.batch(|b| b.steps.push_back(step));
    }

    fn send_parse(&mut self, policy: &Arc<Policy>, parse: Parse<'_>) {
        self.trace_text(parse.sql);
        let prepared = Rc::new(Prepared::new(parse.name, parse.sql, parse.types));
        let side = self.active;
        let form = self.form_for(policy, &prepared, side);
        self.put_prepared(policy, &prepared, &form);
        self.captures_statements |= form != Form::Own;
        prepared.set_there(side, Some(form));
        let change = self.statements.put(prepared);
        self.step(Step::Parse(change));
    }

    /// The form that a statement has to have on a side: the client's own on the secondary, the captured one on the primary.
    fn form_for(&self, policy: &Policy, prepared: &Prepared, side: Side) -> Form {
        if side != policy.primary() {
            return Form::Own;
        }
        self.resolved(policy, prepared).rewritten.clone().map_or(Form::Own, Form::Captured)
    }

    /// Prepares a statement on the active side.
    fn put_prepared(&mut self, policy: &Policy, prepared: &Prepared, form: &Form) {
        let types = types_for(policy, self.active, &prepared.types);
        if let Some(peer) = self.peers.get_mut(self.active) {
            put_parse(&mut peer.channel.outbound, &prepared.name, &prepared.sql, form.rewritten(), &types);
        }
    }

    /// Makes sure that the active side has the statement in the form that is wanted now.
    fn ensure(&mut self, policy: &Arc<Policy>, prepared: &Rc<Prepared>) {
        let side = self.active;
        let wanted = self.form_for(policy, prepared, side);
        if prepared.there(side).is_some_and(|there| there == wanted) {
            return;
        }
        let Some(peer) = self.peers.get_mut(side) else { return };
        if !prepared.name.is_empty() {
            Writer::close_statement(&mut peer.channel.outbound, &prepared.name);
            self.step(Step::Close { injected: true, undo: None });
        }
        self.put_prepared(policy, prepared, &wanted);
        self.step(Step::ParseAnew { statement: Rc::clone(prepared), side });
        self.captures_statements |= wanted != Form::Own;
        prepared.set_there(side, Some(wanted));
        if prepared.told().is_some() {
            self.ask_shape(policy, prepared);
        }
    }

    /// What a prepared statement's rows lose on the active side, and whether it is a write.
    pub(super) fn resolved(&self, policy: &Policy, prepared: &Prepared) -> Rc<Resolved> {
        prepared.resolved(policy.generation, |sql| self.resolve(policy, sql))
    }

    /// Capture has ended: what was prepared for it gets the client's own text again, before anything passes unread.
    pub(super) fn restore_statements(&mut self) {
        let side = self.active;
        if !std::mem::take(&mut self.captures_statements) {
            return;
        }
        let rewritten = self.statements.rewritten(side);
        if rewritten.is_empty() {
            return;
        }
        self.seal_requests();
        let Some(peer) = self.peers.get_mut(side) else { return };
        let out = &mut peer.channel.outbound;
        for prepared in rewritten {
            Writer::close_statement(out, &prepared.name);
            Writer::parse(out, &prepared.name, &prepared.sql, &prepared.types);
            prepared.set_there(side, Some(Form::Own));
        }
        Writer::empty(out, front::SYNC);
        peer.batches.push_back(Batch::own(Voice::Silent));
    }

    /// What an EXECUTE runs, if the protocol has prepared it, and the primary has it in its captured form.
    pub(super) fn executed(&self, part: &Part) -> Option<Rc<Resolved>> {
        let prepared = self.statements.get(part.executes.as_ref()?)?;
        let Form::Captured(there) = prepared.there(self.primary())? else { return None };
        prepared.meaning().filter(|known| known.rewritten.as_ref() == Some(&there))
    }

    fn cut_of(&self, policy: &Policy, prepared: Option<&Rc<Prepared>>) -> Cut {
        let resolved = prepared.filter(|_| self.active == policy.primary()).map(|p| self.resolved(policy, p));
        resolved.as_ref().and_then(|r| r.only()).map_or(Cut::Nothing, |part| part.cut)
    }

    fn send_bind(&mut self, policy: &Arc<Policy>, bind: Bind<'_>, frame: &[u8]) {
        let prepared = self.statements.get(bind.statement).cloned();
        match &prepared {
            Some(prepared) => {
                self.ensure(policy, prepared);
                self.guard_formats(policy, prepared, bind.result_formats);
            }
            None => self.is_elsewhere(bind.statement),
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

    /// A Bind of a statement that the protocol has not prepared: SQL has, or nobody.
    fn is_elsewhere(&mut self, name: &[u8]) {
        if !name.is_empty() {
            let reason = "a statement prepared in SQL is not captured yet";
            self.worker.context.count_uncaptured(
                crate::sql::Fingerprint(0),
                b"execute of a statement prepared in SQL",
                reason,
            );
            return;
        }
        // The client's last simple query has destroyed it, on the other side perhaps.
        if let Some(peer) = self.peers.get_mut(self.active) {
            Writer::close_statement(&mut peer.channel.outbound, b"");
            self.step(Step::Close { injected: true, undo: None });
        }
    }

    fn send_describe(&mut self, policy: &Arc<Policy>, what: CloseOrDescribe<'_>, frame: &[u8]) {
        let (prepared, keeps) = match what {
            CloseOrDescribe::Statement(name) => {
                let prepared = self.statements.get(name).cloned();
                if let Some(prepared) = &prepared {
                    self.ensure(policy, prepared);
                }
                (prepared, true)
            }
            // What is told of an unnamed statement's portal is for this one run.
            CloseOrDescribe::Portal(name) => {
                let prepared = self.statements.portal(name).cloned();
                let named = prepared.as_ref().is_some_and(|p| !p.name.is_empty());
                (prepared, named)
            }
        };
        let cut = self.cut_of(policy, prepared.as_ref());
        self.put(frame);
        let untold = |p: &Rc<Prepared>| p.told().is_none() && self.resolved(policy, p).read.is_some();
        let tells = prepared.filter(|p| keeps && untold(p));
        self.step(Step::Describe { cut, tells });
    }

    fn send_close(&mut self, what: CloseOrDescribe<'_>, frame: &[u8]) {
        let undo = match what {
            CloseOrDescribe::Statement(name) => Some(self.statements.close(name)),
            CloseOrDescribe::Portal(name) => {
                self.statements.close_portal(name);
                None
            }
        };
        self.put(frame);
        self.step(Step::Close { injected: false, undo });
    }

    fn send_execute(&mut self, policy: &Arc<Policy>, frame: &[u8]) -> Option<()> {
        let (portal, _) = crate::wire::cstr(frame.get(HEADER..)?)?;
        let mut run = Run::plain();
        let prepared = self.statements.portal(portal).cloned();
        let resolved = prepared.as_ref().map(|p| self.resolved(policy, p));
        let footprint = resolved.as_ref().map_or(Footprint::Any, |r| r.footprint());
        self.batch(|b| b.footprint = b.footprint.max(footprint));
        let on_primary = self.active == policy.primary();
        self.trace_execute(policy, prepared.as_deref().zip(resolved.as_deref()));
        if let (Some(prepared), Some(resolved)) = (&prepared, &resolved) {
            self.mark(resolved, &prepared.sql, !on_primary);
            self.set_on_primary_too(resolved, &prepared.sql);
            self.count_there(resolved);
            let line = self.line_of(resolved, &prepared.sql);
            self.batch(|b| b.line = b.line.or(line));
            if let Some(part) = resolved.only() {
                run.cut = self.cut_of(policy, Some(prepared));
                run.touches = part.touches;
                run.after = part.after.clone();
                let begins = matches!(part.after, After::Control(Control::Begin(_)));
                self.batch(|b| {
                    b.class = part.class;
                    b.begins |= begins;
                });
            }
        }
        let look = resolved.as_ref().and_then(|r| self.look_around(r)).filter(|_| on_primary).cloned();
        if let Some(look) = &look {
            self.look_before(look);
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
        match &look {
            Some(look) if look.copies_in => self.look_after_copy(look),
            Some(look) => self.look_after(look),
            None => {}
        }
        Some(())
    }
}

/// The client names types as the primary does.
fn types_for<'a>(policy: &Policy, side: Side, types: &'a [u8]) -> Cow<'a, [u8]> {
    let primary = policy.primary();
    match side == primary {
        true => Cow::Borrowed(types),
        false => policy.catalog.get(primary).twins().translated_types(types).map_or(Cow::Borrowed(types), Cow::Owned),
    }
}

/// A FunctionCall of a function that came with the server: none of these writes to a user's table. (Those of large objects write to theirs,
/// which are the primary's alone.)
fn calls_the_servers_own(frame: &[u8]) -> bool {
    const FIRST_OF_USERS: u32 = 16_384;
    let oid = frame.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    oid.is_some_and(|oid| oid < FIRST_OF_USERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_servers_own_are_told_by_their_oid() {
        let call = |oid: u32| [&b"F\0\0\0\x0e"[..], &oid.to_be_bytes(), &[0; 6]].concat();
        assert!(calls_the_servers_own(&call(177)) && calls_the_servers_own(&call(16_383)));
        assert!(!calls_the_servers_own(&call(16_384)) && !calls_the_servers_own(b"F\0\0\0\x04"));
    }
}
