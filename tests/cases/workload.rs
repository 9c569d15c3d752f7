//! A workload, as a driver that is not psql sends it: statement by statement.

use std::path::Path;

use pgduet::sql::scan;

/// What a client has seen of a workload.
#[derive(Debug, Default)]
pub struct Seen {
    pub answers: Vec<String>,
    pub errors: Vec<String>,
}

/// One thing that a client sends.
#[derive(Debug)]
pub enum Item {
    Statement(String),
    /// COPY FROM STDIN with its data.
    CopyIn(String, String),
}

#[derive(Debug)]
pub struct Workload {
    pub items: Vec<Item>,
}

impl Workload {
    pub fn read(path: &Path) -> Workload {
        Workload::of(&std::fs::read_to_string(path).expect("a workload"))
    }

    /// Statements end with a semicolon at the end of a line; `\;` and psql's own commands are psql's alone, and left out.
    fn of(text: &str) -> Workload {
        let mut items = vec![];
        let mut rest = text;
        while let Some((statement, tail)) = next_statement(rest) {
            rest = tail;
            // One that fails at once is given no data.
            if let Some((data, tail)) = rest.split_once("\\.\n").filter(|_| is_copy_in(statement)) {
                rest = tail;
                items.push(Item::CopyIn(statement.to_owned(), data.to_owned()));
            } else if !statement.trim_start().starts_with('\\') {
                items.extend(statements(statement).into_iter().map(Item::Statement));
            }
        }
        Workload { items }
    }
}

/// The text up to a line that ends a statement, or one command of psql's.
fn next_statement(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    if text.starts_with('\\') {
        return Some(text.split_once('\n').unwrap_or((text, "")));
    }
    let ends = text.match_indices(";\n").map(|(at, _)| at + 1);
    let end = ends.into_iter().find(|end| is_whole(&text[..*end])).unwrap_or(text.len());
    Some((&text[..end], text.get(end + 1..).unwrap_or_default()))
}

/// A dollar-quoted body holds lines that end like a statement.
fn is_whole(text: &str) -> bool {
    text.matches("$$").count().is_multiple_of(2) && !text.trim_end().to_lowercase().ends_with("begin atomic;")
}

/// psql sends what `\;` joins as one text; here each is sent by itself.
fn statements(text: &str) -> Vec<String> {
    let text = text.replace("\\;", ";");
    let script = scan(text.as_bytes());
    script.statements.iter().map(|s| text[s.span.clone()].to_owned()).filter(|s| !s.is_empty()).collect()
}

fn is_copy_in(statement: &str) -> bool {
    let lower = statement.to_lowercase();
    let last = lower.lines().last().unwrap_or_default();
    last.trim_start().starts_with("copy ") && last.contains("from stdin")
}
