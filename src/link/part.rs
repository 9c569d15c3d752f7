//! Some touches of one table, carried under savepoints on both sides: a refusal leaves both transactions as they were.

use std::sync::Arc;

use futures_util::try_join;

use super::cells::Array;
use super::ends::{End, Image, keys_of, parameters, rows_of};
use super::entry::Entry;
use super::failure::{Failure, Remedy};
use super::plan::{Keyed, Put, TablePlan};

const KEEP: &str = "RELEASE SAVEPOINT pgduet_part";
const UNDO: &str = "ROLLBACK TO SAVEPOINT pgduet_part; RELEASE SAVEPOINT pgduet_part";

/// Rows of another table that the primary changed by a cascade: an open cursor on the secondary over their keys.
#[derive(Debug)]
pub struct Children {
    pub child: u32,
    cursor: String,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Carried {
    pub distinct: usize,
    pub children: Vec<Children>,
    /// Tables without a key that a cascade may have changed.
    pub whole_children: Vec<u32>,
}

impl Carried {
    fn add(&mut self, other: Carried) {
        self.children.extend(other.children);
        self.whole_children.extend(other.whole_children);
    }
}

/// Runs what needs a savepoint on the given end; undoes it if the work was refused.
async fn guarded<T>(
    end: &mut End,
    blame: fn(tokio_postgres::Error) -> Failure,
    work: impl AsyncFnOnce(&mut End) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Failure> {
    end.connection.batch_execute("SAVEPOINT pgduet_part").await.map_err(blame)?;
    let result = work(end).await.map_err(blame);
    match &result {
        Ok(_) => end.connection.batch_execute(KEEP).await.map_err(blame)?,
        Err(failure) if failure.remedy() == Remedy::Retry => {}
        Err(_) => end.connection.batch_execute(UNDO).await.map_err(blame)?,
    }
    result
}

async fn image(primary: &mut End, plan: &TablePlan, keyed: &Keyed, entries: &[Entry]) -> Result<Image, Failure> {
    let keys = keys_of(keyed, entries);
    guarded(primary, Failure::Primary, async |end| {
        let statement = end.read(plan, keyed).await?;
        let rows = end.connection.query(&statement, &parameters(&keys)).await?;
        Image::from_rows(plan, keyed, &rows)
    })
    .await
}

/// Makes the secondary's rows for these keys equal to the primary's.
pub async fn carry(
    primary: &mut End,
    secondary: &mut End,
    plan: &Arc<TablePlan>,
    entries: &[Entry],
) -> Result<Carried, Failure> {
    let Some(keyed) = &plan.keyed else { return Ok(Carried::default()) };
    let image = image(primary, plan, keyed, entries).await?;
    let mut carried = Carried { distinct: image.present_count() + image.gone_count(), ..Carried::default() };
    guarded(secondary, Failure::Secondary, async |end| {
        if image.gone_count() > 0 {
            open_children(end, keyed, &image.gone, &mut carried).await?;
            delete(end, plan, keyed, &image.gone).await?;
        }
        if image.present_count() == 0 {
            return Ok(());
        }
        if matches!(keyed.put, Put::Insert(_)) {
            delete(end, plan, keyed, &image.present_keys(keyed)).await?;
        }
        let statement = end.put(plan, keyed).await?;
        end.connection.execute(&statement, &parameters(&image.present)).await.map(drop)
    })
    .await?;
    Ok(carried)
}

async fn delete(end: &mut End, plan: &TablePlan, keyed: &Keyed, keys: &[Array]) -> Result<(), tokio_postgres::Error> {
    let statement = end.delete(plan, keyed).await?;
    end.connection.execute(&statement, &parameters(keys)).await.map(drop)
}

/// Before rows are deleted: which rows of other tables refer to them.
async fn open_children(
    end: &mut End,
    keyed: &Keyed,
    gone: &[Array],
    carried: &mut Carried,
) -> Result<(), tokio_postgres::Error> {
    for cascade in &keyed.cascades {
        let Some(sql) = &cascade.children else {
            carried.whole_children.push(cascade.child);
            continue;
        };
        let cursor = end.next_cursor();
        let text = format!("DECLARE {cursor} NO SCROLL CURSOR FOR {}", sql.text);
        let statement = end.connection.prepare_typed(&text, &sql.parameters).await?;
        end.connection.execute(&statement, &parameters(gone)).await?;
        carried.children.push(Children { child: cascade.child, cursor });
    }
    Ok(())
}

/// The next children, a chunk at most; fewer than a chunk were the last ones, and the cursor is closed.
pub async fn fetch_children(secondary: &mut End, children: &Children, chunk: usize) -> Result<Vec<Entry>, Failure> {
    let sql = format!("FETCH {chunk} FROM {}", children.cursor);
    let rows = secondary.connection.query(&sql, &[]).await.map_err(Failure::Secondary)?;
    if rows.len() < chunk {
        let close = format!("CLOSE {}", children.cursor);
        secondary.connection.batch_execute(&close).await.map_err(Failure::Secondary)?;
    }
    let entries = rows.iter().map(|row| Entry::from_key(children.child, row)).collect::<Result<_, _>>();
    entries.map_err(Failure::Secondary)
}

/// Appends captured rows to a table without a key.
pub async fn append(secondary: &mut End, plan: &Arc<TablePlan>, entries: &[Entry]) -> Result<usize, Failure> {
    let rows = rows_of(plan, entries);
    guarded(secondary, Failure::Secondary, async |end| {
        let statement = end.append(plan).await?;
        end.connection.execute(&statement, &parameters(&rows)).await
    })
    .await?;
    Ok(entries.len())
}

/// Deletes the secondary's rows for all of these keys, present on the primary or not. What is refused is left to the
/// writing, which parks it.
pub async fn delete_all(
    primary: &mut End,
    secondary: &mut End,
    plan: &Arc<TablePlan>,
    entries: Vec<Entry>,
) -> Result<Carried, Failure> {
    let mut carried = Carried::default();
    let Some(keyed) = &plan.keyed else { return Ok(carried) };
    let mut parts = vec![entries];
    while let Some(mut part) = parts.pop() {
        let image = match image(primary, plan, keyed, &part).await {
            Ok(image) => image,
            Err(failure) if failure.remedy() == Remedy::Retry => return Err(failure),
            Err(_) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
                continue;
            }
            Err(_) => continue,
        };
        let mut deleted = Carried::default();
        let deletion = guarded(secondary, Failure::Secondary, async |end| {
            if image.gone_count() > 0 {
                open_children(end, keyed, &image.gone, &mut deleted).await?;
                delete(end, plan, keyed, &image.gone).await?;
            }
            delete(end, plan, keyed, &image.present_keys(keyed)).await
        });
        match deletion.await {
            Ok(()) => carried.add(deleted),
            Err(failure) if failure.remedy() == Remedy::Retry => return Err(failure),
            Err(_) => {}
        }
    }
    Ok(carried)
}

/// Both ends' savepoints at once, for work that spans them.
pub async fn begin_on_both(primary: &End, secondary: &End) -> Result<(), Failure> {
    let savepoint = "SAVEPOINT pgduet_part";
    try_join!(async { primary.connection.batch_execute(savepoint).await.map_err(Failure::Primary) }, async {
        secondary.connection.batch_execute(savepoint).await.map_err(Failure::Secondary)
    })
    .map(drop)
}

/// Keeps, or undoes, what was done since [`begin_on_both`].
pub async fn end_on_both(primary: &End, secondary: &End, keep: bool) -> Result<(), Failure> {
    let sql = if keep { KEEP } else { UNDO };
    try_join!(async { primary.connection.batch_execute(sql).await.map_err(Failure::Primary) }, async {
        secondary.connection.batch_execute(sql).await.map_err(Failure::Secondary)
    })
    .map(drop)
}
