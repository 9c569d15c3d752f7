//! Texts of SQL by the rules of `grammar.txt`.
//!
//! `[name]` begins a rule, each line under it is one way to write it, `%3` in front makes a way three times as likely. `<name>` stands for what that rule
//! yields, `{type}` for a value: a literal, or a parameter where there may be some.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::value::{self, Type, Value};

pub struct Grammar(BTreeMap<&'static str, Vec<(usize, &'static str)>>);

/// A statement's text, and what its parameters are.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub sql: String,
    pub parameters: Vec<Type>,
}

/// Rules that call each other end here.
const DEEPEST: usize = 12;

impl Grammar {
    pub fn read(text: &'static str) -> Grammar {
        let mut rules: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
        let mut name = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(rule) => name = rule,
                None => rules.entry(name).or_default().push(weighed(line)),
            }
        }
        Grammar(rules)
    }

    /// `share`: of a hundred values, so many are parameters.
    pub fn write(&self, rule: &str, share: usize, dice: &mut Dice) -> Text {
        let mut text = Text::default();
        self.expand(rule, share, 0, dice, &mut text);
        text
    }

    fn expand(&self, rule: &str, share: usize, depth: usize, dice: &mut Dice, out: &mut Text) {
        assert!(depth < DEEPEST, "the rule {rule} does not end");
        let ways = self.0.get(rule).unwrap_or_else(|| panic!("there is no rule {rule}"));
        let mut rest = choose(ways, dice);
        while let Some(at) = rest.find(['<', '{']) {
            let (before, from) = rest.split_at(at);
            out.sql.push_str(before);
            let hole = if from.starts_with('<') { named(from, '>') } else { named(from, '}') };
            match hole {
                Some((name, after)) if from.starts_with('<') => {
                    self.expand(name, share, depth + 1, dice, out);
                    rest = after;
                }
                Some((name, after)) => {
                    out.put(Type::named(name), share, dice);
                    rest = after;
                }
                None => {
                    out.sql.push_str(&from[..1]);
                    rest = &from[1..];
                }
            }
        }
        out.sql.push_str(rest);
    }
}

impl Text {
    fn put(&mut self, kind: Type, share: usize, dice: &mut Dice) {
        if !dice.percent(share) {
            return self.sql.push_str(&value::literal(kind, dice));
        }
        let again = self.parameters.iter().position(|known| *known == kind).filter(|_| dice.percent(20));
        let at = again.unwrap_or_else(|| {
            self.parameters.push(kind);
            self.parameters.len() - 1
        });
        self.sql.push_str(&format!("${}", at + 1));
    }

    /// What a Bind may give.
    pub fn values(&self, dice: &mut Dice) -> Vec<Value> {
        self.parameters.iter().map(|kind| value::of(*kind, dice)).collect()
    }
}

/// `<name>` or `{name}`: letters only, so that operators and arrays are none.
fn named(from: &'static str, end: char) -> Option<(&'static str, &'static str)> {
    let (name, after) = from[1..].split_once(end)?;
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')).then_some((name, after))
}

fn weighed(line: &'static str) -> (usize, &'static str) {
    let weighed = line.strip_prefix('%').and_then(|rest| rest.split_once(' '));
    weighed.and_then(|(weight, way)| Some((weight.parse().ok()?, way))).unwrap_or((1, line))
}

fn choose(ways: &[(usize, &'static str)], dice: &mut Dice) -> &'static str {
    let mut at = dice.throw(ways.iter().map(|(weight, _)| weight).sum());
    for (weight, way) in ways {
        match at.checked_sub(*weight) {
            Some(left) => at = left,
            None => return if *way == "(empty)" { "" } else { way },
        }
    }
    ""
}
