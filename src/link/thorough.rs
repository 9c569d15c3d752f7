//! A cycle of any size and any trouble: touches are streamed from a cursor chunk by chunk, whole tables are copied, children of
//! cascades looked up, and what is refused is narrowed down to the entry and parked. Still one snapshot of the primary and one
//! transaction on the secondary; memory is bounded by the chunk.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::try_join;
use serde_json::json;

use super::Applying;
use super::ends::End;
use super::entry::{Batch, Entry, Op};
use super::failure::{Failure, Remedy};
use super::ledger::Carried;
use super::part::{self, Children};
use super::plan::{Plans, TablePlan};
use super::quick::Ends;
use super::whole;
use crate::failpoint;
use crate::store::{Snapshot, parked, tables};

/// In which order rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each row over its former self.
    InPlace,
    /// All touched rows are deleted before any is written: the way out where rows exchange unique values. Only with silent
    /// triggers, lest deletions cascade.
    DeleteFirst,
}

/// How the attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Thorough {
    /// The new marker, what was carried, and whether something new was parked.
    Applied(Snapshot, Carried),
    /// Rows stand in each other's way: try again with [`Order::DeleteFirst`]. Nothing was written.
    Entangled,
}

/// A refused entry.
#[derive(Debug)]
struct Refused {
    plan: Option<Arc<TablePlan>>,
    entry: Entry,
    sqlstate: String,
    error: String,
    /// A touch, not a child found by the way.
    counted: bool,
}

/// Touches of one table that are still to be carried.
struct Work {
    plan: Arc<TablePlan>,
    entries: Vec<Entry>,
    counted: bool,
}

/// One attempt. `silent`: the secondary's triggers and foreign keys do not fire. On an error both transactions are left open:
/// drop the connections or roll back.
pub async fn run(
    ends: &mut Ends<'_>,
    marker: &Snapshot,
    silent: bool,
    order: Order,
    applying: &mut Option<Applying>,
) -> Result<Thorough, Failure> {
    let mut attempt = Attempt {
        primary: &mut *ends.primary,
        secondary: &mut *ends.secondary,
        plans: ends.plans,
        chunk: ends.chunk.max(1),
        may_reorder: silent && order == Order::InPlace,
        carried: Carried::default(),
        refused: Vec::new(),
        wholes: BTreeMap::new(),
    };
    match attempt.run(marker, order, applying).await {
        Ok(snapshot) => Ok(Thorough::Applied(snapshot, attempt.carried)),
        Err(failure) if attempt.ends_with(&failure) => {
            attempt.roll_back().await?;
            Ok(Thorough::Entangled)
        }
        Err(failure) => Err(failure),
    }
}

struct Attempt<'a> {
    primary: &'a mut End,
    secondary: &'a mut End,
    plans: &'a Plans,
    chunk: usize,
    /// Rows that stand in each other's way end the attempt instead of being parked.
    may_reorder: bool,
    carried: Carried,
    refused: Vec<Refused>,
    /// Tables to be carried whole, with an entry that says so (none where only a cascade does).
    wholes: BTreeMap<u32, Option<Entry>>,
}

