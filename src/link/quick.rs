//! A cycle in two round trips, or three: what was touched, with the rows ([`super::express`]) or followed by them; then their
//! writing. For a handful of touches, which is what a cycle has when clients wait for it. Whatever it cannot do, it leaves to
//! [`super::thorough`].

use std::sync::Arc;

use futures_util::try_join;
use tokio_postgres::types::{ToSql, Type};

use super::Applying;
use super::cells::Array;
use super::ends::{End, Image, Step, keys_of, parameters, pipeline, rows_of, step};
use super::entry::{Batch, Entry, Group};
use super::express::{self, Hot, Look};
use super::failure::Failure;
use super::flushed::{self, Evidence, Position};
use super::ledger::Carried;
use super::plan::{Keyed, Put, Sql, TablePlan};
use super::schemas::{Place, Schemas};
use crate::failpoint;
use crate::store::Snapshot;

/// A reader that waits for a table's lock holds those of others: a client that wants one of these for itself alone must not be the
/// one that a deadlock ends. So the reader gives up first, before `deadlock_timeout`.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '500ms'";

/// How the attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Quick {
    /// Nothing was touched since the marker: the secondary already equals this snapshot.
    Nothing(Snapshot),
    Applied(Snapshot, Carried),
    /// More than a chunk, a statement, a whole table, a table without a plan or with loud triggers, deletions that cascade, or a table
    /// that was truncated meanwhile. Nothing was written.
    Beyond,
}

/// What a cycle needs.
#[derive(Debug)]
pub struct Ends<'a> {
    pub primary: &'a mut End,
    pub secondary: &'a mut End,
    pub schemas: &'a Schemas,
    pub hot: &'a mut Hot,
    pub chunk: usize,
    pub place: Place<'a>,
}

/// What is to be written to one table.
#[derive(Debug)]
pub struct Touched {
    pub plan: Arc<TablePlan>,
    pub image: Option<Image>,
    pub rows: Vec<Entry>,
}

/// What is to be written in one cycle, parents before children.
#[derive(Debug)]
pub struct Work {
    pub snapshot: Snapshot,
    pub tables: Vec<Touched>,
    pub touches: usize,
    /// How many of these no session has announced.
    pub unannounced: usize,
    /// How far the primary's log has to be flushed first; see [`super::flushed`].
    pub unflushed: Option<Position>,
    /// No table was truncated or rewritten between the snapshot and the reading; see [`super::thorough`].
    pub as_seen: bool,
}

/// One attempt. With `hold` the primary's transaction stays open, so that its snapshot can be exported; end it with
/// COMMIT. `applying` is set to what is being applied, as soon as its commit may happen.
pub async fn run(
    ends: &mut Ends<'_>,
    marker: &Snapshot,
    hold: bool,
    applying: &mut Option<Applying>,
) -> Result<Quick, Failure> {
    let work = match look(ends, marker, hold).await? {
        Ok(work) => work,
        Err(otherwise) => return Ok(otherwise),
    };
    if !work.as_seen || work.tables.iter().any(cascades) || !is_flushed(ends.primary, &work, hold).await? {
        if hold {
            ends.primary.connection.batch_execute("COMMIT").await.map_err(Failure::Primary)?;
        }
        return Ok(Quick::Beyond);
    }
    let carried = work.counted();
    *applying = Some(Applying { snapshot: work.snapshot.clone(), carried });
    failpoint::pass("link.read");
    write(ends.secondary, &work, marker, carried).await.map_err(Failure::Secondary)?;
    failpoint::pass("link.applied");
    Ok(Quick::Applied(work.snapshot, carried))
}

