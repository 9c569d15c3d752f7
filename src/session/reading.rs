//! Reads that may move: where each goes, and what a transaction around it means for both sides.
//!
//! The client's transaction is open on the primary from its BEGIN to its end, whatever its reads do, so that tags, status and
//! savepoints are the primary's own. A READ COMMITTED read that moves runs on the secondary in no transaction at all; its ReadyForQuery is
//! passed on with the status of the client's transaction. If it fails before its first byte, the primary answers in its place, and fails as
//! Postgres would. If it fails later, the client has the error already, and the transaction on the primary must be failed too
//! ([`Session::fail_transaction`]).
//!
//! A transaction of one snapshot (REPEATABLE READ READ ONLY) is opened on the secondary in front of its first read, and all its
//! statements run there; at its end the empty one on the primary is ended behind the client's back.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::answers::{FALLBACK, class_of};
use super::batch::{After, Batch, Care, Ending, Run, Step, Voice};
use super::owed;
use super::peer::MAX_BACKEND_MESSAGE;
use super::read::Read;
use super::requests::Took;
use super::resolved::{Mark, Resolved, SingleRead};
use super::statements::Prepared;
use super::transaction::{Control, Place, Status, Transaction};
use super::{End, Session};
use crate::config::{Freshness, KeySource};
use crate::link::ledger::LinkState;
use crate::routing::{self, Choice, Policy, Share, Situation, Who, Why};
use crate::rows::Answer;
use crate::shadow::{Line, Sample};
use crate::side::Side;
use crate::sql::KeyValue;
use crate::trace;
use crate::wire::{Bind, HEADER, Header, Notice, Parse, Writer, back, front};

/// Fails an open transaction, or its innermost subtransaction, and does nothing else.
const FAIL: &[u8] = b"ROLLBACK TO SAVEPOINT pgduet_the_read_failed_on_the_secondary";
const BEGIN_SNAPSHOT: &[u8] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A BEGIN in front of a read in one batch (as JDBC sends it).
pub(super) struct Opening {
    /// Bytes up to and with the Execute of the BEGIN.
    pub len: usize,
    control: Control,
}

impl Session {
    /// How the session's transaction stands for a read that arrives now.
    fn standing(&self, policy: &Policy) -> routing::Transaction {
        self.transaction.standing(policy.catalog.get(policy.primary()).usual_isolation() && !self.asks_for_isolation())
    }

