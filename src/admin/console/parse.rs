//! What is said at the console, as values. Pure.

use crate::config;
use crate::routing::{Ack, Percent, Phase};
use crate::runbook::PolicyPatch;
use crate::session::console::Notice;
use crate::sql::lex::{Backslash, Lexer, TokenKind};
use crate::sql::{constant, scan};

/// What `SHOW` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Help,
    Phase,
    Link,
    Reads,
    Shadow,
    Findings,
    Statements,
    Clients,
    Backends,
    Instances,
    Tables,
    Parked,
    History,
    Doctor,
    Config,
    Version,
}

impl Topic {
    pub const ALL: [Topic; 16] = [
        Topic::Help,
        Topic::Phase,
        Topic::Link,
        Topic::Reads,
        Topic::Shadow,
        Topic::Findings,
        Topic::Statements,
        Topic::Clients,
        Topic::Backends,
        Topic::Instances,
        Topic::Tables,
        Topic::Parked,
        Topic::History,
        Topic::Doctor,
        Topic::Config,
        Topic::Version,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Topic::Help => "help",
            Topic::Phase => "phase",
            Topic::Link => "link",
            Topic::Reads => "reads",
            Topic::Shadow => "shadow",
            Topic::Findings => "findings",
            Topic::Statements => "statements",
            Topic::Clients => "clients",
            Topic::Backends => "backends",
            Topic::Instances => "instances",
            Topic::Tables => "tables",
            Topic::Parked => "parked",
            Topic::History => "history",
            Topic::Doctor => "doctor",
            Topic::Config => "config",
            Topic::Version => "version",
        }
    }
}

