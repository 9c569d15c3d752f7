//! What tokens alone say about a read: how deep it can be, and every name that may be a function.

use std::collections::BTreeSet;

use super::cursor::is_word;
use super::lex::{Backslash, Lexer, Token, TokenKind};
use super::name::{Name, identifier};

/// Brackets open at once.
const MAX_BRACKETS: usize = 24;
/// CASE expressions, which nest without brackets.
const MAX_CASES: usize = 40;
/// UNION, INTERSECT and EXCEPT, which make a chain across commas.
const MAX_SET_OPERATIONS: usize = 200;
/// See [`Weight`].
const MAX_WEIGHT: usize = 3_000;

#[derive(Debug, Default)]
pub(super) struct Surface {
    pub functions: BTreeSet<Name>,
    pub attributes: BTreeSet<String>,
    pub server_local: bool,
    /// It holds a `U&"..."`, which the parser takes for something else.
    pub unicode_names: bool,
}

/// An upper bound of the depth of any tree that can be made of the tokens up to here: each level of it needs a token of its own
/// since the last comma, in one of the brackets that are open.
#[derive(Debug, Default)]
struct Weight {
    outer: Vec<usize>,
    here: usize,
    total: usize,
}

impl Weight {
    /// Takes one token; `None` when the bound is crossed.
    fn add(&mut self, kind: TokenKind) -> Option<()> {
        use TokenKind::*;
        match kind {
            OpenParen | OpenBracket => self.outer.push(std::mem::take(&mut self.here)),
            CloseParen | CloseBracket => {
                self.total -= self.here;
                self.here = self.outer.pop().unwrap_or(0);
            }
            Comma => {
                self.total -= self.here;
                self.here = 0;
            }
            _ => {}
        }
        self.here += 1;
        self.total += 1;
        (self.outer.len() <= MAX_BRACKETS && self.total <= MAX_WEIGHT).then_some(())
    }
}

/// Reads the tokens of one statement. `None`: it may be nested too deeply.
pub(super) fn surface(text: &[u8]) -> Option<Surface> {
    let mut surface = Surface::default();
    let mut weight = Weight::default();
    let (mut cases, mut set_operations) = (0_usize, 0_usize);
    // the last three tokens, oldest first
    let nothing = Token { kind: TokenKind::End, start: 0, end: 0 };
    let mut before = [nothing; 3];
    for token in Lexer::new(text, Backslash::Plain).filter(|token| !token.kind.is_comment()) {
        weight.add(token.kind)?;
        cases += usize::from(is_word(token, text, "case"));
        set_operations += usize::from(["union", "intersect", "except"].iter().any(|word| is_word(token, text, word)));
        let [_, second, third] = before;
        surface.name_at_parenthesis(token, before, text);
        surface.name_ends(third, second, token, text);
        before = [second, third, token];
    }
    let [_, second, third] = before;
    surface.name_ends(third, second, nothing, text);
    (cases <= MAX_CASES && set_operations <= MAX_SET_OPERATIONS).then_some(surface)
}

impl Surface {
    /// `name (` and `schema.name (`.
    fn name_at_parenthesis(&mut self, token: Token, [schema, dot, last]: [Token; 3], text: &[u8]) {
        if token.kind != TokenKind::OpenParen || !last.kind.is_name() {
            return;
        }
        let name = identifier(last, text, '\\').unwrap_or_default();
        if dot.kind == TokenKind::Dot {
            let schema = identifier(schema, text, '\\');
            self.functions.insert(Name { schema, name });
        } else if last.kind != TokenKind::Word {
            self.functions.insert(Name::bare(name));
        } else if dot.kind != TokenKind::Cast && !is_word(dot, text, "as") {
            self.functions.extend(function(&name));
        }
    }

    /// A name, with the tokens around it.
    fn name_ends(&mut self, name: Token, before: Token, after: Token, text: &[u8]) {
        if !name.kind.is_name() {
            return;
        }
        self.unicode_names |= name.kind == TokenKind::UnicodeWord;
        let folded = identifier(name, text, '\\').unwrap_or_default();
        self.server_local |= is_server_local(&folded);
        match (before.kind, name.kind) {
            (TokenKind::Dot, _) if !matches!(after.kind, TokenKind::OpenParen | TokenKind::Dot) => {
                self.attributes.insert(folded);
            }
            (TokenKind::Dot, _) => {}
            (_, TokenKind::Word) if after.kind != TokenKind::OpenParen && !is_word(before, text, "as") => {
                self.functions.extend(keyword_function(&folded).map(Name::bare));
            }
            _ => {}
        }
    }
}

/// The function that an unqualified, unquoted name before a parenthesis calls, if it calls one.
pub(super) fn function(name: &str) -> Option<Name> {
    match keyword_function(name) {
        Some(function) => Some(Name::bare(function)),
        None if is_syntax(name) => None,
        None => Some(Name::bare(name)),
    }
}

/// Keywords that are functions, by the name under which the catalog knows what they compute.
fn keyword_function(word: &str) -> Option<&'static str> {
    Some(match word {
        "current_timestamp" | "current_time" | "current_date" | "localtime" | "localtimestamp" => "now",
        "current_user" | "current_role" | "user" => "current_user",
        "session_user" => "session_user",
        "system_user" => "system_user",
        "current_catalog" => "current_database",
        "current_schema" => "current_schema",
        _ => return None,
    })
}

/// Words before a parenthesis that are no function: keywords, types with a modifier, and expressions of the grammar.
fn is_syntax(word: &str) -> bool {
    matches!(
        word,
        "all" | "and" | "any" | "array" | "as" | "asymmetric" | "between" | "by" | "case" | "cast" | "cube" | "distinct"
            | "else" | "end" | "escape" | "except" | "exists" | "filter" | "first" | "for" | "from" | "group" | "having"
            | "ilike" | "in" | "intersect" | "is" | "join" | "lateral" | "like" | "limit" | "materialized" | "next"
            | "not" | "of" | "offset" | "on" | "or" | "over" | "recursive" | "rollup" | "row" | "select" | "sets" | "some"
            | "symmetric" | "then" | "to" | "union" | "using" | "values" | "when" | "where" | "with" | "zone"
            // types
            | "bit" | "char" | "character" | "dec" | "decimal" | "float" | "interval" | "nchar" | "numeric" | "time"
            | "timestamp" | "varchar" | "varying"
            // expressions
            | "coalesce" | "greatest" | "grouping" | "least" | "nullif" | "trim"
    )
}

/// Columns and types whose values are a server's own.
fn is_server_local(name: &str) -> bool {
    matches!(
        name,
        "ctid"
            | "xmin"
            | "xmax"
            | "cmin"
            | "cmax"
            | "tableoid"
            | "regclass"
            | "regproc"
            | "regprocedure"
            | "regoper"
            | "regoperator"
            | "regtype"
            | "regrole"
            | "regnamespace"
            | "regconfig"
            | "regdictionary"
            | "regcollation"
    )
}
