//! Reads one side's schema into plain data, and pairs what the two sides have.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::Row;

use super::control::Connection;
use super::types;
use crate::catalog::functions::{ByName, Functions, Volatility};
use crate::catalog::twins::{FIRST_OWN_OID, OwnType, Twins};
use crate::catalog::{Catalog, Column, Table, TableKind};
use crate::config::Mirror;
use crate::side::BySide;

/// The schemas that are nobody's data.
const USER_SCHEMAS: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet', 'pg_toast') \
    AND n.nspname !~ '^pg_(temp|toast_temp)_' AND c.relpersistence <> 't'";

/// One side's schema, before it was held against the other's.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub tables: Vec<Table>,
    pub own_types: Vec<OwnType>,
    pub functions: Functions,
    /// Volatile functions of the user's own, by lower-case name.
    pub writers: HashSet<String>,
    /// Procedures that may end their transaction, by lower-case name.
    pub committers: HashSet<String>,
    /// See [`Catalog::usual_isolation`].
    pub usual_isolation: bool,
    /// See [`Catalog::usual_path`].
    pub usual_path: bool,
}

impl Schema {
    pub fn into_catalog(self) -> Catalog {
        Catalog::new(self.tables, self.functions)
            .with_writers(self.writers)
            .with_committers(self.committers)
            .with_usual_isolation(self.usual_isolation)
            .with_usual_path(self.usual_path)
    }
}

/// Reads the schema that this connection's database has. `mirrored` says so far only what `mirror.include` and
/// `mirror.exclude` say: see [`pair`].
pub async fn read(connection: &Connection, mirror: &Mirror) -> Result<Schema, tokio_postgres::Error> {
    let (tables, columns, keys, own_types, functions, writers, committers, usual, declared) = futures_util::try_join!(
        read_tables(connection),
        read_columns(connection),
        read_keys(connection),
        read_own_types(connection),
        read_functions(connection),
        read_writers(connection),
        read_committers(connection),
        read_usual(connection),
        read_methods(connection)
    )?;
    let (usual_isolation, usual_path) = usual;
    let mut tables = tables;
    let mut columns = columns;
    for table in &mut tables {
        table.columns = columns.remove(&table.oid).unwrap_or_default();
        table.key = keys.get(&table.oid).and_then(|indexes| choose_key(&table.columns, indexes)).unwrap_or_default();
        table.mirrored = matches!(table.kind, TableKind::Plain | TableKind::Partitioned)
            && is_selected(mirror, &table.display_name())
            && declared.get(&table.oid) != Some(&b'n');
        table.by_trigger = declared.get(&table.oid) == Some(&b't');
    }
    Ok(Schema { tables, own_types, functions, writers, committers, usual_isolation, usual_path })
}

/// Whether a plain BEGIN means READ COMMITTED for everybody, and names are looked up where they usually are.
async fn read_usual(connection: &Connection) -> Result<(bool, bool), tokio_postgres::Error> {
    let sql = "SELECT coalesce(bool_and(is_usual) FILTER (WHERE name <> 'search_path'), true), \
                 coalesce(bool_and(is_usual) FILTER (WHERE name = 'search_path'), true) FROM ( \
               SELECT name, reset_val IN ('read committed', 'read uncommitted') OR name = 'search_path' AND reset_val = boot_val \
                 FROM pg_settings WHERE name IN ('default_transaction_isolation', 'search_path') \
               UNION ALL SELECT split_part(lower(c), '=', 1), c ~* '^default_transaction_isolation=read (un)?committed$' \
                 FROM pg_db_role_setting s, unnest(s.setconfig) AS c \
                 WHERE c ~* '^(default_transaction_isolation|search_path)=') AS found (name, is_usual)";
    let rows = connection.ask(sql).await?;
    rows.first().map_or(Ok((false, false)), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
}

/// How tables are captured, where that is declared. What was left out when the phase was entered stays out: it would have to be copied
/// first. Where a user has silenced the triggers, they capture nothing: see `pgduet.fires`.
async fn read_methods(connection: &Connection) -> Result<HashMap<u32, u8>, tokio_postgres::Error> {
    let known = connection.query_one("SELECT to_regclass('pgduet.captures') IS NOT NULL", &[]).await?;
    if !known.try_get::<_, bool>(0)? {
        return Ok(HashMap::new());
    }
    let sql = "SELECT c.rel, c.method FROM pgduet.captures c WHERE c.method <> 't' OR 4 = ( \
                 SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
                 WHERE t.tgrelid = c.rel AND t.tgenabled = 'A' AND p.proname = 'capture_trigger' AND p.pronamespace = 'pgduet'::regnamespace)";
    let rows = connection.query(sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<_, i8>(1)? as u8))).collect()
}

