//! A text of one or more statements, ready to be sent: what it becomes on the primary, and what each answer means.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use super::batch::{After, Run};
use super::look::Look;
use super::tally::Class;
use super::transaction::{Control, Footprint, Touches};
use super::unread::Unread;
use crate::routing::{Action, Column, Cut, Names, Opaque, Policy, Reading, Traits, Verdicts, Why, column_key, resolve};
use crate::side::Side;
use crate::sql::{
    Backslash, Fingerprint, KeyValue, Kind, Rewritten, Statement, calls_any, constant, rewrite, scan_with,
};

/// What the session has to remember once a statement was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    Nothing,
    /// The session may now have state that only its connection to the primary has.
    Unsettles,
    /// The same, by a setting of this name.
    Custom(String),
    /// A temporary relation of this name, if the name could be read.
    Temporary(Option<String>),
    SearchPath,
    /// How texts are to be read from here on.
    Reading(Reading),
}

/// Shown in the place of a text whose constants cannot be told from its words.
pub const UNREADABLE: &str = "a statement that cannot be read";

/// One statement of a text.
#[derive(Debug)]
pub struct Part {
    pub span: Range<usize>,
    pub cut: Cut,
    /// What it has journalled before any row of its answer says so.
    pub touches: Touches,
    pub after: After,
    pub mark: Mark,
    pub footprint: Footprint,
    pub class: Class,
    pub fingerprint: Fingerprint,
    /// The statement that an EXECUTE runs.
    pub executes: Option<Vec<u8>>,
    /// What is asked of the primary around it.
    pub look: Option<Look>,
    /// It declares a cursor whose query may write.
    pub cursor_writes: bool,
    /// Why it is an uncaptured write, if it is one.
    pub uncaptured: Option<&'static str>,
}

/// A text that is one read.
#[derive(Clone, Debug)]
pub struct SingleRead {
    pub movable: Result<Rc<Traits>, Why>,
    pub fingerprint: Fingerprint,
    pub key: Option<String>,
    /// The value of a column that is a routing key.
    pub column: Option<Column>,
    pub forced: Option<Side>,
    /// Its portal may outlive the messages that run it: inside a transaction it is the primary's.
    pub lasting: bool,
    /// It asks for rows in binary form.
    pub binary: bool,
    /// Why it stays on the primary by the shape of its answer.
    pub stays: Option<Why>,
}

#[derive(Debug)]
pub struct Resolved {
    pub generation: u64,
    pub parts: Vec<Part>,
    pub read: Option<SingleRead>,
    /// What makes the text for the primary, where it is not the client's own.
    pub rewritten: Option<Rc<Rewritten>>,
    /// Its constants can be told from its words when it is shown to people.
    pub readable: bool,
}

