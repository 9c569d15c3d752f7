//! What the link has to know of a side's tables beyond the catalog: how keys are compared, what is a partition of what, and
//! which foreign keys change other tables' rows on their own.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::loud::Loud;
use crate::backend::control::Connection;

/// A foreign key, by column names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    pub child: u32,
    pub child_columns: Vec<String>,
    pub parent: u32,
    pub parent_columns: Vec<String>,
    /// ON DELETE CASCADE, SET NULL or SET DEFAULT.
    pub acts_on_delete: bool,
}

/// A unique index that `ON CONFLICT` can name: none of a table with rules on INSERT or UPDATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arbiter {
    /// Sorted.
    pub columns: Vec<String>,
}

/// One side's relations.
#[derive(Clone, Debug, Default)]
pub struct Relations {
    /// The operator that says whether two values of a column are equal, by table and column, schema-qualified.
    equality: HashMap<(u32, String), String>,
    arbiters: HashMap<u32, Vec<Arbiter>>,
    /// The topmost partitioned table of each partition.
    roots: HashMap<u32, u32>,
    pub foreign_keys: Vec<ForeignKey>,
    /// GENERATED ALWAYS AS IDENTITY: may be inserted, with OVERRIDING SYSTEM VALUE, but never updated to a value.
    identities: HashSet<(u32, String)>,
    pub loud: Loud,
    /// Tables that have a foreign table among their partitions.
    outside: HashSet<u32>,
}

impl Relations {
    pub async fn read(connection: &Connection) -> Result<Self, tokio_postgres::Error> {
        let (operators, arbiters, roots, foreign_keys, identities, outside, loud) = futures_util::try_join!(
            connection.ask(EQUALITY),
            connection.ask(ARBITERS),
            connection.ask(ROOTS),
            connection.ask(FOREIGN_KEYS),
            connection.ask(IDENTITIES),
            connection.ask(OUTSIDE),
            Loud::read(connection)
        )?;
        let mut relations = Relations { loud, ..Relations::default() };
        for row in operators {
            relations.equality.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
        }
        for row in arbiters {
            let mut columns: Vec<String> = row.try_get(1)?;
            columns.sort();
            relations.arbiters.entry(row.try_get(0)?).or_default().push(Arbiter { columns });
        }
        for row in roots {
            relations.roots.insert(row.try_get(0)?, row.try_get(1)?);
        }
        relations.foreign_keys = foreign_keys.iter().map(foreign_key).collect::<Result<_, _>>()?;
        for row in identities {
            relations.identities.insert((row.try_get(0)?, row.try_get(1)?));
        }
        relations.outside = outside.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(relations)
    }

    /// Whether a partition of this table is a foreign one.
    pub fn reaches_outside(&self, table: u32) -> bool {
        self.outside.contains(&table)
    }

    /// Whether a column can be inserted but not updated.
    pub fn is_fixed(&self, table: u32, column: &str) -> bool {
        self.identities.contains(&(table, column.to_string()))
    }

    /// `OPERATOR(schema.=)` for a column of a unique index; the built-in one otherwise.
    pub fn equality(&self, table: u32, column: &str) -> &str {
        self.equality.get(&(table, column.to_string())).map_or("OPERATOR(pg_catalog.=)", String::as_str)
    }

    /// Whether `ON CONFLICT` can name exactly these columns.
    pub fn has_arbiter(&self, table: u32, columns: &[&str]) -> bool {
        let mut wanted: Vec<&str> = columns.to_vec();
        wanted.sort_unstable();
        self.arbiters.get(&table).is_some_and(|all| all.iter().any(|a| a.columns == wanted))
    }

    /// The table that a partition's rows are addressed by: its topmost ancestor; a table that is no partition itself.
    pub fn root(&self, table: u32) -> u32 {
        self.roots.get(&table).copied().unwrap_or(table)
    }
}

fn foreign_key(row: &Row) -> Result<ForeignKey, tokio_postgres::Error> {
    Ok(ForeignKey {
        child: row.try_get(0)?,
        child_columns: row.try_get(1)?,
        parent: row.try_get(2)?,
        parent_columns: row.try_get(3)?,
        acts_on_delete: row.try_get(4)?,
    })
}

/// Only what is not the built-in one: of the few operator classes that unique indexes use, fewer have another.
const EQUALITY: &str = "WITH used AS MATERIALIZED ( \
      SELECT DISTINCT unnest(indclass::oid[]) AS oid FROM pg_index WHERE indrelid >= 16384 AND indisunique AND indisvalid), \
    other AS MATERIALIZED ( \
      SELECT c.oid, format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS operator \
      FROM used JOIN pg_opclass c ON c.oid = used.oid \
        JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3 AND p.amopmethod = c.opcmethod \
          AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype \
        JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace \
      WHERE (n.nspname, o.oprname) <> ('pg_catalog', '=')) \
    SELECT i.indrelid, a.attname::text, c.operator \
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, i) \
      JOIN other c ON c.oid = (i.indclass::oid[])[k.i - 1] \
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
    WHERE i.indisunique AND i.indisvalid AND k.i <= i.indnkeyatts AND i.indrelid >= 16384 \
      AND i.indclass::oid[] && ARRAY(SELECT oid FROM other)";

const ARBITERS: &str = "SELECT i.indrelid, ARRAY(SELECT a.attname::text FROM pg_attribute a \
        WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) \
    FROM pg_index i WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
      AND i.indexprs IS NULL AND i.indrelid >= 16384 \
      AND NOT EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = i.indrelid AND r.ev_type IN ('2', '3'))";

const ROOTS: &str =
    // The function answers as of now: nothing for a table that is dropped meanwhile.
    "SELECT c.oid, pg_partition_root(c.oid)::oid FROM pg_class c WHERE c.relispartition AND c.relkind IN ('r', 'p') \
      AND pg_partition_root(c.oid) IS NOT NULL";

const FOREIGN_KEYS: &str = "SELECT c.conrelid, \
      ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k(n, i) \
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.i), \
      c.confrelid, \
      ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k(n, i) \
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY k.i), \
      c.confdeltype IN ('c', 'n', 'd') \
    FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0 ORDER BY c.oid";

const OUTSIDE: &str = "SELECT DISTINCT a.relid::oid FROM pg_class c, LATERAL pg_partition_ancestors(c.oid) AS a (relid) \
    WHERE c.relkind = 'f' AND c.relispartition AND a.relid IS NOT NULL";

const IDENTITIES: &str = "SELECT attrelid, attname::text FROM pg_attribute \
      WHERE attrelid >= 16384 AND attidentity = 'a' AND NOT attisdropped";
