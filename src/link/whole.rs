//! Whole tables: emptied on the secondary and copied from the primary's snapshot, streamed.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, pin_mut};

use super::ends::End;
use super::entry::Entry;
use super::failure::{Failure, Remedy};
use super::part::{begin_on_both, end_on_both};
use super::plan::{Plans, TablePlan};

/// A table that is to be carried whole.
#[derive(Debug)]
pub struct Whole {
    pub plan: Arc<TablePlan>,
    /// It was truncated or rewritten on the primary: so may it be here, instead of being deleted from row by row.
    pub emptied: bool,
    /// The touch that says so, if there is one.
    pub entry: Option<Entry>,
}

/// The tables themselves, and those that a cascade may have changed with them; parents first. A partition of a table that is
/// among them is left out.
pub fn with_children(plans: &Plans, rels: &[u32]) -> Vec<Arc<TablePlan>> {
    let mut wanted: Vec<u32> = rels.to_vec();
    let mut seen = BTreeSet::new();
    let mut found: Vec<Arc<TablePlan>> = Vec::new();
    while let Some(rel) = wanted.pop() {
        let Some(plan) = plans.whole(rel).filter(|plan| seen.insert(plan.rel)) else { continue };
        let keyed = plans.get(rel).and_then(|plan| plan.keyed.as_ref());
        wanted.extend(keyed.iter().flat_map(|keyed| &keyed.cascades).map(|cascade| cascade.child));
        found.push(Arc::clone(plan));
    }
    let root = |plan: &TablePlan| plans.get(plan.rel).map_or(plan.rel, |root| root.rel);
    found.retain(|plan| root(plan) == plan.rel || !seen.contains(&root(plan)));
    found.sort_by_key(|plan| plan.rank);
    found
}

/// Carries these tables whole, given parents first. If one is refused nothing is changed.
pub async fn carry(primary: &mut End, secondary: &mut End, wholes: &[Whole]) -> Result<(), Failure> {
    if wholes.is_empty() {
        return Ok(());
    }
    begin_on_both(primary, secondary).await?;
    let result = replace(primary, secondary, wholes).await;
    match &result {
        Err(failure) if failure.remedy() == Remedy::Retry => {}
        _ => end_on_both(primary, secondary, result.is_ok()).await?,
    }
    result
}

async fn replace(primary: &mut End, secondary: &mut End, wholes: &[Whole]) -> Result<(), Failure> {
    let truncated = truncate(secondary, wholes).await?;
    for whole in wholes.iter().rev().filter(|whole| !(truncated && whole.emptied)) {
        secondary.connection.batch_execute(&whole.plan.empty).await.map_err(Failure::Secondary)?;
    }
    for whole in wholes {
        copy(primary, secondary, &whole.plan).await?;
    }
    Ok(())
}

/// Whether the emptied tables could be truncated: not if others refer to them, for instance.
async fn truncate(secondary: &End, wholes: &[Whole]) -> Result<bool, Failure> {
    let names: Vec<&str> =
        wholes.iter().filter(|whole| whole.emptied).map(|whole| whole.plan.truncated.as_str()).collect();
    if names.is_empty() {
        return Ok(false);
    }
    let connection = &secondary.connection;
    let sql = format!("SAVEPOINT pgduet_truncate; TRUNCATE {}; RELEASE SAVEPOINT pgduet_truncate", names.join(", "));
    match connection.batch_execute(&sql).await.map_err(Failure::Secondary) {
        Ok(()) => Ok(true),
        Err(failure) if failure.remedy() == Remedy::Retry => Err(failure),
        Err(_) => {
            let undo = "ROLLBACK TO SAVEPOINT pgduet_truncate; RELEASE SAVEPOINT pgduet_truncate";
            connection.batch_execute(undo).await.map_err(Failure::Secondary)?;
            Ok(false)
        }
    }
}

/// One piece at a time: what the secondary has not taken is not read.
async fn copy(primary: &mut End, secondary: &mut End, plan: &TablePlan) -> Result<(), Failure> {
    let out = primary.connection.copy_out(&plan.copy_out).await.map_err(Failure::Primary)?;
    let into = secondary.connection.copy_in::<_, Bytes>(&plan.copy_in).await.map_err(Failure::Secondary)?;
    pin_mut!(out, into);
    while let Some(piece) = out.next().await {
        let piece = piece.map_err(Failure::Primary)?;
        if into.send(piece).await.is_err() {
            break;
        }
    }
    into.finish().await.map(drop).map_err(Failure::Secondary)
}