impl Resolved {
    pub fn new(text: &[u8], policy: &Policy, names: &Names, verdicts: &mut Verdicts) -> Self {
        if names.reading.is_blind_to(text) {
            return Resolved::blind(policy);
        }
        let backslash = names.reading.backslash(text);
        let script = scan_with(text, backslash);
        let escapes = backslash == Backslash::Escape;
        let writers = policy.catalog.get(policy.primary()).writers();
        let (mut insertions, mut looks) = (Vec::new(), Vec::new());
        let mut parts = Vec::with_capacity(script.statements.len());
        let mut read = None;
        let several = script.statements.len() > 1;
        let (mut cursor_writes, mut defining) = (names.cursor_writes, names.defining);
        for statement in &script.statements {
            let action = match resolve(statement, text, policy, names, verdicts) {
                // The table may be another one, without triggers.
                Action::Touching(_) if defining && matches!(&statement.kind, Kind::CopyFrom(copy) if copy.stdin) => {
                    Action::Opaque(Opaque::CopyIn)
                }
                action if names.rules && is_write(&statement.kind) && is_by_catalog(&action) => {
                    Action::Opaque(Opaque::RowsInline("the schema has changed in this transaction"))
                }
                Action::Touching(_) if defining && statement.kind != Kind::CommitPrepared => {
                    Action::Opaque(Opaque::Rows("the schema has changed in this transaction"))
                }
                Action::Capture { .. } | Action::Uncaptured(_) if defining && !statement.dml.is_empty() => {
                    Action::Opaque(Opaque::Rows("the schema has changed in this transaction"))
                }
                Action::Read(Ok(_)) if escapes => Action::Read(Err(Why::NotUnderstood)),
                action => action,
            };
            if let (Action::Read(movable), false) = (&action, several) {
                read = Some(SingleRead {
                    movable: movable.clone(),
                    fingerprint: statement.fingerprint,
                    key: statement.hints.key.clone(),
                    column: column(movable, statement, text, policy, names),
                    forced: statement.hints.route,
                    lasting: false,
                    binary: false,
                    stays: None,
                });
            }
            let calls = called(&action, statement, text, writers);
            let mut part = part(statement, text, names.reading, action, &mut insertions);
            if let (Kind::Other, Some(reason)) = (&statement.kind, part.uncaptured) {
                part.after = After::Unread(unread(statement, text, !escapes, reason));
            }
            if part.mark == Mark::Nothing {
                part.mark = calls;
            }
            let own = text.get(statement.span.clone()).unwrap_or_default();
            let calls = (escapes && !writers.is_empty()) || calls_any(own, writers);
            part.cursor_writes = calls && matches!(statement.kind, Kind::DeclareCursor { .. });
            cursor_writes |= part.cursor_writes;
            let fetches = cursor_writes && matches!(statement.kind, Kind::Fetch | Kind::Move);
            if part.look.is_none() && part.uncaptured.is_none() && (calls || fetches) {
                part.look = Some(Look::rows());
            }
            if part.look.as_ref().is_some_and(|look| !look.is_readable()) {
                part.uncaptured = Some("its text is not UTF-8");
            }
            if several {
                looks.extend(part.looks());
            }
            defining |= matches!(part.after, After::Ddl);
            parts.push(part);
        }
        insertions.extend(looks);
        let rewritten = (!insertions.is_empty()).then(|| Rc::new(rewrite(text, insertions)));
        Resolved { generation: policy.generation, parts, read, rewritten, readable: !escapes }
    }

    /// A text that cannot be read safely: it is passed on as it is, and may have written anything.
    fn blind(policy: &Policy) -> Self {
        let part = Part {
            span: 0..0,
            cut: Cut::Nothing,
            touches: Touches::None,
            after: After::Nothing,
            mark: Mark::Unsettles,
            footprint: Footprint::Any,
            class: Class::Other,
            fingerprint: Fingerprint(0),
            executes: None,
            look: None,
            cursor_writes: false,
            uncaptured: Some("its quoting cannot be told under this client_encoding"),
        };
        Resolved { generation: policy.generation, parts: vec![part], read: None, rewritten: None, readable: false }
    }

    /// What keeping it takes, about: bytes.
    pub fn size(&self) -> usize {
        let part = |part: &Part| size_of::<Part>() + part.look.as_ref().map_or(0, |look| look.after.len());
        let rewritten = self.rewritten.as_ref().map_or(0, |rewritten| rewritten.size());
        size_of::<Resolved>() + self.parts.iter().map(part).sum::<usize>() + rewritten
    }

    /// Of one statement that is looked around: what makes a text with both looks in it. That of several has them anyway.
    pub fn inline(&self, text: &[u8]) -> Option<Rewritten> {
        let looks = self.only()?.looks();
        Some(match &self.rewritten {
            Some(rewritten) => rewritten.with(text, looks),
            None => rewrite(text, looks.collect()),
        })
    }

    /// In the extended protocol a text is one statement.
    pub fn only(&self) -> Option<&Part> {
        self.parts.first()
    }

    /// It opens a transaction, and does nothing else.
    pub fn begins(&self) -> bool {
        self.parts.len() == 1 && self.only().is_some_and(|part| matches!(part.after, After::Control(Control::Begin(_))))
    }