    /// A start-up setting may have made every BEGIN another one.
    fn asks_for_isolation(&self) -> bool {
        let asks = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("default_transaction_isolation")
                || (name == "options" && value.to_ascii_lowercase().replace('-', "_").contains("isolation"))
        };
        self.baggage.sets_isolation() || self.login.identity.parameters.iter().any(asks)
    }

    pub(super) fn choose(&mut self, policy: &Policy, read: &SingleRead) -> Choice {
        if let Some(why) = self.fallback.take() {
            return Choice { side: policy.primary(), why };
        }
        self.choose_in(policy, read, self.standing(policy))
    }

    fn choose_in(&self, policy: &Policy, read: &SingleRead, transaction: routing::Transaction) -> Choice {
        let ledger = &self.worker.context.ledger;
        let now = Situation {
            transaction,
            answers_under_way: self.owes(self.active),
            pinned: self.baggage.pin(),
            fresh: match self.worker.context.config.reads.freshness {
                Freshness::Any => true,
                Freshness::Session => ledger.applied() >= self.last_write,
                Freshness::Within(bound) => ledger.report().lag_seconds <= bound.as_secs_f64(),
            },
            link_up: ledger.state().carries()
                && self.worker.context.withdrawal.reason().is_none()
                && self.way.has_way(),
            bucket: self.bucket(read),
            forced: read.forced,
            pin: read.movable.as_ref().ok().and_then(|traits| traits.pin),
            share: self.share(policy, read),
        };
        routing::choose(policy, movable_in(read, transaction), &now)
    }

    /// The bucket of the first key that is present, in the order of `reads.key`.
    pub(super) fn bucket(&self, read: &SingleRead) -> u16 {
        let identity = &self.login.identity;
        let parameter = |name: &str| identity.parameters.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        let from = |source: &KeySource| match source {
            KeySource::Comment => read.key.as_deref().map(routing::bucket),
            KeySource::Setting => self.routing_key.setting.as_deref().map(routing::bucket),
            KeySource::Connection => Some(self.routing_key.connection),
            KeySource::User => Some(routing::bucket(&identity.user)),
            KeySource::ApplicationName => parameter("application_name").map(routing::bucket),
            KeySource::Address => self.client.peer().map(|a| routing::bucket(&a.ip().to_string())),
            KeySource::Column => column_value(read).map(|key| routing::bucket(&key)),
        };
        self.worker.context.config.reads.key.iter().find_map(from).unwrap_or(self.routing_key.connection)
    }

    /// What the segment says that this client and key are in.
    fn share(&self, policy: &Policy, read: &SingleRead) -> Option<Share> {
        if policy.rules.segments.is_empty() {
            return None;
        }
        let column = column_value(read);
        let key = self.worker.context.config.reads.key.iter().find_map(|source| match source {
            KeySource::Comment => read.key.as_deref(),
            KeySource::Setting => self.routing_key.setting.as_deref(),
            KeySource::Column => column.as_deref(),
            _ => None,
        });
        let identity = &self.login.identity;
        let application = identity.parameters.iter().find(|(name, _)| name == "application_name");
        let who = Who {
            user: &identity.user,
            application: application.map_or("", |(_, value)| value),
            address: self.client.peer().map(|a| a.ip()),
            key,
        };
        routing::segment(&policy.rules, &who).map(|(_, share)| share)
    }

    /// `request`: what a shadow read would send; `whole`: what the client sent.
    pub(super) fn read(
        &self,
        policy: &Policy,
        choice: Choice,
        read: &SingleRead,
        sql: &[u8],
        request: &[u8],
        whole: &[u8],
    ) -> Read {
        let on_secondary = choice.side != policy.primary();
        let sampled = read.movable.is_ok() && self.may_sample(policy, read) && {
            policy.shadow_sample.opens(rand::random::<u16>() % routing::BUCKETS)
        };
        let sample = sampled.then(|| {
            Box::new(Sample {
                fingerprint: read.fingerprint,
                sql: sql.to_vec(),
                request: request.to_vec(),
                side: choice.side,
                answer: Answer::default(),
                took: std::time::Duration::ZERO,
                identity: Arc::clone(&self.login.identity),
                binary: read.binary,
                catalog: Arc::clone(policy.catalog.get(policy.primary())),
                trace: trace::Mark::default(),
            })
        });
        Read {
            why: choice.why,
            replay: on_secondary.then(|| whole.to_vec()),
            prelude: BytesMut::new(),
            sample,
            answer: Answer::default(),
        }
    }

    /// A shadow read has none of the session's state and nothing of what its open transaction wrote.
    fn may_sample(&self, policy: &Policy, read: &SingleRead) -> bool {
        use routing::Transaction::{Clean, None, Read};
        let standing = self.standing(policy);
        self.baggage.is_light()
            && matches!(standing, None | Clean | Read)
            && !(standing != None && (self.transaction.is_one_snapshot() || movable_in(read, standing).is_err()))
            && self.worker.context.ledger.state() == LinkState::Running
    }

    // ---- a transaction's beginning

    /// Whether the rest is held until a BEGIN has its answer: a read behind it may move only in a calm session.
    pub(super) fn waits_for_begin(&self, policy: &Policy) -> bool {
        let peer = self.peers.get(self.active).as_ref();
        policy.moves_reads() && peer.and_then(|p| p.batches.back()).is_some_and(|b| b.begins && !b.is_open())
    }

    /// The BEGIN in front of a read that would move, if that is what the messages are.
    pub(super) fn opening(&mut self, policy: &Policy, whole: &[u8]) -> Option<Opening> {
        if !policy.moves_reads() || self.transaction.status != Status::Idle {
            return None;
        }
        let opening = self.leading_begin(policy, whole)?;
        let single = self.single_read(policy, whole.get(opening.len..)?)?;
        let mut begun = Transaction::default();
        begun.control(&opening.control);
        begun.status = Status::Open;
        let usual = policy.catalog.get(policy.primary()).usual_isolation() && !self.asks_for_isolation();
        let choice = self.choose_in(policy, &single.read, begun.standing(usual));
        (choice.side != policy.primary()).then_some(opening)
    }

    fn leading_begin(&self, policy: &Policy, whole: &[u8]) -> Option<Opening> {
        let mut parsed: Option<Rc<Prepared>> = None;
        let mut bound: Option<Rc<Prepared>> = None;
        let mut len = 0;
        loop {
            let rest = whole.get(len..)?;
            let header = Header::peek(rest, usize::MAX).ok()??;
            let frame = rest.get(..header.len)?;
            len += header.len;
            match header.tag {
                front::PARSE if parsed.is_none() && bound.is_none() => {
                    let parse = Parse::read(frame)?;
                    parsed = Some(Rc::new(Prepared::new(parse.name, parse.sql, parse.types)));
                }
                front::BIND if bound.is_none() => {
                    let bind = Bind::read(frame)?;
                    let own = parsed.take_if(|p| p.name == bind.statement);
                    bound = own.or_else(|| self.statements.get(bind.statement).cloned());
                }
                front::EXECUTE => {
                    let resolved = self.resolved(policy, bound.as_ref()?);
                    return match resolved.only().map(|part| &part.after) {
                        Some(After::Control(control @ Control::Begin(_))) => {
                            Some(Opening { len, control: control.clone() })
                        }
                        _ => None,
                    };
                }
                front::DESCRIBE if frame.get(HEADER) == Some(&b'P') => {}
                _ => return None,
            }
        }
    }

    /// Whether a BEGIN comes first.
    pub(super) fn begins_with_begin(&self, policy: &Policy, whole: &[u8]) -> bool {
        self.leading_begin(policy, whole).is_some()
    }

    /// Sends the BEGIN with a Sync of ours behind it, and holds the rest back until it has its answer.
    pub(super) fn send_opening(&mut self, policy: &Arc<Policy>, opening: &Opening, whole: &[u8]) -> Result<(), End> {
        let (begin, rest) = whole.split_at_checked(opening.len).unwrap_or((whole, &[]));
        self.turn_to(policy.primary());
        self.send_frames(policy, begin)?;
        let mut sync = BytesMut::new();
        Writer::empty(&mut sync, front::SYNC);
        self.send_frames(policy, &sync)?;
        self.batch(|b| b.voice = Voice::NoReady { rest: rest.len() });
        self.put_back(rest);
        Ok(())
    }

    // ---- a transaction that lives on the secondary

    /// In front of the first read of a transaction of one snapshot that goes there.
    pub(super) fn settle_on(&mut self, side: Side, policy: &Policy) {
        let moves = side != policy.primary() && self.transaction.status == Status::Open;
        if moves && self.transaction.is_one_snapshot() {
            self.tell(side, BEGIN_SNAPSHOT, Voice::Silent);
            self.transaction.place = Place::Secondary;
        }
    }

    /// A message of a transaction that lives on the secondary: all of it goes there.
    pub(super) fn plan_there(&mut self, policy: &Arc<Policy>, header: Header) -> Result<Took, End> {
        self.turn_to(policy.primary().other());
        if self.client.inbound.len() < header.len {
            return Ok(Took::NeedsMore);
        }
        if header.tag != front::QUERY {
            return self.send_one(policy, header);
        }
        let frame = self.client.inbound.split_to(header.len);
        let sql = frame.get(HEADER..header.len - 1).unwrap_or_default();
        let resolved = self.resolve(policy, sql);
        self.mark(&resolved, sql, true);
        self.set_on_primary_too(&resolved, sql);
        let mut batch =
            Batch::new(class_of(&resolved.parts), Care::Frames, Ending::Query { steps: resolved.parts.len() });
        batch.line = self.line_of(&resolved, sql);
        batch.trace = self.traced(policy, &resolved, sql, batch.sent);
        batch.steps.extend(resolved.runs().map(|(_, run)| Step::Run(Run { cut: routing::Cut::Nothing, ..run })));
        if resolved.read.is_some() {
            batch.read = Some(Read::counted(Why::TransactionSide));
        }
        if let Some(peer) = self.peers.get_mut(self.active) {
            peer.channel.outbound.extend_from_slice(&frame);
            owed::expect_query(&mut peer.batches, batch);
        }
        Ok(Took::It)
    }

    /// The session's settings are the primary's: what changes them runs there as well.
    pub(super) fn set_on_primary_too(&mut self, resolved: &Resolved, sql: &[u8]) {
        if self.transaction.lives_on_secondary() && resolved.parts.iter().any(|p| p.mark != Mark::Nothing) {
            self.tell(self.primary(), sql, Voice::Silent);
        }
    }

    /// The row in the table of statements that the text is counted in, if it is one statement.
    pub(super) fn line_of(&self, resolved: &Resolved, sql: &[u8]) -> Option<Line> {
        match resolved.parts.as_slice() {
            [only] if resolved.readable => self.worker.statements.borrow_mut().place(only.fingerprint, sql),
            _ => None,
        }
    }

    /// Counts a read of a transaction that lives on the secondary.
    pub(super) fn count_there(&mut self, resolved: &Resolved) {
        if self.transaction.lives_on_secondary() && resolved.read.is_some() {
            self.batch(|b| b.read = b.read.take().or_else(|| Some(Read::counted(Why::TransactionSide))));
        }
    }

    /// A statement of pgduet's own.
    pub(super) fn tell(&mut self, side: Side, sql: &[u8], voice: Voice) {
        if let Some(peer) = self.peers.get_mut(side) {
            Writer::query(&mut peer.channel.outbound, sql);
            peer.batches.push_back(Batch::own(voice));
            self.statements.unnamed_lost(side);
        }
    }

    /// Its last ReadyForQuery has come from the secondary.
    pub(super) fn ended_there(&mut self) {
        self.transaction.ready(Status::Idle, false);
        self.tell(self.primary(), b"COMMIT", Voice::Silent);
    }

    /// Takes in answers to statements of pgduet's own on a side that is not the active one.
    pub(super) fn hear_out(&mut self, side: Side) -> Result<bool, End> {
        let Some(peer) = self.peers.get_mut(side) else { return Ok(false) };
        let mut moved = false;
        let mut heard = BytesMut::new();
        if self.answers.frame_left > 0 {
            return Ok(false);
        }
        while peer.batches.front().is_some_and(|b| b.voice == Voice::Silent) {
            let inbound = &mut peer.channel.inbound;
            match Header::peek(inbound, MAX_BACKEND_MESSAGE).map_err(|_| End::Backend(side))? {
                Some(header) if inbound.len() >= header.len => {
                    let frame = inbound.split_to(header.len);
                    moved = true;
                    if header.tag == back::NOTIFICATION {
                        heard.extend_from_slice(&frame);
                    }
                    if header.tag == back::READY_FOR_QUERY {
                        peer.batches.pop_front();
                    }
                }
                _ => break,
            }
        }
        self.pass_between(&heard);
        Ok(moved)
    }

    /// A word of the side that is not active: behind all that was approved, which ends with a whole frame.
    fn pass_between(&mut self, frames: &[u8]) {
        if frames.is_empty() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(self.active) {
            self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
        }
        self.client.outbound.extend_from_slice(frames);
    }

    // ---- when the secondary fails

    /// Its read failed on the secondary, and the client knows: the transaction fails on the primary too, whose ReadyForQuery follows.
    pub(super) fn fail_transaction(&mut self) {
        self.turn_to(self.primary());
        self.tell(self.active, FAIL, Voice::ReadyOnly);
    }

    /// The secondary has failed before the first byte of its answer, or its answer would be misread: the primary answers in its place.
    pub(super) fn fall_back(&mut self, side: Side, batch: &Batch, replay: &[u8]) {
        self.trace_fallback(side, batch);
        let why = batch.refused.unwrap_or(FALLBACK);
        if why == FALLBACK {
            self.worker.context.tally.backend_error(side);
        }
        if self.transaction.lives_on_secondary() {
            self.transaction.place = Place::Free;
            self.tell(side, b"ROLLBACK", Voice::Silent);
        }
        self.turn_to(self.primary());
        self.fallback = Some(why);
        self.put_back(replay);
    }

    /// The secondary is gone in the middle of an answer, or of a transaction that lives there.
    pub(super) fn lose_secondary(&mut self, side: Side, owed: Option<&Batch>) -> Result<(), End> {
        let lived_there = self.transaction.lives_on_secondary();
        let Some(owed) = owed else {
            if lived_there {
                self.transaction.status = Status::Failed;
                self.transaction.place = Place::Free;
                self.tell(self.primary(), FAIL, Voice::Silent);
            }
            return Ok(());
        };
        self.trace_loss(side, owed);
        // Half a frame was passed on already, or the client is still sending: it cannot be told in order.
        if self.answers.frame_left > 0 || owed.is_open() {
            return Err(End::Backend(side));
        }
        self.transaction.place = Place::Free;
        lost(side, lived_there).put(&mut self.client.outbound);
        match self.transaction.status {
            Status::Idle => {
                Writer::begin(&mut self.client.outbound, back::READY_FOR_QUERY).u8(b'I').end();
                self.calm_down();
            }
            _ => self.fail_transaction(),
        }
        Ok(())
    }
}