/// What there is to write; or how the attempt ends without.
async fn look(ends: &mut Ends<'_>, marker: &Snapshot, hold: bool) -> Result<Result<Work, Quick>, Failure> {
    if !hold {
        match express::look(ends.primary, &ends.schemas.plans, ends.hot, marker, ends.chunk).await {
            Ok(Some(Look::Nothing(snapshot))) => return Ok(Err(Quick::Nothing(snapshot))),
            Ok(Some(Look::Work(work))) => return Ok(Ok(work)),
            Ok(_) => {}
            // A lock that is not to be had at once, a key that is none: the other way tells them apart.
            Err(error) if error.as_db_error().is_some() => {
                tracing::debug!(error = %error, "hot tables are read one by one")
            }
            Err(error) => return Err(Failure::Primary(error)),
        }
    }
    let (snapshot, entries, evidence) = touched(ends.primary, marker, ends.chunk).await.map_err(Failure::Primary)?;
    let touches = entries.len();
    let batch = Batch::new(entries, &ends.schemas.plans);
    let unannounced = batch.unannounced;
    let whole = batch.groups.iter().any(|group| !group.wholes.is_empty() || group.plan.is_loud);
    if touches == 0 || touches > ends.chunk || !batch.strangers.is_empty() || whole {
        if !(hold && touches == 0) {
            ends.primary.connection.batch_execute("COMMIT").await.map_err(Failure::Primary)?;
        }
        return Ok(Err(if touches == 0 { Quick::Nothing(snapshot) } else { Quick::Beyond }));
    }
    let (images, as_seen) = images(ends.primary, &batch.groups, hold).await.map_err(Failure::Primary)?;
    let tables = batch.groups.into_iter().zip(images).map(|(group, image)| {
        ends.hot.warm(&group.plan);
        Touched { plan: group.plan, image, rows: group.rows }
    });
    let unflushed = evidence.missing(marker, &snapshot);
    Ok(Ok(Work { snapshot, tables: tables.collect(), touches, unannounced, unflushed, as_seen }))
}

/// Sees to it that the primary does not forget what the cycle goes by; `false`: not now.
async fn is_flushed(primary: &End, work: &Work, hold: bool) -> Result<bool, Failure> {
    match &work.unflushed {
        None => Ok(true),
        Some(position) if hold => flushed::wait(&primary.connection, position).await,
        Some(_) => flushed::flush(&primary.connection).await.map(|()| true),
    }
}

type Answer<T> = Result<T, tokio_postgres::Error>;

/// The snapshot, and the touches that it sees and the marker does not, one more than a chunk at most.
async fn touched(primary: &mut End, marker: &Snapshot, chunk: usize) -> Answer<(Snapshot, Vec<Entry>, Evidence)> {
    let journal = primary.journal().await?;
    let xmax = marker.xmax.to_string();
    let in_progress: Vec<String> = marker.in_progress.iter().map(u64::to_string).collect();
    let limit = chunk as i64 + 1;
    let parameters: [&(dyn ToSql + Sync); 3] = [&xmax, &in_progress, &limit];
    let connection = &primary.connection;
    let ((), rows) = try_join!(connection.batch_execute(BEGIN), connection.query(&journal, &parameters))?;
    let mut snapshot = marker.clone();
    let (mut entries, mut evidence) = (Vec::with_capacity(rows.len()), Evidence::default());
    for row in &rows {
        let text: Option<&str> = row.try_get(4)?;
        match row.try_get::<_, Option<&str>>(0)? {
            // The server's own text; it always parses.
            Some(seen) => {
                snapshot = seen.parse().unwrap_or(snapshot);
                evidence.unflushed = text.map(str::to_owned);
            }
            None => {
                evidence.touch(text.and_then(|xid| xid.parse().ok()), row.try_get(5)?);
                entries.push(Entry::from_journal(row, 1)?);
            }
        }
    }
    Ok((snapshot, entries, evidence))
}