    /// What the text leaves in a transaction around it.
    pub fn footprint(&self) -> Footprint {
        self.parts.iter().map(|p| p.footprint).max().unwrap_or_default()
    }

    /// The statements that a simple query's answer consists of, each with pgduet's own around it.
    pub fn runs(&self) -> impl Iterator<Item = (&Part, Run)> + '_ {
        let last = self.parts.len().saturating_sub(1);
        self.parts.iter().enumerate().map(move |(at, part)| {
            let reports_commit = at == last && part.look.is_none();
            (part, Run { cut: part.cut, touches: part.touches, after: part.after.clone(), reports_commit })
        })
    }
}

impl Part {
    /// The looks around it as statements in its text, each with its place.
    fn looks(&self) -> impl Iterator<Item = (usize, String)> {
        let (before, after) = self.look.as_ref().map(Look::texts).unwrap_or_default();
        let at = |at: usize| move |sql| (at, sql);
        before.map(at(self.span.start)).into_iter().chain(after.map(at(self.span.end)))
    }
}

fn part(
    statement: &Statement,
    text: &[u8],
    reading: Reading,
    action: Action,
    insertions: &mut Vec<(usize, String)>,
) -> Part {
    let mut part = Part {
        span: statement.span.clone(),
        cut: Cut::Nothing,
        touches: Touches::None,
        after: after(statement, text),
        mark: mark(statement, text, reading),
        footprint: footprint(statement, text, &action),
        class: Class::Other,
        fingerprint: statement.fingerprint,
        executes: executes(statement, text),
        look: None,
        cursor_writes: false,
        uncaptured: None,
    };
    match action {
        Action::Read(_) => part.class = Class::Read,
        Action::Capture { insertions: more, cut } => {
            part.class = Class::Write;
            part.cut = cut;
            if statement.dml.iter().any(|dml| dml.inner) {
                part.touches = Touches::Rows(0);
            }
            insertions.extend(more);
        }
        Action::Opaque(opaque) => {
            part.class = Class::Write;
            part.look = Some(Look::new(&opaque, text.get(statement.span.clone()).unwrap_or_default()));
        }
        Action::Touching(_) => {
            part.class = Class::Write;
            part.touches = Touches::Rows(0);
        }
        Action::Uncaptured(reason) => part.uncaptured = Some(reason),
        Action::Neutral => {}
    }
    part
}

fn unread(statement: &Statement, text: &[u8], readable: bool, reason: &'static str) -> Unread {
    let own = text.get(statement.span.clone()).unwrap_or_default();
    let shown = if readable { crate::sql::normalised(own).into() } else { UNREADABLE.into() };
    Unread { fingerprint: statement.fingerprint, shown, reason }
}

/// A literal is this text's own, a parameter is the same for all of the fingerprint.
fn column(
    movable: &Result<Rc<Traits>, Why>,
    statement: &Statement,
    text: &[u8],
    policy: &Policy,
    names: &Names,
) -> Option<Column> {
    let known = movable.as_ref().ok()?.column.as_ref()?;
    match known.value {
        KeyValue::Parameter(_) => Some(known.clone()),
        KeyValue::Literal(_) => column_key(text.get(statement.span.clone())?, policy, names),
    }
}

/// What it leaves in a transaction around it, once it has run on the primary.
fn footprint(statement: &Statement, text: &[u8], action: &Action) -> Footprint {
    match (&statement.kind, action) {
        (_, Action::Read(Ok(_) | Err(Why::NotMirrored | Why::Unequal))) => Footprint::Read,
        (Kind::Begin(_) | Kind::Savepoint(_) | Kind::RollbackTo(_) | Kind::Release(_), _) => Footprint::Nothing,
        (Kind::Commit { chain: false } | Kind::Rollback { chain: false }, _) => Footprint::Nothing,
        (Kind::Show(_) | Kind::Empty, _) => Footprint::Nothing,
        (Kind::Set { name, .. }, _) if is_word(text, name, ROUTING_KEY) => Footprint::Nothing,
        // Not SET TRANSACTION SNAPSHOT, which names a snapshot of the primary's.
        (Kind::SetTransaction(modes), _) if modes.isolation.is_some() || modes.read_only.is_some() => {
            Footprint::Nothing
        }
        _ => Footprint::Any,
    }
}