/// One statement, understood.
#[derive(Clone, Debug)]
pub enum Command {
    Show(Topic),
    Set(Box<PolicyPatch>),
    /// `EXPLAIN SET ...`: what the gates say.
    Check(Box<PolicyPatch>),
    /// `EXPLAIN ROUTE <statement>`
    Route(String),
    Pause,
    Resume,
    /// What drivers say on their own account and means nothing here: answered with its tag.
    Nothing(&'static str),
    /// The one-row questions that drivers and health checks ask.
    One,
    Version,
}

/// Reads one statement.
pub fn parse(sql: &str) -> Result<Command, Box<Notice>> {
    let words = Words::of(sql);
    match words.lower(0).as_str() {
        "show" => show(&words),
        "set" => set(&words),
        "explain" => explain(sql, &words),
        "pause" => Ok(Command::Pause),
        "resume" => Ok(Command::Resume),
        "begin" | "start" => Ok(Command::Nothing("BEGIN")),
        "commit" | "end" => Ok(Command::Nothing("COMMIT")),
        "rollback" | "abort" => Ok(Command::Nothing("ROLLBACK")),
        "discard" => Ok(Command::Nothing("DISCARD ALL")),
        "deallocate" => Ok(Command::Nothing("DEALLOCATE")),
        "reset" => Ok(Command::Nothing("RESET")),
        "select" => select(&words),
        "" => Err(unknown("an empty statement")),
        other => Err(unknown(&format!("\"{other}\""))),
    }
}

/// The statements of a text, one by one, with the comments that stand before their semicolons: those may be a routing key.
pub fn split(text: &str) -> Vec<String> {
    let statements = scan(text.as_bytes()).statements;
    let parts = statements.iter().filter_map(|statement| {
        let rest = text.get(statement.span.start..)?;
        let after = rest.get(statement.span.len()..)?;
        rest.get(..statement.span.len() + until_semicolon(after))
    });
    parts.map(|part| part.trim_end().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// How far the next semicolon is, or the end.
fn until_semicolon(text: &str) -> usize {
    Lexer::new(text.as_bytes(), Backslash::Plain).next_significant().start.min(text.len())
}

fn unknown(what: &str) -> Box<Notice> {
    let notice = Notice::error("42601", format!("the console does not know {what}"));
    Box::new(
        notice.hint(
            "SHOW HELP lists what it knows. For the databases' own data, connect to the database that is served.",
        ),
    )
}

fn show(words: &Words) -> Result<Command, Box<Notice>> {
    let word = words.lower(1);
    let known = Topic::ALL.into_iter().find(|topic| topic.word() == word);
    match (known, words.len()) {
        (Some(topic), 2) => Ok(Command::Show(topic)),
        (None, 2) | (None, 1) => Err(Box::new(
            Notice::error("42704", format!("unrecognized configuration parameter \"{word}\""))
                .hint(format!("SHOW takes one of {}.", listed())),
        )),
        _ => Err(Box::new(Notice::error("42601", "SHOW takes one word").hint(format!("One of {}.", listed())))),
    }
}

fn listed() -> String {
    Topic::ALL.map(|topic| topic.word().to_uppercase()).join(", ")
}

/// What drivers set on their own account; it changes nothing here.
const HARMLESS: [&str; 10] = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "lock_timeout",
    "session",
    "statement_timeout",
    "timezone",
];

fn set(words: &Words) -> Result<Command, Box<Notice>> {
    let name = words.lower(1);
    if HARMLESS.contains(&name.as_str()) {
        return Ok(Command::Nothing("SET"));
    }
    change(words, 1).map(|patch| Command::Set(Box::new(patch)))
}

/// `name = value [FORCE]`, from word `at` on.
fn change(words: &Words, at: usize) -> Result<PolicyPatch, Box<Notice>> {
    let name = words.lower(at);
    if !["=", "to"].contains(&words.lower(at + 1).as_str()) || words.len() < at + 3 {
        return Err(Box::new(
            Notice::error("42601", "SET takes a name, \"=\" and a value")
                .hint("As in SET read_percent = 25, or SET phase = 'dual_write'."),
        ));
    }
    let force = match (words.len() - at, words.lower(at + 3).as_str()) {
        (3, _) => false,
        (4, "force") => true,
        _ => {
            return Err(Box::new(Notice::error("42601", "only FORCE may follow the value").hint(
                "FORCE overrides gates that may be overridden, and is recorded. A value of several words is quoted.",
            )));
        }
    };
    let value = words.value(at + 2);
    let patch = PolicyPatch { force, ..PolicyPatch::default() };
    match name.as_str() {
        "phase" => Ok(PolicyPatch { phase: Some(phase(&value)?), ..patch }),
        "read_percent" => Ok(PolicyPatch { read_percent: Some(percent(&value)?), ..patch }),
        "shadow_sample_percent" => Ok(PolicyPatch { shadow_sample_percent: Some(percent(&value)?), ..patch }),
        "ack" => Ok(PolicyPatch { ack: Some(ack(&value)?), ..patch }),
        _ => Err(Box::new(Notice::error("42704", format!("unrecognized configuration parameter \"{name}\"")).hint(
            "SET takes one of phase, read_percent, ack, shadow_sample_percent. Everything else stands in proxy.yaml.",
        ))),
    }
}

fn bad_value(problem: String, hint: &str) -> Box<Notice> {
    Box::new(Notice::error("22023", problem).hint(hint))
}

fn percent(text: &str) -> Result<Percent, Box<Notice>> {
    let hint = "Give a number from 0 to 100, as in SET read_percent = 12.5. SHOW PHASE says what is in force.";
    let number = text.trim_end_matches('%').trim().parse::<f64>();
    number
        .map_err(|_| bad_value(format!("\"{text}\" is no number"), hint))
        .and_then(|n| Percent::from_f64(n).map_err(|problem| bad_value(problem, hint)))
}

fn phase(text: &str) -> Result<Phase, Box<Notice>> {
    let hint = "SHOW PHASE says which one is in force, EXPLAIN SET phase = '...' what stands in the way of another.";
    text.parse().map_err(|problem| bad_value(problem, hint))
}

fn ack(text: &str) -> Result<Ack, Box<Notice>> {
    match text {
        "both" => Ok(config::Ack::Both),
        "primary" => Ok(config::Ack::Primary),
        other => Err(bad_value(
            format!("\"{other}\" is no ack; valid: both, primary"),
            "With both a commit is reported once it is on both databases, with primary once it is on the primary.",
        )),
    }
}

fn explain(sql: &str, words: &Words) -> Result<Command, Box<Notice>> {
    match words.lower(1).as_str() {
        "route" if words.len() > 2 => Ok(Command::Route(sql.get(words.start(2)..).unwrap_or_default().to_owned())),
        "set" => change(words, 2).map(|patch| Command::Check(Box::new(PolicyPatch { dry_run: true, ..patch }))),
        _ => Err(Box::new(
            Notice::error("42601", "EXPLAIN takes ROUTE and a statement, or SET and a change")
                .hint("As in EXPLAIN ROUTE SELECT 1, or EXPLAIN SET phase = 'dual_write'."),
        )),
    }
}

fn select(words: &Words) -> Result<Command, Box<Notice>> {
    let text: Vec<String> = (1..words.len()).map(|at| words.lower(at)).collect();
    match text.join("").as_str() {
        "1" => Ok(Command::One),
        "version()" | "pg_catalog.version()" => Ok(Command::Version),
        _ => Err(Box::new(
            Notice::error("0A000", "the console has no tables to select from")
                .detail("Commands of psql such as \\d read the catalog, and here is none.")
                .hint("SHOW HELP lists what there is. For the databases' own data, connect to the database that is served."),
        )),
    }
}

/// The tokens of one statement, comments left out.
struct Words<'a> {
    text: &'a str,
    tokens: Vec<std::ops::Range<usize>>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        let mut lexer = Lexer::new(text.as_bytes(), Backslash::Plain);
        let mut tokens = vec![];
        loop {
            let token = lexer.next_significant();
            match token.kind {
                TokenKind::End => break,
                TokenKind::Semicolon => {}
                _ => tokens.push(token.start..token.end),
            }
        }
        Words { text, tokens }
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn start(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(self.text.len(), |token| token.start)
    }

    fn raw(&self, at: usize) -> &'a str {
        self.tokens.get(at).and_then(|token| self.text.get(token.clone())).unwrap_or_default()
    }

