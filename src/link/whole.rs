//! Whole tables: emptied on the secondary and copied from the primary's snapshot, streamed.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, pin_mut};

use super::ends::End;
use super::failure::{Failure, Remedy};
use super::part::{begin_on_both, end_on_both};
use super::plan::{Plans, TablePlan};

/// The tables themselves, and those that a cascade may have changed with them; parents first.
pub fn with_children(plans: &Plans, rels: &[u32]) -> Vec<Arc<TablePlan>> {
    let mut wanted: Vec<u32> = rels.to_vec();
    let mut seen = BTreeSet::new();
    let mut found: Vec<Arc<TablePlan>> = Vec::new();
    while let Some(rel) = wanted.pop() {
        let Some(plan) = plans.get(rel).filter(|plan| seen.insert(plan.rel)) else { continue };
        wanted.extend(plan.keyed.iter().flat_map(|keyed| &keyed.cascades).map(|cascade| cascade.child));
        found.push(Arc::clone(plan));
    }
    found.sort_by_key(|plan| plan.rank);
    found
}

/// Carries these tables whole, given parents first. If one is refused nothing is changed.
pub async fn carry(primary: &mut End, secondary: &mut End, plans: &[Arc<TablePlan>]) -> Result<(), Failure> {
    begin_on_both(primary, secondary).await?;
    let result = replace(primary, secondary, plans).await;
    match &result {
        Err(failure) if failure.remedy() == Remedy::Retry => {}
        _ => end_on_both(primary, secondary, result.is_ok()).await?,
    }
    result
}

async fn replace(primary: &mut End, secondary: &mut End, plans: &[Arc<TablePlan>]) -> Result<(), Failure> {
    for plan in plans.iter().rev() {
        secondary.connection.batch_execute(&plan.empty).await.map_err(Failure::Secondary)?;
    }
    for plan in plans {
        copy(primary, secondary, plan).await?;
    }
    Ok(())
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
