//! What the link says to either side for one table: SQL, made once for each pair of catalogs.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::Type;

use super::loud::Loud;
use super::relations::Relations;
use crate::catalog::{Carry, Catalog, Column, Table, TableKind, quote_ident};

/// A statement with the types of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    pub text: String,
    pub parameters: Vec<Type>,
}

/// How rows are written on the secondary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The secondary has a unique index over the key.
    Upsert(Sql),
    /// It has not, or only a deferrable one, or a column cannot be updated: rows of these keys are deleted first.
    Insert(Sql),
}

impl Put {
    pub fn sql(&self) -> &Sql {
        match self {
            Put::Upsert(sql) | Put::Insert(sql) => sql,
        }
    }
}

/// Rows of another table that change by themselves when rows of this one are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cascade {
    /// The other table, by the primary's oid.
    pub child: u32,
    /// On the secondary: the children's keys, as text, of these rows; parameters as of the deletion. `None`: the child has
    /// no key, so all of it is carried.
    pub children: Option<Sql>,
}

/// The parts of a query for the rows whose keys are in `j`, some rows of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The key's columns, `c1, c2, ...`, out of `j.key`.
    pub typed: String,
    /// The carried columns, of `t` joined with `k`.
    pub columns: String,
    pub join: String,
}

/// One table with a key, and how it is carried.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// On the primary, by the keys' text: whether the row is gone, then the carried columns.
    pub read: Sql,
    /// The same for keys that stand in the journal, for [`super::express`].
    pub look: Look,
    /// On the secondary, by key values in carried form.
    pub delete: Sql,
    pub put: Put,
    /// Where the key's columns are among the carried ones.
    pub key_positions: Vec<usize>,
    pub cascades: Vec<Cascade>,
}

/// One mirrored table.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// By the primary's oid; a partition is planned as its topmost ancestor.
    pub rel: u32,
    pub schema: String,
    pub name: String,
    pub display_name: String,
    /// Element type of each carried column's array.
    pub elements: Vec<u32>,
    /// `None`: without a key, rows are only appended, or the table is carried whole.
    pub keyed: Option<Keyed>,
    /// How many columns a captured row has, and which of them the appended row takes.
    pub row_width: usize,
    pub row_positions: Vec<usize>,
    pub append: Sql,
    /// `COPY (...) TO STDOUT` on the primary; emptying and `COPY ... FROM STDIN` on the secondary.
    pub copy_out: String,
    pub empty: String,
    /// The same for all rows at once, as part of `TRUNCATE ...`.
    pub truncated: String,
    pub copy_in: String,
    /// Parents before children: the place in the order of writing.
    pub rank: usize,
    /// Writing to it makes triggers fire on the secondary that have to be silenced first.
    pub is_loud: bool,
}

/// All of them, by the oid that the journal names.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    by_rel: HashMap<u32, Arc<TablePlan>>,
    /// Partitions by themselves, for what touches one of them as a whole.
    partitions: HashMap<u32, Arc<TablePlan>>,
    /// The secondary's, of tables that are carried.
    pub loud: Loud,
    /// Partitioned tables, some of whose rows lie on a foreign server, which both sides may share: only their own partitions are
    /// carried, each by itself. By the topmost one, under which every other stands in `split`.
    parts: HashMap<u32, Vec<u32>>,
    split: HashMap<u32, u32>,
}

impl Plans {
    /// `primary` and `secondary`: each side's catalog with its relations.
    pub fn new(primary: (&Catalog, &Relations), secondary: (&Catalog, &Relations)) -> Self {
        let maker = Maker { primary, secondary, ranks: ranks(&primary.1.foreign_keys) };
        let is_carried = |rel: u32| secondary.0.by_oid(rel).is_some_and(|table| table.mirrored);
        let mut plans = Plans { loud: secondary.1.loud.of(is_carried), ..Plans::default() };
        for table in primary.0.tables() {
            plans.add(&maker, table);
        }
        plans
    }