async fn read_tables(connection: &Connection) -> Result<Vec<Table>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relrowsecurity, \
           EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'), \
           EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'), \
           c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid), \
           EXISTS (SELECT 1 FROM aclexplode(c.relacl) w WHERE w.privilege_type IN ('INSERT', 'UPDATE', 'DELETE') \
               AND NOT EXISTS (SELECT 1 FROM aclexplode(c.relacl) s WHERE s.privilege_type = 'SELECT' AND s.grantee IN (w.grantee, 0))) \
             OR EXISTS (SELECT 1 FROM pg_attribute a, aclexplode(a.attacl) w WHERE a.attrelid = c.oid \
               AND a.attacl IS NOT NULL AND w.privilege_type IN ('INSERT', 'UPDATE')) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {USER_SCHEMAS} ORDER BY c.oid"
    );
    connection.ask(&sql).await?.iter().map(table_from).collect()
}

fn table_from(row: &Row) -> Result<Table, tokio_postgres::Error> {
    let kind = match row.try_get::<_, String>(3)?.as_str() {
        "p" => TableKind::Partitioned,
        "v" => TableKind::View,
        "m" => TableKind::MaterializedView,
        "f" => TableKind::Foreign,
        _ => TableKind::Plain,
    };
    Ok(Table {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind,
        columns: Vec::new(),
        key: Vec::new(),
        mirrored: false,
        by_trigger: false,
        has_user_triggers: row.try_get(5)?,
        has_rules: row.try_get(6)?,
        has_heirs: row.try_get(7)?,
        has_blind_writers: row.try_get(8)?,
        row_security: row.try_get(4)?,
    })
}

async fn read_columns(connection: &Connection) -> Result<HashMap<u32, Vec<Column>>, tokio_postgres::Error> {
    // A domain is read as what it is made of. With a type modifier of -1, format_type gives the name without a length
    // (without any, "character" and "bit" would mean a length of one).
    let sql = format!(
        "WITH RECURSIVE layer(oid, base) AS ( \
           SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd' \
           UNION ALL SELECT l.oid, t.typbasetype FROM layer l JOIN pg_type t ON t.oid = l.base WHERE t.typtype = 'd'), \
         domain(oid, base) AS MATERIALIZED ( \
           SELECT l.oid, l.base FROM layer l JOIN pg_type t ON t.oid = l.base WHERE t.typtype <> 'd') \
         SELECT c.oid, a.attname::text, a.attnum, a.atttypid, t.typarray, format_type(a.atttypid, -1), a.attnotnull, \
           a.attgenerated <> '', bt.oid, bt.typtype::text, a.atttypmod \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
           JOIN pg_type t ON t.oid = a.atttypid \
           JOIN pg_type bt ON bt.oid = CASE t.typtype WHEN 'd' THEN (SELECT d.base FROM domain d WHERE d.oid = t.oid) ELSE t.oid END \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND {USER_SCHEMAS} \
         ORDER BY c.oid, a.attnum"
    );
    let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
    for row in connection.ask(&sql).await? {
        columns.entry(row.try_get(0)?).or_default().push(column_from(&row)?);
    }
    Ok(columns)
}

fn column_from(row: &Row) -> Result<Column, tokio_postgres::Error> {
    let (type_oid, array_oid) = (row.try_get(3)?, row.try_get(4)?);
    let is_enum = row.try_get::<_, String>(9)? == "e";
    Ok(Column {
        name: row.try_get(1)?,
        number: row.try_get(2)?,
        type_oid,
        array_oid,
        type_name: row.try_get(5)?,
        not_null: row.try_get(6)?,
        generated: row.try_get(7)?,
        exactness: types::exactness(row.try_get(8)?, row.try_get::<_, i32>(10)? >= 0, is_enum),
        carry: types::carry(type_oid, array_oid),
    })
}

/// A unique index that could be a key.
#[derive(Debug)]
struct UniqueIndex {
    primary: bool,
    immediate: bool,
    columns: Vec<i16>,
}

