//! The token tier: which statements a text holds, and of what kind each is.

use std::ops::Range;

use super::dml::{self, Dml};
use super::fingerprint::{self, Fingerprint};
use super::hints::Hints;
use super::lex::{Kind as TokenKind, Lexer, Token};
use super::view::View;

/// What a statement is. Whatever is not known is [`Kind::Other`], and may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Empty,
    /// SELECT, TABLE, VALUES or WITH, without row locks, INTO or a write inside.
    Read,
    ReadLocking,
    SelectInto,
    Insert,
    Update,
    Delete,
    Merge,
    /// A SELECT with writes inside WITH.
    WithDml,
    Begin,
    Commit,
    Rollback,
    /// Names are places in the text.
    Savepoint(Range<usize>),
    RollbackTo(Range<usize>),
    Release(Range<usize>),
    PrepareTransaction,
    EndPrepared,
    /// Places in the text: the parameter's name, and its value behind `=` or TO.
    Set {
        local: bool,
        name: Range<usize>,
        value: Range<usize>,
    },
    SetTransaction,
    /// The parameter's name.
    Reset(Range<usize>),
    Show,
    DiscardAll,
    Discard,
    Prepare,
    Execute,
    /// One statement's name; `None`: all.
    Deallocate(Option<String>),
    DeclareCursor,
    Cursor,
    CopyFrom,
    CopyTo,
    Truncate,
    CreateTableAs,
    /// A temporary relation, by its folded name.
    CreateTemp(Option<String>),
    Ddl,
    Explain {
        analyze: bool,
    },
    Do,
    Call,
    Lock,
    Listen,
    Notify,
    Maintenance,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Bytes of the text, from its first token to its last.
    pub span: Range<usize>,
    pub kind: Kind,
    pub fingerprint: Fingerprint,
    /// Its writes: those inside WITH, then its own. Empty where one could not be read.
    pub dml: Vec<Dml>,
    pub hints: Hints,
}

/// The statements of a text, in order; blanks and comments alone are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub statements: Vec<Statement>,
}

/// Reads any text. Never fails; what it does not know comes out as [`Kind::Other`].
pub fn scan(text: &[u8]) -> Script {
    let mut lexer = Lexer::new(text);
    let mut tokens = Vec::with_capacity(32);
    tokens.extend(&mut lexer);
    let whole = View { text, tokens: &tokens };
    let mut buffer = Vec::with_capacity(text.len().min(4096));
    let mut statements = Vec::new();
    let mut comments = lexer.comments.as_slice();
    for range in split(&whole) {
        let view = whole.slice(range);
        let (Some(first), Some(last)) = (view.tokens.first(), view.tokens.last()) else { continue };
        let span = first.start..last.end;
        // A comment belongs to the statement that it stands in, before, or right behind.
        let next = tokens
            .iter()
            .find(|t| t.start >= last.end && t.kind != TokenKind::Punct(b';'))
            .map_or(text.len(), |t| t.start);
        let (own, rest) = comments.split_at(comments.partition_point(|c| c.start < next));
        comments = rest;
        let mut dml = Vec::new();
        let kind = kind(&view, &mut dml);
        let fingerprint = fingerprint::fingerprint(&view, &mut buffer);
        statements.push(Statement { span, kind, fingerprint, dml, hints: Hints::read(text, own) });
    }
    Script { statements }
}

