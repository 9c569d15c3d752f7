//! A text of one or more statements, ready to be sent: what it becomes on the primary, and what each answer means.

use std::rc::Rc;

use super::batch::{After, Run, Strip};
use super::tally::Class;
use super::transaction::Control;
use crate::routing::{Action, Names, Policy, Verdicts, Why, resolve};
use crate::side::Side;
use crate::sql::capture::{Rewritten, rewrite};
use crate::sql::{Fingerprint, Kind, Statement, scan};

/// What the session has to remember once a statement was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    Nothing,
    /// The session now has state that only its primary connection has.
    Pins,
    /// A temporary relation of this name, if the name could be read.
    Temporary(Option<String>),
    SearchPath,
}

/// One statement of a text.
#[derive(Debug)]
pub struct Part {
    pub strip: Strip,
    pub after: After,
    pub mark: Mark,
    pub class: Class,
    pub fingerprint: Fingerprint,
    /// Why it is an uncaptured write, if it is one.
    pub uncaptured: Option<&'static str>,
}

/// A text that is one read.
#[derive(Clone, Debug)]
pub struct SingleRead {
    pub movable: Result<(), Why>,
    pub fingerprint: Fingerprint,
    pub key: Option<String>,
    pub forced: Option<Side>,
}

#[derive(Debug)]
pub struct Resolved {
    pub generation: u64,
    pub parts: Vec<Part>,
    pub read: Option<SingleRead>,
    /// The text for the primary where it is not the client's own.
    pub rewritten: Option<Rc<Rewritten>>,
    /// The same as bytes that can be shared.
    pub text: Option<Rc<[u8]>>,
}

impl Resolved {
    pub fn new(text: &[u8], policy: &Policy, names: &Names, verdicts: &mut Verdicts) -> Self {
        let script = scan(text);
        let mut insertions = Vec::new();
        let mut parts = Vec::with_capacity(script.statements.len());
        let mut read = None;
        for statement in &script.statements {
            let action = resolve(statement, text, policy, names, verdicts);
            if let (Action::Read(movable), 1) = (&action, script.statements.len()) {
                read = Some(SingleRead {
                    movable: *movable,
                    fingerprint: statement.fingerprint,
                    key: statement.hints.key.clone(),
                    forced: statement.hints.route,
                });
            }
            parts.push(part(statement, text, action, &mut insertions));
        }
        let rewritten = (!insertions.is_empty()).then(|| Rc::new(rewrite(text, insertions)));
        let text = rewritten.as_ref().map(|r| Rc::from(r.text.as_slice()));
        Resolved { generation: policy.generation, parts, read, rewritten, text }
    }

    /// In the extended protocol a text is one statement.
    pub fn only(&self) -> Option<&Part> {
        self.parts.first()
    }

    /// The runs that a simple query's answer consists of.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let last = self.parts.len().saturating_sub(1);
        self.parts.iter().enumerate().map(move |(at, part)| Run {
            strip: part.strip,
            touches: 0,
            after: part.after.clone(),
            reports_commit: at == last,
        })
    }
}

fn part(statement: &Statement, text: &[u8], action: Action, insertions: &mut Vec<(usize, String)>) -> Part {
    let mut part = Part {
        strip: Strip::Nothing,
        after: after(statement, text),
        mark: mark(statement, text),
        class: Class::Other,
        fingerprint: statement.fingerprint,
        uncaptured: None,
    };
    match action {
        Action::Read(_) => part.class = Class::Read,
        Action::Capture { insertions: more, rows } => {
            part.class = Class::Write;
            part.strip = if rows { Strip::LastColumn } else { Strip::Rows };
            if statement.kind == Kind::WithDml {
                // Its writes stand inside WITH; what the client sees is the outer SELECT, unchanged.
                part.strip = Strip::Nothing;
            }
            insertions.extend(more);
        }
        Action::Uncaptured(reason) => part.uncaptured = Some(reason),
        Action::Neutral => {}
    }
    part
}

fn after(statement: &Statement, text: &[u8]) -> After {
    let name = |span: &std::ops::Range<usize>| text.get(span.clone()).unwrap_or_default().to_vec();
    match &statement.kind {
        Kind::Begin => After::Control(Control::Begin),
        Kind::Commit => After::Control(Control::Commit),
        Kind::Rollback | Kind::PrepareTransaction => After::Control(Control::Rollback),
        Kind::Savepoint(span) => After::Control(Control::Savepoint(name(span))),
        Kind::RollbackTo(span) => After::Control(Control::RollbackTo(name(span))),
        Kind::Release(span) => After::Control(Control::Release(name(span))),
        Kind::Ddl | Kind::CreateTableAs | Kind::SelectInto => After::Ddl,
        Kind::DiscardAll | Kind::Deallocate(None) => After::ForgetStatements,
        Kind::Deallocate(Some(name)) => After::ForgetStatement(name.clone().into_bytes()),
        Kind::Set { name, value, .. } if is_word(text, name, ROUTING_KEY) => {
            After::RoutingKey(routing_key(text, value))
        }
        Kind::Reset(name) if is_word(text, name, ROUTING_KEY) => After::RoutingKey(None),
        _ => After::Nothing,
    }
}

fn mark(statement: &Statement, text: &[u8]) -> Mark {
    match &statement.kind {
        Kind::CreateTemp(name) => Mark::Temporary(name.clone()),
        Kind::Set { name, .. } | Kind::Reset(name) if is_word(text, name, "search_path") => Mark::SearchPath,
        Kind::Set { name, .. } | Kind::Reset(name) if is_word(text, name, ROUTING_KEY) => Mark::Nothing,
        // Undone at the transaction's end, which a read that moves is never inside of.
        Kind::Set { local: true, .. } => Mark::Nothing,
        Kind::Set { .. } | Kind::Reset(_) | Kind::DiscardAll | Kind::DeclareCursor | Kind::Listen => Mark::Pins,
        _ => Mark::Nothing,
    }
}

const ROUTING_KEY: &str = "pgduet.key";

fn is_word(text: &[u8], place: &std::ops::Range<usize>, word: &str) -> bool {
    text.get(place.clone()).is_some_and(|t| t.eq_ignore_ascii_case(word.as_bytes()))
}

/// The routing key that `SET pgduet.key = '...'` sets: the literal without its quotes.
fn routing_key(text: &[u8], value: &std::ops::Range<usize>) -> Option<String> {
    let value = std::str::from_utf8(text.get(value.clone())?).ok()?;
    let unquoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).map(|v| v.replace("''", "'"));
    match unquoted {
        None if value.eq_ignore_ascii_case("default") => None,
        None => Some(value.to_owned()),
        unquoted => unquoted.filter(|v| !v.is_empty()),
    }
}
