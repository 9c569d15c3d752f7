//! `pgduet doctor`: asks both databases itself, or a running instance, and shows what stands in the way.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::ask::say;
use super::client::{Output, Target, text};
use super::{BAD_CONFIGURATION, NOT_DONE, fail};
use crate::config::Config;
use crate::doctor::examine;

/// Remarks of a section, and tables, that are shown to people; all of them with --output json.
const SHOWN: usize = 15;

#[derive(clap::Args)]
pub struct Doctor {
    /// The configuration that names both databases, which are asked directly. Default: proxy.yaml, where --admin is not given.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Asks a running instance instead, which knows its traffic, too: http://HOST:PORT.
    #[arg(long, env = "PGDUET_ADMIN")]
    admin: Option<String>,
    /// A file whose first line is the bearer token of that instance.
    #[arg(long, env = "PGDUET_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// text: for people; json: everything.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(doctor: &Doctor) -> ExitCode {
    let report = match (&doctor.config, &doctor.admin) {
        (None, Some(admin)) => {
            let target = Target::at(admin.clone(), doctor.token_file.clone(), doctor.output);
            match target.get("/api/doctor") {
                Ok(report) => report,
                Err(error) => return fail(NOT_DONE, &error),
            }
        }
        (config, _) => match Config::load(config.as_deref().unwrap_or("proxy.yaml".as_ref())) {
            Ok(config) => match examined(&config) {
                Ok(report) => report,
                Err(error) => return fail(NOT_DONE, &error),
            },
            Err(error) => return fail(BAD_CONFIGURATION, &error),
        },
    };
    match doctor.output {
        Output::Json => say(&format!("{report:#}\n")),
        Output::Text => say(&shown(&report)),
    };
    match report["verdict"] == "blocker" {
        true => ExitCode::from(NOT_DONE),
        false => ExitCode::SUCCESS,
    }
}

fn examined(config: &Config) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    serde_json::to_value(runtime.block_on(examine(config, &[]))).map_err(|e| e.to_string())
}

fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A screen for each section: its verdict, the worst first, and what to do.
fn shown(report: &Value) -> String {
    let mut out = String::new();
    for section in items(report, "sections") {
        out += &format!("{:<11} {}\n", text(&section["section"]), text(&section["verdict"]));
        match text(&section["section"]).as_str() {
            "servers" => out += &servers(report),
            "tables" => out += &tables(items(report, "tables")),
            _ => {}
        }
        let remarks = items(section, "remarks");
        remarks.iter().take(SHOWN).for_each(|remark| out += &lines(remark));
        out += &more(remarks.len());
        out.push('\n');
    }
    out + &verdict(report)
}

fn servers(report: &Value) -> String {
    let line = |side: &str| {
        let server = &report["servers"][side];
        let said = match server["version"].is_null() {
            true => "no answer".to_owned(),
            false => format!(
                "PostgreSQL {}, database {}, {}, {}, as {}",
                text(&server["version"]),
                text(&server["database"]),
                text(&server["encoding"]),
                text(&server["collation"]),
                text(&server["role"])
            ),
        };
        let role = if report["primary"] == side { "primary" } else { "secondary" };
        format!("  {side} ({role}): {said}\n")
    };
    line("old") + &line("new")
}

fn tables(tables: &[Value]) -> String {
    let rows: Vec<Value> = tables.iter().take(SHOWN).cloned().collect();
    let columns: super::screen::Columns =
        &[("table", "/table"), ("captured by", "/capture"), ("what, or why not otherwise", "/how")];
    let listed = super::screen::table(columns, &rows, "no tables");
    listed.lines().map(|line| format!("  {line}\n")).collect::<String>() + &more(tables.len())
}

fn more(all: usize) -> String {
    match all.saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!("  and {n} more: --output json has all\n"),
    }
}

fn lines(remark: &Value) -> String {
    let side = text(&remark["side"]);
    let object = text(&remark["object"]).replace('\n', " ");
    let place = if side.is_empty() { object } else { format!("{object} ({side})") };
    let mut out = format!("  {}: {place}: {}\n", text(&remark["severity"]), text(&remark["problem"]));
    if !remark["fix"].is_null() {
        out += &format!("    fix: {}\n", text(&remark["fix"]));
    }
    if !remark["sql"].is_null() {
        out += &format!("    on {side}: {};\n", text(&remark["sql"]).replace('\n', "\n      "));
    }
    out
}

fn verdict(report: &Value) -> String {
    let counts = format!("{} blockers, {} warnings, {} notes", report["blockers"], report["warnings"], report["notes"]);
    let said = match text(&report["verdict"]).as_str() {
        "ok" => "ok: nothing stands in the way",
        "warning" => "warning: nothing blocks; read what is named",
        _ => "blocker: what is named has to be removed first",
    };
    format!("{said} ({counts})\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_remark_says_what_where_and_what_to_run() {
        let remark = json!({
            "severity": "warning", "side": "new", "object": "TimeZone", "problem": "it differs", "fix": null,
            "sql": "ALTER DATABASE \"app\" SET \"TimeZone\" = 'UTC'",
        });
        let expected =
            "  warning: TimeZone (new): it differs\n    on new: ALTER DATABASE \"app\" SET \"TimeZone\" = 'UTC';\n";
        assert_eq!(lines(&remark), expected);
        assert_eq!(more(SHOWN), "");
        assert!(more(SHOWN + 2).contains("2 more"));
    }
}
