//! Writes: their target, what they assign, and where text may be put into them.
//!
//! RETURNING is the last clause of every INSERT, UPDATE and DELETE, so whatever is to be returned besides goes right behind
//! the statement's last token. That is all a top-level statement needs: its extra column is stripped again. In a WITH clause
//! or in COPY (...) an extra column would be seen, so there an existing list keeps its shape and one of its items carries
//! the call along ([`Carrier`]).

use std::ops::Range;

use super::lex::TokenKind;
use super::name::Name;
use super::query::Scanner;
use crate::catalog::quote_ident;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
    Delete,
    Merge,
}

/// One data-modifying statement: a whole one, or one inside WITH or COPY (...).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dml {
    pub verb: Verb,
    pub target: Name,
    /// `ONLY t`
    pub only: bool,
    pub alias: Option<Range<usize>>,
    /// How the target must be named in RETURNING, quoted: its alias, else its name as qualified as the client wrote it.
    pub reference: String,
    /// Columns assigned by UPDATE SET or DO UPDATE SET, folded; of `a[1]` and `a.f` the column.
    pub set_columns: Vec<String>,
    /// Where the client's own RETURNING list ends.
    pub returning: Option<usize>,
    /// Where text may be added: right behind the last token.
    pub insert_at: usize,
    pub on_conflict: bool,
    /// `ON CONFLICT DO UPDATE`
    pub do_update: bool,
    pub where_current_of: bool,
    /// It has FROM or USING, so that `*` returns other tables' columns too.
    pub joined: bool,
    /// Inside WITH or COPY (...): its RETURNING list is seen by others, and must keep its shape.
    pub inner: bool,
    /// For inner statements with a RETURNING list: the item that can carry a call along.
    pub carrier: Option<Carrier>,
    /// It ends where no statement can: PostgreSQL refuses it, and is to do so at the client's own last word.
    pub unfinished: bool,
}

/// An item of a RETURNING list whose value, name and type stay the same with a call wrapped around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `col` or `t.col`, at `item`, as it is written; `label` is its name if it is not labelled already.
    Column { item: Range<usize>, value: String, label: Option<String> },
    /// `*`, to be spelled out.
    Star(Range<usize>),
}

/// `"schema"."name"` or `"name"`, in one allocation where no quote needs doubling.
fn quoted(name: &Name) -> String {
    let schema = name.schema.as_deref();
    if name.name.contains('"') || schema.is_some_and(|schema| schema.contains('"')) {
        let schema = schema.map(|schema| quote_ident(schema) + ".").unwrap_or_default();
        return schema + &quote_ident(&name.name);
    }
    let mut text = String::with_capacity(schema.map_or(0, |schema| schema.len() + 3) + name.name.len() + 2);
    if let Some(part) = schema {
        text.extend(["\"", part, "\"."]);
    }
    text.extend(["\"", name.name.as_str(), "\""]);
    text
}

