//! A cycle of any size and any trouble: statements are run, touches are streamed from a cursor chunk by chunk, whole tables are
//! copied, children of cascades looked up, and what is refused is narrowed down to the entry and parked. Still one snapshot of the
//! primary and one transaction on the secondary; memory is bounded by the chunk.
//!
//! A snapshot has one hole:
//!   1. the cycle takes its snapshot S;
//!   2. a table is truncated, or rewritten by an ALTER, and that is committed;
//!   3. the cycle reads the table: it is empty *in S*, and the secondary's rows would be deleted for a state that never was.
//!
//! So after the reading, with the locks that it took still held, the tables' files are compared: S's catalog names the file of then, the
//! server's cache that of now. Where they differ the cycle is thrown away and begun again ([`Thorough::Outdated`]); likewise where
//! a table can no longer be read as S has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::try_join;

use super::Applying;
use super::ends::End;
use super::entry::{Batch, Entry, Group, Op};
use super::failure::{Failure, Remedy};
use super::flushed;
use super::fresh;
use super::ledger::Carried;
use super::part::{self, Children};
use super::plan::TablePlan;
use super::quick::{BEGIN, Ends};
use super::refusals::{Refusals, Refused};
use super::replay::{lock_marker, replay};
use super::schemas::{Place, Schemas, Stranger};
use super::statement::{self, Statement};
use super::whole::{self, Whole};
use crate::failpoint;
use crate::store::Snapshot;

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
#[derive(Debug)]
pub enum Thorough {
    /// The new marker, what was carried, and the schemas where they were read again.
    Applied(Snapshot, Carried, Option<Box<Schemas>>),
    /// Rows stand in each other's way: try again with [`Order::DeleteFirst`]. Nothing was written.
    Entangled,
    /// A table is no longer what the snapshot says: try again with another snapshot. Nothing was written.
    Outdated,
}

/// What an attempt may leave to another one, instead of parking.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub order: Order,
    /// The secondary's triggers and foreign keys do not fire.
    pub silent: bool,
    /// Another snapshot may be tried.
    pub again: bool,
    pub renewal: Renewal,
}

/// Whether the schemas are to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Somebody says that they have changed.
    Wanted,
    /// Only if statements are run, or tables touched that are not known.
    IfNeeded,
}

/// A table that is touched as a whole.
#[derive(Debug, Default)]
struct WholeTouch {
    /// None where only a cascade or a statement touched it.
    entry: Option<Entry>,
    emptied: bool,
}

/// Touches of one table that are still to be carried.
struct Work {
    plan: Arc<TablePlan>,
    entries: Vec<Entry>,
    counted: bool,
}

/// One attempt. On an error both transactions are left open: drop the connections or roll back.
pub async fn run(
    ends: &mut Ends<'_>,
    marker: &Snapshot,
    patience: Patience,
    applying: &mut Option<Applying>,
) -> Result<Thorough, Failure> {
    let chunk = ends.chunk.max(1);
    let mut attempt = Attempt {
        primary: &mut *ends.primary,
        secondary: &mut *ends.secondary,
        place: ends.place,
        former: ends.schemas,
        renewed: None,
        chunk,
        patience,
        carried: Carried::default(),
        refused: Refusals::new(chunk),
        wholes: BTreeMap::new(),
        read: BTreeSet::new(),
        unpaired: BTreeSet::new(),
        silenced: None,
    };
    let result = attempt.run(marker, applying).await;
    let otherwise = match result {
        Ok(Some(snapshot)) => return Ok(Thorough::Applied(snapshot, attempt.carried, attempt.renewed)),
        Ok(None) => Thorough::Outdated,
        Err(failure) if attempt.is_entangled(&failure) => Thorough::Entangled,
        Err(failure) if attempt.is_outdated(&failure) => Thorough::Outdated,
        Err(failure) => return Err(failure),
    };
    attempt.roll_back().await?;
    Ok(otherwise)
}

struct Attempt<'a> {
    primary: &'a mut End,
    secondary: &'a mut End,
    place: Place<'a>,
    former: &'a Schemas,
    /// The schemas as of this cycle's snapshot, once they were read again.
    renewed: Option<Box<Schemas>>,
    chunk: usize,
    patience: Patience,
    carried: Carried,
    refused: Refusals,
    /// Tables to be carried whole.
    wholes: BTreeMap<u32, WholeTouch>,
    /// Tables of which rows were read.
    read: BTreeSet<u32>,
    /// Touched tables that cannot be carried.
    unpaired: BTreeSet<u32>,
    /// What makes the triggers loud again that were silenced.
    silenced: Option<String>,
}

