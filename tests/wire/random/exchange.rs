//! Exchanges that no hand would write: chunks of the simple protocol, pipelines of the extended one, COPY, in any order.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::grammar::{Grammar, Text};
use super::value::Value;
use crate::script::{Exchange, Step, What};
use crate::talk::QUIET;

const STATEMENTS: &[&str] = &["-", "-", "-", "s1", "s1", "s2", "q1"];
const PORTALS: &[&str] = &["-", "-", "-", "p1", "p1", "p2", "c1"];
const LIMITS: &[&str] = &["", "", "", "", " 1", " 2", " 3", " 100"];

pub struct Generator<'a> {
    grammar: &'a Grammar,
    dice: Dice,
    lines: Vec<String>,
    /// What was prepared under a name, for all that is known.
    prepared: BTreeMap<&'static str, Text>,
    /// Texts that portals were bound from.
    portals: BTreeMap<&'static str, String>,
    /// A message may have been skipped, so nobody knows how many answers come.
    unsure: bool,
    /// Syncs and Queries since the last `until`.
    answers: usize,
}

pub fn exchange(grammar: &Grammar, seed: u64) -> Exchange {
    let mut generator = Generator {
        grammar,
        dice: Dice::new(seed),
        lines: vec![],
        prepared: BTreeMap::new(),
        portals: BTreeMap::new(),
        unsure: false,
        answers: 0,
    };
    generator.write();
    let steps = generator.lines.iter().enumerate().map(|(line, text)| Step { line, connection: 1, what: what(text) });
    Exchange { name: format!("by seed {seed}"), steps: steps.collect() }
}

fn what(line: &str) -> What {
    match line.strip_prefix("until ") {
        Some(message) => What::Until { message: message.to_owned(), expected: None },
        None => What::Send(line.to_owned()),
    }
}

