//! The tables that are touched all the time, read in one round trip: one statement answers what was touched *and* has the rows.
//!
//! A single statement has a single snapshot, so it needs no transaction around it; and its tables are locked before that
//! snapshot is taken, so none of them can be truncated between. The price is that all hot tables are locked (ACCESS SHARE) for
//! a moment even in a cycle that does not touch them: the statement waits for a lock only briefly ([`super::ends`]), and what it
//! cannot have is left to [`super::quick`].

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::cells::{Cell, fields};
use super::ends::{End, Image};
use super::entry::{Batch, Entry};
use super::flushed::{Evidence, UNFLUSHED};
use super::plan::{Plans, TablePlan};
use super::quick::{Touched, Work};
use crate::store::Snapshot;

/// More tables than this are not read in one statement.
const MAX_HOT: usize = 12;

/// A table that was not touched in so many cycles is no longer hot.
const MAX_IDLE: u32 = 1_000;

/// The hot tables, and the statement that reads them.
#[derive(Debug, Default)]
pub struct Hot {
    tables: Vec<HotTable>,
    text: Option<String>,
}

#[derive(Debug)]
struct HotTable {
    plan: Arc<TablePlan>,
    idle: u32,
}

/// What one look found.
#[derive(Debug)]
pub enum Look {
    Nothing(Snapshot),
    /// All of it, rows included.
    Work(Work),
    /// Tables that are not hot (yet), or more than the limit: the rows have to be read otherwise.
    Otherwise,
}

impl Hot {
    /// Tables were touched that are not hot: they become so while there is room.
    pub fn warm(&mut self, plan: &Arc<TablePlan>) {
        let known = self.tables.iter().any(|hot| hot.plan.rel == plan.rel);
        if known || plan.keyed.is_none() || self.tables.len() >= MAX_HOT {
            return;
        }
        self.tables.push(HotTable { plan: Arc::clone(plan), idle: 0 });
        self.tables.sort_by_key(|hot| hot.plan.rank);
        self.text = None;
    }

    /// The plans have changed.
    pub fn clear(&mut self) {
        *self = Hot::default();
    }

    fn cool(&mut self, touched: impl Fn(u32) -> bool) {
        for hot in &mut self.tables {
            hot.idle = if touched(hot.plan.rel) { 0 } else { hot.idle + 1 };
        }
        let before = self.tables.len();
        self.tables.retain(|hot| hot.idle <= MAX_IDLE);
        if self.tables.len() < before {
            self.text = None;
        }
    }

    /// One statement; its rows are `part, rel, op, key, gone, image`. Part -1: the snapshot, the number of touches and what else is
    /// told of all of them. Part -2: a touch that no hot table answers. Part n: a row of the n-th hot table.
    fn text(&mut self, plans: &Plans) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut known = Vec::new();
        let mut parts = String::new();
        for (i, hot) in self.tables.iter().enumerate() {
            let Some(keyed) = &hot.plan.keyed else { continue };
            let aliases: Vec<String> = plans.aliases(hot.plan.rel).iter().map(u32::to_string).collect();
            let width = keyed.key_positions.len();
            let of_table =
                format!("j.op IN ('k', 'K') AND j.rel IN ({}) AND cardinality(j.key) = {width}", aliases.join(", "));
            let look = &keyed.look;
            parts.push_str(&format!(
                " UNION ALL (SELECT {i}, NULL, NULL, NULL, t.tableoid IS NULL, ROW({}) \
                 FROM (SELECT DISTINCT {} FROM j WHERE {of_table}) AS k {} ORDER BY t.ctid)",
                look.columns, look.typed, look.join
            ));
            known.push(format!("({of_table})"));
        }
        let text = format!(
            "WITH j AS MATERIALIZED ( \
               (SELECT rel, op, key, xid, unflushed FROM pgduet.journal WHERE xid >= $1::text::xid8 LIMIT $3) UNION ALL \
               (SELECT rel, op, key, xid, unflushed FROM pgduet.journal WHERE xid = ANY ($2::text[]::xid8[]) LIMIT $3)) \
             SELECT -1, NULL::oid, NULL::\"char\", ARRAY[pg_current_snapshot()::text, count(*)::text, \
               (count(*) FILTER (WHERE op BETWEEN 'A' AND 'Z'))::text, {UNFLUSHED}, bool_or(unflushed)::text, \
               (SELECT xid::text FROM j ORDER BY j.xid DESC LIMIT 1)], NULL::bool, NULL::record FROM j \
             UNION ALL SELECT -2, j.rel, j.op, j.key, NULL, NULL FROM j WHERE NOT ({}){parts}",
            known.join(" OR ")
        );
        self.text = Some(text.clone());
        text
    }
}

