//! What runs there now, and what the application uses that only the primary has. Pure.

use super::Pair;
use super::facts::{Facts, Item};
use super::queries::About;
use super::report::Remark;
use crate::side::Side;

/// A write that a running instance could not capture.
#[derive(Clone, Debug)]
pub struct Seen {
    pub statement: String,
    pub reason: String,
    pub count: u64,
}

impl From<crate::session::Uncaptured> for Seen {
    fn from(uncaptured: crate::session::Uncaptured) -> Self {
        Seen { statement: uncaptured.statement, reason: uncaptured.reason.into(), count: uncaptured.count }
    }
}

pub fn judge(pair: &Pair<'_>, seen: &[Seen]) -> Vec<Remark> {
    let mut remarks: Vec<Remark> = Side::BOTH.iter().flat_map(|&side| waiting(pair.side(side))).collect();
    remarks.extend(local(pair.primary()));
    remarks.extend(seen.iter().map(|seen| {
        let problem = format!("it was not captured, {} times: {}", seen.count, seen.reason);
        let fix = "run it in a form that is (docs/limits.md), then compare the tables that it writes";
        Remark::warning("uncaptured", &seen.statement, problem).on(pair.primary().side).fix(fix)
    }));
    remarks
}

/// What a change of phase waits for, and what keeps old rows from being removed: the journal's, too.
fn waiting(facts: &Facts) -> Vec<Remark> {
    let of = |about, name: &'static str, said: &'static str| {
        let remark = move |item: &Item| {
            Remark::warning(name, &item.object, format!("{said} ({})", item.detail)).on(facts.side).sql(&item.sql)
        };
        facts.items(about).iter().map(remark)
    };
    let long = "a transaction is open for long: a change of phase waits for it, and the journal cannot be cleaned up";
    let prepared =
        "a prepared transaction is open: it is not carried, a change of phase waits for its locks, and old rows stay";
    let slot = "nobody reads this replication slot, and it keeps old rows from being removed";
    of(About::LongTransactions, "long_transaction", long)
        .chain(of(About::PreparedTransactions, "prepared_transaction", prepared))
        .chain(of(About::IdleSlots, "replication_slot", slot))
        .collect()
}

fn local(facts: &Facts) -> Vec<Remark> {
    let mut remarks = vec![];
    if facts.server.large_objects > 0 {
        let problem = format!("{} large objects are not carried", facts.server.large_objects);
        let fix =
            "copy them when the application stands still (pg_dump --large-objects), or move them into bytea columns";
        remarks.push(Remark::warning("large_objects", "pg_largeobject", problem).on(facts.side).fix(fix));
    }
    remarks.extend(facts.items(About::LocalFunctions).iter().map(|function| {
        let problem = format!("it uses \"{}\", which happens on the primary alone", function.detail.trim());
        Remark::note("primary_only", &function.object, problem).on(facts.side)
    }));
    remarks.extend(facts.items(About::LocalStatements).iter().map(|statement| {
        let problem = format!("{}: what it does happens on the primary alone", statement.detail);
        Remark::note("primary_only", &statement.object, problem).on(facts.side)
    }));
    remarks
}