/// What a text that begins with DEALLOCATE or DISCARD makes the session forget, statement by statement.
pub fn forgotten(text: &[u8]) -> Vec<After> {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()));
    if !begins("deallocate") && !begins("discard") {
        return Vec::new();
    }
    let statements = scan_with(text, Backslash::Plain).statements;
    let forgets = |after: &After| matches!(after, After::ForgetStatements | After::ForgetStatement(_));
    statements.iter().map(|statement| after(statement, text)).filter(forgets).collect()
}

fn after(statement: &Statement, text: &[u8]) -> After {
    let name = |span: &std::ops::Range<usize>| folded(text.get(span.clone()).unwrap_or_default());
    match &statement.kind {
        Kind::Begin(modes) => After::Control(Control::Begin(*modes)),
        Kind::SetTransaction(modes) => After::Control(Control::Modes(*modes)),
        Kind::Commit { .. } => After::Control(Control::Commit),
        Kind::Rollback { .. } | Kind::PrepareTransaction => After::Control(Control::Rollback),
        Kind::Savepoint(span) => After::Control(Control::Savepoint(name(span))),
        Kind::RollbackTo(span) => After::Control(Control::RollbackTo(name(span))),
        Kind::Release(span) => After::Control(Control::Release(name(span))),
        Kind::Ddl | Kind::CreateTableAs | Kind::SelectInto { .. } => After::Ddl,
        Kind::Explain { analyze: true, inner }
            if matches!(**inner, Kind::Ddl | Kind::CreateTableAs | Kind::SelectInto { .. }) =>
        {
            After::Ddl
        }
        Kind::DiscardAll | Kind::Deallocate(None) => After::ForgetStatements,
        Kind::Deallocate(Some(span)) => After::ForgetStatement(name(span)),
        Kind::Set { name, value, .. } if is_word(text, name, ROUTING_KEY) => {
            After::RoutingKey(text.get(value.clone()).and_then(constant).filter(|key| !key.is_empty()))
        }
        Kind::Reset(name) if is_word(text, name, ROUTING_KEY) => After::RoutingKey(None),
        Kind::ResetAll => After::RoutingKey(None),
        _ => After::Nothing,
    }
}

fn executes(statement: &Statement, text: &[u8]) -> Option<Vec<u8>> {
    match &statement.kind {
        Kind::Execute(span) => Some(folded(text.get(span.clone())?)),
        _ => None,
    }
}

/// A name as the server stores it.
fn folded(name: &[u8]) -> Vec<u8> {
    match name.strip_prefix(b"\"").and_then(|n| n.strip_suffix(b"\"")) {
        Some(quoted) => String::from_utf8_lossy(quoted).replace("\"\"", "\"").into_bytes(),
        None => name.to_ascii_lowercase(),
    }
}

fn mark(statement: &Statement, text: &[u8], reading: Reading) -> Mark {
    match &statement.kind {
        Kind::CreateTemp | Kind::SelectInto { temporary: true } => Mark::Temporary(temporary_name(statement, text)),
        Kind::Set { name, .. } | Kind::Reset(name) if is_word(text, name, "search_path") => Mark::SearchPath,
        Kind::Set { name, value, .. } if READING.iter().any(|known| is_word(text, name, known)) => {
            let mut now = reading;
            let value = text.get(value.clone()).unwrap_or_default();
            now.follow(text.get(name.clone()).unwrap_or_default(), value.trim_ascii_start().trim_ascii_end());
            Mark::Reading(now)
        }
        Kind::Set { name, .. } | Kind::Reset(name) if is_word(text, name, ROUTING_KEY) => Mark::Nothing,
        // Undone at the transaction's end, and its reads stay on the primary up to then: see `footprint`.
        Kind::Set { local: true, .. } | Kind::SetRole { local: true } => Mark::Nothing,
        Kind::Set { name, .. } => {
            Mark::Custom(String::from_utf8_lossy(&folded(text.get(name.clone()).unwrap_or_default())).into())
        }
        Kind::Reset(_) | Kind::ResetAll | Kind::DiscardAll | Kind::Discard => Mark::Unsettles,
        Kind::SetRole { .. } | Kind::SetSessionAuthorization { .. } | Kind::SetSessionCharacteristics(_) => {
            Mark::Unsettles
        }
        Kind::DeclareCursor { hold: true, .. } => Mark::Unsettles,
        // Inside, anything may be set.
        Kind::Do | Kind::Call | Kind::Execute(_) | Kind::Other => Mark::Unsettles,
        _ => Mark::Nothing,
    }
}

