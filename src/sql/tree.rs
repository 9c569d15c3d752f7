//! The tree tier: which tables and functions one read uses, so that it can be *allowed* on the secondary.
//!
//! Three guards stand around the parser, because being wrong here means a wrong answer for a client:
//! - The token tier has the first word: what it does not call a plain read never comes here ([`Unreadable::NotARead`]).
//! - Nesting and chains are bounded by tokens before anything recurses ([`Weight`]): the parser, the visitor and the drop of a
//!   tree all recurse, and `1 + 1 + ...` is a tree as deep as it is long.
//! - Functions are taken from the tokens too (whatever stands before a parenthesis), so that a corner of the tree that the
//!   visitor does not reach hides none. What is reported in excess is unknown to the catalog and keeps the read on the primary.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Distinct, Expr, Ident, ObjectName, Query, Select, SetExpr, Statement, TableAlias, TableFactor, Visit, Visitor, With,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::keys::{Equality, equalities};
use super::kind::Kind;
use super::name::Name;
use super::promise::{Promise, is_clock_literal, is_limited, is_open_call, promise};
use super::surface::{Surface, surface};

/// Longer statements are not parsed.
const MAX_LENGTH: usize = 64 * 1024;
/// What `sqlparser` may recurse while parsing; its own default is 50. A level of `FROM (SELECT ...)` takes up to 35 kB of stack
/// and two of these: 50 took 1 MB, 20 take under half of it, and leave 9 levels of subqueries.
const MAX_RECURSION: usize = 20;

/// What a read touches. Names are folded as the server does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadShape {
    /// Every table or view named, at any depth; the names of WITH queries where they are in scope are left out.
    pub tables: Vec<Name>,
    /// Every function called, and the keywords that are functions (`current_timestamp` as `now`, ...). Operators, casts and
    /// the pure syntax (`coalesce`, `nullif`, `greatest`, `least`, `grouping`, `trim`) are left out.
    pub functions: Vec<Name>,
    /// Every `b` of an `a.b`. PostgreSQL calls a function of that name if the row has no such column.
    pub attributes: Vec<String>,
    /// ORDER BY of the outermost query.
    pub has_order_by: bool,
    /// LIMIT, OFFSET, FETCH or DISTINCT ON, at any depth: without a total order the rows are the server's choice.
    pub has_limit: bool,
    /// It shows what differs between servers that hold the same rows: `ctid`, `xmin`, `tableoid`, `::regclass`, ...
    pub server_local: bool,
    /// What its WHERE asks for by equality.
    pub equalities: Vec<Equality>,
    /// What is certain of its answer.
    pub promise: Promise,
    /// It names the time of day by a literal (`'now'`).
    clock_literal: bool,
}

impl ReadShape {
    /// Whether it asks what time it is.
    pub fn tells_time(&self) -> bool {
        const CLOCKS: [&str; 5] = ["now", "statement_timestamp", "transaction_timestamp", "clock_timestamp", "age"];
        self.clock_literal || self.functions.iter().any(|f| CLOCKS.contains(&f.name.as_str()))
    }
}

/// Why a statement is not known to be a read that may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("it is not a plain read")]
    NotARead,
    #[error("the parser does not understand it")]
    NotParsed,
    #[error("it uses {0}, which the analysis does not follow")]
    NotFollowed(&'static str),
}

/// Reads one statement.
pub fn read_shape(sql: &str) -> Result<ReadShape, Unreadable> {
    if sql.len() > MAX_LENGTH {
        return Err(Unreadable::TooLong);
    }
    let surface = surface(sql.as_bytes()).ok_or(Unreadable::TooDeep)?;
    let script = super::scan(sql.as_bytes());
    match script.statements.as_slice() {
        [statement] if statement.kind == Kind::Read => {}
        _ => return Err(Unreadable::NotARead),
    }
    if surface.unicode_names {
        return Err(Unreadable::NotFollowed("a name written U&\"...\""));
    }
    let query = parse(sql)?;
    let mut found = Found::default();
    match query.visit(&mut found) {
        ControlFlow::Break(unreadable) => Err(unreadable),
        ControlFlow::Continue(()) => Ok(shape(&query, found, surface)),
    }
}

