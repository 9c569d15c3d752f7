//! The commands that ask a running proxy, and change one thing.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Output, Target, encode, who};
use super::screen::{self, Columns};
use super::{NOT_DONE, fail};
use crate::phase::Phase;

/// Between two screens of `--watch`.
const WATCH: Duration = Duration::from_secs(1);

/// Prints an answer, by `shown` or as JSON.
fn print(target: &Target, answer: Result<Value, String>, shown: impl Fn(&Value) -> String) -> ExitCode {
    match (answer, target.output) {
        (Ok(value), Output::Json) => say(&format!("{value:#}\n")),
        (Ok(value), Output::Text) => say(&shown(&value)),
        (Err(error), _) => fail(NOT_DONE, &error),
    }
}

/// To stdout; a reader that has gone away, as `head` does, is no failure.
pub(super) fn say(text: &str) -> ExitCode {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

pub fn status(target: &Target, watch: bool) -> ExitCode {
    loop {
        let answer = target.get("/api/status");
        if !watch {
            return print(target, answer, screen::status);
        }
        let shown = answer.map_or_else(|error| format!("{error}\n"), |status| screen::status(&status));
        // The screen is cleared from the top down: no flicker, and what was there before stays in the scroll-back.
        say(&format!("\x1b[H\x1b[2J{shown}"));
        std::thread::sleep(WATCH);
    }
}

fn rows<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

const FINDINGS: Columns = &[
    ("mismatched", "/mismatched"),
    ("calls", "/calls"),
    ("tables", "/tables"),
    ("what", "/last_mismatch/what"),
    ("statement", "/statement"),
];
const TABLES: Columns = &[("table", "/table"), ("state", "/state"), ("since", "/since"), ("captured by", "/capture")];
const PARKED: Columns = &[
    ("id", "/id"),
    ("table", "/table"),
    ("sqlstate", "/sqlstate"),
    ("error", "/error"),
    ("since", "/at"),
    ("discarded by", "/discarded_by"),
];
const HISTORY: Columns = &[("epoch", "/epoch"), ("at", "/at"), ("by", "/by"), ("from", "/from"), ("to", "/to")];

pub fn findings(target: &Target) -> ExitCode {
    let empty = "no read was answered differently";
    print(target, target.get("/api/findings"), |v| screen::table(FINDINGS, rows(v, "findings"), empty))
}

pub fn tables(target: &Target) -> ExitCode {
    print(target, target.get("/api/tables"), |v| screen::table(TABLES, rows(v, "tables"), "no tables"))
}

pub fn history(target: &Target) -> ExitCode {
    print(target, target.get("/api/history"), |v| screen::table(HISTORY, rows(v, "history"), "nothing was changed yet"))
}

/// `order`: none to list, or what to do with the entries `ids`, all where there are none.
pub fn parked(target: &Target, order: Option<&str>, ids: &[i64]) -> ExitCode {
    let Some(order) = order else {
        return print(target, target.get("/api/parked"), |v| {
            screen::table(PARKED, rows(v, "parked"), "nothing is parked")
        });
    };
    let body = json!({ "action": order, "ids": ids, "by": who() });
    let answer = target.call("POST", "/api/parked", &body).and_then(super::client::Answer::expect);
    let done = if order == "retry" { "put back into the journal" } else { "discarded, on the record" };
    print(target, answer, |v| format!("{} entries {done}\n", v["entries"]))
}

pub fn link(target: &Target, order: Option<&str>) -> ExitCode {
    let answer = match order {
        Some(order) => {
            target.call("POST", &format!("/api/link/{order}"), &Value::Null).and_then(super::client::Answer::expect)
        }
        None => target.get("/api/status"),
    };
    print(target, answer.map(|value| value["link"].clone()), fields)
}

pub fn phase(target: &Target, phase: Option<Phase>, force: bool, dry_run: bool) -> ExitCode {
    let Some(phase) = phase else { return print(target, target.get("/api/policy"), fields) };
    let body = json!({ "phase": phase, "by": who(), "force": force, "dry_run": dry_run });
    let answer = target.call("PATCH", "/api/policy", &body).and_then(super::client::Answer::expect);
    print(target, answer, |policy| match dry_run {
        true => gates(rows(policy, "gates")),
        false => fields(policy),
    })
}

fn gates(gates: &[Value]) -> String {
    const GATES: Columns = &[("gate", "/name"), ("holds", "/holds"), ("evidence", "/evidence")];
    screen::table(GATES, gates, "no gate stands in the way")
}

pub fn route(target: &Target, sql: &str, key: &str) -> ExitCode {
    print(target, target.get(&format!("/api/route?sql={}&key={}", encode(sql), encode(key))), fields)
}

pub fn reload(target: &Target) -> ExitCode {
    let answer = target.call("POST", "/api/reload", &Value::Null).and_then(super::client::Answer::expect);
    print(target, answer, fields)
}

/// One line for each field that has a value.
fn fields(value: &Value) -> String {
    let shown = |(name, value): (&String, &Value)| -> Option<String> {
        let text = super::client::text(value);
        (!text.is_empty()).then(|| format!("{:<22} {text}\n", name.replace('_', " ")))
    };
    value.as_object().into_iter().flatten().filter_map(shown).collect()
}
