//! What the doctor says, as values. Pure.

use serde::Serialize;

use crate::phase::Phase;
use crate::side::{BySide, Side};

/// How much a remark weighs. Ordered: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// The migration goes on, and something will be slower, unequal or refused.
    Warning,
    /// As things are, the migration cannot begin, or rows would not be carried.
    Blocker,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Blocker => "blocker",
        }
    }
}

/// Where a remark belongs: one screen each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Servers,
    Settings,
    Privileges,
    Tables,
    Schema,
    Traffic,
}

impl Topic {
    pub const ALL: [Topic; 6] =
        [Topic::Servers, Topic::Settings, Topic::Privileges, Topic::Tables, Topic::Schema, Topic::Traffic];

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Servers => "servers",
            Topic::Settings => "settings",
            Topic::Privileges => "privileges",
            Topic::Tables => "tables",
            Topic::Schema => "schema",
            Topic::Traffic => "traffic",
        }
    }
}

/// One thing that stands in the way, or will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// A fixed word, for scripts: see docs/doctor.md.
    pub name: &'static str,
    pub severity: Severity,
    /// The side that it is about, where the fix belongs.
    pub side: Option<Side>,
    /// The table, setting, role, ... that it is about.
    pub object: String,
    /// What is so, and what follows.
    pub problem: String,
    /// What to do, in words.
    pub fix: Option<String>,
    /// What to run on `side`, word for word.
    pub sql: Option<String>,
}

impl Remark {
    pub fn new(name: &'static str, severity: Severity, object: impl Into<String>, problem: impl Into<String>) -> Self {
        let (object, problem) = (object.into(), problem.into());
        Remark { name, severity, side: None, object, problem, fix: None, sql: None }
    }

    pub fn note(name: &'static str, object: impl Into<String>, problem: impl Into<String>) -> Self {
        Remark::new(name, Severity::Note, object, problem)
    }

    pub fn warning(name: &'static str, object: impl Into<String>, problem: impl Into<String>) -> Self {
        Remark::new(name, Severity::Warning, object, problem)
    }

    pub fn blocker(name: &'static str, object: impl Into<String>, problem: impl Into<String>) -> Self {
        Remark::new(name, Severity::Blocker, object, problem)
    }

    pub fn on(self, side: Side) -> Self {
        Remark { side: Some(side), ..self }
    }

    pub fn fix(self, words: impl Into<String>) -> Self {
        Remark { fix: Some(words.into()), ..self }
    }

    /// An empty statement is none.
    pub fn sql(self, statement: impl Into<String>) -> Self {
        Remark { sql: Some(statement.into()).filter(|sql| !sql.is_empty()), ..self }
    }
}

/// What the whole, or a section, comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Warning,
    Blocker,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Blocker => "blocker",
        }
    }

    fn of(remarks: &[Remark]) -> Verdict {
        match remarks.iter().map(|remark| remark.severity).max() {
            Some(Severity::Blocker) => Verdict::Blocker,
            Some(Severity::Warning) => Verdict::Warning,
            Some(Severity::Note) | None => Verdict::Ok,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    pub section: Topic,
    pub verdict: Verdict,
    /// The worst first.
    pub remarks: Vec<Remark>,
}

impl Section {
    pub fn new(section: Topic, mut remarks: Vec<Remark>) -> Self {
        remarks.sort_by(|a, b| (b.severity, a.name, &a.object).cmp(&(a.severity, b.name, &b.object)));
        Section { section, verdict: Verdict::of(&remarks), remarks }
    }
}

/// How writes to a table reach the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Returning,
    Trigger,
    /// By the server's own counters of the transaction: the whole table is compared and carried.
    Counters,
    /// Not at all.
    Uncaptured,
    /// Not at all, as configured.
    Excluded,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Returning => "returning",
            Method::Trigger => "trigger",
            Method::Counters => "counters",
            Method::Uncaptured => "uncaptured",
            Method::Excluded => "excluded",
        }
    }
}

/// One table of the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableLine {
    pub table: String,
    pub capture: Method,
    /// What is captured, or why not otherwise.
    pub how: String,
    /// As the server estimates them; -1: it has never counted.
    pub rows: i64,
}

/// A side in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerLine {
    /// `None`: it could not be asked.
    pub version: Option<String>,
    pub database: String,
    pub encoding: String,
    pub collation: String,
    /// pgduet's own role there.
    pub role: String,
}

/// Everything. `GET /api/doctor` answers with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub verdict: Verdict,
    pub blockers: usize,
    pub warnings: usize,
    pub notes: usize,
    /// As the databases say; `old_only` before `init`.
    pub phase: Phase,
    pub primary: Side,
    pub servers: BySide<ServerLine>,
    pub sections: Vec<Section>,
    pub tables: Vec<TableLine>,
}

impl Report {
    pub fn new(
        (phase, primary): (Phase, Side),
        servers: BySide<ServerLine>,
        sections: Vec<Section>,
        tables: Vec<TableLine>,
    ) -> Self {
        let count = |severity| sections.iter().flat_map(|s| &s.remarks).filter(|r| r.severity == severity).count();
        let verdict = sections.iter().map(|section| section.verdict).max().unwrap_or(Verdict::Ok);
        Report {
            verdict,
            blockers: count(Severity::Blocker),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
            phase,
            primary,
            servers,
            sections,
            tables,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_as_good_as_its_worst_remark_and_notes_are_no_fault() {
        let verdict = |remarks| Section::new(Topic::Tables, remarks).verdict;
        let (note, warning) = (Remark::note("a", "t", "p"), Remark::warning("b", "t", "p"));
        assert_eq!(verdict(vec![note.clone()]), Verdict::Ok);
        assert_eq!(verdict(vec![note.clone(), warning.clone()]), Verdict::Warning);
        let sections = vec![
            Section::new(Topic::Tables, vec![note, warning]),
            Section::new(Topic::Schema, vec![Remark::blocker("c", "t", "p")]),
        ];
        assert_eq!(sections[0].remarks[0].name, "b");
        let report = Report::new((Phase::OldOnly, Side::Old), BySide::default(), sections, vec![]);
        assert_eq!((report.verdict, report.blockers, report.warnings, report.notes), (Verdict::Blocker, 1, 1, 1));
    }
}
