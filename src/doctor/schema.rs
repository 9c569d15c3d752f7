//! How the two schemas differ, object by object, and what follows for each kind. Pure.

use std::collections::{BTreeMap, HashSet};

use super::Pair;
use super::facts::Object;
use super::report::{Remark, Severity};
use crate::backend::introspect::is_selected;
use crate::side::Side;

/// How one object differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The secondary has it not.
    Missing,
    /// The primary has it not.
    Extra,
    /// Both have it, and not the same.
    Differs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub how: How,
    /// As one side has it: the primary, if it does.
    pub object: Object,
    /// What it is on the secondary, where both have it.
    pub there: String,
}

/// Their texts change from version to version, though they mean the same.
const WORDED_BY_VERSION: &[&str] = &["view", "materialized view", "rule", "policy"];
/// What other objects belong to.
const CONTAINERS: &[&str] = &["table", "view", "materialized view", "foreign table", "sequence", "type"];

/// What differs, by kind and name. `same_version`: both are of one major version.
pub fn differences(primary: &[Object], secondary: &[Object], same_version: bool) -> Vec<Difference> {
    let (here, there) = (by_name(primary), by_name(secondary));
    let missing = here.iter().filter(|(name, _)| !there.contains_key(*name)).map(|(_, object)| (How::Missing, *object));
    let extra = there.iter().filter(|(name, _)| !here.contains_key(*name)).map(|(_, object)| (How::Extra, *object));
    let (on_primary, on_secondary) = (containers(primary), containers(secondary));
    let has_place = |(how, object): &(How, &Object)| {
        let other = if *how == How::Missing { &on_secondary } else { &on_primary };
        object.table.is_empty() || CONTAINERS.contains(&object.kind.as_str()) || other.contains(object.table.as_str())
    };
    let of_its_own = |(_, object): &(How, &Object)| object.kind != "version of extension";
    let lacking = missing.chain(extra).filter(has_place).filter(of_its_own);
    let lacking = lacking.map(|(how, object)| Difference { how, object: object.clone(), there: String::new() });
    let differing = here.iter().filter_map(|(name, object)| {
        let other = there.get(name)?;
        let comparable = same_version || !WORDED_BY_VERSION.contains(&object.kind.as_str());
        (comparable && object.definition != other.definition).then(|| Difference {
            how: How::Differs,
            object: (*object).clone(),
            there: other.definition.clone(),
        })
    });
    lacking.chain(differing).collect()
}

fn by_name(objects: &[Object]) -> BTreeMap<(&str, &str), &Object> {
    objects.iter().map(|object| ((object.kind.as_str(), object.name.as_str()), object)).collect()
}

fn containers(objects: &[Object]) -> HashSet<&str> {
    objects.iter().filter(|o| CONTAINERS.contains(&o.kind.as_str())).map(|o| o.name.as_str()).collect()
}

/// Whether it keeps a selected table from being carried at all: the tables' section names it.
pub fn keeps_back(difference: &Difference) -> bool {
    matches!(difference.object.kind.as_str(), "table" | "column") && difference.how != How::Differs
}

pub fn judge(pair: &Pair<'_>) -> Vec<Remark> {
    let selected = |d: &&Difference| d.object.table.is_empty() || is_selected(&pair.config.mirror, &d.object.table);
    let told = pair.differences.iter().filter(selected).filter(|d| !keeps_back(d));
    told.map(|difference| remark(difference, pair)).collect()
}

fn remark(difference: &Difference, pair: &Pair<'_>) -> Remark {
    let object = &difference.object;
    let (one, other) = (pair.primary().side, pair.secondary().side);
    let named = format!("{} {}", object.kind, object.name);
    let severity = severity(difference, pair.same_version());
    let remark = match difference.how {
        How::Missing => {
            let problem = format!("{one} has it and {other} has not: {}", follows(&object.kind));
            Remark::new("missing", severity, named, problem).on(other).sql(&object.make)
        }
        How::Extra => Remark::new("extra", severity, named, extra(one, other, &object.kind)).on(one).sql(&object.make),
        How::Differs => {
            let is_hash = object.definition.len() == 32 && !object.definition.contains(' ');
            let problem = match is_hash {
                true => format!("it is not the same on {one} and {other}"),
                false => format!("it is \"{}\" on {one} and \"{}\" on {other}", object.definition, difference.there),
            };
            Remark::new("differs", severity, named, problem).on(other).sql(alteration(object))
        }
    };
    match remark.sql {
        None => remark.fix("make it the same on both sides"),
        Some(_) => remark,
    }
}

fn severity(difference: &Difference, same_version: bool) -> Severity {
    match (difference.how, difference.object.kind.as_str()) {
        (How::Missing, "enum label") => Severity::Blocker,
        (How::Missing, "not null" | "owner" | "foreign table") => Severity::Note,
        (How::Missing, _) => Severity::Warning,
        (How::Extra, "not null" | "key" | "foreign key" | "constraint" | "generated column") => Severity::Warning,
        (How::Extra, _) => Severity::Note,
        (How::Differs, "version of extension") if !same_version => Severity::Note,
        (How::Differs, "owner" | "table") => Severity::Note,
        (How::Differs, _) => Severity::Warning,
    }
}

