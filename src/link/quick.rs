//! A cycle in three round trips: what was touched; the rows; their writing. For a handful of touches, which is what a cycle
//! has when clients wait for it. Whatever it cannot do, it leaves to [`super::thorough`].

use futures_util::try_join;

use super::Applying;
use super::ends::{End, Image, Step, keys_of, parameters, pipeline, rows_of, step};
use super::entry::{Batch, Entry, Group};
use super::failure::Failure;
use super::ledger::Carried;
use super::plan::{Keyed, Plans, Put};
use crate::store::Snapshot;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How the attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Quick {
    /// Nothing was touched since the marker: the secondary already equals this snapshot.
    Nothing(Snapshot),
    Applied(Snapshot, Carried),
    /// More than a chunk, a whole table, or deletions that cascade. Nothing was written.
    Beyond,
    /// A touch of a relation that the plans do not know. Nothing was written.
    Unknown(u32),
}

/// What a cycle needs.
#[derive(Debug)]
pub struct Ends<'a> {
    pub primary: &'a mut End,
    pub secondary: &'a mut End,
    pub plans: &'a Plans,
    pub chunk: usize,
    /// Relations that no catalog knows: their touches are parked.
    pub unknown: &'a std::collections::HashSet<u32>,
}

/// One attempt. With `hold` the primary's transaction stays open, so that its snapshot can be exported; end it with
/// COMMIT. `applying` is set to what is being applied, as soon as its commit may happen.
pub async fn run(
    ends: &mut Ends<'_>,
    marker: &Snapshot,
    hold: bool,
    applying: &mut Option<Applying>,
) -> Result<Quick, Failure> {
    let (snapshot, entries) = touched(ends.primary, marker, ends.chunk).await.map_err(Failure::Primary)?;
    let count = entries.len();
    let batch = Batch::new(entries, ends.plans);
    let stranger = batch.strangers.first().map(|entry| entry.rel);
    let whole = batch.groups.iter().any(|group| !group.wholes.is_empty());
    if count == 0 || count > ends.chunk || stranger.is_some() || whole {
        if !(hold && count == 0) {
            ends.primary.connection.batch_execute("COMMIT").await.map_err(Failure::Primary)?;
        }
        return Ok(match stranger {
            _ if count == 0 => Quick::Nothing(snapshot),
            Some(rel) if !ends.unknown.contains(&rel) && ends.plans.get(rel).is_none() => Quick::Unknown(rel),
            _ => Quick::Beyond,
        });
    }
    let images = images(ends.primary, &batch.groups, hold).await.map_err(Failure::Primary)?;
    if batch.groups.iter().zip(&images).any(|(group, image)| cascades(group, image)) {
        if hold {
            ends.primary.connection.batch_execute("COMMIT").await.map_err(Failure::Primary)?;
        }
        return Ok(Quick::Beyond);
    }
    let carried = counted(&batch.groups, &images);
    *applying = Some(Applying { snapshot: snapshot.clone(), carried });
    write(ends.secondary, &batch.groups, &images, (marker, &snapshot), carried).await.map_err(Failure::Secondary)?;
    Ok(Quick::Applied(snapshot, carried))
}

type Sql<T> = Result<T, tokio_postgres::Error>;

/// First round trip: the snapshot and the touches that it sees and the marker does not, one more than a chunk at most.
async fn touched(primary: &mut End, marker: &Snapshot, chunk: usize) -> Sql<(Snapshot, Vec<Entry>)> {
    let journal = primary.journal().await?;
    let xmax = marker.xmax.to_string();
    let in_progress: Vec<String> = marker.in_progress.iter().map(u64::to_string).collect();
    let limit = chunk as i64 + 1;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&xmax, &in_progress, &limit];
    let ((), rows) =
        try_join!(primary.connection.batch_execute(BEGIN), primary.connection.query(&journal, &parameters))?;
    let mut snapshot = marker.clone();
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        match row.try_get::<_, Option<&str>>(0)? {
            // The server's own text; it always parses.
            Some(text) => snapshot = text.parse().unwrap_or(snapshot),
            None => entries.push(Entry::from_journal(row, 1)?),
        }
    }
    Ok((snapshot, entries))
}

