//! What a read promises of its answer: in which order the rows come, and whether equal data must give equal rows at all.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, Value,
    WindowType,
};

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// ORDER BY of the outermost query.
    pub sorted: Sorted,
    /// LIMIT, OFFSET, FETCH or DISTINCT ON of the outermost query: which of the rows come is open among ties.
    pub limited: bool,
    /// Equal data may give different values: aggregates and windows over rows in no order, LIMIT inside, the time of day.
    pub open: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sorted {
    #[default]
    No,
    /// By columns of the answer.
    By {
        keys: Vec<SortKey>,
        /// Columns of the one table that is read without grouping: with a key of the table among them, the order is total.
        columns: Vec<String>,
    },
    /// By something that the answer does not show.
    Hidden { columns: Vec<String> },
}

/// A column of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// From 0.
    Place(usize),
    Named(String),
}

pub(super) fn promise(query: &Query, limited_inside: bool, open: bool) -> Promise {
    let limited = is_limited(query);
    Promise { sorted: sorted(query), limited, open: open || limited_inside }
}

/// By LIMIT, OFFSET, FETCH or DISTINCT ON of this query itself.
pub(super) fn is_limited(query: &Query) -> bool {
    let distinct_on = matches!(&*query.body, SetExpr::Select(select) if is_distinct_on(select));
    query.limit_clause.is_some() || query.fetch.is_some() || distinct_on
}

fn is_distinct_on(select: &Select) -> bool {
    matches!(select.distinct, Some(sqlparser::ast::Distinct::On(_)))
}

fn sorted(query: &Query) -> Sorted {
    let Some(order) = &query.order_by else { return Sorted::No };
    let OrderByKind::Expressions(items) = &order.kind else { return Sorted::Hidden { columns: vec![] } };
    let select = match &*query.body {
        SetExpr::Select(select) => Some(&**select),
        _ => None,
    };
    let columns = select.map(|s| base_columns(s, items)).unwrap_or_default();
    let projection = select.map_or(&[][..], |s| &s.projection);
    match items.iter().map(|item| key(&item.expr, projection)).collect::<Option<Vec<_>>>() {
        Some(keys) => Sorted::By { keys, columns },
        None => Sorted::Hidden { columns },
    }
}

/// Which column of the answer a sort expression is, if that is certain.
fn key(expr: &Expr, projection: &[SelectItem]) -> Option<SortKey> {
    match expr {
        Expr::Value(number) => match &number.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok()?.checked_sub(1).map(SortKey::Place),
            _ => None,
        },
        // A bare name is a column of the answer first.
        Expr::Identifier(name) => Some(SortKey::Named(folded(name))),
        Expr::CompoundIdentifier(parts) => match projected(expr, projection) {
            Some(key) => Some(key),
            None => parts.last().filter(|_| shows_all(parts, projection)).map(|c| SortKey::Named(folded(c))),
        },
        _ => projected(expr, projection),
    }
}

/// The same expression in the select list.
fn projected(expr: &Expr, projection: &[SelectItem]) -> Option<SortKey> {
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let at = projection.iter().position(|item| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => e == expr,
        _ => false,
    })?;
    match projection.get(at) {
        Some(SelectItem::ExprWithAlias { alias, .. }) => Some(SortKey::Named(folded(alias))),
        _ if !projection.iter().take(at).any(is_star) => Some(SortKey::Place(at)),
        _ => None,
    }
}

/// Whether a star shows the column `table.column`.
fn shows_all(parts: &[Ident], projection: &[SelectItem]) -> bool {
    let table = parts.len().checked_sub(2).and_then(|at| parts.get(at)).map(folded);
    projection.iter().any(|item| match item {
        SelectItem::Wildcard(_) => true,
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            name.0.last().and_then(|part| part.as_ident()).map(folded) == table
        }
        _ => false,
    })
}

/// The sort expressions that are plain columns of the only table, where each row of the answer is one of the table's.
fn base_columns(select: &Select, items: &[OrderByExpr]) -> Vec<String> {
    let one_table = match select.from.as_slice() {
        [only] => only.joins.is_empty() && matches!(only.relation, TableFactor::Table { args: None, .. }),
        _ => false,
    };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
    if !one_table || grouped || select.having.is_some() || select.distinct.is_some() {
        return vec![];
    }
    let is_alias = |name: &str| {
        select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if folded(alias) == name))
    };
    let column = |item: &OrderByExpr| match &item.expr {
        Expr::Identifier(name) => Some(folded(name)).filter(|n| !is_alias(n)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        _ => None,
    };
    items.iter().filter_map(column).collect()
}