/// Valid unique indexes without predicate or expression, the primary key first.
async fn read_keys(connection: &Connection) -> Result<HashMap<u32, Vec<UniqueIndex>>, tokio_postgres::Error> {
    let sql = "SELECT indrelid, indisprimary, indimmediate, \
                 ARRAY(SELECT k FROM unnest(indkey::int2[]) WITH ORDINALITY AS u(k, i) WHERE i <= indnkeyatts ORDER BY i) \
               FROM pg_index WHERE indrelid >= 16384 AND indisunique AND indisvalid AND indislive AND indpred IS NULL AND indexprs IS NULL \
               ORDER BY indrelid, indisprimary DESC, indexrelid";
    let mut keys: HashMap<u32, Vec<UniqueIndex>> = HashMap::new();
    for row in connection.ask(sql).await? {
        let index = UniqueIndex { primary: row.try_get(1)?, immediate: row.try_get(2)?, columns: row.try_get(3)? };
        keys.entry(row.try_get(0)?).or_default().push(index);
    }
    Ok(keys)
}

fn choose_key(columns: &[Column], indexes: &[UniqueIndex]) -> Option<Vec<usize>> {
    indexes.iter().filter(|index| index.primary || index.immediate).find_map(|index| {
        let positions = index.columns.iter().map(|&n| columns.iter().position(|c| c.number == n));
        let positions: Vec<usize> = positions.collect::<Option<_>>()?;
        let usable = |&i: &usize| columns.get(i).is_some_and(|c| c.not_null && !c.generated);
        positions.iter().all(usable).then_some(positions)
    })
}

/// Every table has two of them, and they are what differs between two databases first.
async fn read_own_types(connection: &Connection) -> Result<Vec<OwnType>, tokio_postgres::Error> {
    let sql = "SELECT t.oid, n.nspname::text, t.typname::text, t.typtype IN ('c', 'r', 'm') OR t.typcategory = 'A' \
               FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid >= 16384 \
                 AND n.nspname NOT IN ('pgduet', 'pg_toast') AND n.nspname !~ '^pg_(temp|toast_temp)_'";
    let own = |row: &Row| {
        Ok(OwnType { oid: row.try_get(0)?, schema: row.try_get(1)?, name: row.try_get(2)?, nests: row.try_get(3)? })
    };
    connection.ask(sql).await?.iter().map(own).collect()
}

/// Those of the server itself are read once by a connection: they are ten times as long to read as all else.
async fn read_functions(connection: &Connection) -> Result<Functions, tokio_postgres::Error> {
    let servers = connection.servers_functions(read_volatilities(connection, "<")).await?;
    Ok(Functions { servers, users: read_volatilities(connection, ">=").await? })
}

/// The worst of all overloads counts; an aggregate is as bad as what it calls.
async fn read_volatilities(connection: &Connection, which: &str) -> Result<ByName, tokio_postgres::Error> {
    let sql = format!(
        "SELECT lower(p.proname::text), max(CASE WHEN p.prokind = 'p' THEN 3 ELSE greatest( \
           strpos('isv', p.provolatile::text), strpos('isv', s.provolatile::text), strpos('isv', f.provolatile::text)) END) \
         FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid \
           LEFT JOIN pg_proc s ON s.oid = a.aggtransfn LEFT JOIN pg_proc f ON f.oid = a.aggfinalfn \
         WHERE p.oid {which} {FIRST_OWN_OID} GROUP BY 1"
    );
    let mut functions = HashMap::new();
    for row in connection.ask(&sql).await? {
        let volatility = match row.try_get::<_, Option<i32>>(1)? {
            Some(1) => Volatility::Immutable,
            Some(2) => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        functions.insert(row.try_get(0)?, volatility);
    }
    Ok(functions)
}

/// What a volatile function does is not known; one that is written in C, as extensions' are, is taken not to write to tables.
async fn read_writers(connection: &Connection) -> Result<HashSet<String>, tokio_postgres::Error> {
    let sql = "SELECT DISTINCT lower(p.proname::text) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                 JOIN pg_language l ON l.oid = p.prolang \
               WHERE p.oid >= 16384 AND p.provolatile = 'v' AND l.lanname NOT IN ('c', 'internal') AND p.prorettype <> 'trigger'::regtype \
                 AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet')";
    connection.ask(sql).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Such a thing stands in the text of a procedure, or of one that it calls. The server lets none do so that is in SQL, that is SECURITY DEFINER, or
/// that has settings of its own; nor what these call.
async fn read_committers(connection: &Connection) -> Result<HashSet<String>, tokio_postgres::Error> {
    let sql = "SELECT DISTINCT lower(p.proname::text) FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang \
               WHERE p.oid >= 16384 AND p.prokind = 'p' AND l.lanname <> 'sql' AND NOT p.prosecdef AND p.proconfig IS NULL \
               AND (l.lanname <> 'plpgsql' OR p.prosrc ~* '\\m(commit|rollback|call|execute)\\M')";
    connection.ask(sql).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Whether `mirror.include` and `mirror.exclude` select what is called `schema.name`.
pub fn is_selected(mirror: &Mirror, name: &str) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
    (mirror.include.is_empty() || any(&mirror.include)) && !any(&mirror.exclude)
}

/// Whether a pattern, in which `*` stands for any text, fits the whole name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    let mut ends = rest.char_indices().map(|(i, _)| i).chain([rest.len()]);
    ends.any(|i| rest.get(i..).is_some_and(|rest| matches(tail, rest)))
}

/// A table that is selected and cannot be carried, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    pub table: String,
    pub reason: String,
}