/// The statements' tokens. A semicolon inside brackets or inside the body of `BEGIN ATOMIC ... END` separates nothing.
fn split(whole: &View<'_>) -> Vec<Range<usize>> {
    let mut ranges = Vec::with_capacity(1);
    let (mut start, mut depth, mut blocks) = (0, 0usize, 0usize);
    for at in 0..whole.tokens.len() {
        match whole.get(at).map(|t| t.kind) {
            Some(TokenKind::Punct(b'(' | b'[')) => depth += 1,
            Some(TokenKind::Punct(b')' | b']')) => depth = depth.saturating_sub(1),
            Some(TokenKind::Word) if whole.is(at, "atomic") && at > 0 && whole.is(at - 1, "begin") => blocks += 1,
            Some(TokenKind::Word) if blocks > 0 && whole.is(at, "case") => blocks += 1,
            Some(TokenKind::Word) if blocks > 0 && whole.is(at, "end") => blocks -= 1,
            Some(TokenKind::Punct(b';')) if depth == 0 && blocks == 0 => {
                ranges.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    ranges.push(start..whole.tokens.len());
    ranges
}

fn kind(view: &View<'_>, writes: &mut Vec<Dml>) -> Kind {
    if dml::verb(view, 0).is_some() {
        return write(view, writes);
    }
    let word = match view.get(0) {
        None => return Kind::Empty,
        Some(Token { kind: TokenKind::Punct(b'('), .. }) => return query(view, 0),
        Some(Token { kind: TokenKind::Word, .. }) => String::from_utf8_lossy(view.bytes(0)).to_ascii_lowercase(),
        _ => return Kind::Other,
    };
    match word.as_str() {
        "select" | "values" | "table" => query(view, 0),
        "with" => with(view, writes),
        "begin" | "start" => Kind::Begin,
        "commit" | "end" if view.is(1, "prepared") => Kind::EndPrepared,
        "commit" | "end" => Kind::Commit,
        "rollback" | "abort" => rollback(view),
        "savepoint" => Kind::Savepoint(name_at(view, 1)),
        "release" => Kind::Release(name_at(view, 1 + usize::from(view.is(1, "savepoint")))),
        "prepare" if view.is(1, "transaction") => Kind::PrepareTransaction,
        "prepare" => Kind::Prepare,
        "execute" => Kind::Execute,
        "deallocate" => {
            let at = 1 + usize::from(view.is(1, "prepare"));
            Kind::Deallocate(view.ident(at).filter(|_| !view.is(at, "all")))
        }
        "set" => set(view),
        "reset" => Kind::Reset(span(view, 1..view.tokens.len())),
        "show" => Kind::Show,
        "discard" if view.is(1, "all") => Kind::DiscardAll,
        "discard" => Kind::Discard,
        "declare" => Kind::DeclareCursor,
        "fetch" | "move" | "close" => Kind::Cursor,
        "copy" => copy(view),
        "truncate" => Kind::Truncate,
        "create" => create(view),
        "alter" | "drop" | "comment" | "grant" | "revoke" | "reindex" | "refresh" | "security" | "import"
        | "reassign" => Kind::Ddl,
        "explain" => explain(view, writes),
        "do" => Kind::Do,
        "call" => Kind::Call,
        "lock" => Kind::Lock,
        "listen" | "unlisten" => Kind::Listen,
        "notify" => Kind::Notify,
        "vacuum" | "analyze" | "analyse" | "cluster" | "checkpoint" | "load" => Kind::Maintenance,
        _ => Kind::Other,
    }
}

fn write(view: &View<'_>, writes: &mut Vec<Dml>) -> Kind {
    let Some(dml) = dml::read(view) else { return Kind::Other };
    let kind = match dml.verb {
        dml::Verb::Insert => Kind::Insert,
        dml::Verb::Update => Kind::Update,
        dml::Verb::Delete => Kind::Delete,
        dml::Verb::Merge => Kind::Merge,
    };
    // INSERT INTO t WITH x AS (INSERT ...) SELECT ...: a write inside the source.
    if view.tokens.iter().skip(1).enumerate().any(|(i, _)| bracketed_write(view, i + 1)) {
        return Kind::Other;
    }
    writes.push(dml);
    kind
}

fn bracketed_write(view: &View<'_>, at: usize) -> bool {
    at > 0
        && view.is_punct(at - 1, b'(')
        && dml::verb(view, at).is_some()
        && !view.is_punct(at + 1, b')')
        && !view.is_punct(at + 1, b',')
}

/// A query that begins at `from`.
fn query(view: &View<'_>, from: usize) -> Kind {
    let tokens = from..view.tokens.len();
    let locks = |at: usize| view.is(at, "for") && view.is_any(at + 1, &["update", "share", "no", "key"]);
    if tokens.clone().any(|at| bracketed_write(view, at)) {
        return Kind::Other;
    }
    if tokens.clone().any(|at| view.is(at, "into")) {
        return Kind::SelectInto;
    }
    if tokens.clone().any(locks) {
        return Kind::ReadLocking;
    }
    match view.tokens.iter().any(|t| t.kind == TokenKind::Unterminated) {
        true => Kind::Other,
        false => Kind::Read,
    }
}

/// WITH: the queries inside, then the statement itself.
fn with(view: &View<'_>, writes: &mut Vec<Dml>) -> Kind {
    let mut at = 1 + usize::from(view.is(1, "recursive"));
    let before = writes.len();
    loop {
        let Some(body) = view.find(at, |i| view.is_punct(i, b'(') && is_cte_body(view, i)) else { return Kind::Other };
        let behind = view.behind_bracket(body);
        let inner = view.slice(body + 1..behind.saturating_sub(1));
        match kind(&inner, writes) {
            Kind::Read | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::WithDml => {}
            other => return other,
        }
        // SEARCH and CYCLE clauses may follow; then a comma, or the statement.
        let starts = |i: usize| {
            view.is_punct(i, b',')
                || view.is_punct(i, b'(')
                || view.is_any(i, &["select", "values", "table", "insert", "update", "delete", "merge", "with"])
        };
        let follows = |i: usize| starts(i) && !in_search_clause(view, behind, i);
        match view.find(behind, follows) {
            Some(next) if view.is_punct(next, b',') => at = next + 1,
            Some(next) => {
                let rest = view.slice(next..view.tokens.len());
                let outer = match dml::verb(&rest, 0) {
                    Some(_) => write(&rest, writes),
                    None => query(&rest, 0),
                };
                return if outer == Kind::Read && writes.len() > before { Kind::WithDml } else { outer };
            }
            None => return Kind::Other,
        }
    }
}

/// The bracket behind AS [NOT] [MATERIALIZED], not a list of column names.
fn is_cte_body(view: &View<'_>, at: usize) -> bool {
    at > 0 && view.is_any(at - 1, &["as", "materialized"])
}

/// `SEARCH ... BY a, b SET c` and `CYCLE a, b SET c USING d`: their commas do not end the query.
fn in_search_clause(view: &View<'_>, behind: usize, at: usize) -> bool {
    if !view.is_any(behind, &["search", "cycle"]) {
        return false;
    }
    let set = view.find(behind, |i| view.is(i, "set"));
    set.is_none_or(|set| at < set)
}

fn rollback(view: &View<'_>) -> Kind {
    if view.is(1, "prepared") {
        return Kind::EndPrepared;
    }
    match view.find(1, |at| view.is(at, "to")) {
        Some(to) => Kind::RollbackTo(name_at(view, to + 1 + usize::from(view.is(to + 1, "savepoint")))),
        None => Kind::Rollback,
    }
}

fn name_at(view: &View<'_>, at: usize) -> Range<usize> {
    view.get(at).map_or(0..0, |t| t.range())
}

fn set(view: &View<'_>) -> Kind {
    let local = view.is(1, "local");
    let at = 1 + usize::from(local || view.is(1, "session"));
    if view.is_any(at, &["transaction", "constraints", "characteristics"]) {
        return Kind::SetTransaction;
    }
    let to = view.find(at, |i| view.is(i, "to") || view.bytes(i) == b"=").unwrap_or(view.tokens.len());
    Kind::Set { local, name: span(view, at..to), value: span(view, to + 1..view.tokens.len()) }
}

/// The place in the text of a run of tokens.
fn span(view: &View<'_>, range: Range<usize>) -> Range<usize> {
    let tokens = view.tokens.get(range).unwrap_or_default();
    tokens.first().zip(tokens.last()).map_or(0..0, |(first, last)| first.start..last.end)
}

fn copy(view: &View<'_>) -> Kind {
    match view.find(1, |at| view.is_any(at, &["from", "to"])) {
        Some(at) if view.is(at, "to") => match (1..at).any(|i| bracketed_write(view, i)) {
            true => Kind::Other,
            false => Kind::CopyTo,
        },
        _ => Kind::CopyFrom,
    }
}

fn create(view: &View<'_>) -> Kind {
    let at = 1 + usize::from(view.is_any(1, &["local", "global"]));
    let at = if view.is(1, "or") { 3 } else { at };
    if view.is_any(at, &["temp", "temporary"]) {
        let kind = at + 1 + usize::from(view.is(at + 1, "recursive"));
        let name = if view.is(kind + 1, "if") { kind + 4 } else { kind + 1 };
        return Kind::CreateTemp(view.name(name).map(|(name, _)| name.name));
    }
    let table = at + usize::from(view.is(at, "unlogged"));
    let select = |i: usize| {
        view.is(i, "as")
            && (view.is_any(i + 1, &["select", "values", "table", "with", "execute"]) || view.is_punct(i + 1, b'('))
    };
    match view.is(table, "table") && view.find(table, select).is_some() {
        true => Kind::CreateTableAs,
        false => Kind::Ddl,
    }
}

fn explain(view: &View<'_>, writes: &mut Vec<Dml>) -> Kind {
    let mut analyze = false;
    let mut at = 1;
    if view.is_punct(1, b'(') {
        at = view.behind_bracket(1);
        analyze = (1..at).any(|i| {
            view.is_any(i, &["analyze", "analyse"])
                && !view.is_any(i + 1, &["false", "off"])
                && view.bytes(i + 1) != b"0"
        });
    }
    while view.is_any(at, &["analyze", "analyse", "verbose"]) {
        analyze |= !view.is(at, "verbose");
        at += 1;
    }
    kind(&view.slice(at..view.tokens.len()), writes);
    Kind::Explain { analyze }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        scan(text.as_bytes()).statements.into_iter().map(|s| s.kind).collect()
    }

    fn only(text: &str) -> Dml {
        let mut script = scan(text.as_bytes());
        assert_eq!(script.statements.len(), 1, "{text}");
        assert_eq!(script.statements[0].dml.len(), 1, "{text}");
        script.statements[0].dml.remove(0)
    }

    #[test]
    fn kinds_of_statements() {
        assert_eq!(kinds("select 1; ; /* x */ commit"), [Kind::Read, Kind::Commit]);
        assert_eq!(kinds("(select 1) union table t"), [Kind::Read]);
        assert_eq!(kinds("select * from t for no key update"), [Kind::ReadLocking]);
        assert_eq!(kinds("select substring(a for 3) into t from b"), [Kind::SelectInto]);
        assert_eq!(kinds("with a as (select 1), b(x) as not materialized (delete from t) select 2"), [Kind::WithDml]);
        assert_eq!(kinds("with a as (select 1) update t set x = 1"), [Kind::Update]);
        assert_eq!(kinds("with a as (update t set x=1 returning *) insert into u select * from a"), [Kind::Insert]);
        assert_eq!(
            kinds(
                "create function f() returns int begin atomic select 1; select case when true then 2 end; end; select 1"
            )
            .len(),
            2
        );
        assert_eq!(
            kinds("rollback to savepoint a; rollback work; copy t from stdin; copy (select 1) to stdout").len(),
            4
        );
        assert_eq!(kinds("explain (analyze off) delete from t"), [Kind::Explain { analyze: false }]);
        assert_eq!(kinds("explain analyze verbose delete from t"), [Kind::Explain { analyze: true }]);
        assert_eq!(kinds("create temp table if not exists T(a int)"), [Kind::CreateTemp(Some("t".into()))]);
        assert_eq!(kinds("create unlogged table t as select 1"), [Kind::CreateTableAs]);
        assert_eq!(kinds("frobnicate"), [Kind::Other]);
    }

    #[test]
    fn targets_and_the_place_of_returning() {
        let dml = only(
            "UPDATE ONLY \"S\".\"T t\" AS x SET (a, b) = (1, 2), c[1] = 3, d = e IS DISTINCT FROM f WHERE g = 1 -- end",
        );
        assert_eq!((dml.target.schema.as_deref(), dml.target.name.as_str()), (Some("S"), "T t"));
        assert_eq!((dml.reference.as_str(), dml.has_returning), ("x", false));
        assert_eq!(dml.set_columns, ["a", "b", "c", "d"]);
        let text = "insert into T (a) values (1) on conflict (a) do update set b = 1 returning *;";
        let dml = only(text);
        assert_eq!((dml.reference.as_str(), dml.has_returning, dml.on_conflict_update), ("T", true, true));
        assert_eq!(&text[dml.insert_at..], ";");
        assert_eq!(dml.set_columns, ["b"]);
        assert!(!only("insert into t select 1 as returning").has_returning);
        assert_eq!(only("delete from t u using v where u.a = v.a").reference, "u");
        assert_eq!(only("delete from t").reference, "t");
    }
}