/// Whether a call's value depends on an order that nothing promises.
pub(super) fn is_open_call(function: &Function) -> bool {
    const BY_ORDER: [&str; 12] = [
        "array_agg",
        "string_agg",
        "json_agg",
        "jsonb_agg",
        "json_object_agg",
        "jsonb_object_agg",
        "xmlagg",
        "any_value",
        "mode",
        "json_arrayagg",
        "json_objectagg",
        "range_agg",
    ];
    const SAME_FOR_PEERS: [&str; 9] =
        ["rank", "dense_rank", "percent_rank", "cume_dist", "count", "sum", "avg", "min", "max"];
    let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
    let by_order = BY_ORDER.contains(&name.as_str()) && !is_sorted_by_its_argument(function);
    by_order
        || match &function.over {
            None => false,
            Some(WindowType::WindowSpec(spec)) => {
                !SAME_FOR_PEERS.contains(&name.as_str()) || spec.window_frame.is_some() || spec.window_name.is_some()
            }
            Some(WindowType::NamedWindow(_)) => true,
        }
}

/// `array_agg(x ORDER BY x)`
fn is_sorted_by_its_argument(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.first() else { return false };
    list.clauses.iter().any(|clause| match clause {
        FunctionArgumentClause::OrderBy(items) => items.iter().any(|item| item.expr == *argument),
        _ => false,
    })
}

/// `'now'`, `'today'` and their like are the time of day once they are cast.
pub(super) fn is_clock_literal(expr: &Expr) -> bool {
    const WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];
    match expr {
        Expr::Value(literal) => match &literal.value {
            Value::SingleQuotedString(text) => WORDS.iter().any(|w| text.trim().eq_ignore_ascii_case(w)),
            _ => false,
        },
        _ => false,
    }
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::read_shape;
    use super::*;

    fn promise(sql: &str) -> Promise {
        read_shape(sql).unwrap_or_else(|why| panic!("{sql}: {why}")).promise
    }

    fn named(names: &[&str]) -> Vec<SortKey> {
        names.iter().map(|n| SortKey::Named((*n).into())).collect()
    }

    #[test]
    fn a_sort_key_is_a_column_of_the_answer_only_where_that_is_certain() {
        let keys = |sql: &str| match promise(sql).sorted {
            Sorted::By { keys, .. } => Some(keys),
            _ => None,
        };
        assert_eq!(keys("select a, b from t order by b desc, a"), Some(named(&["b", "a"])));
        assert_eq!(keys("select a, b from t order by 2"), Some(vec![SortKey::Place(1)]));
        assert_eq!(keys("select t.a, lower(b) from t order by lower(b)"), Some(vec![SortKey::Place(1)]));
        assert_eq!(keys("select t.a as x from t order by t.a"), Some(named(&["x"])));
        assert_eq!(keys("select * from t order by t.a"), Some(named(&["a"])));
        assert_eq!(keys("select u.* from u, t order by t.a"), None);
        assert_eq!(keys("select u.* from u, t order by u.a"), Some(named(&["a"])));
        assert_eq!(keys("select a from t order by lower(b)"), None);
        assert_eq!(keys("select a from t union select b from u order by a"), Some(named(&["a"])));
    }

    #[test]
    fn columns_of_the_only_table_are_told() {
        let columns = |sql: &str| match promise(sql).sorted {
            Sorted::By { columns, .. } | Sorted::Hidden { columns } => columns,
            Sorted::No => vec!["unsorted".into()],
        };
        assert_eq!(columns("select b from t order by b, t.id"), ["b", "id"]);
        assert_eq!(columns("select -n as id from t order by id"), Vec::<String>::new());
        assert!(columns("select id from t join u using (id) order by id").is_empty());
        assert!(columns("select id from t group by id order by id").is_empty());
        assert!(columns("select distinct id from t order by id").is_empty());
    }

    #[test]
    fn what_equal_data_leaves_open_is_told() {
        for sql in [
            "select array_agg(a) from t",
            "select string_agg(a, ',' order by b) from t",
            "select row_number() over (order by a) from t",
            "select sum(a) over w from t window w as (order by b)",
            "select * from (select a from t limit 3) x",
            "select a from t where b > 'now'::timestamptz",
            "select a from t where b > now()",
        ] {
            assert!(promise(sql).open, "{sql}");
        }
        for sql in [
            "select array_agg(a order by a) from t",
            "select rank() over (order by a) from t",
            "select sum(a) over (partition by b) from t",
            "select a from t order by a limit 3",
            "select count(*), sum(a), max(b) from t",
        ] {
            assert!(!promise(sql).open, "{sql}");
        }
        assert!(promise("select a from t offset 3").limited && promise("select distinct on (a) a, b from t").limited);
        assert!(!promise("select * from (select a from t limit 3) x").limited);
    }
}
