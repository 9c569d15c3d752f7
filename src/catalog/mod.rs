//! A snapshot of one backend's schema: the tables with their keys, and how volatile its functions are. Plain data,
//! filled by `backend::introspect`, read by the analysis of statements and by the link.

pub mod functions;
pub mod shape;
pub mod twins;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use self::functions::Functions;
pub use self::functions::Volatility;
use self::twins::Twins;

/// How a value of a column becomes text that says exactly the same whatever the client's settings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// `value::text` depends on no setting: integers, text, uuid, numeric, bool, enums, ...
    Plain,
    /// Dates and timestamps: `to_json(value) #>> '{}'` is ISO 8601 whatever DateStyle is.
    Iso,
    /// Anything else goes through `pgduet.exact(value)`, which pins the settings itself: floats, bytea, interval,
    /// money, arrays, ranges, composites and types of extensions.
    Pinned,
}

/// How the link moves a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// In the type's own binary form: base types that are the same on every server.
    Binary,
    /// As text, cast back on the other side, under settings that the link pins.
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// `pg_attribute.attnum`.
    pub number: i16,
    pub type_oid: u32,
    /// The type's array type, 0 if it has none.
    pub array_oid: u32,
    /// As `format_type(oid, NULL)` prints it, schema-qualified where it must be: usable in a cast.
    pub type_name: String,
    pub not_null: bool,
    /// GENERATED ALWAYS AS (...) STORED: computed on each side, never carried.
    pub generated: bool,
    pub exactness: Exactness,
    pub carry: Carry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    Plain,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: TableKind,
    /// In attribute order, dropped columns left out.
    pub columns: Vec<Column>,
    /// Indexes into `columns`: the primary key, else the first unique index over NOT NULL columns without predicate or
    /// expression. Empty: the table has no key.
    pub key: Vec<usize>,
    /// Selected by `mirror.include` / `mirror.exclude`, and not left out when the phase was entered: its writes are captured.
    /// Whether the link can carry them as things are, [`Catalog::unpaired`] says.
    pub mirrored: bool,
    /// Captured by triggers of pgduet's own, whoever writes to it and however.
    pub by_trigger: bool,
    /// Has triggers of the user's own, rules or row security: RETURNING capture may miss rows.
    pub has_user_triggers: bool,
    pub has_rules: bool,
    /// Somebody may write to it, or to columns of it, and not read it all: RETURNING would ask for more rights than the write does.
    pub has_blind_writers: bool,
    /// Other tables inherit from it, with keys of their own; its partitions are none.
    pub has_heirs: bool,
    pub row_security: bool,
}

impl Table {
    /// `"schema"."name"`, quoted for use in SQL.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// `schema.name`, for people.
    pub fn display_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether it is one whose rows can be carried at all.
    pub fn has_rows(&self) -> bool {
        matches!(self.kind, TableKind::Plain | TableKind::Partitioned)
    }

    /// The columns of a captured row, in the order of their names: a partition may have them in another order than its parent, and the row
    /// may come through either.
    pub fn row_columns(&self) -> Vec<&Column> {
        let mut columns: Vec<&Column> = self.columns.iter().filter(|column| !column.generated).collect();
        columns.sort_by(|one, other| one.name.cmp(&other.name));
        columns
    }

    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&i| self.columns.get(i))
    }
}

/// One backend's schema, immutable once built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    tables: Vec<Arc<Table>>,
    by_name: HashMap<String, Vec<usize>>,
    by_oid: HashMap<u32, usize>,
    functions: Functions,
    writers: HashSet<String>,
    committers: HashSet<String>,
    all_by_trigger: bool,
    usual_isolation: bool,
    usual_path: bool,
    /// Mirrored tables that the other side has not, or not with the same columns: why, by oid.
    unpaired: HashMap<u32, String>,
    twins: Twins,
}

impl Catalog {
    pub fn new(tables: Vec<Table>, functions: Functions) -> Self {
        let mut catalog = Catalog { functions, ..Catalog::default() };
        for table in tables {
            let index = catalog.tables.len();
            catalog.by_name.entry(table.name.clone()).or_default().push(index);
            catalog.by_oid.insert(table.oid, index);
            catalog.tables.push(Arc::new(table));
        }
        catalog.with_unpaired(HashMap::new())
    }