impl Attempt<'_> {
    /// `None`: a table was truncated or rewritten meanwhile.
    async fn run(&mut self, marker: &Snapshot, applying: &mut Option<Applying>) -> Result<Option<Snapshot>, Failure> {
        let snapshot = self.begin().await?;
        let done = lock_marker(self.secondary, marker).await?;
        self.replay(marker, &done).await?;
        self.silence().await?;
        if self.patience.order == Order::DeleteFirst {
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
        let read: Vec<u32> = self.read.iter().copied().collect();
        if self.patience.again && !fresh::are_as_seen(&self.primary.connection, &read).await? {
            return Ok(None);
        }
        self.on_primary("COMMIT").await?;
        self.refused.park(&self.primary.connection, &mut self.carried).await?;
        flushed::everything(&self.primary.connection).await?;
        *applying = Some(Applying { snapshot: snapshot.clone(), carried: self.carried });
        failpoint::pass("link.thorough.written");
        self.commit(marker, &snapshot).await?;
        failpoint::pass("link.thorough.applied");
        Ok(Some(snapshot))
    }

    fn schemas(&self) -> &Schemas {
        self.renewed.as_deref().unwrap_or(self.former)
    }

    /// Runs the cycle's statements, and reads the schemas that they made.
    async fn replay(&mut self, marker: &Snapshot, done: &[i64]) -> Result<(), Failure> {
        let (statements, others) = statement::read(self.primary, marker).await?;
        self.carried.discarded += others.len() as u64;
        if statements.is_empty() {
            return match self.patience.renewal {
                Renewal::Wanted => self.renew().await,
                Renewal::IfNeeded => Ok(()),
            };
        }
        let (mine, nobodys): (Vec<_>, Vec<_>) = statements.into_iter().partition(|s| self.concerns_us(s));
        let last = mine.iter().chain(&nobodys).map(|statement| statement.number).max();
        self.carried.discarded += nobodys.len() as u64;
        let replayed = replay(self.secondary, marker, &self.former.plans, mine, done).await?;
        self.carried.applied += replayed.applied;
        self.renew().await?;
        if let (Some(schemas), Some(last)) = (&mut self.renewed, last) {
            schemas.statement = last;
        }
        for rel in replayed.touched {
            self.touch_whole(rel);
        }
        for (statement, failure) in replayed.refused {
            self.refuse_statement(statement, &failure);
        }
        Ok(())
    }

    /// Not if all that it locked is known and not mirrored: the secondary may not even have it.
    fn concerns_us(&self, statement: &Statement) -> bool {
        let catalog = self.former.catalog();
        let foreign = |&rel: &u32| catalog.by_oid(rel).is_some_and(|table| table.has_rows() && !table.mirrored);
        let known = statement.affected.iter().filter(|&&rel| catalog.by_oid(rel).is_some());
        known.clone().next().is_none() || !known.clone().all(foreign)
    }

    fn refuse_statement(&mut self, statement: Statement, failure: &Failure) {
        let schemas = self.schemas();
        let tables = statement.affected.iter().filter_map(|&rel| schemas.catalog().by_oid(rel)).filter(|t| t.mirrored);
        let diverged = tables.map(|t| (t.schema.clone(), t.name.clone())).collect();
        let refused = Refused {
            plan: None,
            named: "a statement".into(),
            diverged,
            sqlstate: failure.sqlstate().to_string(),
            error: failure.to_string(),
            entry: statement.entry,
            counted: true,
        };
        self.refused.add(refused, &mut self.carried);
    }

    /// Both schemas as they are now, to the transactions of this cycle.
    async fn renew(&mut self) -> Result<(), Failure> {
        self.primary.forget();
        self.secondary.forget();
        let was_silent = self.unsilence().await?;
        let read = Schemas::read(&self.primary.connection, &self.secondary.connection, self.place).await?;
        self.renewed = Some(Box::new(read));
        match was_silent {
            true => self.silence().await,
            false => Ok(()),
        }
    }

    /// Triggers that would fire all the same; see [`super::loud`].
    async fn silence(&mut self) -> Result<(), Failure> {
        let loud = &self.schemas().plans.loud;
        if self.patience.silent && !loud.is_empty() {
            let (silence, again) = (loud.silence(), loud.again());
            self.on_secondary(&silence).await?;
            self.silenced = Some(again);
        }
        Ok(())
    }

    /// Returns whether there were any.
    async fn unsilence(&mut self) -> Result<bool, Failure> {
        match self.silenced.take() {
            Some(again) => self.on_secondary(&again).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// A table that is to be carried whole without a touch that says so.
    fn touch_whole(&mut self, rel: u32) {
        let plans = &self.schemas().plans;
        let rels = plans.parts(rel).map_or_else(|| vec![rel], <[u32]>::to_vec);
        let rels: Vec<u32> = rels.into_iter().filter_map(|rel| plans.whole(rel)).map(|plan| plan.rel).collect();
        for rel in rels {
            self.wholes.entry(rel).or_default();
        }
    }

    /// A touch of a table that is carried by its parts; `Err`: it is not, or has none.
    fn touch_parts(&mut self, entry: Entry) -> Result<(), Entry> {
        let first = self.schemas().plans.parts(entry.rel).and_then(|parts| parts.first()).copied();
        let Some(first) = first else { return Err(entry) };
        self.touch_whole(entry.rel);
        let Some(part) = self.wholes.get_mut(&first) else { return Err(entry) };
        self.carried.superseded += u64::from(part.entry.is_some());
        part.entry.get_or_insert(Entry { rel: first, op: Op::Whole, values: Vec::new(), ..entry });
        Ok(())
    }

    /// Whether this failure is for another attempt to solve.
    fn ends_with(&self, failure: &Failure) -> bool {
        self.is_entangled(failure) || self.is_outdated(failure)
    }

    fn is_entangled(&self, failure: &Failure) -> bool {
        let may_reorder = self.patience.silent && self.patience.order == Order::InPlace;
        may_reorder && failure.remedy() == Remedy::Reorder
    }

    fn is_outdated(&self, failure: &Failure) -> bool {
        let may_be_known_wrong = matches!(failure, Failure::Primary(_)) || self.patience.renewal == Renewal::IfNeeded;
        self.patience.again && may_be_known_wrong && failure.remedy() == Remedy::ParkTable
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

    /// The primary's snapshot.
    async fn begin(&mut self) -> Result<Snapshot, Failure> {
        self.on_primary(BEGIN).await?;
        let row = self.primary.connection.query_one("SELECT pg_current_snapshot()::text", &[]).await;
        let text: String = row.and_then(|row| row.try_get(0)).map_err(Failure::Primary)?;
        self.on_secondary("BEGIN").await?;
        text.parse().map_err(Failure::Lost)
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
        Ok(Some(Batch::new(entries.map_err(Failure::Primary)?, &self.schemas().plans)))
    }

    async fn carry(&mut self, mut batch: Batch) -> Result<(), Failure> {
        self.carried.unannounced += batch.unannounced as u64;
        let mut strangers = std::mem::take(&mut batch.strangers);
        strangers.retain(|entry| entry.op != Op::Statement);
        if !strangers.is_empty() && self.renewed.is_none() {
            self.renew().await?;
            let found = Batch::new(std::mem::take(&mut strangers), &self.schemas().plans);
            strangers = found.strangers;
            self.carry_groups(found.groups).await?;
        }
        for entry in strangers {
            if let Err(entry) = self.touch_parts(entry) {
                self.settle_stranger(entry);
            }
        }
        self.carry_groups(batch.groups).await
    }

    async fn carry_groups(&mut self, groups: Vec<Group>) -> Result<(), Failure> {
        for group in groups {
            for whole in group.wholes {
                let rel = self.schemas().plans.whole(whole.rel).map_or(group.plan.rel, |plan| plan.rel);
                let known = self.wholes.entry(rel).or_default();
                known.emptied |= whole.op == Op::Emptied;
                self.carried.superseded += u64::from(known.entry.is_some());
                known.entry.get_or_insert(whole);
            }
            for entries in [group.keys, group.rows] {
                let work = Work { plan: Arc::clone(&group.plan), entries, counted: true };
                self.carry_table(vec![work], Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// A touch of a table that cannot be carried is parked as a touch of the whole table: once it can be, all of it must be.
    fn settle_stranger(&mut self, mut entry: Entry) {
        let (named, diverged, error) = match self.schemas().stranger(entry.rel) {
            Stranger::Nobodys => {
                self.carried.discarded += 1;
                return;
            }
            Stranger::Unpaired(table, reason) => {
                (table.display_name(), vec![(table.schema.clone(), table.name.clone())], reason.to_string())
            }
        };
        entry.op = Op::Whole;
        entry.values.clear();
        if self.unpaired.insert(entry.rel) {
            let sqlstate = "42P01".into();
            self.refused
                .add(Refused { plan: None, named, diverged, entry, sqlstate, error, counted: true }, &mut self.carried);
        } else {
            self.carried.superseded += 1;
        }
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
            self.touch_whole(*child);
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
        self.read.insert(plan.rel);
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
            let Some(plan) = self.schemas().plans.get(open.child).map(Arc::clone) else { continue };
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
            self.refused.add(Refused::of(&work.plan, entry, failure, work.counted), &mut self.carried);
        }
    }

    /// One entry stands for all: the table has to be carried whole once it can be.
    fn refuse_table(&mut self, work: &Work, failure: &Failure) {
        if work.counted {
            self.carried.superseded += work.entries.len().saturating_sub(1) as u64;
        }
        let refused = Refused::of(&work.plan, Entry::whole(work.plan.rel), failure, work.counted);
        self.refused.add(refused, &mut self.carried);
    }

    /// With foreign keys that fire, a row may have been refused only because its parent came in a later chunk.
    async fn try_refused_again(&mut self) -> Result<(), Failure> {
        for refused in self.refused.take() {
            let again = matches!(refused.sqlstate.as_str(), "23503" | "23505") && refused.entry.op != Op::Whole;
            match refused.plan.as_ref().filter(|_| again) {
                Some(plan) => {
                    let (plan, counted) = (Arc::clone(plan), refused.counted);
                    let work = Work { plan, entries: vec![refused.entry], counted };
                    self.carry_table(vec![work], Vec::new()).await?;
                }
                None => self.refused.put_back(refused),
            }
        }
        Ok(())
    }

    /// Whole tables last: they overrule whatever was written to them before.
    async fn carry_wholes(&mut self) -> Result<(), Failure> {
        let mut touches = std::mem::take(&mut self.wholes);
        let rels: Vec<u32> = touches.keys().copied().collect();
        let wholes: Vec<Whole> = whole::with_children(&self.schemas().plans, &rels)
            .into_iter()
            .map(|plan| {
                let touch = touches.remove(&plan.rel).unwrap_or_default();
                Whole { plan, emptied: touch.emptied, entry: touch.entry }
            })
            .collect();
        // Partitions of a table that is carried whole itself.
        self.carried.superseded += touches.values().filter(|touch| touch.entry.is_some()).count() as u64;
        self.read.extend(wholes.iter().map(|whole| whole.plan.rel));
        match whole::carry(self.primary, self.secondary, &wholes).await {
            Err(failure) if failure.remedy() == Remedy::Retry || self.ends_with(&failure) => return Err(failure),
            Err(_) if wholes.len() > 1 => {
                for whole in wholes {
                    let result = whole::carry(self.primary, self.secondary, std::slice::from_ref(&whole)).await;
                    self.note_whole(whole, result)?;
                }
            }
            Ok(()) => self.carried.applied += wholes.iter().filter(|whole| whole.entry.is_some()).count() as u64,
            Err(failure) => {
                for whole in wholes {
                    self.refuse_whole(whole, &failure);
                }
            }
        }
        Ok(())
    }

    fn note_whole(&mut self, whole: Whole, result: Result<(), Failure>) -> Result<(), Failure> {
        match result {
            Ok(()) => self.carried.applied += u64::from(whole.entry.is_some()),
            Err(failure) if failure.remedy() == Remedy::Retry || self.ends_with(&failure) => return Err(failure),
            Err(failure) => self.refuse_whole(whole, &failure),
        }
        Ok(())
    }

    fn refuse_whole(&mut self, whole: Whole, failure: &Failure) {
        let counted = whole.entry.is_some();
        let entries = vec![whole.entry.unwrap_or_else(|| Entry::whole(whole.plan.rel))];
        self.refuse_one(Work { plan: whole.plan, entries, counted }, failure);
    }

    async fn commit(&mut self, former: &Snapshot, latter: &Snapshot) -> Result<(), Failure> {
        self.unsilence().await?;
        let advance = self.secondary.advance().await.map_err(Failure::Secondary)?;
        let (former, latter) = (former.to_string(), latter.to_string());
        let (applied, superseded) = (self.carried.applied as i64, self.carried.superseded as i64);
        self.secondary
            .connection
            .query(&advance, &[&former, &latter, &applied, &superseded])
            .await
            .map_err(Failure::Secondary)?;
        if self.carried.discarded > 0 {
            let sql = "UPDATE pgduet.applied SET discarded_total = discarded_total + $1";
            let discarded = self.carried.discarded as i64;
            self.secondary.connection.execute(sql, &[&discarded]).await.map_err(Failure::Secondary)?;
        }
        self.on_secondary("COMMIT").await
    }
}
