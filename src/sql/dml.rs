//! The writes of a statement: their target, what they assign, and where RETURNING goes.

use super::view::{Name, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
    Delete,
    Merge,
}

/// One INSERT, UPDATE, DELETE or MERGE: the statement itself, or one inside WITH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dml {
    pub verb: Verb,
    pub target: Name,
    /// How the target is named in RETURNING: its alias, else its bare name, as it stands in the text.
    pub reference: String,
    /// Columns that UPDATE SET or ON CONFLICT DO UPDATE SET assigns, folded.
    pub set_columns: Vec<String>,
    pub has_returning: bool,
    pub on_conflict_update: bool,
    /// Byte offset in the text where ` RETURNING ...` or `, ...` is to be inserted: right behind its last token.
    pub insert_at: usize,
}

/// The verb at the front of a run of tokens.
pub fn verb(view: &View<'_>, at: usize) -> Option<Verb> {
    [(Verb::Insert, "insert"), (Verb::Update, "update"), (Verb::Delete, "delete"), (Verb::Merge, "merge")]
        .into_iter()
        .find_map(|(verb, word)| view.is(at, word).then_some(verb))
}

/// Reads a write whose verb is the first token of `view`. `None`: its target cannot be read.
pub fn read(view: &View<'_>) -> Option<Dml> {
    let verb = verb(view, 0)?;
    let mut at = 1;
    at += usize::from(view.is_any(at, &["into", "from"]));
    at += usize::from(view.is(at, "only"));
    let bracketed = view.is_punct(at, b'(');
    at += usize::from(bracketed);
    let (target, mut next) = view.name(at)?;
    let bare = String::from_utf8_lossy(view.bytes(next - 1)).into_owned();
    next += usize::from(bracketed);
    if view.get(next).is_some() && view.bytes(next) == b"*" {
        next += 1;
    }
    let alias = alias(view, verb, next);
    let reference = alias.map_or(bare, |at| String::from_utf8_lossy(view.bytes(at)).into_owned());
    let is_returning =
        |at: usize| view.is(at, "returning") && !(at > 0 && (view.is(at - 1, "as") || view.is_punct(at - 1, b'.')));
    let conflict = match verb {
        Verb::Insert => view.find(next, |at| view.is(at, "do") && view.is(at + 1, "update") && view.is(at + 2, "set")),
        _ => None,
    };
    let set = match verb {
        Verb::Update => view.find(next, |at| view.is(at, "set")).map(|at| at + 1),
        _ => conflict.map(|at| at + 3),
    };
    Some(Dml {
        verb,
        target,
        reference,
        set_columns: set.map(|at| assigned(view, at)).unwrap_or_default(),
        has_returning: view.find(next, is_returning).is_some(),
        on_conflict_update: conflict.is_some(),
        insert_at: view.tokens.last()?.end,
    })
}

/// The position of the target's alias.
fn alias(view: &View<'_>, verb: Verb, at: usize) -> Option<usize> {
    if view.is(at, "as") {
        return Some(at + 1);
    }
    let follows: &[&str] = match verb {
        // INSERT takes an alias only with AS.
        Verb::Insert => return None,
        Verb::Update => &["set"],
        Verb::Delete => &["using", "where", "returning"],
        Verb::Merge => &["using"],
    };
    view.ident(at).filter(|_| !view.is_any(at, follows)).map(|_| at)
}

/// The columns of an assignment list that begins at `from`.
fn assigned(view: &View<'_>, from: usize) -> Vec<String> {
    let ends = |at: usize| {
        view.is_any(at, &["where", "returning"]) || (view.is(at, "from") && !(at > 0 && view.is(at - 1, "distinct")))
    };
    let mut columns = Vec::new();
    let mut at = from;
    loop {
        if view.is_punct(at, b'(') {
            let behind = view.behind_bracket(at);
            columns.extend((at..behind).filter_map(|i| view.ident(i)));
        } else {
            columns.extend(view.ident(at));
        }
        match view.find(at, |i| view.is_punct(i, b',') || ends(i)) {
            Some(next) if view.is_punct(next, b',') => at = next + 1,
            _ => return columns,
        }
    }
}