    /// Names the functions that may write: volatile, and the user's own.
    pub fn with_writers(self, writers: HashSet<String>) -> Self {
        Catalog { writers, ..self }
    }

    /// Names the procedures that may end their transaction.
    pub fn with_committers(self, committers: HashSet<String>) -> Self {
        Catalog { committers, ..self }
    }

    /// By lower-case name: procedures that may commit, or roll back, what they do.
    pub fn committers(&self) -> &HashSet<String> {
        &self.committers
    }

    /// `"$user", public` is what everybody's names are looked up in, unless a session says otherwise.
    pub fn with_usual_path(self, usual_path: bool) -> Self {
        Catalog { usual_path, ..self }
    }

    /// See [`Catalog::with_usual_path`].
    pub fn usual_path(&self) -> bool {
        self.usual_path
    }

    /// Says that no setting of server, database or role makes a plain BEGIN anything but READ COMMITTED.
    pub fn with_usual_isolation(self, usual_isolation: bool) -> Self {
        Catalog { usual_isolation, ..self }
    }

    /// Whether a plain BEGIN is known to mean READ COMMITTED.
    pub fn usual_isolation(&self) -> bool {
        self.usual_isolation
    }

    /// Says what the other side calls by other numbers.
    pub fn with_twins(self, twins: Twins) -> Self {
        Catalog { twins, ..self }
    }

    /// How the other side calls what this one calls by oid.
    pub fn twins(&self) -> &Twins {
        &self.twins
    }

    /// A value of one of its columns, in binary form, names types that the other side calls otherwise.
    pub fn nests_own_types(&self, table: &Table) -> bool {
        table.columns.iter().any(|column| self.twins.nest(column.type_oid))
    }

    /// Names the tables that cannot be carried, with the reason.
    pub fn with_unpaired(self, unpaired: HashMap<u32, String>) -> Self {
        let mut carried =
            self.tables.iter().filter(|t| t.mirrored && t.has_rows() && !unpaired.contains_key(&t.oid)).peekable();
        let all_by_trigger = carried.peek().is_some() && carried.all(|table| table.by_trigger);
        Catalog { unpaired, all_by_trigger, ..self }
    }

    /// Whether triggers capture every table that is carried: then whatever changes any of them leaves touches, seen or unseen.
    pub fn is_captured_by_triggers(&self) -> bool {
        self.all_by_trigger
    }

    /// Whether triggers leave touches of all that a plain write to this table changes: itself, and what else is captured by triggers.
    /// Rows below it are its partitions' or heirs' own affair.
    pub fn is_told_by_triggers(&self, table: &Table) -> bool {
        let acts_elsewhere = table.has_user_triggers || table.has_rules || table.has_heirs;
        table.by_trigger && (self.all_by_trigger || table.kind == TableKind::Plain && !acts_elsewhere)
    }

    /// Why a mirrored table cannot be carried as things are; `None`: it can.
    pub fn unpaired(&self, oid: u32) -> Option<&str> {
        self.unpaired.get(&oid).map(String::as_str)
    }

    /// Functions of the user's own, by lower-case name, that may write to any table.
    pub fn writers(&self) -> &HashSet<String> {
        &self.writers
    }

    pub fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    pub fn by_oid(&self, oid: u32) -> Option<&Arc<Table>> {
        self.by_oid.get(&oid).and_then(|&i| self.tables.get(i))
    }

    /// The relation a qualified name stands for.
    pub fn qualified(&self, schema: &str, name: &str) -> Option<&Arc<Table>> {
        self.named(name).find(|t| t.schema == schema)
    }

    /// Every relation of that bare name, in any schema.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Table>> + use<'a> {
        self.by_name.get(name).into_iter().flatten().filter_map(|&i| self.tables.get(i))
    }

    /// `None`: no such function is known, so nothing may be assumed of it.
    pub fn volatility(&self, function: &str) -> Option<Volatility> {
        self.functions.volatility(function)
    }
}

/// Quotes an identifier for SQL, always (so that no reserved word needs a list).
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string literal for SQL, whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}
