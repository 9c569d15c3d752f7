//! The value that a read asks for by equality, where that is a routing key: `WHERE users.id = $1`.

use sqlparser::ast::{BinaryOperator, Expr, Ident, Query, Select, SetExpr, TableFactor, Value};

use super::name::Name;

/// `column = value` among what WHERE asks for of every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equality {
    /// The table, whatever alias the statement uses.
    pub table: Name,
    pub column: String,
    pub value: KeyValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    /// As it is written, without quotes.
    Literal(String),
    /// `$n`, from 1.
    Parameter(usize),
}

/// Those of the outermost query.
pub(super) fn equalities(query: &Query) -> Vec<Equality> {
    let SetExpr::Select(select) = &*query.body else { return vec![] };
    let mut found = Vec::new();
    if let Some(condition) = &select.selection {
        collect(condition, &sources(select), &mut found);
    }
    found
}

/// Name and alias of each table in FROM.
fn sources(select: &Select) -> Vec<(Name, String)> {
    let factors = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)));
    factors.filter_map(source).collect()
}

fn source(factor: &TableFactor) -> Option<(Name, String)> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
    let (last, qualifiers) = parts.split_last()?;
    let shown = alias.as_ref().map_or_else(|| last.clone(), |alias| folded(&alias.name));
    Some((Name { schema: qualifiers.last().cloned(), name: last.clone() }, shown))
}

/// Depth is bounded by what the parser admits.
fn collect(condition: &Expr, sources: &[(Name, String)], found: &mut Vec<Equality>) {
    match condition {
        Expr::Nested(inner) => collect(inner, sources, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            collect(left, sources, found);
            collect(right, sources, found);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let either = equality(left, right, sources).or_else(|| equality(right, left, sources));
            found.extend(either);
        }
        _ => {}
    }
}

fn equality(column: &Expr, value: &Expr, sources: &[(Name, String)]) -> Option<Equality> {
    let (table, column) = match column {
        // Without a qualifier it is certain only where there is one table.
        Expr::Identifier(column) => match sources {
            [(table, _)] => (table.clone(), folded(column)),
            _ => return None,
        },
        Expr::CompoundIdentifier(parts) => {
            let [.., qualifier, column] = parts.as_slice() else { return None };
            let (table, _) = sources.iter().find(|(_, shown)| *shown == folded(qualifier))?;
            (table.clone(), folded(column))
        }
        _ => return None,
    };
    Some(Equality { table, column, value: key_value(value)? })
}

fn key_value(value: &Expr) -> Option<KeyValue> {
    match value {
        Expr::Nested(inner) => key_value(inner),
        Expr::Cast { expr, .. } => key_value(expr),
        Expr::Value(literal) => match &literal.value {
            Value::Number(digits, _) => Some(KeyValue::Literal(digits.clone())),
            Value::SingleQuotedString(text) => Some(KeyValue::Literal(text.clone())),
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok().map(KeyValue::Parameter),
            _ => None,
        },
        _ => None,
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

    fn found(sql: &str) -> Vec<String> {
        let shape = read_shape(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
        shape.equalities.iter().map(|e| format!("{}.{} {:?}", e.table, e.column, e.value)).collect()
    }

    #[test]
    fn an_equality_names_its_table_whatever_the_alias() {
        assert_eq!(found("select * from users where id = 42"), ["users.id Literal(\"42\")"]);
        assert_eq!(found("select * from users u where '7' = U.id and x > 3"), ["users.id Literal(\"7\")"]);
        assert_eq!(
            found(
                "select * from app.users u join orders o on o.user_id = u.id where (u.id = $1::bigint) and o.id = $2"
            ),
            ["app.users.id Parameter(1)", "orders.id Parameter(2)"]
        );
        assert_eq!(found("select * from users where id = $1 or id = $2"), Vec::<String>::new());
        assert_eq!(found("select * from users, orders where id = 1"), Vec::<String>::new());
        assert_eq!(found("select * from users where not id = 1"), Vec::<String>::new());
        assert_eq!(found("select * from orders where x in (select id from users where id = 1)"), Vec::<String>::new());
    }
}