impl Attempt<'_> {
    async fn run(
        &mut self,
        marker: &Snapshot,
        order: Order,
        applying: &mut Option<Applying>,
    ) -> Result<Snapshot, Failure> {
        let snapshot = self.begin(marker).await?;
        if order == Order::DeleteFirst {
            self.open_journal(marker).await?;
            while let Some(batch) = self.next_batch().await? {
                self.delete_all(batch).await?;
            }
        }
        self.open_journal(marker).await?;
        while let Some(batch) = self.next_batch().await? {
            self.carry(batch).await?;
        }
        self.try_refused_again().await?;
        failpoint::pass("link.thorough.read");
        self.carry_wholes().await?;
        self.on_primary("COMMIT").await?;
        self.park().await?;
        *applying = Some(Applying { snapshot: snapshot.clone(), carried: self.carried });
        failpoint::pass("link.thorough.written");
        self.commit(marker, &snapshot).await?;
        failpoint::pass("link.thorough.applied");
        Ok(snapshot)
    }

    /// Whether this failure is for the other order to solve.
    fn ends_with(&self, failure: &Failure) -> bool {
        self.may_reorder && failure.remedy() == Remedy::Reorder
    }

    async fn on_primary(&self, sql: &str) -> Result<(), Failure> {
        self.primary.connection.batch_execute(sql).await.map_err(Failure::Primary)
    }

    async fn on_secondary(&self, sql: &str) -> Result<(), Failure> {
        self.secondary.connection.batch_execute(sql).await.map_err(Failure::Secondary)
    }

    async fn roll_back(&self) -> Result<(), Failure> {
        try_join!(self.on_primary("ROLLBACK"), self.on_secondary("ROLLBACK")).map(drop)
    }

    /// The primary's snapshot; and the marker locked on the secondary, so that no other holder can write meanwhile.
    async fn begin(&mut self, marker: &Snapshot) -> Result<Snapshot, Failure> {
        self.on_primary("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = 0").await?;
        let row = self.primary.connection.query_one("SELECT pg_current_snapshot()::text", &[]).await;
        let text: String = row.and_then(|row| row.try_get(0)).map_err(Failure::Primary)?;
        self.on_secondary("BEGIN").await?;
        let row = self.secondary.connection.query_opt("SELECT snapshot FROM pgduet.applied FOR UPDATE", &[]).await;
        let found = row.and_then(|row| row.map(|row| row.try_get::<_, String>(0)).transpose());
        match found.map_err(Failure::Secondary)? {
            Some(found) if found == marker.to_string() => text.parse().map_err(Failure::Lost),
            _ => Err(Failure::MarkerMoved),
        }
    }

    async fn open_journal(&self, marker: &Snapshot) -> Result<(), Failure> {
        let in_progress: Vec<String> = marker.in_progress.iter().map(|xid| format!("'{xid}'")).collect();
        self.on_primary(&format!(
            "DECLARE pgduet_journal NO SCROLL CURSOR FOR \
             SELECT rel, op, key FROM pgduet.journal WHERE xid >= '{}'::xid8 \
             UNION ALL SELECT rel, op, key FROM pgduet.journal WHERE xid = ANY (ARRAY[{}]::xid8[])",
            marker.xmax,
            in_progress.join(", ")
        ))
        .await
    }

    /// The next chunk of touches; `None` after the last.
    async fn next_batch(&mut self) -> Result<Option<Batch>, Failure> {
        let sql = format!("FETCH {} FROM pgduet_journal", self.chunk);
        let rows = self.primary.connection.query(&sql, &[]).await.map_err(Failure::Primary)?;
        if rows.is_empty() {
            self.on_primary("CLOSE pgduet_journal").await?;
            return Ok(None);
        }
        let entries = rows.iter().map(|row| Entry::from_journal(row, 0)).collect::<Result<_, _>>();
        Ok(Some(Batch::new(entries.map_err(Failure::Primary)?, self.plans)))
    }

    async fn carry(&mut self, batch: Batch) -> Result<(), Failure> {
        for entry in batch.strangers {
            let (sqlstate, error) = ("42P01".into(), "the table is not mirrored".into());
            self.refuse(Refused { plan: None, entry, sqlstate, error, counted: true });
        }
        for group in batch.groups {
            for whole in group.wholes {
                let known = self.wholes.entry(group.plan.rel).or_default();
                self.carried.superseded += u64::from(known.is_some());
                known.get_or_insert(whole);
            }
            for entries in [group.keys, group.rows] {
                let work = Work { plan: Arc::clone(&group.plan), entries, counted: true };
                self.carry_table(vec![work], Vec::new()).await?;
            }
        }
        Ok(())
    }

    async fn delete_all(&mut self, batch: Batch) -> Result<(), Failure> {
        for group in batch.groups {
            let deleted = part::delete_all(self.primary, self.secondary, &group.plan, group.keys).await?;
            self.note_wholes(&deleted);
            self.carry_table(Vec::new(), deleted.children).await?;
        }
        Ok(())
    }

    /// Tables without a key that a cascade may have changed.
    fn note_wholes(&mut self, carried: &part::Carried) {
        for child in &carried.whole_children {
            self.wholes.entry(*child).or_default();
        }
    }

    /// Carries some touches of one table, and the rows of other tables that their deletion changed. What is refused is
    /// narrowed down by halves.
    async fn carry_table(&mut self, mut stack: Vec<Work>, mut children: Vec<Children>) -> Result<(), Failure> {
        loop {
            let Some(mut work) = stack.pop() else {
                match self.next_children(&mut children).await? {
                    Some(work) => stack.push(work),
                    None => return Ok(()),
                }
                continue;
            };
            match self.carry_part(&work, &mut children).await {
                Ok(distinct) => self.count(&work, distinct),
                Err(failure) if self.ends_with(&failure) => return Err(failure),
                Err(failure) => match failure.remedy() {
                    Remedy::Retry => return Err(failure),
                    Remedy::Park | Remedy::Reorder if work.entries.len() > 1 => {
                        let entries = work.entries.split_off(work.entries.len() / 2);
                        stack.push(Work { plan: Arc::clone(&work.plan), entries, counted: work.counted });
                        stack.push(work);
                    }
                    Remedy::Park | Remedy::Reorder => self.refuse_one(work, &failure),
                    Remedy::ParkTable => self.refuse_table(&work, &failure),
                },
            }
        }
    }

    /// Returns how many distinct rows the touches were of.
    async fn carry_part(&mut self, work: &Work, children: &mut Vec<Children>) -> Result<usize, Failure> {
        let (plan, entries) = (&work.plan, work.entries.as_slice());
        match entries.first().map(|entry| entry.op) {
            None => Ok(0),
            Some(Op::Row) => part::append(self.secondary, plan, entries).await,
            Some(_) => {
                let carried = part::carry(self.primary, self.secondary, plan, entries).await?;
                self.note_wholes(&carried);
                children.extend(carried.children);
                Ok(carried.distinct)
            }
        }
    }

    /// The next chunk of children that a cascade changed, of the cursor opened last.
    async fn next_children(&mut self, children: &mut Vec<Children>) -> Result<Option<Work>, Failure> {
        while let Some(open) = children.pop() {
            let entries = part::fetch_children(self.secondary, &open, self.chunk).await?;
            let Some(plan) = self.plans.get(open.child).map(Arc::clone) else { continue };
            if entries.len() >= self.chunk {
                children.push(open);
            }
            if !entries.is_empty() {
                return Ok(Some(Work { plan, entries, counted: false }));
            }
        }
        Ok(None)
    }

    fn count(&mut self, work: &Work, distinct: usize) {
        if work.counted {
            self.carried.applied += distinct as u64;
            self.carried.superseded += work.entries.len().saturating_sub(distinct) as u64;
        }
    }

    fn refuse_one(&mut self, work: Work, failure: &Failure) {
        for entry in work.entries {
            let (sqlstate, error) = (failure.sqlstate().to_string(), failure.to_string());
            self.refuse(Refused { plan: Some(Arc::clone(&work.plan)), entry, sqlstate, error, counted: work.counted });
        }
    }

    /// One entry stands for all: the table has to be carried whole once it can be.
    fn refuse_table(&mut self, work: &Work, failure: &Failure) {
        let entry = Entry { rel: work.plan.rel, op: Op::Whole, values: Vec::new() };
        let (sqlstate, error) = (failure.sqlstate().to_string(), failure.to_string());
        if work.counted {
            self.carried.superseded += work.entries.len().saturating_sub(1) as u64;
        }
        self.refuse(Refused { plan: Some(Arc::clone(&work.plan)), entry, sqlstate, error, counted: work.counted });
    }

    /// Takes note of a refused entry. A list as long as a chunk is folded into one entry for each table.
    fn refuse(&mut self, refused: Refused) {
        self.refused.push(refused);
        if self.refused.len() <= self.chunk {
            return;
        }
        let mut folded: BTreeMap<u32, Refused> = BTreeMap::new();
        for mut refused in std::mem::take(&mut self.refused) {
            refused.entry.op = Op::Whole;
            refused.entry.values.clear();
            if let Some(other) = folded.insert(refused.entry.rel, refused) {
                self.carried.superseded += u64::from(other.counted);
            }
        }
        self.refused.extend(folded.into_values());
    }

    /// With foreign keys that fire, a row may have been refused only because its parent came in a later chunk.
    async fn try_refused_again(&mut self) -> Result<(), Failure> {
        for refused in std::mem::take(&mut self.refused) {
            let again = matches!(refused.sqlstate.as_str(), "23503" | "23505") && refused.entry.op != Op::Whole;
            match refused.plan.as_ref().filter(|_| again) {
                Some(plan) => {
                    let (plan, counted) = (Arc::clone(plan), refused.counted);
                    let work = Work { plan, entries: vec![refused.entry], counted };
                    self.carry_table(vec![work], Vec::new()).await?;
                }
                None => self.refused.push(refused),
            }
        }
        Ok(())
    }

    /// Whole tables last: they overrule whatever was written to them before.
    async fn carry_wholes(&mut self) -> Result<(), Failure> {
        let entries = std::mem::take(&mut self.wholes);
        let rels: Vec<u32> = entries.keys().copied().collect();
        let plans = whole::with_children(self.plans, &rels);
        if plans.is_empty() {
            return Ok(());
        }
        let together = whole::carry(self.primary, self.secondary, &plans).await;
        match together {
            Err(failure) if failure.remedy() == Remedy::Retry => return Err(failure),
            Err(_) if plans.len() > 1 => {
                for plan in &plans {
                    let result = whole::carry(self.primary, self.secondary, std::slice::from_ref(plan)).await;
                    self.note_whole(plan, entries.get(&plan.rel).cloned().flatten(), result)?;
                }
            }
            result => {
                let mut result = Some(result);
                for plan in &plans {
                    let entry = entries.get(&plan.rel).cloned().flatten();
                    self.note_whole(plan, entry, result.take().unwrap_or(Ok(())))?;
                }
            }
        }
        Ok(())
    }

    fn note_whole(
        &mut self,
        plan: &Arc<TablePlan>,
        entry: Option<Entry>,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match result {
            Ok(()) => self.carried.applied += u64::from(entry.is_some()),
            Err(failure) if failure.remedy() == Remedy::Retry => return Err(failure),
            Err(failure) => {
                let counted = entry.is_some();
                let entries = vec![entry.unwrap_or(Entry { rel: plan.rel, op: Op::Whole, values: Vec::new() })];
                self.refuse_one(Work { plan: Arc::clone(plan), entries, counted }, &failure);
            }
        }
        Ok(())
    }

    /// Writes the refused entries down, on the primary and durably, before the cycle that leaves them out is applied.
    async fn park(&mut self) -> Result<(), Failure> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let connection = &self.primary.connection;
        for refused in &self.refused {
            let plan = refused.plan.as_ref();
            let table = plan.map_or_else(|| format!("oid {}", refused.entry.rel), |plan| plan.display_name.clone());
            let (sqlstate, error) = (refused.sqlstate.as_str(), refused.error.as_str());
            let (op, key) = (refused.entry.op.as_str(), refused.entry.texts());
            let entry = parked::Parking { rel: refused.entry.rel, table: &table, op, key: &key, sqlstate, error };
            let new = parked::park(connection, &[entry]).await? > 0;
            match (refused.counted, new) {
                (true, true) => self.carried.parked += 1,
                (true, false) => self.carried.superseded += 1,
                (false, _) => {}
            }
            if let Some(plan) = plan {
                let evidence = json!({ "parked": { "sqlstate": sqlstate, "error": error } });
                let names = [(plan.schema.as_str(), plan.name.as_str())];
                tables::set(connection, &names, tables::SyncState::Diverged, &evidence).await?;
            }
            tracing::warn!(
                table,
                sqlstate,
                error,
                "an entry was parked: the secondary differs there until it is retried"
            );
        }
        Ok(())
    }

    async fn commit(&mut self, former: &Snapshot, latter: &Snapshot) -> Result<(), Failure> {
        let advance = self.secondary.advance().await.map_err(Failure::Secondary)?;
        let (former, latter) = (former.to_string(), latter.to_string());
        let (applied, superseded) = (self.carried.applied as i64, self.carried.superseded as i64);
        self.secondary
            .connection
            .query(&advance, &[&former, &latter, &applied, &superseded])
            .await
            .map_err(Failure::Secondary)?;
        self.on_secondary("COMMIT").await
    }
}