/// Reads what was touched since the marker, and the rows of hot tables. `None`: there is no hot table.
pub async fn look(
    primary: &mut End,
    plans: &Plans,
    hot: &mut Hot,
    marker: &Snapshot,
    chunk: usize,
) -> Result<Option<Look>, tokio_postgres::Error> {
    if hot.tables.is_empty() {
        return Ok(None);
    }
    let statement = primary.express(&hot.text(plans)).await?;
    let xmax = marker.xmax.to_string();
    let in_progress: Vec<String> = marker.in_progress.iter().map(u64::to_string).collect();
    let limit = chunk as i64 + 1;
    let parameters: [&(dyn ToSql + Sync); 3] = [&xmax, &in_progress, &limit];
    let rows = primary.connection.query(&statement, &parameters).await?;
    let mut answer = Answer::new(hot, marker);
    for row in &rows {
        answer.take(hot, row)?;
    }
    Ok(Some(answer.into_look(plans, hot, marker, chunk)))
}

/// The statement's rows, sorted out.
struct Answer {
    snapshot: Snapshot,
    touches: usize,
    unannounced: usize,
    evidence: Evidence,
    images: Vec<Option<Image>>,
    others: Vec<Entry>,
}

impl Answer {
    fn new(hot: &Hot, marker: &Snapshot) -> Self {
        let images = hot.tables.iter().map(|_| None).collect();
        let (snapshot, evidence) = (marker.clone(), Evidence::default());
        Answer { snapshot, touches: 0, unannounced: 0, evidence, images, others: Vec::new() }
    }

    fn take(&mut self, hot: &Hot, row: &Row) -> Result<(), tokio_postgres::Error> {
        match usize::try_from(row.try_get::<_, i32>(0)?) {
            Ok(part) => self.take_image(hot, part, row),
            Err(_) if row.try_get::<_, i32>(0)? == -1 => {
                self.take_head(row.try_get(3)?);
                Ok(())
            }
            Err(_) => {
                self.others.push(Entry::from_journal(row, 1)?);
                Ok(())
            }
        }
    }

    /// The server's own texts; they always parse.
    fn take_head(&mut self, head: Vec<Option<String>>) {
        let mut head = head.into_iter();
        let mut next = || head.next().flatten();
        if let Some(snapshot) = next().and_then(|text| text.parse().ok()) {
            self.snapshot = snapshot;
        }
        self.touches = next().and_then(|text| text.parse().ok()).unwrap_or_default();
        self.unannounced = next().and_then(|text| text.parse().ok()).unwrap_or_default();
        self.evidence.unflushed = next();
        self.evidence.asynchronous = next().is_some_and(|text| text != "false");
        self.evidence.last = next().and_then(|text| text.parse().ok());
    }

    fn take_image(&mut self, hot: &Hot, part: usize, row: &Row) -> Result<(), tokio_postgres::Error> {
        let plan = hot.tables.get(part).map(|hot| &hot.plan);
        let Some((slot, plan)) = self.images.get_mut(part).zip(plan) else { return Ok(()) };
        let Some(keyed) = &plan.keyed else { return Ok(()) };
        let gone: bool = row.try_get(4)?;
        let Cell(record) = row.try_get(5)?;
        let cells: Vec<Option<&[u8]>> = fields(record).collect();
        slot.get_or_insert_with(|| Image::new(plan, keyed)).push(keyed, gone, &cells);
        Ok(())
    }

    fn into_look(self, plans: &Plans, hot: &mut Hot, marker: &Snapshot, chunk: usize) -> Look {
        if self.touches == 0 {
            return Look::Nothing(self.snapshot);
        }
        let batch = Batch::new(self.others, plans);
        let appended_only = |group: &super::entry::Group| group.keys.is_empty() && group.wholes.is_empty();
        if self.touches > chunk || !batch.strangers.is_empty() || !batch.groups.iter().all(appended_only) {
            for group in batch.groups.iter().filter(|group| !group.keys.is_empty()) {
                hot.warm(&group.plan);
            }
            return Look::Otherwise;
        }
        let mut tables: Vec<Touched> = Vec::new();
        for (image, table) in self.images.into_iter().zip(&hot.tables) {
            if let Some(image) = image {
                tables.push(Touched { plan: Arc::clone(&table.plan), image: Some(image), rows: Vec::new() });
            }
        }
        for group in batch.groups {
            tables.push(Touched { plan: group.plan, image: None, rows: group.rows });
        }
        tables.sort_by_key(|touched| touched.plan.rank);
        hot.cool(|rel| tables.iter().any(|touched| touched.plan.rel == rel));
        let (snapshot, touches, unannounced) = (self.snapshot, self.touches, self.unannounced);
        let unflushed = self.evidence.missing(marker, &snapshot);
        Look::Work(Work { snapshot, tables, touches, unannounced, unflushed, as_seen: true })
    }
}