    fn add(&mut self, maker: &Maker<'_>, table: &Arc<Table>) {
        let (catalog, relations) = maker.primary;
        let carried = |table: &Table| table.mirrored && catalog.unpaired(table.oid).is_none();
        let root = catalog.by_oid(relations.root(table.oid)).filter(|root| carried(root)).unwrap_or(table);
        // A partition touched by a key of its own is not addressed by its ancestor's.
        let same_key = root.key_columns().map(|c| &c.name).eq(table.key_columns().map(|c| &c.name));
        let split = maker.reaches_outside(root);
        if split && self.is_not_a_part(root, table) {
            return;
        }
        let addressed = if same_key && !split { root } else { table };
        if !carried(addressed) {
            return;
        }
        if addressed.oid != table.oid && table.kind == TableKind::Plain && carried(table) {
            self.partitions.extend(maker.plan(table).map(|plan| (table.oid, Arc::new(plan))));
        }
        let plan = match self.by_rel.get(&addressed.oid) {
            Some(plan) => Some(Arc::clone(plan)),
            None => maker.plan(addressed).map(Arc::new),
        };
        if let Some(plan) = plan {
            self.by_rel.insert(addressed.oid, Arc::clone(&plan));
            self.by_rel.insert(table.oid, plan);
        }
    }

    /// Every oid that stands for this table in the journal: its own, and its partitions'.
    pub fn aliases(&self, rel: u32) -> Vec<u32> {
        let mut aliases: Vec<u32> =
            self.by_rel.iter().filter(|(_, plan)| plan.rel == rel).map(|(&rel, _)| rel).collect();
        aliases.sort_unstable();
        aliases
    }

    pub fn get(&self, rel: u32) -> Option<&Arc<TablePlan>> {
        self.by_rel.get(&rel)
    }

    fn is_not_a_part(&mut self, root: &Table, table: &Table) -> bool {
        self.split.insert(table.oid, root.oid);
        let parts = self.parts.entry(root.oid).or_default();
        if table.kind == TableKind::Plain {
            parts.push(table.oid);
        }
        table.kind != TableKind::Plain
    }

    /// The tables that stand for one that cannot be carried as such.
    pub fn parts(&self, rel: u32) -> Option<&[u32]> {
        self.split.get(&rel).and_then(|root| self.parts.get(root)).map(Vec::as_slice)
    }

    /// What is carried when all of it is touched: a partition by itself, where it is one on the secondary too.
    pub fn whole(&self, rel: u32) -> Option<&Arc<TablePlan>> {
        self.partitions.get(&rel).or_else(|| self.get(rel))
    }
}

struct Maker<'a> {
    primary: (&'a Catalog, &'a Relations),
    secondary: (&'a Catalog, &'a Relations),
    ranks: HashMap<u32, usize>,
}

/// A column that is carried, as both sides have it.
struct Pair<'a> {
    from: &'a Column,
    to: &'a Column,
}

impl Pair<'_> {
    fn carry(&self) -> Carry {
        match (self.from.carry, self.to.carry) {
            (Carry::Binary, Carry::Binary) if self.from.type_oid == self.to.type_oid => Carry::Binary,
            _ => Carry::Text,
        }
    }

    /// The element type of the array that the values travel in.
    fn element(&self) -> u32 {
        match self.carry() {
            Carry::Binary => self.from.type_oid,
            Carry::Text => Type::TEXT.oid(),
        }
    }

    fn array(&self) -> Type {
        let known = match self.carry() {
            Carry::Binary => Type::from_oid(self.from.array_oid),
            Carry::Text => None,
        };
        known.unwrap_or(Type::TEXT_ARRAY)
    }

    /// `$n::type[]`
    fn parameter(&self, n: usize) -> String {
        match self.carry() {
            Carry::Binary => format!("${n}::{}[]", self.from.type_name),
            Carry::Text => format!("${n}::text[]"),
        }
    }

    /// The value as it is sent: in binary form, or its type's own output.
    fn sent(&self, value: &str) -> String {
        match self.carry() {
            Carry::Binary => value.to_string(),
            Carry::Text => format!("CASE WHEN num_nulls({value}) = 0 THEN format('%s', {value}) END"),
        }
    }

    /// The value as it is stored.
    fn received(&self, value: &str) -> String {
        match self.carry() {
            Carry::Binary => value.to_string(),
            Carry::Text => format!("{value}::{}", self.to.type_name),
        }
    }
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

