//! The tree tier: which tables and functions a read uses. What it cannot read is no read that may move.
//!
//! A parser that recurses can be made to overflow its stack, and so can whatever walks or drops its tree; so the text is bounded before it
//! is parsed: length, nesting, and operators (a chain of n operators is a tree n deep).

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::lex::{Kind, Lexer};
use super::view::Name;

/// Bytes of the longest text that is parsed.
pub const MAX_TEXT: usize = 64 << 10;
/// Brackets and CASEs that may be open at once.
const MAX_DEPTH: usize = 50;
/// Operators, and words that act like them, in one statement.
const MAX_OPERATORS: usize = 400;

/// What a read uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadShape {
    /// Relations named in it; the names of its own WITH queries are among them if they are used.
    pub tables: Vec<Name>,
    /// The names of its WITH queries.
    pub with: Vec<String>,
    /// Functions called, table functions among them.
    pub functions: Vec<Name>,
    /// LIMIT, OFFSET or FETCH stands somewhere in it.
    pub has_limit: bool,
}

/// Why a text is not known to be a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("longer than the analysis reads")]
    TooLong,
    #[error("nested deeper than the analysis goes")]
    TooDeep,
    #[error("not understood")]
    NotParsed,
    #[error("not a plain read")]
    NotARead,
}

/// Reads one statement.
pub fn read_shape(text: &str) -> Result<ReadShape, Unreadable> {
    if text.len() > MAX_TEXT {
        return Err(Unreadable::TooLong);
    }
    bound_depth(text.as_bytes())?;
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).map_err(|_| Unreadable::NotParsed)?;
    let (Some(statement @ Statement::Query(_)), true) = (statements.pop(), statements.is_empty()) else {
        return Err(Unreadable::NotARead);
    };
    let mut collector = Collector::default();
    match statement.visit(&mut collector) {
        ControlFlow::Continue(()) => Ok(collector.shape),
        ControlFlow::Break(why) => Err(why),
    }
}

fn bound_depth(text: &[u8]) -> Result<(), Unreadable> {
    const LIKE_OPERATORS: [&[u8]; 10] =
        [b"and", b"or", b"not", b"union", b"intersect", b"except", b"is", b"collate", b"at", b"like"];
    let (mut depth, mut operators) = (0usize, 0usize);
    for token in Lexer::new(text) {
        let bytes = text.get(token.range()).unwrap_or_default();
        match token.kind {
            Kind::Punct(b'(' | b'[') => depth += 1,
            Kind::Punct(b')' | b']') => depth = depth.saturating_sub(1),
            Kind::Word if bytes.eq_ignore_ascii_case(b"case") => depth += 1,
            Kind::Word if bytes.eq_ignore_ascii_case(b"end") => depth = depth.saturating_sub(1),
            Kind::Word if LIKE_OPERATORS.iter().any(|w| bytes.eq_ignore_ascii_case(w)) => operators += 1,
            Kind::Operator => operators += token.end - token.start,
            Kind::Punct(b':' | b'.') => operators += 1,
            _ => {}
        }
        if depth > MAX_DEPTH || operators > MAX_OPERATORS {
            return Err(Unreadable::TooDeep);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Collector {
    shape: ReadShape,
    /// The next relation is a table function's name, already noted.
    skip_relation: bool,
}

fn name(object: &ObjectName) -> Option<Name> {
    let mut parts = object.0.iter().rev().map(|part| {
        let ident = part.as_ident()?;
        Some(match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_ascii_lowercase(),
        })
    });
    let name = parts.next()??;
    let schema = match parts.next() {
        Some(schema) => Some(schema?),
        None => None,
    };
    Some(Name { schema, name })
}

impl Collector {
    fn function(&mut self, object: &ObjectName) -> ControlFlow<Unreadable> {
        match name(object) {
            Some(name) => {
                self.shape.functions.push(name);
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(Unreadable::NotParsed),
        }
    }
}

impl Visitor for Collector {
    type Break = Unreadable;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Unreadable> {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(Unreadable::NotARead),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Unreadable> {
        let body = query.body.as_ref();
        let reads =
            matches!(body, SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } | SetExpr::Values(_));
        if !reads || !query.locks.is_empty() {
            return ControlFlow::Break(Unreadable::NotARead);
        }
        self.shape.has_limit |= query.limit_clause.is_some() || query.fetch.is_some();
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.shape.with.extend(ctes.map(|cte| match cte.alias.name.quote_style {
            Some(_) => cte.alias.name.value.clone(),
            None => cte.alias.name.value.to_ascii_lowercase(),
        }));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Unreadable> {
        match select.into {
            Some(_) => ControlFlow::Break(Unreadable::NotARead),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Unreadable> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } => {
                self.skip_relation = true;
                self.function(name)
            }
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => ControlFlow::Continue(()),
            TableFactor::Function { name, .. } => {
                self.skip_relation = true;
                self.function(name)
            }
            // The expression inside is a function call, which is visited.
            TableFactor::TableFunction { .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(Unreadable::NotParsed),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Unreadable> {
        if std::mem::take(&mut self.skip_relation) {
            return ControlFlow::Continue(());
        }
        match name(relation) {
            Some(name) => {
                self.shape.tables.push(name);
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(Unreadable::NotParsed),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Unreadable> {
        match expr {
            Expr::Function(function) => self.function(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Vec<String> {
        let mut names: Vec<_> = read_shape(text).unwrap().tables.into_iter().map(|t| t.name).collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn every_relation_is_seen_wherever_it_stands() {
        assert_eq!(
            tables(
                "select (select max(x) from a) from b join c using (i), lateral (select 1 from d) z where exists (select from e) union select 1 from \"F\""
            ),
            ["F", "a", "b", "c", "d", "e"]
        );
        let shape =
            read_shape("with w as (select 1 from t) select lower(x) from w, generate_series(1, now()) g").unwrap();
        assert_eq!(shape.with, ["w"]);
        assert_eq!(
            shape.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["lower", "generate_series", "now"]
        );
        assert!(!shape.tables.iter().any(|t| t.name == "generate_series"));
    }

    #[test]
    fn what_is_no_plain_read_is_refused() {
        for text in [
            "select 1 into t",
            "select * from t for update",
            "with x as (delete from t returning *) select * from x",
            "delete from t",
            "select 1; select 2",
        ] {
            assert!(read_shape(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_input_is_an_error_and_no_overflow() {
        let deep = [
            format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
            format!("select {} true", "not ".repeat(15_000)),
            format!("select {}1", "- ".repeat(20_000)),
            format!("select 1{}", "+1".repeat(20_000)),
            format!("select 1{}", " union select 1".repeat(4_000)),
            format!("select a{}", ".b".repeat(20_000)),
            format!("select 1{}", "::int".repeat(10_000)),
            format!("select {}1{}", "case when true then ".repeat(2_000), " end".repeat(2_000)),
            format!("select 1{}", " + 1".repeat(MAX_OPERATORS + 1)),
        ];
        let chain = format!("select 1{}", " + 1".repeat(MAX_OPERATORS - 1));
        let run = move || {
            for text in deep {
                assert!(read_shape(&text).is_err(), "{}", &text[..40]);
            }
            assert!(read_shape(&chain).is_ok());
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    }
}
