//! The text form of exchanges.
//!
//! ```text
//! ## what the exchange shows
//! startup options=-csearch_path=app      first line of an exchange, where the usual start-up is not wanted; `startup 3.2 ...`
//! Query SELECT 1
//!   , 2                                  a line that begins with two blanks goes on with the one before
//! until ReadyForQuery                    sends what stands above, in one write, and reads up to and with that message
//! <= T D C Z                             the answer's types, recorded from PostgreSQL; `D*3`: three of them
//! 2: Query NOTIFY x                      on a second connection
//! ```
//!
//! The messages are those of `front.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub exchanges: Vec<Exchange>,
}

#[derive(Clone, Debug)]
pub struct Exchange {
    pub name: String,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// Of the file, from 0.
    pub line: usize,
    pub connection: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Startup(String),
    Send(String),
    /// `expected`: the recorded types of what is read.
    Until {
        message: String,
        expected: Option<String>,
    },
    /// The phase of the proxy changes; bare PostgreSQL has none.
    Phase(String),
}

pub fn read_all(folder: &Path) -> Vec<File> {
    let entries = std::fs::read_dir(folder).expect("the folder of cases");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "wire"));
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> File {
    let text = std::fs::read_to_string(&path).expect("a file of exchanges");
    let mut exchanges: Vec<Exchange> = vec![];
    for (line, text) in text.lines().enumerate() {
        if let Some(name) = text.strip_prefix("## ") {
            exchanges.push(Exchange { name: name.to_owned(), steps: vec![] });
        } else if !text.trim().is_empty() && !text.starts_with('#') {
            let exchange = exchanges.last_mut().unwrap_or_else(|| panic!("{}: no exchange yet", path.display()));
            exchange.add(line, text);
        }
    }
    File { path, exchanges }
}

impl Exchange {
    fn add(&mut self, line: usize, text: &str) {
        match (self.steps.last_mut().map(|step| &mut step.what), text.strip_prefix("  "), text.strip_prefix("<= ")) {
            (Some(What::Send(before)), Some(more), _) => {
                before.push('\n');
                before.push_str(more);
                return;
            }
            (Some(What::Until { expected, .. }), _, Some(letters)) => {
                *expected = Some(letters.to_owned());
                return;
            }
            _ => {}
        }
        let (connection, text) = match text.split_once(": ") {
            Some(("2", rest)) => (2, rest),
            _ => (1, text),
        };
        let what = match text.split_once(' ').unwrap_or((text, "")) {
            ("startup", rest) => What::Startup(rest.to_owned()),
            ("until", message) => What::Until { message: message.to_owned(), expected: None },
            ("phase", phase) => What::Phase(phase.to_owned()),
            _ => What::Send(text.to_owned()),
        };
        self.steps.push(Step { line, connection, what });
    }
}

/// The text form again; without the record, which only a file has.
impl fmt::Display for Exchange {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        writeln!(out, "## {}", self.name)?;
        for step in &self.steps {
            let connection = if step.connection == 1 { String::new() } else { format!("{}: ", step.connection) };
            match &step.what {
                What::Startup(text) => writeln!(out, "{connection}startup {text}")?,
                What::Send(text) => writeln!(out, "{connection}{}", text.replace('\n', "\n  "))?,
                What::Until { message, .. } => writeln!(out, "{connection}until {message}")?,
                What::Phase(phase) => writeln!(out, "phase {phase}")?,
            }
        }
        Ok(())
    }
}

/// Writes the recorded answers of bare PostgreSQL into the file: (line of the `until`, types).
pub fn record(file: &File, answers: &[(usize, String)]) {
    let text = std::fs::read_to_string(&file.path).expect("a file of exchanges");
    let mut out = String::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("<= ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        for (_, letters) in answers.iter().filter(|(line, _)| *line == at) {
            out.push_str(&format!("<= {letters}\n"));
        }
    }
    std::fs::write(&file.path, out).expect("the recorded file");
}