/// Both schemas, held against each other.
#[derive(Clone, Debug)]
pub struct Paired {
    pub catalogs: BySide<Arc<Catalog>>,
    pub left_out: Vec<LeftOut>,
}

/// Finds what can be carried: selected tables that both sides have, with the same columns by name. Values of a column go in
/// binary form only where both sides have the very same base type.
pub fn pair(mut old: Schema, mut new: Schema) -> Paired {
    let (mut on_old, mut on_new): (HashMap<u32, String>, HashMap<u32, String>) = Default::default();
    let name = |table: &Table| (table.schema.clone(), table.name.clone());
    let places: HashMap<(String, String), usize> = new.tables.iter().map(name).zip(0..).collect();
    let mut paired: HashSet<u32> = HashSet::new();
    for table in &mut old.tables {
        match places.get(&name(table)).and_then(|&place| new.tables.get_mut(place)) {
            Some(twin) => {
                paired.insert(twin.oid);
                if let Some(reason) = pair_tables(table, twin) {
                    on_new.insert(twin.oid, reason.clone());
                    on_old.insert(table.oid, reason);
                }
            }
            None if table.mirrored => drop(on_old.insert(table.oid, "it does not exist on new".into())),
            None => {}
        }
    }
    for table in new.tables.iter().filter(|t| t.mirrored && !paired.contains(&t.oid)) {
        on_new.insert(table.oid, "it does not exist on old".into());
    }
    let left_out = left_out(&old, &on_old, &new, &on_new);
    let (to_new, to_old) = (twins(&old, &new), twins(&new, &old));
    let old = old.into_catalog().with_unpaired(on_old).with_twins(to_new);
    let new = new.into_catalog().with_unpaired(on_new).with_twins(to_old);
    Paired { catalogs: BySide { old: Arc::new(old), new: Arc::new(new) }, left_out }
}

/// Every relation counts, mirrored or not: views are read too.
fn twins(here: &Schema, there: &Schema) -> Twins {
    let mut twins = Twins::of_types(&here.own_types, &there.own_types);
    let by_name: HashMap<(&str, &str), &Table> =
        there.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t)).collect();
    for table in &here.tables {
        let Some(twin) = by_name.get(&(table.schema.as_str(), table.name.as_str())) else { continue };
        let number = |name: &str| twin.columns.iter().find(|c| c.name == name).map(|c| c.number);
        let columns = table.columns.iter().filter_map(|c| Some((c.number, number(&c.name)?)));
        twins.add_table(table.oid, twin.oid, columns);
    }
    twins
}

/// Each unpaired table once, by name.
fn left_out(old: &Schema, on_old: &HashMap<u32, String>, new: &Schema, on_new: &HashMap<u32, String>) -> Vec<LeftOut> {
    let mut reasons: std::collections::BTreeMap<String, String> = Default::default();
    for (schema, unpaired) in [(old, on_old), (new, on_new)] {
        for table in &schema.tables {
            if let Some(reason) = unpaired.get(&table.oid) {
                reasons.entry(table.display_name()).or_insert_with(|| reason.clone());
            }
        }
    }
    reasons.into_iter().map(|(table, reason)| LeftOut { table, reason }).collect()
}