fn parse(sql: &str) -> Result<Box<Query>, Unreadable> {
    let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(MAX_RECURSION);
    let mut parser = parser.try_with_sql(sql).map_err(|_| Unreadable::NotParsed)?;
    let mut statements = parser.parse_statements().map_err(|_| Unreadable::NotParsed)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => Ok(query),
        _ => Err(Unreadable::NotARead),
    }
}

fn shape(query: &Query, found: Found, surface: Surface) -> ReadShape {
    let seen = surface.functions.into_iter();
    let seen = seen.filter(|name| name.schema.is_some() || !found.aliases.contains(&name.name));
    let functions: BTreeSet<Name> = seen.chain(found.functions).collect();
    let mut shape = ReadShape {
        tables: found.tables.into_iter().collect(),
        functions: functions.into_iter().collect(),
        attributes: surface.attributes.into_iter().collect(),
        has_order_by: query.order_by.is_some(),
        has_limit: found.limited,
        server_local: surface.server_local,
        equalities: equalities(query),
        promise: promise(query, found.limited_inside, found.open),
        clock_literal: found.clock_literal,
    };
    shape.promise.open |= shape.tells_time();
    shape
}

/// Collects from a tree.
#[derive(Default)]
struct Found {
    tables: BTreeSet<Name>,
    functions: BTreeSet<Name>,
    /// Names before a parenthesis that are no functions: `AS t (a, b)`, `WITH t (a, b)`.
    aliases: BTreeSet<String>,
    limited: bool,
    limited_inside: bool,
    open: bool,
    clock_literal: bool,
    scopes: Vec<Scope>,
}

/// The WITH queries of one query. The first subqueries that are visited in it are they, in their order.
struct Scope {
    names: Vec<String>,
    /// How many of the names may be used where the visit stands: without RECURSIVE those that are read already.
    visible: usize,
}

type Flow = ControlFlow<Unreadable>;

fn refuse(what: &'static str) -> Flow {
    ControlFlow::Break(Unreadable::NotFollowed(what))
}

impl Visitor for Found {
    type Break = Unreadable;