/// The name that a temporary relation is created under, if it is easily read.
fn temporary_name(statement: &Statement, text: &[u8]) -> Option<String> {
    const BEFORE_THE_NAME: [&str; 15] = [
        "create",
        "or",
        "replace",
        "local",
        "global",
        "temp",
        "temporary",
        "recursive",
        "table",
        "view",
        "sequence",
        "unlogged",
        "if",
        "not",
        "exists",
    ];
    let text = std::str::from_utf8(text.get(statement.span.clone())?).ok()?;
    let word = |w: &&str| !BEFORE_THE_NAME.iter().any(|known| w.eq_ignore_ascii_case(known));
    let name = text.split(|c: char| c.is_whitespace() || c == '(').filter(|w| !w.is_empty()).find(word)?;
    let bare = name.rsplit('.').next()?;
    match bare.strip_prefix('"') {
        Some(quoted) => Some(quoted.trim_end_matches('"').replace("\"\"", "\"")),
        None => Some(bare.to_lowercase()),
    }
}

fn is_write(kind: &Kind) -> bool {
    matches!(kind, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::WithDml)
}

/// How a write is noted hangs on what the catalog says of its tables.
fn is_by_catalog(action: &Action) -> bool {
    matches!(
        action,
        Action::Capture { .. } | Action::Touching(_) | Action::Uncaptured(_) | Action::Opaque(Opaque::Rows(_))
    )
}

/// What a function that it calls may do to the session: one of the user's own anything, `set_config` what its name says.
fn called(action: &Action, statement: &Statement, text: &[u8], writers: &HashSet<String>) -> Mark {
    if matches!(action, Action::Read(Ok(_))) {
        return Mark::Nothing;
    }
    let text = text.get(statement.span.clone()).unwrap_or_default();
    match set_config_name(text) {
        Some(name) if name.is_empty() || name.eq_ignore_ascii_case("search_path") => Mark::SearchPath,
        Some(name) => Mark::Custom(name),
        None if calls_any(text, writers) || contains(text, b"pg_settings") || contains(text, b"advisory") => {
            Mark::Unsettles
        }
        None => Mark::Nothing,
    }
}

/// The setting that a call of `set_config` names, empty where it is not a plain constant.
fn set_config_name(text: &[u8]) -> Option<String> {
    const CALL: &[u8] = b"set_config";
    let at = text.windows(CALL.len()).position(|w| w.eq_ignore_ascii_case(CALL))?;
    let rest = String::from_utf8_lossy(text.get(at + CALL.len()..)?);
    let argument = rest.trim_start().strip_prefix('(')?.trim_start();
    let name = argument.strip_prefix('\'').and_then(|a| a.split_once('\'')).map_or("", |(name, _)| name);
    Some(name.to_owned())
}

pub(super) fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}

const ROUTING_KEY: &str = "pgduet.key";
/// Settings that say how a text is to be read.
const READING: [&str; 3] = ["standard_conforming_strings", "client_encoding", "names"];

fn is_word(text: &[u8], place: &std::ops::Range<usize>, word: &str) -> bool {
    text.get(place.clone()).is_some_and(|t| t.eq_ignore_ascii_case(word.as_bytes()))
}
