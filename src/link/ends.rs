//! The link's two connections, each with the statements it has prepared.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

use super::cells::{Array, Cell};
use super::entry::{Entry, text_arrays};
use super::flushed::UNFLUSHED;
use super::plan::{Keyed, Sql, TablePlan};
use crate::backend::control::Connection;

/// Plans are made once, for the few touches of a busy moment, and use the keys' indexes: a plan that was made for an empty
/// journal or a small table would be used for a large one.
const PLANNING: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
    SET enable_mergejoin = off";

/// The touches that a new snapshot sees and the marker does not, after the snapshot itself. `$1`: the marker's xmax, `$2`:
/// what was in progress then, `$3`: how many touches at most.
fn journal_text() -> String {
    let touches = "SELECT NULL, rel, op, key, xid::text, unflushed FROM pgduet.journal WHERE";
    format!(
        "SELECT pg_current_snapshot()::text, NULL::oid, NULL::\"char\", NULL::text[], {UNFLUSHED}, NULL::bool \
         UNION ALL ({touches} xid >= $1::text::xid8 LIMIT $3) UNION ALL ({touches} xid = ANY ($2::text[]::xid8[]) LIMIT $3)"
    )
}

/// Statements for several tables that are kept, and after how many times one is prepared.
const COMBINED_KEPT: usize = 64;
const COMBINED_AFTER: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Journal,
    Read,
    Delete,
    Put,
    Append,
    Advance,
    AsSeen,
}

/// A connection and what was prepared on it.
#[derive(Debug)]
pub struct End {
    pub connection: Connection,
    statements: HashMap<(u32, What), Statement>,
    /// Statements for several tables at once, by their text, with how often each was asked for.
    combined: HashMap<String, (u32, Option<Statement>)>,
    express: Option<(String, Statement)>,
    cursors: u64,
}

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

impl End {
    /// The primary's end.
    pub async fn primary(connection: Connection) -> Result<Self> {
        connection.batch_execute(PLANNING).await?;
        connection.batch_execute("SET enable_hashjoin = off; SET lock_timeout = '200ms'").await?;
        // Of what it asks to be flushed here, whatever is the default of the role.
        connection.batch_execute("SET synchronous_commit = local").await?;
        Ok(End { connection, statements: HashMap::new(), combined: HashMap::new(), express: None, cursors: 0 })
    }

    /// The secondary's end. Returns also whether its triggers and foreign keys stay silent.
    pub async fn secondary(connection: Connection) -> Result<(Self, bool)> {
        connection.batch_execute(PLANNING).await?;
        connection.batch_execute("SET synchronous_commit = off").await?;
        let silent = connection.batch_execute("SET session_replication_role = replica").await.is_ok();
        Ok((
            End { connection, statements: HashMap::new(), combined: HashMap::new(), express: None, cursors: 0 },
            silent,
        ))
    }

    /// Forgets what was prepared: tables may have changed.
    pub fn forget(&mut self) {
        self.statements.clear();
        self.combined.clear();
        self.express = None;
    }

    async fn prepared(&mut self, rel: u32, what: What, text: &str, parameters: &[Type]) -> Result<Statement> {
        if let Some(statement) = self.statements.get(&(rel, what)) {
            return Ok(statement.clone());
        }
        let statement = self.connection.prepare_typed(text, parameters).await?;
        self.statements.insert((rel, what), statement.clone());
        Ok(statement)
    }

    async fn of_sql(&mut self, rel: u32, what: What, sql: &Sql) -> Result<Statement> {
        self.prepared(rel, what, &sql.text, &sql.parameters).await
    }

    pub async fn journal(&mut self) -> Result<Statement> {
        self.prepared(0, What::Journal, &journal_text(), &[Type::TEXT, Type::TEXT_ARRAY, Type::INT8]).await
    }

    /// The statement of [`super::express`]: one is kept, the last.
    pub async fn express(&mut self, text: &str) -> Result<Statement> {
        if let Some((known, statement)) = &self.express
            && known == text
        {
            return Ok(statement.clone());
        }
        let statement = self.connection.prepare_typed(text, &[Type::TEXT, Type::TEXT_ARRAY, Type::INT8]).await?;
        self.express = Some((text.to_string(), statement.clone()));
        Ok(statement)
    }

    /// See [`super::fresh`].
    pub async fn as_seen(&mut self) -> Result<Statement> {
        self.prepared(0, What::AsSeen, super::fresh::AS_SEEN, &[Type::OID_ARRAY]).await
    }