/// Second round trip: the rows of each table that has touched keys, as of the snapshot.
async fn images(primary: &mut End, groups: &[Group], hold: bool) -> Sql<Vec<Option<Image>>> {
    let mut statements = Vec::with_capacity(groups.len());
    for group in groups {
        statements.push(match keyed(group) {
            Some(keyed) => Some((primary.read(&group.plan, keyed).await?, keys_of(keyed, &group.keys))),
            None => None,
        });
    }
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
    if !hold {
        steps.push(step(connection.batch_execute("COMMIT")));
    }
    pipeline(steps).await?;
    let image = |(group, rows): (&Group, Option<Vec<tokio_postgres::Row>>)| match (keyed(group), rows) {
        (Some(keyed), Some(rows)) => Image::from_rows(&group.plan, keyed, &rows).map(Some),
        _ => Ok(None),
    };
    groups.iter().zip(rows).map(image).collect()
}

/// Third round trip: marker first (it locks out another holder), deletions from children up, rows from parents down.
async fn write(
    secondary: &mut End,
    groups: &[Group],
    images: &[Option<Image>],
    (former, latter): (&Snapshot, &Snapshot),
    carried: Carried,
) -> Sql<()> {
    let advance = secondary.advance().await?;
    let mut deletions = Vec::new();
    let mut insertions = Vec::new();
    for (group, image) in groups.iter().zip(images) {
        if let (Some(keyed), Some(image)) = (keyed(group), image) {
            let replaced = matches!(keyed.put, Put::Insert(_)).then(|| image.present_keys(keyed));
            for keys in [Some(image.gone.clone()), replaced].into_iter().flatten().filter(|k| filled(k)) {
                deletions.push((secondary.delete(&group.plan, keyed).await?, keys));
            }
            if image.present_count() > 0 {
                insertions.push((secondary.put(&group.plan, keyed).await?, image.present.clone()));
            }
        }
        if !group.rows.is_empty() {
            insertions.push((secondary.append(&group.plan).await?, rows_of(&group.plan, &group.rows)));
        }
    }
    deletions.reverse();
    let (former, latter) = (former.to_string(), latter.to_string());
    let (applied, superseded) = (carried.applied as i64, carried.superseded as i64);
    let marker: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&former, &latter, &applied, &superseded];
    let connection = &secondary.connection;
    let mut steps = vec![step(connection.batch_execute("BEGIN")), step(connection.query(&advance, &marker))];
    for (statement, arrays) in deletions.iter().chain(&insertions) {
        steps.push(Box::pin(async move { connection.execute(statement, &parameters(arrays)).await.map(drop) }));
    }
    steps.push(step(connection.batch_execute("COMMIT")));
    pipeline(steps).await
}

fn keyed(group: &Group) -> Option<&Keyed> {
    group.plan.keyed.as_ref().filter(|_| !group.keys.is_empty())
}

fn filled(arrays: &[super::cells::Array]) -> bool {
    arrays.first().is_some_and(|array| !array.is_empty())
}

fn cascades(group: &Group, image: &Option<Image>) -> bool {
    let acting = keyed(group).is_some_and(|keyed| !keyed.cascades.is_empty());
    acting && image.as_ref().is_some_and(|image| image.gone_count() > 0)
}

/// Touches of one key count as applied once; the others are superseded.
fn counted(groups: &[Group], images: &[Option<Image>]) -> Carried {
    let mut carried = Carried::default();
    for (group, image) in groups.iter().zip(images) {
        let distinct = image.as_ref().map_or(0, |image| image.present_count() + image.gone_count());
        carried.applied += (distinct + group.rows.len()) as u64;
        carried.superseded += group.keys.len().saturating_sub(distinct) as u64;
    }
    carried
}