impl Generator<'_> {
    fn write(&mut self) {
        let mut inside = false;
        for _ in 0..2 + self.dice.throw(9) {
            match self.dice.throw(20) {
                0..3 => {
                    let rule = if inside { "closes" } else { "opens" };
                    self.control(rule);
                    inside = !inside;
                }
                3..9 => self.simple("query"),
                9..17 => self.pipeline(),
                17 => self.copy_simple(),
                18 => self.simple("control"),
                _ => self.shape(),
            }
        }
        self.simple("control");
    }

    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn text(&mut self, rule: &str, share: usize) -> Text {
        self.grammar.write(rule, share, &mut self.dice)
    }

    /// Often in one write with what follows.
    fn rest(&mut self) {
        if self.unsure {
            self.say(format!("until {QUIET}"));
        } else if self.answers > 0 {
            let times = if self.answers > 1 { format!("*{}", self.answers) } else { String::new() };
            self.say(format!("until ReadyForQuery{times}"));
        }
        (self.unsure, self.answers) = (false, 0);
    }

    fn simple(&mut self, rule: &str) {
        let sql = self.text(rule, 0).sql;
        self.say(format!("Query {sql}"));
        self.answers += 1;
        self.rest();
    }

    /// By the simple protocol, or as drivers do, in front of what follows.
    fn control(&mut self, rule: &str) {
        if self.dice.percent(50) {
            return self.simple(rule);
        }
        let sql = self.text(rule, 0).sql;
        self.say(format!("Parse - {sql}"));
        self.say("Bind - - ()");
        self.say("Execute -");
        if self.dice.percent(60) {
            self.sync();
            self.rest();
        } else {
            self.pipeline();
        }
    }

    fn sync(&mut self) {
        self.say("Sync");
        self.answers += 1;
    }

    fn copy_simple(&mut self) {
        let sql = self.text("copyin", 0).sql;
        self.say(format!("Query {sql}"));
        if self.dice.percent(20) {
            // In front of the COPY the data would be skipped, so both ways are the same.
            self.unsure = true;
            self.rest();
            self.unsure = true;
        }
        self.copy_data();
        self.answers += 1;
        self.rest();
    }

    fn copy_data(&mut self) {
        for _ in 0..self.dice.throw(4) {
            let line = self.text("copydata", 0).sql;
            self.say(format!("CopyData {line}"));
            if self.dice.percent(5) {
                self.say("Flush");
            }
        }
        let end = if self.dice.percent(20) { "CopyFail the client's reason" } else { "CopyDone" };
        self.say(end);
    }

    fn pipeline(&mut self) {
        for _ in 0..1 + self.dice.throw(4) {
            self.unit();
            match self.dice.throw(24) {
                0..3 => self.sync(),
                3 => {
                    self.say("Flush");
                    self.unsure = true;
                    self.rest();
                }
                4 => self.say("Flush"),
                5 => {
                    let sql = self.text("query", 0).sql;
                    self.say(format!("Query {sql}"));
                    self.unsure = true;
                }
                _ => {}
            }
        }
        self.sync();
        self.rest();
    }

    fn unit(&mut self) {
        match self.dice.throw(20) {
            0..11 => self.whole(),
            11..14 => self.again(),
            14 => {
                let portal = *self.dice.of(PORTALS);
                if self.portals.contains_key(portal) || self.dice.percent(5) {
                    self.execute(portal);
                }
            }
            15 => self.describe(),
            16 => {
                let (kind, names) = if self.dice.percent(50) { ("S", STATEMENTS) } else { ("P", PORTALS) };
                let name = *self.dice.of(names);
                self.say(format!("Close {kind} {name}"));
            }
            17 => self.copy_extended(),
            18 => self.control_parsed(),
            _ => {
                self.parse();
            }
        }
    }

    fn control_parsed(&mut self) {
        let sql = self.text("control", 0).sql;
        self.say(format!("Parse - {sql}"));
        self.say("Bind - - ()");
        self.say("Execute -");
    }

    /// Under a name of its own: a COPY that is run again where no data follows waits for them.
    fn copy_extended(&mut self) {
        let sql = self.text("copyin", 0).sql;
        self.say("Close S copy");
        self.say(format!("Parse copy {sql}"));
        self.say("Close P copy");
        self.say("Bind copy copy ()");
        if self.dice.percent(20) {
            self.say("Describe P copy");
        }
        self.say("Execute copy");
        self.copy_data();
    }

    fn parse(&mut self) -> &'static str {
        let name = *self.dice.of(STATEMENTS);
        let text = self.text("prepares", 55);
        if name != "-" && self.dice.percent(60) {
            self.say(format!("Close S {name}"));
        }
        let types = self.types(&text);
        self.say(format!("Parse {name} {types}{}", text.sql));
        self.prepared.insert(name, text);
        name
    }

    fn types(&mut self, text: &Text) -> String {
        if text.parameters.is_empty() || self.dice.percent(50) {
            return String::new();
        }
        let oid = |dice: &mut Dice, oid: u32| if dice.percent(30) { 0 } else { oid };
        let oids: Vec<_> = text.parameters.iter().map(|kind| oid(&mut self.dice, kind.oid()).to_string()).collect();
        format!("[{}] ", oids.join(","))
    }

    fn whole(&mut self) {
        let name = self.parse();
        if self.dice.percent(30) {
            self.say(format!("Describe S {name}"));
        }
        self.bind(name);
    }

    /// What is there already.
    fn again(&mut self) {
        let name = *self.dice.of(STATEMENTS);
        self.bind(name);
    }

    fn bind(&mut self, name: &'static str) {
        let portal = *self.dice.of(PORTALS);
        if portal != "-" && self.dice.percent(40) {
            self.say(format!("Close P {portal}"));
        }
        let values = self.prepared.get(name).cloned().unwrap_or_default().values(&mut self.dice);
        let values = self.bound(values);
        self.say(format!("Bind {portal} {name} {values}"));
        if self.dice.percent(45) {
            self.say(format!("Describe P {portal}"));
        }
        let text = self.prepared.get(name).map(|text| text.sql.clone());
        self.portals.insert(portal, text.unwrap_or_default());
        self.execute(portal);
    }

    fn execute(&mut self, portal: &'static str) {
        let text = self.portals.get(portal).cloned().unwrap_or_default();
        let writes = ["INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|word| text.starts_with(word));
        if writes && !text.contains(" RETURNING") {
            // Known: once more is no error.
            self.portals.remove(portal);
            return self.say(format!("Execute {portal}"));
        }
        for _ in 0..1 + usize::from(self.dice.percent(20)) + usize::from(self.dice.percent(10)) {
            let limit = *self.dice.of(LIMITS);
            self.say(format!("Execute {portal}{limit}"));
            if self.dice.percent(4) {
                self.say(format!("Describe P {portal}"));
            }
        }
    }

    fn describe(&mut self) {
        let (kind, names) = if self.dice.percent(50) { ("S", STATEMENTS) } else { ("P", PORTALS) };
        let name = *self.dice.of(names);
        self.say(format!("Describe {kind} {name}"));
    }

    /// `(values) in= out=`, in one of ten cases not as the statement wants them.
    fn bound(&mut self, mut values: Vec<Value>) -> String {
        if self.dice.percent(3) {
            values.pop();
        }
        let formats: Vec<bool> = match self.dice.throw(4) {
            0 => vec![true; values.len()],
            1 => values.iter().map(|_| self.dice.percent(50)).collect(),
            _ => vec![false; values.len()],
        };
        let texts: Vec<_> = values.iter().zip(&formats).map(|(value, binary)| value.bound(*binary)).collect();
        let list = |codes: &[u8]| codes.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        let codes: Vec<u8> = formats.iter().map(|binary| u8::from(*binary)).collect();
        let mut out = format!("({})", texts.join(", "));
        if codes.contains(&1) || self.dice.percent(10) {
            let codes = if !codes.contains(&0) && self.dice.percent(50) { vec![1] } else { codes };
            out.push_str(&format!(" in={}", list(&codes)));
        }
        let results: &[u8] = match self.dice.throw(10) {
            0..6 => &[],
            6 => &[0],
            _ => &[1],
        };
        if !results.is_empty() {
            out.push_str(&format!(" out={}", list(results)));
        }
        out
    }

    /// What applications do, and what only grammar would hardly find.
    fn shape(&mut self) {
        let write = self.text("write", 0).sql;
        let select = self.text("select", 0).sql;
        let script: &[&str] = match self.dice.throw(8) {
            // A portal that outlives its Sync.
            0 => &[
                "Query BEGIN",
                "Parse s2 {select}",
                "Bind p2 s2 ()",
                "Execute p2 1",
                "Sync",
                "Query {write}",
                "Execute p2 1",
                "Describe P p2",
                "Execute p2",
                "Sync",
                "Query COMMIT",
            ],
            1 => &[
                "Query BEGIN",
                "Parse s2 {write}",
                "Bind p2 s2 ()",
                "Execute p2 1",
                "Sync",
                "Query {select}",
                "Execute p2",
                "Sync",
                "Query COMMIT",
            ],
            // A failed statement between savepoints.
            2 => &[
                "Query BEGIN; SAVEPOINT one",
                "Query SELECT 1/0",
                "Query ROLLBACK TO one",
                "Query {write}",
                "Query {select}",
                "Query COMMIT",
            ],
            3 => &[
                "Query BEGIN",
                "Query {write}",
                "Query SAVEPOINT one",
                "Query {write}",
                "Query ROLLBACK TO one",
                "Query {select}",
                "Query COMMIT",
            ],
            // Prepared once, used after what changes its meaning.
            4 => &[
                "Parse s2 {select}",
                "Describe S s2",
                "Sync",
                "Query SET DateStyle = 'German'",
                "Bind - s2 ()",
                "Describe P -",
                "Execute -",
                "Sync",
                "Query SET search_path = other, public",
                "Bind - s2 ()",
                "Execute -",
                "Sync",
            ],
            5 => &[
                "Parse s2 {write}",
                "Describe S s2",
                "Sync",
                "Bind - s2 ()",
                "Execute -",
                "Bind - s2 ()",
                "Execute -",
                "Sync",
                "Bind - s2 () out=1",
                "Describe P -",
                "Execute - 1",
                "Execute -",
                "Sync",
            ],
            6 => &["Query {select}; {write}; {select}"],
            _ => &["Query BEGIN READ ONLY", "Query {select}", "Query {write}", "Query ROLLBACK"],
        };
        for line in script {
            let line = line.replace("{write}", &write).replace("{select}", &select);
            let answers = line.starts_with("Query") || line == "Sync";
            self.say(line);
            if answers {
                self.answers += 1;
                self.rest();
            }
        }
    }
}
