//! Gates: conditions that must hold before a step, each with its evidence. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use crate::link::Bypassed;
use crate::link::ledger::{LinkReport, LinkState};
use crate::routing::Phase;

/// Reads are not raised onto a secondary that is further behind than this, seconds.
const MAX_LAG_SECONDS: f64 = 10.0;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    pub name: &'static str,
    pub holds: bool,
    pub evidence: Value,
    /// Whether `force` may override it.
    pub may_be_forced: bool,
}

/// Whether one phase may follow another in this version.
pub fn phase_order(from: Phase, to: Phase) -> Gate {
    let holds =
        matches!((from, to), (Phase::OldOnly, Phase::DualWrite) | (Phase::DualWrite, Phase::OldOnly)) || from == to;
    let evidence = match holds {
        true => json!({ "from": from, "to": to }),
        false => json!({ "from": from, "to": to, "problem": "this version goes from old_only to dual_write and back" }),
    };
    Gate { name: "phase_order", holds, evidence, may_be_forced: false }
}

/// Whether anything would be carried at all. A database without tables is no obstacle: they may come.
pub fn tables_paired(mirrored: &[String], left_out: &[Value]) -> Gate {
    let evidence = json!({ "mirrored": mirrored.len(), "left_out": left_out });
    let holds = !mirrored.is_empty() || left_out.is_empty();
    Gate { name: "tables_paired", holds, evidence, may_be_forced: true }
}

/// Whether a backend answers and can carry the schema `pgduet`.
pub fn prepared(problem: Option<String>) -> Gate {
    let holds = problem.is_none();
    Gate { name: "backends_prepared", holds, evidence: json!({ "problem": problem }), may_be_forced: false }
}

/// Whether a transaction was prepared before anything was captured: its writes would be missed when it is committed.
pub fn nothing_prepared(gids: &[String]) -> Gate {
    let hint = "COMMIT PREPARED or ROLLBACK PREPARED them first.";
    let evidence = json!({ "prepared": gids, "hint": hint });
    Gate { name: "nothing_prepared", holds: gids.is_empty(), evidence, may_be_forced: true }
}

/// Whether all that was written was captured, as far as it can be known: what the sessions had to let pass, and who writes without them.
pub fn writes_captured(uncaptured: u64, bypassed: &[Bypassed]) -> Gate {
    let holds = uncaptured == 0 && bypassed.is_empty();
    let evidence = json!({ "uncaptured_total": uncaptured, "bypassed": bypassed });
    Gate { name: "writes_captured", holds, evidence, may_be_forced: true }
}

/// Whether every table that triggers are to capture has them.
pub fn triggers_made(refused: &[Value]) -> Gate {
    let hint =
        "Grant the role of pgduet TRIGGER on these tables (or make it a member of their owner), or exclude them.";
    let evidence = json!({ "refused": refused, "hint": hint });
    Gate { name: "triggers_made", holds: refused.is_empty(), evidence, may_be_forced: false }
}

/// Whether reads may be given to the secondary.
pub fn link_follows(report: &LinkReport) -> Gate {
    let running = report.state == LinkState::Running;
    let near = report.lag_seconds <= MAX_LAG_SECONDS;
    Gate {
        name: "link_follows",
        holds: running && near,
        evidence: json!({
            "state": report.state, "reason": report.reason, "lag_seconds": report.lag_seconds,
            "lag_entries": report.lag_entries, "max_lag_seconds": MAX_LAG_SECONDS,
        }),
        may_be_forced: true,
    }
}

/// Reads can only be shared out in a phase with a secondary.
pub fn reads_have_a_link(phase: Phase, raised: bool) -> Gate {
    let holds = phase.captures() || !raised;
    Gate { name: "phase_has_secondary", holds, evidence: json!({ "phase": phase }), may_be_forced: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::ledger::{Counts, LinkReport};

    #[test]
    fn reads_rise_only_on_a_link_that_follows() {
        let report = |state, lag_seconds| LinkReport {
            state,
            reason: String::new(),
            counts: Counts::default(),
            lag_entries: 0,
            lag_seconds,
            cycle: 1,
        };
        assert!(link_follows(&report(LinkState::Running, 0.1)).holds);
        assert!(!link_follows(&report(LinkState::Running, 11.0)).holds);
        assert!(!link_follows(&report(LinkState::Degraded, 0.0)).holds);
    }

    #[test]
    fn a_stranger_closes_the_gate() {
        let stranger = Bypassed { table: "public.t".into(), transactions: 1 };
        assert!(writes_captured(0, &[]).holds);
        assert!(!writes_captured(1, &[]).holds && !writes_captured(0, &[stranger]).holds);
    }

    #[test]
    fn no_phase_is_skipped() {
        assert!(phase_order(Phase::OldOnly, Phase::DualWrite).holds);
        assert!(!phase_order(Phase::OldOnly, Phase::NewPrimary).holds);
        assert!(!phase_order(Phase::DualWrite, Phase::NewOnly).holds);
    }
}