    fn lower(&self, at: usize) -> String {
        self.raw(at).to_lowercase()
    }

    /// A string's content, or the word as it stands.
    fn value(&self, at: usize) -> String {
        let raw = self.raw(at);
        constant(raw.as_bytes()).unwrap_or_else(|| raw.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(sql: &str) -> PolicyPatch {
        match parse(sql) {
            Ok(Command::Set(patch) | Command::Check(patch)) => *patch,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn every_topic_is_shown_in_any_spelling() {
        for topic in Topic::ALL {
            let upper = format!("SHOW {};", topic.word().to_uppercase());
            assert!(matches!(parse(&upper), Ok(Command::Show(found)) if found == topic), "{upper}");
            let lower = format!("show /* please */ {}", topic.word());
            assert!(matches!(parse(&lower), Ok(Command::Show(found)) if found == topic), "{lower}");
        }
    }

    #[test]
    fn settings_are_read_with_equals_and_to() {
        assert_eq!(patch("SET read_percent = 25").read_percent, Percent::from_f64(25.0).ok());
        assert_eq!(patch("set read_percent to 0.5").read_percent, Percent::from_f64(0.5).ok());
        assert_eq!(patch("SET phase = 'dual_write'").phase, Some(Phase::DualWrite));
        assert_eq!(patch("SET phase TO dual_write").phase, Some(Phase::DualWrite));
        assert_eq!(patch("SET ack = primary").ack, Some(Ack::Primary));
        assert!(patch("SET phase = old_only FORCE").force);
        assert!(patch("EXPLAIN SET phase = old_only").dry_run);
    }

    #[test]
    fn errors_say_what_to_do_next() {
        let cases = [
            ("SHOW everything", "42704"),
            ("SHOW", "42704"),
            ("SET work_mem = 1", "42704"),
            ("SET read_percent", "42601"),
            ("SET read_percent = 101", "22023"),
            ("SET read_percent = 'many'", "22023"),
            ("SET phase = nowhere", "22023"),
            ("SET ack = none", "22023"),
            ("SET read_percent = 5 PLEASE", "42601"),
            ("SELECT * FROM pg_class", "0A000"),
            ("DROP TABLE t", "42601"),
            ("EXPLAIN SELECT 1", "42601"),
        ];
        for (sql, code) in cases {
            let notice = parse(sql).expect_err(sql);
            assert_eq!(notice.code, code, "{sql}");
            assert!(notice.hint.is_some(), "{sql}");
        }
    }

    #[test]
    fn the_statement_of_explain_route_is_kept_as_it_stands() {
        let Ok(Command::Route(sql)) = parse("EXPLAIN ROUTE select  'a;b' /* pgduet_key='7' */") else { panic!() };
        assert_eq!(sql, "select  'a;b' /* pgduet_key='7' */");
    }

    #[test]
    fn drivers_find_what_they_say_by_themselves() {
        for (sql, tag) in [("BEGIN", "BEGIN"), ("start transaction", "BEGIN"), ("SET extra_float_digits = 3", "SET")] {
            assert!(matches!(parse(sql), Ok(Command::Nothing(found)) if found == tag), "{sql}");
        }
        assert_eq!(split("SHOW PHASE; SHOW LINK;"), ["SHOW PHASE", "SHOW LINK"]);
        assert_eq!(split("SHOW LINK /* ; */ ; -- then\nSHOW PHASE"), ["SHOW LINK /* ; */", "SHOW PHASE"]);
        let route = "EXPLAIN ROUTE SELECT 1 /* pgduet_key='42' */";
        assert_eq!(split(&format!("{route};")), [route]);
        assert!(split("  -- nothing\n").is_empty());
    }
}
