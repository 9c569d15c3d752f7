//! What a span may say of a text: its normal form, and the few words that its span is named by.

use std::collections::HashMap;

use crate::sql::{Fingerprint, Kind, Statement, Verb, normalised, read_shape, scan};

/// Statements whose tables are remembered; then it begins anew.
const MAX_KNOWN: usize = 1024;
/// A longer normal form is cut, characters.
const MAX_SHOWN: usize = 4 << 10;
/// The first word of what is no statement may be anything, characters.
const MAX_OPERATION: usize = 24;

/// A text as a span shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// `SELECT`; of several statements `BATCH`.
    pub operation: String,
    /// The only table that it names, if it is one.
    pub table: Option<String>,
    /// Without constants.
    pub text: String,
    pub fingerprint: Option<Fingerprint>,
    pub statements: usize,
}

/// Finds them, and remembers what is dear to find.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    tables: HashMap<Fingerprint, Option<String>>,
}

impl Words {
    /// The span's name: of low cardinality.
    pub fn summary(&self) -> String {
        match &self.table {
            Some(table) => format!("{} {table}", self.operation),
            None => self.operation.clone(),
        }
    }
}

impl Dictionary {
    pub fn words(&mut self, text: &[u8]) -> Words {
        let script = scan(text);
        let mut shown = normalised(text);
        if let Some((at, _)) = shown.char_indices().nth(MAX_SHOWN) {
            shown.truncate(at);
        }
        let statements = script.statements.len();
        match script.statements.as_slice() {
            [only] => Words {
                operation: operation(only, &shown),
                table: self.table(only, text),
                text: shown,
                fingerprint: Some(only.fingerprint),
                statements,
            },
            _ => Words { operation: "BATCH".into(), text: shown, statements, ..Words::default() },
        }
    }

    fn table(&mut self, statement: &Statement, text: &[u8]) -> Option<String> {
        if let Some(known) = self.tables.get(&statement.fingerprint) {
            return known.clone();
        }
        if self.tables.len() >= MAX_KNOWN {
            self.tables.clear();
        }
        let found = table(statement, text);
        self.tables.insert(statement.fingerprint, found.clone());
        found
    }
}

fn operation(statement: &Statement, shown: &str) -> String {
    let verb = statement.dml.iter().rfind(|dml| !dml.inner).or(statement.dml.last()).map(|dml| dml.verb);
    match (&statement.kind, verb) {
        (Kind::Read | Kind::ReadLocking, _) => "SELECT".into(),
        (_, Some(Verb::Insert)) => "INSERT".into(),
        (_, Some(Verb::Update)) => "UPDATE".into(),
        (_, Some(Verb::Delete)) => "DELETE".into(),
        (_, Some(Verb::Merge)) => "MERGE".into(),
        (_, None) => {
            let word = shown.chars().take_while(char::is_ascii_alphabetic).take(MAX_OPERATION);
            word.collect::<String>().to_ascii_uppercase()
        }
    }
}

fn table(statement: &Statement, text: &[u8]) -> Option<String> {
    let mut names: Vec<String> = match statement.dml.as_slice() {
        [] => {
            let own = text.get(statement.span.clone()).and_then(|own| std::str::from_utf8(own).ok())?;
            read_shape(own).ok()?.tables.into_iter().map(|table| table.name).collect()
        }
        writes => writes.iter().map(|dml| dml.target.name.clone()).collect(),
    };
    names.sort();
    names.dedup();
    names.pop().filter(|_| names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_named_by_operation_and_table() {
        let mut dictionary = Dictionary::default();
        for (text, summary) in [
            ("select * from account where id = 42", "SELECT account"),
            ("UPDATE public.account SET n = 1", "UPDATE account"),
            ("WITH w AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM w", "INSERT"),
            ("select * from a join b using (id)", "SELECT"),
            ("select 1; select 2", "BATCH"),
            ("begin", "BEGIN"),
            ("VACUUM account", "VACUUM"),
            ("'secret'", ""),
            ("", ""),
        ] {
            assert_eq!(dictionary.words(text.as_bytes()).summary(), summary, "{text}");
            assert_eq!(dictionary.words(text.as_bytes()).summary(), summary, "{text}, remembered");
        }
    }

    #[test]
    fn no_constant_is_shown() {
        let words = Dictionary::default().words(b"INSERT INTO t VALUES (4711, 'geheim') -- geheim");
        assert!(!format!("{words:?}").contains("geheim") && !words.text.contains("4711"), "{words:?}");
    }
}