    pub async fn advance(&mut self) -> Result<Statement> {
        let text = "SELECT pgduet.advance($1, $2, $3, $4)";
        self.prepared(0, What::Advance, text, &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8]).await
    }

    pub async fn read(&mut self, plan: &TablePlan, keyed: &Keyed) -> Result<Statement> {
        self.of_sql(plan.rel, What::Read, &keyed.read).await
    }

    pub async fn delete(&mut self, plan: &TablePlan, keyed: &Keyed) -> Result<Statement> {
        self.of_sql(plan.rel, What::Delete, &keyed.delete).await
    }

    pub async fn put(&mut self, plan: &TablePlan, keyed: &Keyed) -> Result<Statement> {
        self.of_sql(plan.rel, What::Put, keyed.put.sql()).await
    }

    pub async fn append(&mut self, plan: &TablePlan) -> Result<Statement> {
        self.of_sql(plan.rel, What::Append, &plan.append).await
    }

    /// A statement for several tables, once it was asked for often enough to be worth preparing. A bounded number is kept.
    pub async fn combined(&mut self, text: &str, parameters: &[Type]) -> Result<Option<Statement>> {
        if self.combined.len() >= COMBINED_KEPT && !self.combined.contains_key(text) {
            self.combined.clear();
        }
        let (asked, statement) = self.combined.entry(text.to_string()).or_default();
        *asked += 1;
        if *asked > COMBINED_AFTER && statement.is_none() {
            *statement = Some(self.connection.prepare_typed(text, parameters).await?);
        }
        Ok(statement.clone())
    }

    /// A name for a cursor that no other cursor of this connection has.
    pub fn next_cursor(&mut self) -> String {
        self.cursors += 1;
        format!("pgduet_children_{}", self.cursors)
    }
}

/// Parameters as the driver wants them.
pub fn parameters(arrays: &[Array]) -> Vec<&(dyn ToSql + Sync)> {
    arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect()
}

/// The keys of some touches, as text.
pub fn keys_of(plan: &Keyed, entries: &[Entry]) -> Vec<Array> {
    text_arrays(entries, 0..plan.key_positions.len())
}

/// The rows of some touches of a table without a key.
pub fn rows_of(plan: &TablePlan, entries: &[Entry]) -> Vec<Array> {
    text_arrays(entries, plan.row_positions.iter().copied())
}

/// What a table has for some keys, in carried form.
#[derive(Debug)]
pub struct Image {
    /// One array for each carried column.
    pub present: Vec<Array>,
    /// One array for each key column.
    pub gone: Vec<Array>,
}

impl Image {
    pub fn new(plan: &TablePlan, keyed: &Keyed) -> Self {
        let element = |&position: &usize| Array::new(plan.elements.get(position).copied().unwrap_or_default());
        let present = plan.elements.iter().map(|&oid| Array::new(oid)).collect();
        Image { present, gone: keyed.key_positions.iter().map(element).collect() }
    }

    pub fn from_rows(plan: &TablePlan, keyed: &Keyed, rows: &[tokio_postgres::Row]) -> Result<Self> {
        let mut image = Image::new(plan, keyed);
        for row in rows {
            let cell = |i: usize| row.try_get::<_, Option<Cell<'_>>>(i + 1).map(|cell| cell.map(|c| c.0));
            let cells: Vec<Option<&[u8]>> = (0..plan.elements.len()).map(cell).collect::<Result<_>>()?;
            image.push(keyed, row.try_get(0)?, &cells);
        }
        Ok(image)
    }

    /// Adds a row, by its carried columns; of one that is gone only the key is taken.
    pub fn push(&mut self, keyed: &Keyed, gone: bool, cells: &[Option<&[u8]>]) {
        if gone {
            for (array, &position) in self.gone.iter_mut().zip(&keyed.key_positions) {
                array.push(cells.get(position).copied().flatten());
            }
        } else {
            for (array, cell) in self.present.iter_mut().zip(cells) {
                array.push(*cell);
            }
        }
    }

    pub fn present_count(&self) -> usize {
        self.present.first().map_or(0, Array::len)
    }

    pub fn gone_count(&self) -> usize {
        self.gone.first().map_or(0, Array::len)
    }

    /// The keys of the rows that are present.
    pub fn present_keys(&self, keyed: &Keyed) -> Vec<Array> {
        keyed.key_positions.iter().filter_map(|&i| self.present.get(i)).cloned().collect()
    }
}

/// A step of a pipeline; what it returns is of no interest.
pub type Step<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A step out of a query.
pub fn step<'a, T>(query: impl Future<Output = Result<T>> + Send + 'a) -> Step<'a> {
    Box::pin(async move { query.await.map(drop) })
}

/// Sends all steps in this order at once, waits for all, and returns the first error in this order: what follows an error
/// in a transaction fails only because of it, a COMMIT included (it rolls back).
pub async fn pipeline(steps: Vec<Step<'_>>) -> Result<()> {
    let mut steps: Vec<(Step<'_>, Option<Result<()>>)> = steps.into_iter().map(|step| (step, None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (step, outcome) in steps.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            match step.as_mut().poll(context) {
                Poll::Ready(result) => *outcome = Some(result),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    steps.into_iter().filter_map(|(_, outcome)| outcome).collect()
}