/// `unnest(<arrays>) AS u(c1, c2, ...)`
fn unnest(pairs: &[Pair<'_>]) -> String {
    let arrays = list(pairs.iter().enumerate().map(|(i, p)| p.parameter(i + 1)));
    let names = list((1..=pairs.len()).map(|n| format!("c{n}")));
    format!("unnest({arrays}) AS u({names})")
}

fn unnest_text(count: usize) -> String {
    let arrays = list((1..=count).map(|n| format!("${n}::text[]")));
    let names = list((1..=count).map(|n| format!("c{n}")));
    format!("unnest({arrays}) AS u({names})")
}

fn only(table: &Table) -> String {
    match table.kind {
        // Children by inheritance are tables of their own.
        TableKind::Plain => format!("ONLY {}", table.qualified()),
        _ => table.qualified(),
    }
}

impl Maker<'_> {
    /// Whether a partition of the table, on either side, is a foreign table.
    fn reaches_outside(&self, from: &Table) -> bool {
        let to = self.secondary.0.qualified(&from.schema, &from.name);
        self.primary.1.reaches_outside(from.oid) || to.is_some_and(|to| self.secondary.1.reaches_outside(to.oid))
    }

    fn plan(&self, from: &Table) -> Option<TablePlan> {
        let to = self.secondary.0.qualified(&from.schema, &from.name)?;
        let to_column = |from: &Column| to.columns.iter().find(|c| c.name == from.name && !c.generated);
        let pairs: Vec<Pair<'_>> =
            from.columns.iter().filter_map(|from| Some(Pair { from, to: to_column(from)? })).collect();
        if pairs.is_empty() {
            return None;
        }
        let names = list(pairs.iter().map(|p| quote_ident(&p.from.name)));
        let binary = pairs.iter().all(|p| p.carry() == Carry::Binary);
        let format = if binary { "BINARY" } else { "TEXT" };
        Some(TablePlan {
            rel: from.oid,
            schema: from.schema.clone(),
            name: from.name.clone(),
            display_name: from.display_name(),
            elements: pairs.iter().map(Pair::element).collect(),
            keyed: self.keyed(from, to, &pairs),
            row_width: from.row_columns().len(),
            row_positions: row_positions(from, &pairs),
            append: append(from, to, &pairs),
            copy_out: format!("COPY (SELECT {names} FROM {}) TO STDOUT (FORMAT {format})", only(from)),
            empty: format!("DELETE FROM {}", only(to)),
            truncated: only(to),
            copy_in: format!("COPY {} ({names}) FROM STDIN (FORMAT {format})", to.qualified()),
            rank: self.ranks.get(&from.oid).copied().unwrap_or(0),
            is_loud: self.secondary.1.loud.has(self.secondary.1.root(to.oid)),
        })
    }

    fn keyed(&self, from: &Table, to: &Table, pairs: &[Pair<'_>]) -> Option<Keyed> {
        let key_positions: Vec<usize> =
            from.key_columns().map(|key| pairs.iter().position(|p| p.from.name == key.name)).collect::<Option<_>>()?;
        let keys: Vec<Pair<'_>> =
            key_positions.iter().filter_map(|&i| pairs.get(i)).map(|p| Pair { from: p.from, to: p.to }).collect();
        if keys.is_empty() {
            return None;
        }
        Some(Keyed {
            read: self.read(from, pairs, &keys),
            look: self.look(from, pairs, &keys),
            delete: self.delete(to, &keys),
            put: self.put(to, pairs, &keys),
            key_positions,
            cascades: self.cascades(from, &keys),
        })
    }

    fn read(&self, from: &Table, pairs: &[Pair<'_>], keys: &[Pair<'_>]) -> Sql {
        let Look { columns, join, .. } = self.look(from, pairs, keys);
        let typed = typed(keys, |n| format!("u.c{n}"));
        let text = format!(
            "SELECT t.tableoid IS NULL, {columns} FROM (SELECT DISTINCT {typed} FROM {}) AS k {join} ORDER BY t.ctid",
            unnest_text(keys.len())
        );
        Sql { text, parameters: vec![Type::TEXT_ARRAY; keys.len()] }
    }

    fn look(&self, from: &Table, pairs: &[Pair<'_>], keys: &[Pair<'_>]) -> Look {
        let joined = keys.iter().enumerate().map(|(i, k)| {
            let equals = self.primary.1.equality(from.oid, &k.from.name);
            format!("t.{} {equals} k.c{}", quote_ident(&k.from.name), i + 1)
        });
        let join = format!("LEFT JOIN {} AS t ON {}", only(from), joined.collect::<Vec<_>>().join(" AND "));
        let columns = list(pairs.iter().map(|p| {
            let value = format!("t.{}", quote_ident(&p.from.name));
            match keys.iter().position(|k| k.from.name == p.from.name) {
                // The key of a row that is gone has to be known, too.
                Some(i) => p.sent(&format!("COALESCE({value}, k.c{})", i + 1)),
                None => p.sent(&value),
            }
        }));
        Look { typed: typed(keys, |n| format!("j.key[{n}]")), columns, join }
    }

    fn matching(&self, to: &Table, keys: &[Pair<'_>]) -> String {
        let conditions = keys.iter().enumerate().map(|(i, k)| {
            let equals = self.secondary.1.equality(to.oid, &k.to.name);
            format!("t.{} {equals} {}", quote_ident(&k.to.name), k.received(&format!("u.c{}", i + 1)))
        });
        conditions.collect::<Vec<_>>().join(" AND ")
    }

    fn delete(&self, to: &Table, keys: &[Pair<'_>]) -> Sql {
        let text = format!("DELETE FROM {} AS t USING {} WHERE {}", only(to), unnest(keys), self.matching(to, keys));
        Sql { text, parameters: keys.iter().map(Pair::array).collect() }
    }

    fn put(&self, to: &Table, pairs: &[Pair<'_>], keys: &[Pair<'_>]) -> Put {
        let insert = insert(to, pairs, |p, n| p.received(&format!("u.c{n}")), &unnest(pairs));
        let parameters = pairs.iter().map(Pair::array).collect();
        let key_names: Vec<&str> = keys.iter().map(|k| k.to.name.as_str()).collect();
        let fixed = |p: &&Pair<'_>| self.secondary.1.is_fixed(to.oid, &p.to.name);
        let is_key = |p: &&Pair<'_>| key_names.contains(&p.to.name.as_str());
        let replaced = pairs.iter().any(|p| fixed(&p) && !is_key(&p));
        if replaced || !self.secondary.1.has_arbiter(to.oid, &key_names) {
            return Put::Insert(Sql { text: insert, parameters });
        }
        let target = list(key_names.iter().map(|name| quote_ident(name)));
        let free = pairs.iter().filter(|p| !fixed(p));
        let assigned = list(free.map(|p| format!("{0} = excluded.{0}", quote_ident(&p.to.name))));
        let action = if assigned.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {assigned}") };
        let text = format!("{insert} ON CONFLICT ({target}) DO {action}");
        Put::Upsert(Sql { text, parameters })
    }

    /// Foreign keys of the primary that change other rows when rows of this table are deleted.
    fn cascades(&self, from: &Table, keys: &[Pair<'_>]) -> Vec<Cascade> {
        let (catalog, relations) = self.primary;
        let acting = relations.foreign_keys.iter().filter(|fk| fk.acts_on_delete && fk.parent == from.oid);
        let children = acting.filter_map(|fk| Some((fk, catalog.by_oid(fk.child).filter(|t| t.mirrored)?)));
        children
            .map(|(fk, child)| Cascade { child: child.oid, children: self.children(from, fk, child, keys) })
            .collect()
    }

    fn children(
        &self,
        from: &Table,
        fk: &super::relations::ForeignKey,
        child: &Table,
        keys: &[Pair<'_>],
    ) -> Option<Sql> {
        let catalog = self.secondary.0;
        let parent_there = catalog.qualified(&from.schema, &from.name)?;
        let child_there = catalog.qualified(&child.schema, &child.name)?;
        let child_keys: Vec<&Column> = child.key_columns().collect();
        if child_keys.is_empty() {
            return None;
        }
        let wanted = list(
            child_keys.iter().map(|k| format!("format('%s', c.{}) AS {}", quote_ident(&k.name), quote_ident(&k.name))),
        );
        let referencing = fk.child_columns.iter().zip(&fk.parent_columns).map(|(c, p)| {
            let equals = self.secondary.1.equality(parent_there.oid, p);
            format!("t.{} {equals} c.{}", quote_ident(p), quote_ident(c))
        });
        let text = format!(
            "SELECT {wanted} FROM {} JOIN {} AS t ON {} JOIN {} AS c ON {}",
            unnest(keys),
            only(parent_there),
            self.matching(parent_there, keys),
            only(child_there),
            referencing.collect::<Vec<_>>().join(" AND ")
        );
        Some(Sql { text, parameters: keys.iter().map(Pair::array).collect() })
    }
}

fn insert(to: &Table, pairs: &[Pair<'_>], value: impl Fn(&Pair<'_>, usize) -> String, source: &str) -> String {
    let names = list(pairs.iter().map(|p| quote_ident(&p.to.name)));
    let values = list(pairs.iter().enumerate().map(|(i, p)| value(p, i + 1)));
    format!("INSERT INTO {} AS t ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source}", to.qualified())
}

/// Appends captured rows, which are text whatever the types.
fn append(_from: &Table, to: &Table, pairs: &[Pair<'_>]) -> Sql {
    let captured: Vec<Pair<'_>> = captured(pairs).collect();
    let value = |p: &Pair<'_>, n: usize| format!("u.c{n}::{}", p.to.type_name);
    let text = insert(to, &captured, value, &unnest_text(captured.len()));
    Sql { text, parameters: vec![Type::TEXT_ARRAY; captured.len()] }
}

fn captured<'a>(pairs: &'a [Pair<'a>]) -> impl Iterator<Item = Pair<'a>> {
    pairs.iter().filter(|p| !p.from.generated).map(|p| Pair { from: p.from, to: p.to })
}

fn row_positions(from: &Table, pairs: &[Pair<'_>]) -> Vec<usize> {
    let row = from.row_columns();
    captured(pairs).filter_map(|p| row.iter().position(|c| c.name == p.from.name)).collect()
}

/// The key's values out of their texts, as `c1, c2, ...`.
fn typed(keys: &[Pair<'_>], text: impl Fn(usize) -> String) -> String {
    list(keys.iter().enumerate().map(|(i, k)| format!("{}::{} AS c{}", text(i + 1), k.from.type_name, i + 1)))
}

/// How many foreign keys lead up from each table; a cycle of keys ends the count.
fn ranks(keys: &[super::relations::ForeignKey]) -> HashMap<u32, usize> {
    let mut ranks: HashMap<u32, usize> = keys.iter().map(|fk| (fk.child, 0)).collect();
    for _ in 0..ranks.len() {
        let mut moved = false;
        for fk in keys.iter().filter(|fk| fk.child != fk.parent) {
            let wanted = ranks.get(&fk.parent).copied().unwrap_or(0) + 1;
            if let Some(rank) = ranks.get_mut(&fk.child).filter(|rank| **rank < wanted) {
                *rank = wanted;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    ranks
}
