//! OTLP's protobuf, as far as traces need it: `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`. The numbers are those of the
//! fields in its definition; attributes are named after OpenTelemetry's conventions for databases, and `pgduet.*` beyond them.

use super::Place;
use super::context::Context;
use super::outlet::{Facts, Failure, Span, Work};
use super::words::{Dictionary, Words};
use crate::routing::Why;
use crate::side::{BySide, Side};

/// What is sent is protobuf, by this name.
pub(super) const CONTENT_TYPE: &str = "application/x-protobuf";

/// Kinds of spans.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const STATUS_ERROR: u64 = 2;

/// A message under construction.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// The attributes of a span or a resource, in the field that it has them in.
struct Attributes<'a> {
    message: &'a mut Message,
    field: u64,
}

impl Attributes<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.put(key, |any| any.bytes(1, value.as_bytes()));
    }

    fn number(&mut self, key: &str, value: u64) {
        self.put(key, |any| any.number(3, value));
    }

    fn put(&mut self, key: &str, value: impl FnOnce(&mut Message)) {
        self.message.message(self.field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, value);
        });
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        value.into_iter().for_each(|value| self.text(key, value));
    }
}

/// Who sends.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub service: String,
    /// Tells the instances of a service apart.
    pub instance: String,
    pub places: BySide<Place>,
}

/// One request, of all these spans.
pub(super) fn request(resource: &Resource, spans: &[Span], dictionary: &mut Dictionary) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |message| {
            let mut attributes = Attributes { message, field: 1 };
            attributes.text("service.name", &resource.service);
            attributes.text("service.version", env!("CARGO_PKG_VERSION"));
            attributes.text("service.instance.id", &resource.instance);
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| {
                scope.bytes(1, b"pgduet");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                of_scope.message(2, |message| put(message, span, &resource.places, dictionary));
            }
        });
    });
    request.0
}

fn put(message: &mut Message, span: &Span, places: &BySide<Place>, dictionary: &mut Dictionary) {
    message.bytes(1, &span.context.trace);
    message.bytes(2, &span.context.span);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.fixed64(7, span.start);
    message.fixed64(8, span.end);
    for Context { trace, span } in &span.links {
        message.message(13, |link| {
            link.bytes(1, trace);
            link.bytes(2, span);
        });
    }
    let (name, kind) = attributes(&mut Attributes { message, field: 9 }, &span.work, places, dictionary);
    message.bytes(5, name.as_bytes());
    message.number(6, kind);
    if let Some(failure) = span.failure {
        let code = match &failure {
            Failure::Sqlstate(code) => std::str::from_utf8(code).unwrap_or("unknown"),
            Failure::Unanswered => "unanswered",
        };
        let mut attributes = Attributes { message, field: 9 };
        attributes.text("error.type", code);
        attributes.maybe("db.response.status_code", Some(code).filter(|_| failure != Failure::Unanswered));
        message.message(15, |status| status.number(3, STATUS_ERROR));
    }
}

/// Returns the span's name and kind.
fn attributes(to: &mut Attributes, work: &Work, places: &BySide<Place>, dictionary: &mut Dictionary) -> (String, u64) {
    match work {
        Work::Statement(facts) => {
            let words = facts.text.as_deref().map(|text| dictionary.words(text)).unwrap_or_default();
            to.text("db.system.name", "postgresql");
            let answering = facts.answer.map_or(Side::Old, |(side, _)| side);
            to.text("db.namespace", &places.get(answering).database);
            of_words(to, &words);
            let statements = u64::from(facts.statements).max(words.statements as u64);
            if statements > 1 {
                to.number("db.operation.batch.size", statements);
            }
            of_facts(to, facts);
            (named(&words), SERVER)
        }
        Work::Backend { side, primary, why, text } => {
            let words = text.as_deref().map(|text| dictionary.words(text)).unwrap_or_default();
            to.text("db.system.name", "postgresql");
            of_place(to, places.get(*side));
            of_words(to, &words);
            to.text("pgduet.role", if side == primary { "primary" } else { "secondary" });
            of_answer(to, *side, *why);
            (format!("{side}: {}", named(&words)), CLIENT)
        }
        Work::Ack { cycle } => {
            to.number("pgduet.cycle", *cycle);
            ("ack".into(), INTERNAL)
        }
        Work::Link { cycle, secondary } => {
            to.number("pgduet.cycle", *cycle);
            to.text("pgduet.side", secondary.as_str());
            ("link".into(), INTERNAL)
        }
        Work::Cycle { cycle, secondary, commits, applied, superseded, parked } => {
            to.text("db.system.name", "postgresql");
            of_place(to, places.get(*secondary));
            to.text("pgduet.side", secondary.as_str());
            to.number("pgduet.cycle", *cycle);
            to.number("pgduet.cycle.traced_commits", *commits as u64);
            to.number("pgduet.cycle.applied", *applied);
            to.number("pgduet.cycle.superseded", *superseded);
            to.number("pgduet.cycle.parked", *parked);
            ("cycle".into(), CLIENT)
        }
        Work::Shadow { side, outcome } => {
            to.text("db.system.name", "postgresql");
            of_place(to, places.get(*side));
            to.text("pgduet.side", side.as_str());
            to.text("pgduet.outcome", outcome);
            ("shadow".into(), CLIENT)
        }
    }
}

/// What was not read has no operation.
fn named(words: &Words) -> String {
    match words.operation.is_empty() {
        true => "statement".into(),
        false => words.summary(),
    }
}

fn of_words(to: &mut Attributes, words: &Words) {
    if words.text.is_empty() {
        return;
    }
    to.text("db.operation.name", &words.operation);
    to.text("db.query.summary", &words.summary());
    to.text("db.query.text", &words.text);
    to.maybe("db.collection.name", words.table.as_deref());
    to.maybe("pgduet.fingerprint", words.fingerprint.map(|f| f.to_string()).as_deref());
}

fn of_facts(to: &mut Attributes, facts: &Facts) {
    to.maybe("pgduet.phase", facts.phase.map(|phase| phase.as_str()));
    to.maybe("pgduet.kind", facts.class);
    to.maybe("pgduet.capture", facts.capture);
    facts.bucket.into_iter().for_each(|bucket| to.number("pgduet.bucket", bucket.into()));
    facts.answer.into_iter().for_each(|(side, why)| of_answer(to, side, why));
}

fn of_answer(to: &mut Attributes, side: Side, why: Option<Why>) {
    to.text("pgduet.side", side.as_str());
    to.maybe("pgduet.reason", why.map(Why::as_str));
}

fn of_place(to: &mut Attributes, place: &Place) {
    to.text("server.address", &place.address);
    to.number("server.port", place.port.into());
    to.text("db.namespace", &place.database);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_are_protobufs() {
        let mut message = Message::default();
        message.number(3, 300);
        message.message(2, |inner| inner.bytes(1, b"ab"));
        message.fixed64(7, 1);
        assert_eq!(message.0, [0x18, 0xac, 0x02, 0x12, 4, 0x0a, 2, b'a', b'b', 0x39, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