/// What follows where the secondary lacks one.
fn follows(kind: &str) -> &'static str {
    match kind {
        "index" => "reads may be slower there",
        "key" => "rows are found more slowly there, and duplicates would not be refused once it is the primary",
        "enum label" => "rows with it are refused there, and parked",
        "default" | "identity" | "generated column" => "it matters once that side is the primary",
        "constraint" | "foreign key" | "not null" | "trigger" | "rule" => {
            "it would not be enforced once that side is the primary"
        }
        "sequence" => "its position is not carried",
        "grant" | "policy" | "row security" => "who may read what is decided otherwise there",
        "role" => "its sessions cannot be opened there",
        "setting" => "its sessions begin otherwise there",
        "extension" => "what it defines is not known there",
        _ => "statements that use it fail there",
    }
}

fn extra(one: Side, other: Side, kind: &str) -> String {
    let follows = match kind {
        "not null" | "key" | "foreign key" | "constraint" => {
            format!(": rows that {one} takes may be refused there, and parked")
        }
        "generated column" => format!(": what {one} holds is not carried into it"),
        _ => String::new(),
    };
    format!("{other} has it and {one} has not{follows}")
}

/// Makes an object that is there already what it is on the other side; empty: no single statement does.
fn alteration(object: &Object) -> String {
    let make = object.make.as_str();
    match object.kind.as_str() {
        "default" | "owner" | "function" | "procedure" | "version of extension" | "setting" => make.to_owned(),
        "column" => match make.strip_suffix(object.definition.as_str()) {
            Some(head) => format!("{}TYPE {}", head.replacen(" ADD COLUMN ", " ALTER COLUMN ", 1), object.definition),
            None => String::new(),
        },
        "identity" => make.replacen(" ADD GENERATED ", " SET GENERATED ", 1).replacen(" AS IDENTITY", "", 1),
        "sequence" => make.replacen("CREATE SEQUENCE ", "ALTER SEQUENCE ", 1),
        "role" => make.replacen("CREATE ROLE ", "ALTER ROLE ", 1),
        "view" => make.replacen("CREATE VIEW ", "CREATE OR REPLACE VIEW ", 1),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, table: &str, definition: &str, make: &str) -> Object {
        let [kind, name, table, definition, make] = [kind, name, table, definition, make].map(str::to_owned);
        Object { kind, name, table, definition, make }
    }

    #[test]
    fn what_belongs_to_a_missing_table_is_not_named_beside_it() {
        let table = object("table", "public.a", "public.a", "", "CREATE TABLE public.a ()");
        let column = object("column", "public.a.x", "public.a", "integer", "ALTER TABLE public.a ADD COLUMN x integer");
        let kinds = |primary: &[Object], secondary: &[Object]| {
            let found = differences(primary, secondary, true);
            found.into_iter().map(|d| (d.how, d.object.kind)).collect::<Vec<_>>()
        };
        let both = [table.clone(), column.clone()];
        assert_eq!(kinds(&both, &[]), [(How::Missing, "table".to_owned())]);
        assert_eq!(kinds(&both, std::slice::from_ref(&table)), [(How::Missing, "column".to_owned())]);
        assert_eq!(kinds(std::slice::from_ref(&table), &both), [(How::Extra, "column".to_owned())]);
        let wider = object("column", "public.a.x", "public.a", "bigint", "");
        assert_eq!(kinds(&both, &[table, wider]), [(How::Differs, "column".to_owned())]);
    }

    #[test]
    fn a_view_is_compared_within_one_version_only() {
        let view = |definition| [object("view", "public.v", "public.v", definition, "")];
        assert_eq!(differences(&view("a"), &view("b"), true).len(), 1);
        assert_eq!(differences(&view("a"), &view("b"), false).len(), 0);
    }

    #[test]
    fn a_difference_has_a_statement_where_one_does_it() {
        let cases = [
            (
                object("column", "", "", "bigint", "ALTER TABLE a ADD COLUMN x bigint"),
                "ALTER TABLE a ALTER COLUMN x TYPE bigint",
            ),
            (
                object("identity", "", "", "ALWAYS", "ALTER TABLE a ALTER COLUMN x ADD GENERATED ALWAYS AS IDENTITY"),
                "ALTER TABLE a ALTER COLUMN x SET GENERATED ALWAYS",
            ),
            (object("sequence", "", "", "", "CREATE SEQUENCE s INCREMENT 2"), "ALTER SEQUENCE s INCREMENT 2"),
            (object("type", "", "", "", "CREATE TYPE t AS (a int)"), ""),
        ];
        for (object, expected) in cases {
            assert_eq!(alteration(&object), expected);
        }
    }
}