/// The rows of each table that has touched keys, as of the snapshot; and whether these tables still are what the snapshot says.
async fn images(primary: &mut End, groups: &[Group], hold: bool) -> Answer<(Vec<Option<Image>>, bool)> {
    let mut statements = Vec::with_capacity(groups.len());
    for group in groups {
        statements.push(match keyed(group) {
            Some(keyed) => Some((primary.read(&group.plan, keyed).await?, keys_of(keyed, &group.keys))),
            None => None,
        });
    }
    let as_seen = primary.as_seen().await?;
    let read: Vec<u32> = groups.iter().map(|group| group.plan.rel).collect();
    let parameter: [&(dyn ToSql + Sync); 1] = [&read];
    let mut seen = None;
    let mut rows: Vec<Option<Vec<tokio_postgres::Row>>> = groups.iter().map(|_| None).collect();
    let connection = &primary.connection;
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(groups.len() + 1);
    for (slot, prepared) in rows.iter_mut().zip(&statements) {
        let Some((statement, keys)) = prepared else { continue };
        steps.push(Box::pin(async move {
            *slot = Some(connection.query(statement, &parameters(keys)).await?);
            Ok(())
        }));
    }
    steps.push(Box::pin(async {
        seen = Some(connection.query_one(&as_seen, &parameter).await?);
        Ok(())
    }));
    if !hold {
        steps.push(step(connection.batch_execute("COMMIT")));
    }
    pipeline(steps).await?;
    let as_seen = seen.map_or(Ok(false), |row| row.try_get(0))?;
    let image = |(group, rows): (&Group, Option<Vec<tokio_postgres::Row>>)| match (keyed(group), rows) {
        (Some(keyed), Some(rows)) => Image::from_rows(&group.plan, keyed, &rows).map(Some),
        _ => Ok(None),
    };
    let images = groups.iter().zip(rows).map(image).collect::<Answer<_>>()?;
    Ok((images, as_seen))
}

fn keyed(group: &Group) -> Option<&Keyed> {
    group.plan.keyed.as_ref().filter(|_| !group.keys.is_empty())
}

fn cascades(touched: &Touched) -> bool {
    let acting = touched.plan.keyed.as_ref().is_some_and(|keyed| !keyed.cascades.is_empty());
    acting && touched.image.as_ref().is_some_and(|image| image.gone_count() > 0)
}

impl Work {
    /// Touches of one key count as applied once; the others are superseded.
    fn counted(&self) -> Carried {
        let distinct = |touched: &Touched| {
            touched.image.as_ref().map_or(0, |image| image.present_count() + image.gone_count()) + touched.rows.len()
        };
        let applied: usize = self.tables.iter().map(distinct).sum();
        let unannounced = self.unannounced as u64;
        Carried {
            unannounced,
            applied: applied as u64,
            superseded: self.touches.saturating_sub(applied) as u64,
            ..Carried::default()
        }
    }
}

/// One of the statements that write a cycle.
struct Writing<'a> {
    plan: &'a TablePlan,
    kind: Kind<'a>,
    arrays: Vec<Array>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Delete(&'a Keyed),
    Put(&'a Keyed),
    Append,
}

impl Writing<'_> {
    fn sql(&self) -> &Sql {
        match self.kind {
            Kind::Delete(keyed) => &keyed.delete,
            Kind::Put(keyed) => keyed.put.sql(),
            Kind::Append => &self.plan.append,
        }
    }
}

/// Deletions from children up, then rows from parents down. Also: whether two of them may meet in one row.
fn writings<'a>(tables: &'a [Touched]) -> (Vec<Writing<'a>>, bool) {
    let (mut deletions, mut insertions, mut replaces) = (Vec::new(), Vec::new(), false);
    for Touched { plan, image, rows } in tables {
        if let (Some(keyed), Some(image)) = (plan.keyed.as_ref(), image) {
            if image.gone_count() > 0 {
                deletions.push(Writing { plan, kind: Kind::Delete(keyed), arrays: image.gone.clone() });
            }
            if image.present_count() > 0 {
                if matches!(keyed.put, Put::Insert(_)) {
                    replaces = true;
                    deletions.push(Writing { plan, kind: Kind::Delete(keyed), arrays: image.present_keys(keyed) });
                }
                insertions.push(Writing { plan, kind: Kind::Put(keyed), arrays: image.present.clone() });
            }
        }
        if !rows.is_empty() {
            insertions.push(Writing { plan, kind: Kind::Append, arrays: rows_of(plan, rows) });
        }
    }
    deletions.reverse();
    deletions.extend(insertions);
    (deletions, replaces)
}