/// The routing key that a column's value makes; that of a parameter was put in its place by the Bind.
fn column_value(read: &SingleRead) -> Option<String> {
    let column = read.column.as_ref()?;
    match &column.value {
        KeyValue::Literal(text) => Some(routing::key::from_text(text, column.type_oid)),
        KeyValue::Parameter(_) => None,
    }
}

impl SingleRead {
    /// Puts a parameter's value in its place, where it is the routing key.
    pub(super) fn bind(&mut self, bind: &Bind<'_>) {
        let Some(column) = &mut self.column else { return };
        let KeyValue::Parameter(number) = column.value else { return };
        let key = bind.parameter(number).and_then(|(raw, binary)| match binary {
            true => routing::key::from_binary(raw, column.type_oid),
            false => std::str::from_utf8(raw).ok().map(str::to_owned),
        });
        match key {
            Some(key) => column.value = KeyValue::Literal(key),
            None => self.column = None,
        }
    }
}

/// Inside a transaction the time is that of its BEGIN, which only the primary knows.
fn movable_in(read: &SingleRead, transaction: routing::Transaction) -> Result<(), Why> {
    match &read.movable {
        Err(why) => Err(*why),
        Ok(traits) if traits.clock && transaction != routing::Transaction::None => Err(Why::Function),
        Ok(traits) if traits.nested && read.binary => Err(Why::BinaryTypes),
        Ok(_) if read.lasting && transaction != routing::Transaction::None => Err(Why::SessionState),
        Ok(_) => read.stays.map_or(Ok(()), Err),
    }
}

fn lost(side: Side, one_snapshot: bool) -> Notice {
    match one_snapshot {
        true => Notice::error("40001", "could not serialize access due to the loss of the transaction's snapshot")
            .detail(format!("The database that this transaction read from ({side}) is gone."))
            .hint("The transaction might succeed if retried."),
        false => Notice::error("08006", format!("the connection to the database was lost ({side})"))
            .hint("The statement might succeed if retried."),
    }
}
