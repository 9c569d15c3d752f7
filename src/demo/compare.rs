//! Row-by-row comparison of all user tables of two servers.
//!
//! Both sides print their rows in one order that depends on nothing but the rows; the two streams are walked in step. Memory is
//! bounded by one row of each side.

use std::cmp::Ordering;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use super::Failure;
use super::cluster::Cluster;

/// The rows of one table on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub table: String,
    pub rows_old: u64,
    pub rows_new: u64,
    pub only_old: u64,
    pub only_new: u64,
    /// The first few rows that differ, with their side.
    pub samples: Vec<String>,
}

impl Comparison {
    pub fn equal(&self) -> bool {
        self.only_old == 0 && self.only_new == 0
    }
}

/// The user tables of the database `app`, as qualified, quoted names.
///
/// # Errors
/// When the server cannot be asked.
pub fn tables(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let names = cluster.sql("app", TABLES)?;
    Ok(names.lines().map(str::to_owned).collect())
}

const TABLES: &str = "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet') ORDER BY 1";

/// Compares every table that either side has.
///
/// # Errors
/// When a side cannot be read, or has a table that the other has not.
pub fn compare(old: &Cluster, new: &Cluster) -> Result<Vec<Comparison>, Failure> {
    let (names, others) = (tables(old)?, tables(new)?);
    if names != others {
        return Err(Failure::Broken(format!("old has the tables {names:?}, new has {others:?}")));
    }
    names.iter().map(|table| compare_table(old, new, table)).collect()
}

fn compare_table(old: &Cluster, new: &Cluster, table: &str) -> Result<Comparison, Failure> {
    let (mut old, mut new) = (Rows::of(old, table)?, Rows::of(new, table)?);
    let mut outcome = Comparison { table: table.to_owned(), ..Comparison::default() };
    let (mut left, mut right) = (old.next()?, new.next()?);
    loop {
        match order(left.as_ref(), right.as_ref()) {
            None => break,
            Some(Ordering::Equal) => (left, right) = (old.next()?, new.next()?),
            Some(Ordering::Less) => {
                outcome.note("old", &mut left);
                left = old.next()?;
            }
            Some(Ordering::Greater) => {
                outcome.note("new", &mut right);
                right = new.next()?;
            }
        }
    }
    (outcome.rows_old, outcome.rows_new) = (old.count, new.count);
    Ok(outcome)
}

/// Which of two rows comes first; a side that has ended comes last; nothing when both have.
fn order(left: Option<&Vec<u8>>, right: Option<&Vec<u8>>) -> Option<Ordering> {
    match (left, right) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(left), Some(right)) => Some(left.cmp(right)),
    }
}

impl Comparison {
    fn note(&mut self, side: &str, row: &mut Option<Vec<u8>>) {
        match side {
            "old" => self.only_old += 1,
            _ => self.only_new += 1,
        }
        if let (Some(row), true) = (row.take(), self.samples.len() < 10) {
            self.samples.push(format!("only {side}: {}", String::from_utf8_lossy(&row).trim_end()));
        }
    }
}

struct Rows {
    psql: Child,
    output: BufReader<ChildStdout>,
    count: u64,
    table: String,
}

impl Rows {
    fn of(cluster: &Cluster, table: &str) -> Result<Rows, Failure> {
        // The alias is no column's name, so that it means the row.
        let sql =
            format!("COPY (SELECT __row::text FROM ONLY {table} __row ORDER BY __row::text COLLATE \"C\") TO STDOUT");
        let broken = |e| Failure::io(format!("cannot read {table} on {}", cluster.name()), e);
        let mut psql = cluster
            .binaries()
            .program("psql")
            .env("PGOPTIONS", "-c extra_float_digits=3 -c DateStyle=ISO -c TimeZone=UTC -c work_mem=256MB")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &cluster.url("postgres", "app"), "-c", &sql])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let output = psql.stdout.take().ok_or_else(|| Failure::Broken("psql has no output".into()))?;
        Ok(Rows { psql, output: BufReader::with_capacity(1 << 16, output), count: 0, table: table.to_owned() })
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut row = Vec::new();
        let broken = |e| Failure::io("cannot read rows", e);
        if self.output.read_until(b'\n', &mut row).map_err(broken)? > 0 {
            self.count += 1;
            return Ok(Some(row));
        }
        // An end that is an error must not pass for a short table.
        match self.psql.wait().map_err(broken)? {
            status if status.success() => Ok(None),
            status => Err(Failure::Broken(format!("reading {} ended with {status}", self.table))),
        }
    }
}