fn pair_tables(old: &mut Table, new: &mut Table) -> Option<String> {
    for column in &mut old.columns {
        let twin = new.columns.iter_mut().find(|c| c.name == column.name);
        if let Some(twin) = twin.filter(|twin| twin.type_oid != column.type_oid) {
            twin.carry = crate::catalog::Carry::Text;
            column.carry = crate::catalog::Carry::Text;
        }
    }
    match (old.mirrored, new.mirrored) {
        (false, false) => None,
        (true, false) => Some("it is no table on new, or left out there".to_string()),
        (false, true) => Some("it is no table on old, or left out there".to_string()),
        (true, true) => column_difference(old, new),
    }
}

/// Whether two readings of a table differ in nothing but how its values are carried, which [`pair`] settles.
pub fn same_but_carry(one: &Table, other: &Table) -> bool {
    let mut other = other.clone();
    for (column, like) in other.columns.iter_mut().zip(&one.columns) {
        column.carry = like.carry;
    }
    *one == other
}

/// How the columns that are carried differ by name, if they do.
fn column_difference(old: &Table, new: &Table) -> Option<String> {
    let missing = |from: &Table, at: &Table| -> Vec<String> {
        let known = |c: &&Column| !at.columns.iter().any(|other| other.name == c.name);
        from.columns.iter().filter(known).map(|c| c.name.clone()).collect()
    };
    let (on_new, on_old) = (missing(old, new), missing(new, old));
    match (on_new.is_empty(), on_old.is_empty()) {
        (true, true) => None,
        (false, _) => Some(format!("new lacks its columns {}", on_new.join(", "))),
        (true, false) => Some(format!("old lacks its columns {}", on_old.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Carry, Exactness};

    fn table(name: &str, columns: &[(&str, u32)]) -> Table {
        let column = |(i, &(name, type_oid)): (usize, &(&str, u32))| Column {
            name: name.into(),
            number: i as i16 + 1,
            type_oid,
            array_oid: 1007,
            type_name: "integer".into(),
            not_null: true,
            generated: false,
            exactness: Exactness::Plain,
            carry: Carry::Binary,
        };
        Table {
            oid: name.bytes().map(u32::from).sum(),
            schema: "public".into(),
            name: name.into(),
            kind: TableKind::Plain,
            columns: columns.iter().enumerate().map(column).collect(),
            key: vec![0],
            mirrored: true,
            by_trigger: false,
            has_user_triggers: false,
            has_rules: false,
            has_heirs: false,
            has_blind_writers: false,
            row_security: false,
        }
    }

    fn schema(tables: Vec<Table>) -> Schema {
        Schema { tables, ..Schema::default() }
    }

    #[test]
    fn a_table_is_carried_only_if_both_sides_have_its_columns() {
        let old = schema(vec![table("a", &[("x", 23)]), table("b", &[("x", 23), ("y", 23)]), table("c", &[])]);
        let new = schema(vec![table("a", &[("x", 20)]), table("b", &[("x", 23)])]);
        let paired = pair(old, new);
        let catalog = &paired.catalogs.old;
        let unpaired = |name| catalog.qualified("public", name).and_then(|t| catalog.unpaired(t.oid));
        assert_eq!((unpaired("a"), unpaired("b")), (None, Some("new lacks its columns y")));
        assert_eq!(unpaired("c"), Some("it does not exist on new"));
        let reasons: Vec<&str> = paired.left_out.iter().map(|l| l.reason.as_str()).collect();
        assert_eq!(reasons, ["new lacks its columns y", "it does not exist on new"]);
    }

    #[test]
    fn a_column_of_another_type_goes_as_text() {
        let paired = pair(schema(vec![table("a", &[("x", 23)])]), schema(vec![table("a", &[("x", 20)])]));
        let carry = |catalog: &Catalog| catalog.tables()[0].columns[0].carry;
        assert_eq!((carry(&paired.catalogs.old), carry(&paired.catalogs.new)), (Carry::Text, Carry::Text));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("public.*", "public.accounts") && matches("*.audit_*", "a.audit_b") && matches("*", "a.b"));
        assert!(!matches("public.*", "publicx.a") && !matches("public.a", "public.ab") && !matches("*.x", "a.b"));
    }
}