/// The last round trip: all in one statement where this mix of tables is an old acquaintance, else one by one, pipelined.
async fn write(secondary: &mut End, work: &Work, former: &Snapshot, carried: Carried) -> Answer<()> {
    let (writings, replaces) = writings(&work.tables);
    let (former, latter) = (former.to_string(), work.snapshot.to_string());
    let (applied, superseded) = (carried.applied as i64, carried.superseded as i64);
    let marker: [&(dyn ToSql + Sync); 4] = [&former, &latter, &applied, &superseded];
    if !replaces {
        let Sql { text, parameters } = combined(&writings);
        if let Some(statement) = secondary.combined(&text, &parameters).await? {
            let arrays = writings.iter().flat_map(|w| &w.arrays).map(|array| array as &(dyn ToSql + Sync));
            let all: Vec<&(dyn ToSql + Sync)> = marker.into_iter().chain(arrays).collect();
            return secondary.connection.query(&statement, &all).await.map(drop);
        }
    }
    write_one_by_one(secondary, &writings, &marker).await
}

/// Marker first: it locks out another holder.
async fn write_one_by_one(secondary: &mut End, writings: &[Writing<'_>], marker: &[&(dyn ToSql + Sync)]) -> Answer<()> {
    let advance = secondary.advance().await?;
    let mut statements = Vec::with_capacity(writings.len());
    for writing in writings {
        statements.push(match writing.kind {
            Kind::Delete(keyed) => secondary.delete(writing.plan, keyed).await?,
            Kind::Put(keyed) => secondary.put(writing.plan, keyed).await?,
            Kind::Append => secondary.append(writing.plan).await?,
        });
    }
    let connection = &secondary.connection;
    let mut steps = vec![step(connection.batch_execute("BEGIN")), step(connection.query(&advance, marker))];
    for (statement, writing) in statements.iter().zip(writings) {
        steps
            .push(Box::pin(async move { connection.execute(statement, &parameters(&writing.arrays)).await.map(drop) }));
    }
    steps.push(step(connection.batch_execute("COMMIT")));
    pipeline(steps).await
}

/// One statement, a transaction of its own. The marker moves before anything else is done, because the main query is run
/// first; the others are run in the reverse of their order here. Were that to change, rows that exchange unique values
/// would be refused, and carried thoroughly.
fn combined(writings: &[Writing<'_>]) -> Sql {
    let mut parameters = vec![Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
    let mut parts = Vec::with_capacity(writings.len());
    for (i, writing) in writings.iter().enumerate() {
        let sql = writing.sql();
        parts.push(format!(", w{i} AS ({})", renumbered(&sql.text, parameters.len())));
        parameters.extend(sql.parameters.iter().cloned());
    }
    parts.reverse();
    let text = format!(
        "WITH marker AS MATERIALIZED (SELECT pgduet.advance($1, $2, $3, $4)){} SELECT count(*) FROM marker",
        parts.concat()
    );
    Sql { text, parameters }
}

/// The same statement with its parameters counted from `offset + 1`. Parameters are the only `$` before `::` that the link's
/// statements have outside of quotes, and quoted names are passed over.
fn renumbered(text: &str, offset: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        out.push(c);
        if c == '$' && quote.is_none() {
            let mut number = 0;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                number = number * 10 + digit as usize;
                chars.next();
            }
            out.push_str(&(number + offset).to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_renumbered_outside_of_quotes() {
        let text = r#"DELETE FROM "a$1""$2" USING unnest($1::int4[], $12::text[]) WHERE '$3' = x"#;
        let wanted = r#"DELETE FROM "a$1""$2" USING unnest($5::int4[], $16::text[]) WHERE '$3' = x"#;
        assert_eq!(renumbered(text, 4), wanted);
    }
}