impl Scanner<'_> {
    /// The verb that begins here, if one does.
    pub(super) fn verb(&self) -> Option<Verb> {
        let verbs =
            [("insert", Verb::Insert), ("update", Verb::Update), ("delete", Verb::Delete), ("merge", Verb::Merge)];
        verbs.into_iter().find(|(word, _)| self.cursor.is(word)).map(|(_, verb)| verb)
    }

    /// Takes a write from its verb to its end.
    pub(super) fn dml(&mut self, verb: Verb, inner: bool) {
        let floor = self.cursor.depth;
        match self.target(verb, inner) {
            Some(mut dml) => {
                self.clauses(&mut dml);
                dml.unfinished = self.is_unfinished(floor);
                dml.insert_at = self.cursor.prev.end;
                dml.returning = dml.returning.map(|_| dml.insert_at);
                self.facts.dml.push(dml);
            }
            None => self.facts.confused = true,
        }
    }

    /// `INSERT INTO t AS a`, `UPDATE ONLY (t) a`, `DELETE FROM t * AS a`.
    fn target(&mut self, verb: Verb, inner: bool) -> Option<Dml> {
        self.cursor.bump();
        let into = match verb {
            Verb::Insert | Verb::Merge => Some("into"),
            Verb::Delete => Some("from"),
            Verb::Update => None,
        };
        if into.is_some_and(|word| !self.cursor.take(word)) {
            return None;
        }
        let only = self.cursor.take("only");
        let parenthesis = only && self.cursor.take_kind(TokenKind::OpenParen);
        let target = self.cursor.name()?;
        if parenthesis && !self.cursor.take_kind(TokenKind::CloseParen) {
            return None;
        }
        if self.cursor.is_operator(b"*") {
            self.cursor.bump();
        }
        let (alias, alias_name) = self.alias(verb)?;
        let reference = match &alias_name {
            Some(alias) => quote_ident(alias),
            None => quoted(&target),
        };
        Some(Dml {
            verb,
            target,
            only,
            alias,
            reference,
            set_columns: Vec::new(),
            returning: None,
            insert_at: 0,
            on_conflict: false,
            do_update: false,
            where_current_of: false,
            joined: false,
            inner,
            carrier: None,
            unfinished: false,
        })
    }

    fn is_unfinished(&self, floor: usize) -> bool {
        const AWAIT_MORE: [&str; 8] = ["where", "and", "or", "not", "from", "using", "in", "returning"];
        let cursor = &self.cursor;
        let awaits_more = match cursor.prev.kind {
            TokenKind::Comma | TokenKind::Dot | TokenKind::Cast => true,
            TokenKind::Operator => cursor.prev.of(cursor.text) != b"*",
            TokenKind::Word => AWAIT_MORE.iter().any(|word| cursor.prev_is(word)),
            _ => false,
        };
        awaits_more || cursor.depth > floor
    }

    /// `AS a` anywhere; a bare `a` for all but INSERT. The outer `None` is a name that cannot be read.
    #[allow(clippy::type_complexity)]
    fn alias(&mut self, verb: Verb) -> Option<(Option<Range<usize>>, Option<String>)> {
        let named = self.cursor.take("as");
        let clause = match verb {
            Verb::Insert => true,
            Verb::Update => self.cursor.is("set"),
            Verb::Delete | Verb::Merge => self.cursor.is_one_of(&["using", "where", "returning"]),
        };
        if !named && (clause || !self.cursor.token.kind.is_name()) {
            return Some((None, None));
        }
        let start = self.cursor.token.start;
        let alias = self.cursor.identifier()?;
        Some((Some(start..self.cursor.prev.end), Some(alias)))
    }

    /// Everything behind the target.
    fn clauses(&mut self, dml: &mut Dml) {
        let floor = self.cursor.depth;
        match dml.verb {
            Verb::Update if self.cursor.is("set") => self.assignments(dml, floor),
            Verb::Update => self.facts.confused = true,
            Verb::Insert => self.before_source(floor),
            Verb::Delete | Verb::Merge => {}
        }
        while !self.cursor.at_end_of(floor) {
            match self.cursor.depth == floor && self.cursor.at(TokenKind::Word) {
                true => self.clause_word(dml, floor),
                false => self.step(),
            }
        }
    }

    /// `(columns) OVERRIDING USER VALUE WITH ...`: the WITH clause of the query that is inserted.
    fn before_source(&mut self, floor: usize) {
        if self.cursor.at(TokenKind::OpenParen) {
            self.step();
            while !self.cursor.at_end_of(floor + 1) {
                self.step();
            }
            self.cursor.take_kind(TokenKind::CloseParen);
        }
        if self.cursor.take("overriding") {
            self.cursor.bump();
            self.cursor.take("value");
        }
        if self.cursor.is("with") {
            self.with_clause();
        }
    }

    fn clause_word(&mut self, dml: &mut Dml, floor: usize) {
        let cursor = &self.cursor;
        match cursor.token.end - cursor.token.start {
            9 if cursor.is_keyword("returning") => return self.returning(dml, floor),
            2 if dml.verb == Verb::Insert && cursor.is_keyword("do") => dml.on_conflict = true,
            3 if cursor.is("set") && cursor.prev_is("update") => {
                dml.do_update |= dml.verb == Verb::Insert;
                return self.assignments(dml, floor);
            }
            4 if cursor.is_keyword("from") => dml.joined |= dml.verb == Verb::Update && !cursor.prev_is("distinct"),
            5 if cursor.is_keyword("using") => dml.joined |= dml.verb == Verb::Delete,
            7 if cursor.is("current") && cursor.prev_is("where") => dml.where_current_of |= cursor.peek_is("of"),
            _ => {}
        }
        self.step();
    }

    /// `SET a = 1, b[2] = 3, (c, d.e) = (4, 5)`, up to the clause that follows.
    fn assignments(&mut self, dml: &mut Dml, floor: usize) {
        loop {
            self.cursor.bump();
            if !self.assigned(dml) || !self.cursor.is_operator(b"=") {
                self.facts.confused = true;
                return;
            }
            self.assigned_value(dml.verb, floor);
            if !(self.cursor.depth == floor && self.cursor.at(TokenKind::Comma)) {
                return;
            }
        }
    }

    /// The left side of an assignment.
    fn assigned(&mut self, dml: &mut Dml) -> bool {
        if !self.cursor.take_kind(TokenKind::OpenParen) {
            return self.assigned_column(dml);
        }
        while self.assigned_column(dml) {
            if !self.cursor.take_kind(TokenKind::Comma) {
                return self.cursor.take_kind(TokenKind::CloseParen);
            }
        }
        false
    }

    fn assigned_column(&mut self, dml: &mut Dml) -> bool {
        let Some(column) = self.cursor.identifier() else { return false };
        dml.set_columns.push(column);
        let depth = self.cursor.depth;
        loop {
            match self.cursor.token.kind {
                TokenKind::Dot if self.cursor.depth == depth => {
                    self.cursor.bump();
                    if self.cursor.identifier().is_none() {
                        return false;
                    }
                }
                TokenKind::OpenBracket => self.cursor.bump(),
                _ if self.cursor.depth > depth && !self.cursor.at_end() => self.step(),
                _ => return true,
            }
        }
    }

    /// The right side: up to a comma or a clause of the statement itself.
    fn assigned_value(&mut self, verb: Verb, floor: usize) {
        let mut cases = 0_usize;
        while !self.cursor.at_end_of(floor) {
            let cursor = &self.cursor;
            if cursor.depth == floor {
                match cursor.token.kind {
                    TokenKind::Comma => return,
                    TokenKind::Word if cursor.is_keyword("case") => cases += 1,
                    TokenKind::Word if cursor.is_keyword("end") => cases = cases.saturating_sub(1),
                    TokenKind::Word if self.ends_assignments(verb, cases) => return,
                    _ => {}
                }
            }
            self.step();
        }
    }

    fn ends_assignments(&self, verb: Verb, cases: usize) -> bool {
        let cursor = &self.cursor;
        match cursor.token.end - cursor.token.start {
            4 if cursor.is_keyword("when") => verb == Verb::Merge && cases == 0,
            4 => cursor.is_keyword("from") && !cursor.prev_is("distinct"),
            5 => cursor.is_keyword("where"),
            9 => cursor.is_keyword("returning"),
            _ => false,
        }
    }

    /// The RETURNING list, which ends the statement.
    fn returning(&mut self, dml: &mut Dml, floor: usize) {
        self.cursor.bump();
        if self.cursor.is("with") {
            self.cursor.bump();
            self.cursor.skip_parenthesis();
        }
        dml.returning = Some(0);
        while !self.cursor.at_end_of(floor) {
            let carrier = self.returned_item(dml, floor).filter(|_| dml.inner);
            dml.carrier = dml.carrier.take().or(carrier);
            self.cursor.take_kind(TokenKind::Comma);
        }
    }

    /// One item, up to its comma, and what it can carry.
    fn returned_item(&mut self, dml: &Dml, floor: usize) -> Option<Carrier> {
        let carrier = self.plain_item(dml);
        let labelled = self.cursor.is("as");
        let plain = self.item_ends(floor);
        while !self.item_ends(floor) {
            self.step();
        }
        match carrier {
            Some(Carrier::Column { item, value, .. }) if labelled => Some(Carrier::Column { item, value, label: None }),
            carrier => carrier.filter(|_| plain),
        }
    }

    /// The start of an item: `*`, `t.*`, `column` or `t.column`.
    fn plain_item(&mut self, dml: &Dml) -> Option<Carrier> {
        let start = self.cursor.token.start;
        if self.cursor.is_operator(b"*") {
            self.cursor.bump();
            return Some(Carrier::Star(start..self.cursor.prev.end)).filter(|_| !dml.joined);
        }
        if self.cursor.is_one_of(&["null", "true", "false"]) {
            return None;
        }
        let mut qualifier = None;
        let mut last = self.cursor.identifier()?;
        while self.cursor.take_kind(TokenKind::Dot) {
            if self.cursor.is_operator(b"*") {
                self.cursor.bump();
                let own = qualifier.is_none() && dml.reference.ends_with(&quote_ident(&last));
                return Some(Carrier::Star(start..self.cursor.prev.end)).filter(|_| own);
            }
            qualifier = Some(std::mem::replace(&mut last, self.cursor.identifier()?));
        }
        let item = start..self.cursor.prev.end;
        let value = std::str::from_utf8(self.cursor.text.get(item.clone())?).ok()?.to_owned();
        Some(Carrier::Column { item, value, label: Some(last) })
    }

    fn item_ends(&self, floor: usize) -> bool {
        self.cursor.at_end_of(floor) || (self.cursor.depth == floor && self.cursor.at(TokenKind::Comma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::scan::scan;

    fn writes(text: &str) -> Vec<Dml> {
        let mut script = scan(text.as_bytes());
        assert_eq!(script.statements.len(), 1, "{text}");
        script.statements.remove(0).dml
    }

    fn write(text: &str) -> Dml {
        let mut writes = writes(text);
        assert_eq!(writes.len(), 1, "{text}");
        writes.remove(0)
    }

    #[test]
    fn the_target_and_its_name_in_returning() {
        for (text, target, reference) in [
            ("insert into t values (1)", "t", "\"t\""),
            ("insert into S.\"T\" as A (x) values (1)", "s.T", "\"a\""),
            ("insert into db.s.t default values", "s.t", "\"s\".\"t\""),
            ("update t set a = 1", "t", "\"t\""),
            ("update only (t) as x set a = 1", "t", "\"x\""),
            ("update t * x set a = 1", "t", "\"x\""),
            ("update t as set set a = 1", "t", "\"set\""),
            ("update U&\"!0074\" uescape '!' set a = 1", "t", "\"t\""),
            ("delete from t", "t", "\"t\""),
            ("delete from only t x using u where true", "t", "\"x\""),
            ("delete from t using u", "t", "\"t\""),
            ("delete from t returning *", "t", "\"t\""),
            ("merge into t as x using u on true when matched then delete", "t", "\"x\""),
        ] {
            let found = write(text);
            assert_eq!((found.target.to_string().as_str(), found.reference.as_str()), (target, reference), "{text}");
        }
        assert!(write("update only t set a = 1").only);
    }

    #[test]
    fn assigned_columns_are_found_whatever_is_assigned() {
        for (text, columns) in [
            ("update t set a = 1, \"B\" = 2 where c = 3", vec!["a", "B"]),
            ("update t set (a, b) = (select c, d from u), e = 1", vec!["a", "b", "e"]),
            ("update t set a[1][2:3] = 1, b.f = 2, c[d.e].f = 3", vec!["a", "b", "c"]),
            ("update t set a = b is distinct from c, d = 1 from e, f where g = h", vec!["a", "d"]),
            ("update t set a = case when b = 1 then c else d end, e = 1", vec!["a", "e"]),
            ("update t set a = (b, c), d = array[e, f], g=-1, h=$1", vec!["a", "d", "g", "h"]),
            ("update t set a = x.from, b = extract(year from c), d = 1 where e", vec!["a", "b", "d"]),
            (
                "insert into t values (1) on conflict (a) where b do update set c = excluded.c, d = 2 where e",
                vec!["c", "d"],
            ),
            ("insert into t values (1) on conflict on constraint k do nothing", vec![]),
            (
                "merge into t using u on a when matched and b then update set c = case when 1 then 2 end, d = 1 when not matched then insert values (1, 2)",
                vec!["c", "d"],
            ),
        ] {
            assert_eq!(write(text).set_columns, columns, "{text}");
        }
    }

    #[test]
    fn clauses_are_told_from_names_that_look_like_them() {
        let conflict = |text| (write(text).on_conflict, write(text).do_update);
        assert_eq!(conflict("insert into t select * from a join b on conflict"), (false, false));
        assert_eq!(conflict("insert into t values (1) on conflict do nothing"), (true, false));
        assert_eq!(conflict("insert into t values (1) on conflict (a) do update set b = 1"), (true, true));
        assert!(write("update t set a = 1 where current of c").where_current_of);
        assert!(!write("update t set a = 1 where current = 1").where_current_of);
        assert!(write("insert into t select 1 as returning, x.returning from x").returning.is_none());
        assert!(write("delete from t using u").joined && !write("delete from t").joined);
        assert!(write("insert into t select * from f() with ordinality").returning.is_none());
        assert!(write("insert into t (a) overriding user value with x as (select 1) table x").returning.is_none());
    }

    #[test]
    fn the_place_for_more_is_right_behind_the_last_token() {
        for text in [
            "delete from t|",
            "delete from t|;",
            "delete from t where a = 1| -- no line feed",
            "delete from t where a = 'x'| /* c */ ; ",
            "with x as (delete from t|) select 1",
            "with x as (delete from t| -- c\n ) select 1",
            "copy (delete from t returning a|) to stdout",
            "explain analyze delete from t|",
            "prepare p as delete from t where a = $1|;",
            "delete from t returning with (old as o) o.a, b|",
            "insert into t default values|",
        ] {
            let at = text.find('|').unwrap_or_default();
            let found = write(&text.replace('|', ""));
            assert_eq!(found.insert_at, at, "{text}");
            assert_eq!(found.returning.is_some(), text.contains("returning"));
        }
    }

    #[test]
    fn inner_writes_come_first() {
        let found =
            writes("with a as (insert into x values (1)), b as (delete from y returning *) update z set c = 1 from b");
        let targets: Vec<(&str, bool)> = found.iter().map(|d| (d.target.name.as_str(), d.inner)).collect();
        assert_eq!(targets, [("x", true), ("y", true), ("z", false)]);
        assert!(found.is_sorted_by_key(|dml| dml.insert_at));
    }

    #[test]
    fn an_inner_list_has_a_carrier_if_an_item_can_be_one() {
        let carrier = |list: &str| write(&format!("with x as (delete from t returning {list}) select 1")).carrier;
        let column = |text: Option<Carrier>| match text {
            Some(Carrier::Column { value, label, .. }) => Some((value, label)),
            _ => None,
        };
        assert_eq!(column(carrier("id")), Some(("id".into(), Some("id".into()))));
        assert_eq!(column(carrier("1, t.\"Id\", b")), Some(("t.\"Id\"".into(), Some("Id".into()))));
        assert_eq!(column(carrier("a + 1, id as x")), Some(("id".into(), None)));
        assert!(matches!(carrier("*"), Some(Carrier::Star(_))));
        assert!(matches!(carrier("T.*"), Some(Carrier::Star(_))));
        for none in ["1", "null", "u.*", "f(a)", "id x", "a + 1, b::text", "(id)"] {
            assert_eq!(carrier(none), None, "{none}");
        }
        assert_eq!(write("with x as (delete from t using u returning *) select 1").carrier, None);
        assert_eq!(write("delete from t returning id").carrier, None, "a top-level column is stripped");
    }

    #[test]
    fn what_ends_where_no_statement_can_is_not_finished() {
        for text in [
            "DELETE FROM t WHERE",
            "UPDATE t SET a = 1 WHERE id =",
            "UPDATE t SET a = 1 WHERE id = 1 RETURNING",
            "UPDATE t SET a = 1, b = 2 WHERE a = 1 AND -- more",
            "INSERT INTO t VALUES (1, 2",
            "INSERT INTO t VALUES (1, 2),",
            "DELETE FROM t WHERE id = 1::",
        ] {
            assert!(writes(text).iter().all(|dml| dml.unfinished), "{text}");
        }
        for text in [
            "DELETE FROM t *",
            "DELETE FROM t RETURNING *",
            "DELETE FROM t USING u WHERE t.id = u.id RETURNING u.*;",
            "INSERT INTO t VALUES (1, 2)",
            "INSERT INTO t DEFAULT VALUES",
            "UPDATE t SET a = b[1] WHERE a IS NOT NULL",
        ] {
            assert!(!write(text).unfinished, "{text}");
        }
    }
}
