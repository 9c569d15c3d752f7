//! The doctor: what in schemas, settings, privileges and traffic stands in the way of a migration, each with its fix.
//!
//! It reads ([`facts`], the questions are in [`queries`]) and judges (everything else, pure); it writes nothing, on either side, and needs
//! neither a running proxy nor `init`. What the router and the runbook decide by is asked of them, not decided here again: the pairing of the
//! tables, which of them get triggers, and why RETURNING does not do.

mod facts;
mod privileges;
mod queries;
mod report;
mod schema;
mod servers;
mod settings;
mod tables;
mod traffic;

pub use report::{Method, Remark, Report, Section, ServerLine, Severity, TableLine, Topic, Verdict};
pub use traffic::Seen;

use crate::backend::introspect::{self, Paired};
use crate::config::Config;
use crate::phase::Phase;
use crate::side::{BySide, Side};
use facts::{Facts, Silence};
use schema::Difference;

/// Both sides, and which of them is the primary.
struct Pair<'c> {
    config: &'c Config,
    facts: BySide<Facts>,
    paired: Paired,
    differences: Vec<Difference>,
    phase: Phase,
}

impl<'c> Pair<'c> {
    fn new(config: &'c Config, old: Facts, new: Facts) -> Self {
        let paired = introspect::pair(old.schema.clone(), new.schema.clone());
        let phase = phase_of([&old, &new]);
        let facts = BySide { old, new };
        let mut pair = Pair { config, facts, paired, differences: vec![], phase };
        pair.differences = schema::differences(&pair.primary().objects, &pair.secondary().objects, pair.same_version());
        pair
    }

    fn side(&self, side: Side) -> &Facts {
        self.facts.get(side)
    }

    fn primary(&self) -> &Facts {
        self.side(self.phase.primary())
    }

    fn secondary(&self) -> &Facts {
        self.side(self.phase.primary().other())
    }

    fn same_version(&self) -> bool {
        self.facts.old.server.major() == self.facts.new.server.major()
    }
}

/// The side with the higher epoch is believed; without any, nothing has begun.
fn phase_of(facts: [&Facts; 2]) -> Phase {
    let known = facts.iter().filter_map(|facts| facts.control.as_ref()).max_by_key(|control| control.epoch);
    known.map_or(Phase::OldOnly, |control| control.settings.phase)
}

/// Looks at both sides. `seen`: what a running instance knows of its traffic. A side that does not answer is a blocker, not an error.
pub async fn examine(config: &Config, seen: &[Seen]) -> Report {
    let (old, new) = tokio::join!(Facts::read(Side::Old, config), Facts::read(Side::New, config));
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => return half_blind(BySide { old, new }),
    };
    let servers = BySide { old: line(&old), new: line(&new) };
    let pair = Pair::new(config, old, new);
    let judged = |topic: Topic| match topic {
        Topic::Servers => servers::judge(&pair),
        Topic::Settings => settings::judge(&pair),
        Topic::Privileges => privileges::judge(&pair),
        Topic::Tables => tables::judge(&pair),
        Topic::Schema => schema::judge(&pair),
        Topic::Traffic => traffic::judge(&pair, seen),
    };
    let sections = Topic::ALL.into_iter().map(|topic| Section::new(topic, judged(topic))).collect();
    Report::new((pair.phase, pair.phase.primary()), servers, sections, tables::lines(&pair))
}

/// Nothing can be compared with a side that does not answer.
fn half_blind(facts: BySide<Result<Facts, Silence>>) -> Report {
    let remark = |side| {
        let silence = facts.get(side).as_ref().err()?;
        let fix = "see that it runs, that backends.url names it, and that pgduet's role may log in";
        Some(Remark::blocker("unreachable", side.as_str(), silence.to_string()).on(side).fix(fix))
    };
    let remarks = Side::BOTH.into_iter().filter_map(remark).collect();
    let shown = |side| facts.get(side).as_ref().map(line).unwrap_or_default();
    let phase = Side::BOTH.into_iter().filter_map(|side| facts.get(side).as_ref().ok()).next();
    let phase = phase.map_or(Phase::OldOnly, |facts| phase_of([facts, facts]));
    let servers = BySide { old: shown(Side::Old), new: shown(Side::New) };
    Report::new((phase, phase.primary()), servers, vec![Section::new(Topic::Servers, remarks)], vec![])
}

fn line(facts: &Facts) -> ServerLine {
    let server = &facts.server;
    ServerLine {
        version: Some(server.version.clone()),
        database: server.database.clone(),
        encoding: server.encoding.clone(),
        collation: server.collate.clone(),
        role: server.role.clone(),
    }
}