    fn pre_visit_statement(&mut self, _: &Statement) -> Flow {
        ControlFlow::Break(Unreadable::NotARead)
    }

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        self.limited |= query.limit_clause.is_some() || query.fetch.is_some();
        self.limited_inside |= !self.scopes.is_empty() && is_limited(query);
        let scope = self.scope(query.with.as_ref());
        self.scopes.push(scope);
        if !query.locks.is_empty() {
            return ControlFlow::Break(Unreadable::NotARead);
        }
        let foreign = query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some();
        if foreign || !query.pipe_operators.is_empty() {
            return refuse("a clause of another dialect");
        }
        operands(&query.body)
    }

    fn post_visit_query(&mut self, _: &Query) -> Flow {
        self.scopes.pop();
        if let Some(parent) = self.scopes.last_mut() {
            parent.visible = (parent.visible + 1).min(parent.names.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        self.limited |= matches!(select.distinct, Some(Distinct::On(_)));
        match select.into {
            Some(_) => ControlFlow::Break(Unreadable::NotARead),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::Table { sample: Some(_), .. } => refuse("TABLESAMPLE"),
            // the parser takes the keyword for the table and the table for its alias
            TableFactor::Table { name, .. } if is_only(name) => refuse("ONLY"),
            TableFactor::Table { name, args: None, alias, .. } => {
                self.add_alias(alias.as_ref());
                self.add_table(name)
            }
            TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => {
                self.add_alias(alias.as_ref());
                self.add_function(name)
            }
            TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => {
                self.add_alias(alias.as_ref());
                ControlFlow::Continue(())
            }
            TableFactor::UNNEST { alias, .. } => {
                self.add_alias(alias.as_ref());
                self.functions.insert(Name::bare("unnest"));
                ControlFlow::Continue(())
            }
            _ => refuse("a kind of FROM item"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Function(function) => {
                self.open |= is_open_call(function);
                self.add_function(&function.name)
            }
            literal => {
                self.clock_literal |= is_clock_literal(literal);
                ControlFlow::Continue(())
            }
        }
    }
}

/// `TABLE t` as an operand keeps neither quotes nor the place for a visit, so it is refused.
fn operands(body: &SetExpr) -> Flow {
    match body {
        SetExpr::Table(_) => refuse("TABLE"),
        SetExpr::SetOperation { left, right, .. } => match operands(left) {
            ControlFlow::Continue(()) => operands(right),
            stop => stop,
        },
        _ => ControlFlow::Continue(()),
    }
}

impl Found {
    fn scope(&mut self, with: Option<&With>) -> Scope {
        let Some(with) = with else { return Scope { names: Vec::new(), visible: 0 } };
        let names: Vec<String> = with.cte_tables.iter().map(|cte| folded(&cte.alias.name)).collect();
        self.aliases.extend(names.iter().cloned());
        let visible = if with.recursive { names.len() } else { 0 };
        Scope { names, visible }
    }

    fn in_scope(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.names.iter().take(scope.visible).any(|known| known == name))
    }

    fn add_alias(&mut self, alias: Option<&TableAlias>) {
        if let Some(alias) = alias.filter(|alias| !alias.columns.is_empty()) {
            self.aliases.insert(folded(&alias.name));
        }
    }

    fn add_table(&mut self, name: &ObjectName) -> Flow {
        match resolved(name) {
            Some(name) if name.schema.is_none() && self.in_scope(&name.name) => {}
            Some(name) => drop(self.tables.insert(name)),
            None => return refuse("a name of another dialect"),
        }
        ControlFlow::Continue(())
    }

    fn add_function(&mut self, name: &ObjectName) -> Flow {
        match resolved(name) {
            Some(name) if name.schema.is_none() => self.functions.extend(super::surface::function(&name.name)),
            Some(name) => drop(self.functions.insert(name)),
            None => return refuse("a name of another dialect"),
        }
        ControlFlow::Continue(())
    }
}

fn is_only(name: &ObjectName) -> bool {
    let ident = match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    };
    ident.is_some_and(|ident| ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("only"))
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

fn resolved(name: &ObjectName) -> Option<Name> {
    let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
    let (last, qualifiers) = parts.split_last()?;
    Some(Name { schema: qualifiers.last().cloned(), name: last.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sql: &str) -> ReadShape {
        read_shape(sql).unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    fn tables(sql: &str) -> Vec<String> {
        shape(sql).tables.iter().map(Name::to_string).collect()
    }

    fn functions(sql: &str) -> Vec<String> {
        shape(sql).functions.iter().map(Name::to_string).collect()
    }

    #[test]
    fn tables_are_found_wherever_they_stand() {
        for (sql, expected) in [
            ("select * from A, \"B\", s.c", vec!["B", "a", "s.c"]),
            (
                "select (select 1 from a) from b where exists (select 1 from c) order by (select 1 from d)",
                vec!["a", "b", "c", "d"],
            ),
            ("select * from a join lateral (select * from b) x on true left join c using (id)", vec!["a", "b", "c"]),
            ("select 1 from a union all (select 2 from b except select 3 from c)", vec!["a", "b", "c"]),
            ("select case when x in (select 1 from a) then (select 2 from b) end", vec!["a", "b"]),
            (
                "select sum(x) filter (where x > (select 1 from a)) over (order by (select 1 from b)) from c",
                vec!["a", "b", "c"],
            ),
            ("select * from a limit (select 1 from b)", vec!["a", "b"]),
            ("select array(select 1 from a), x = any (select 1 from b)", vec!["a", "b"]),
            ("values ((select 1 from a))", vec!["a"]),
            ("select 1", vec![]),
        ] {
            assert_eq!(tables(sql), expected, "{sql}");
        }
    }

    #[test]
    fn with_queries_are_no_tables_where_they_are_in_scope() {
        for (sql, expected) in [
            ("with x as (select * from a) select * from x", vec!["a"]),
            ("with a as (select * from a) select * from a", vec!["a"]),
            ("with x as (select * from y), y as (select 1) select * from x, y", vec!["y"]),
            ("with recursive x as (select 1 union all select * from x, y), y as (select 1) select * from x", vec![]),
            ("select * from (with x as (select 1) select * from x) q, x", vec!["x"]),
            ("with x as (with y as (select 1) select * from y) select * from x, y", vec!["y"]),
            ("with x as (select 1) select * from s.x, (select * from x) q", vec!["s.x"]),
            ("with \"X\" as (select 1) select * from x", vec!["x"]),
            ("with x as (select (select 1 from a)), y as (select * from x, y) select * from y", vec!["a", "y"]),
        ] {
            assert_eq!(tables(sql), expected, "{sql}");
        }
    }

    #[test]
    fn functions_are_found_however_they_are_called() {
        for (sql, expected) in [
            ("select F(1), s.\"G\"(2), \"H\" (3)", vec!["H", "f", "s.G"]),
            ("select * from f(1) as t(a, b), lateral g(t.a) u (c)", vec!["f", "g"]),
            (
                "select current_timestamp, current_user, localtime(0), current_schema, current_catalog",
                vec!["current_database", "current_schema", "current_user", "now"],
            ),
            ("select current_date from t where user = 'x'", vec!["current_user", "now"]),
            (
                "select coalesce(a, nullif(b, c)), greatest(1, 2), count(*) over (partition by (d)) from t",
                vec!["count"],
            ),
            ("select a::varchar(10), cast(b as numeric(3, 1)), c in (1), not (d), exists (select 1) from t", vec![]),
            ("with t (a, b) as (select 1, 2) select * from t", vec![]),
            (
                "select extract(year from a), substring(b from 1 for 2), position('a' in c) from t",
                vec!["extract", "position", "substring"],
            ),
            (
                "select max(x order by random()) within group (order by h()) filter (where g() > 1) from t",
                vec!["g", "h", "max", "random"],
            ),
            ("select * from unnest(array[1, 2]) with ordinality as u(a, b)", vec!["unnest"]),
            ("select t.user, x as current_user from t", vec![]),
        ] {
            assert_eq!(functions(sql), expected, "{sql}");
        }
        assert_eq!(shape("select t.a, s.t.b, f(t.c) from s.t").attributes, ["a", "b", "c", "t"]);
    }

    #[test]
    fn order_and_limits_are_seen() {
        let flags = |sql| (shape(sql).has_order_by, shape(sql).has_limit);
        assert_eq!(flags("select a from t order by a"), (true, false));
        assert_eq!(flags("select a from (select a from t order by a limit 1) u"), (false, true));
        assert_eq!(flags("select a from t offset 1"), (false, true));
        assert_eq!(flags("select a from t fetch first 1 row only"), (false, true));
        assert_eq!(flags("select distinct on (a) a from t order by a"), (true, true));
    }

    #[test]
    fn values_of_one_server_are_seen() {
        for sql in ["select ctid from t", "select t.xmin from t", "select 't'::regclass", "select \"tableoid\" from t"]
        {
            assert!(shape(sql).server_local, "{sql}");
        }
        assert!(!shape("select 'ctid' from t").server_local);
    }

    #[test]
    fn what_is_no_plain_read_is_refused() {
        for sql in [
            "delete from t",
            "select 1 for update",
            "select * into t",
            "with a as (delete from t) select 1",
            "select 1; select 2",
            "",
            "show x",
        ] {
            assert_eq!(read_shape(sql), Err(Unreadable::NotARead), "{sql}");
        }
        assert_eq!(read_shape("table t"), Err(Unreadable::NotParsed));
        assert_eq!(read_shape("select 1 union table t"), Err(Unreadable::NotFollowed("TABLE")));
        assert_eq!(
            read_shape("select * from t tablesample bernoulli (1)"),
            Err(Unreadable::NotFollowed("TABLESAMPLE"))
        );
        assert!(matches!(read_shape("select * from U&\"t\""), Err(Unreadable::NotFollowed(_))));
        assert_eq!(read_shape("select * from only t"), Err(Unreadable::NotFollowed("ONLY")));
        assert_eq!(read_shape("select * from only (t) x"), Err(Unreadable::NotFollowed("ONLY")));
        assert_eq!(read_shape("select from from from"), Err(Unreadable::NotParsed));
        assert_eq!(read_shape(&format!("select '{}'", "x".repeat(MAX_LENGTH))), Err(Unreadable::TooLong));
    }

    #[test]
    fn ordinary_nesting_is_within_the_bounds() {
        let levels =
            |depth: usize| format!("{}select a from t{}", "select * from (".repeat(depth), ") x".repeat(depth));
        assert!(read_shape(&levels(8)).is_ok());
        let terms = |count: usize| format!("select 1 from t where {}", vec!["a = 1"; count].join(" or "));
        assert!(read_shape(&terms(700)).is_ok());
        assert!(read_shape(&format!("select 1 where a in ({})", vec!["1"; 5_000].join(", "))).is_ok());
        assert_eq!(read_shape(&terms(1_000)), Err(Unreadable::TooDeep));
    }

    /// Half a megabyte: a quarter of what a worker thread has.
    fn on_a_small_stack(sql: String) -> Result<ReadShape, Unreadable> {
        let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn(move || read_shape(&sql));
        thread.expect("a thread starts").join().expect("it does not panic")
    }

    #[test]
    fn deep_input_is_an_error_and_no_overflow() {
        for size in [30, 45, 60, 200, 700, 1_400, 5_000, 100_000] {
            for (before, middle, after) in shapes(size) {
                let sql = format!("select {before}{middle}{after}");
                let long = sql.len() > MAX_LENGTH;
                let result = on_a_small_stack(sql);
                assert!(!long || result == Err(Unreadable::TooLong));
                assert!(size < 5_000 || after.starts_with(", ") || result.is_err(), "{before:.20} {middle:.20}");
            }
        }
    }

    fn shapes(size: usize) -> Vec<(String, String, String)> {
        let around =
            |before: &str, middle: &str, after: &str| (before.repeat(size), middle.to_owned(), after.repeat(size));
        let after = |middle: &str, chain: &str| (String::new(), middle.to_owned(), chain.repeat(size));
        vec![
            around("(", "1", ")"),
            around("f(", "1", ")"),
            around("array[", "1", "]"),
            around("(select ", "1", ")"),
            around("case when ", "1", " then 1 end"),
            around("case when a then ", "1", " else 2 end"),
            around("(with a as (select 1) select ", "1", ")"),
            around("exists (select 1 where ", "true", ")"),
            around("a in (", "1", ")"),
            around("not ", "true", ""),
            around("- ", "1", ""),
            around("1 + (", "1", ")"),
            around("1 = any (array[", "1", "])"),
            around("* from (select ", "* from t", ") x"),
            around("* from (", "t", " join t on true)"),
            after("a", ".a"),
            after("1", "+1"),
            after("1", " or a = 1"),
            after("1", "::int"),
            after("a", "[1]"),
            after("a", " is null"),
            after("a", " isnull"),
            after("a", "!"),
            after("a", " collate c"),
            after("a", " at time zone b"),
            after("a", " between 1 and 2"),
            after("a", " like b"),
            after("a", " -> b"),
            after("1", " union select 1"),
            after("1, 2", " union select 1, 2"),
            after("1", ", 1"),
            after("* from t", " join t on true"),
            after("* from t", ", t"),
            after("1 from t where a = 1", " and a in (1, 2)"),
        ]
    }
}
