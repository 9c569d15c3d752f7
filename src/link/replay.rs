//! The statements of a cycle, run on the secondary within its transaction.
//!
//! A new value of an enum can be used only after a commit. So such a statement is committed by itself, marker unmoved, and noted beside the
//! marker: a crash before the cycle's own commit finds the note and does not run it again. Readers see a schema that is ahead of
//! its rows for a moment, which only a new name or value can tell.

use super::ends::End;
use super::failure::Failure;
use super::plan::Plans;
use super::statement::{self, Statement};
use crate::store::Snapshot;

/// What became of them.
#[derive(Debug, Default)]
pub struct Replayed {
    pub applied: u64,
    pub refused: Vec<(Statement, Failure)>,
    /// Tables that have to be carried whole, because their rows were removed to make the statement possible or because a statement
    /// was run later than the rows that followed it.
    pub touched: Vec<u32>,
}

/// Locks the marker, so that no other holder can write meanwhile. Returns the statements that were committed beside it.
pub async fn lock_marker(secondary: &End, marker: &Snapshot) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT snapshot, replayed FROM pgduet.applied FOR UPDATE";
    let row = secondary.connection.query_opt(sql, &[]).await.map_err(Failure::Secondary)?;
    let Some(row) = row else { return Err(Failure::MarkerMoved) };
    let found: String = row.try_get(0).map_err(Failure::Secondary)?;
    match found == marker.to_string() {
        true => row.try_get(1).map_err(Failure::Secondary),
        false => Err(Failure::MarkerMoved),
    }
}

/// Runs those that are not in `done`.
pub async fn replay(
    secondary: &End,
    marker: &Snapshot,
    plans: &Plans,
    statements: Vec<Statement>,
    done: &[i64],
) -> Result<Replayed, Failure> {
    let mut replayed = Replayed::default();
    let mut run = Vec::new();
    for statement in statements {
        if statement.is_retried() {
            replayed.touched.extend(&statement.affected);
        }
        if done.contains(&statement.number) {
            replayed.applied += 1;
            continue;
        }
        match run_somehow(secondary, plans, &statement, &mut replayed.touched).await {
            Ok(()) => {
                replayed.applied += 1;
                run.push(statement.number);
                if statement.commits_alone() {
                    commit_alone(secondary, marker, &mut run).await?;
                }
            }
            Err(failure) if statement::passes(&failure) => return Err(failure),
            Err(failure) => replayed.refused.push((statement, failure)),
        }
    }
    Ok(replayed)
}

/// As it is; or over empty tables, where rows that the primary no longer has stand in the way.
async fn run_somehow(
    secondary: &End,
    plans: &Plans,
    statement: &Statement,
    touched: &mut Vec<u32>,
) -> Result<(), Failure> {
    let failure = match statement::run(secondary, statement, "").await {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    if statement.is_done_already(&failure) {
        touched.extend(&statement.affected);
        return drop_the_others(secondary, statement, &failure).await;
    }
    if !statement.is_refused_for_rows(&failure) {
        return Err(failure);
    }
    let emptied: String =
        statement.affected.iter().filter_map(|&rel| plans.get(rel)).map(|plan| format!("{};", plan.empty)).collect();
    statement::run(secondary, statement, &emptied).await?;
    touched.extend(&statement.affected);
    Ok(())
}

/// A statement that drops several things, one of which is not there, has to drop the others.
async fn drop_the_others(secondary: &End, statement: &Statement, failure: &Failure) -> Result<(), Failure> {
    let Some(others) = statement.of_what_exists() else {
        tracing::warn!(error = %failure, "a statement was not run on the secondary, which is so already");
        return Ok(());
    };
    tracing::warn!(error = %failure, "a statement dropped what the secondary does not have");
    statement::run(secondary, &others, "").await
}

async fn commit_alone(secondary: &End, marker: &Snapshot, run: &mut Vec<i64>) -> Result<(), Failure> {
    let sql = "UPDATE pgduet.applied SET replayed = replayed || $1::bigint[]";
    secondary.connection.execute(sql, &[run]).await.map_err(Failure::Secondary)?;
    secondary.connection.batch_execute("COMMIT; BEGIN").await.map_err(Failure::Secondary)?;
    run.clear();
    lock_marker(secondary, marker).await.map(drop)
}
