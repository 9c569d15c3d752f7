//! The settings that matter: those that pgduet works under, and those whose defaults have clients see different things. Pure.

use super::Pair;
use super::facts::Facts;
use super::queries::About;
use super::report::Remark;
use crate::catalog::{quote_ident, quote_literal};
use crate::side::Side;

/// What a session begins with, unless it says otherwise: where the sides differ, an answer may.
const VISIBLE: &[&str] = &[
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "search_path",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_transaction_deferrable",
    "default_text_search_config",
    "default_tablespace",
    "extra_float_digits",
    "bytea_output",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "standard_conforming_strings",
    "backslash_quote",
    "array_nulls",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "row_security",
];
/// The link's, its clean-up's, the control plane's, the listener's: connections of pgduet's own, about.
const OWN_CONNECTIONS: i64 = 10;

pub fn judge(pair: &Pair<'_>) -> Vec<Remark> {
    let mut remarks = defaults(pair);
    for side in Side::BOTH {
        remarks.extend(limits(pair.side(side)));
        remarks.extend(durability(pair.side(side)));
        remarks.extend(connections(pair, side));
    }
    remarks.extend(fewer_connections(pair));
    remarks.extend(silence(pair));
    remarks
}

fn defaults(pair: &Pair<'_>) -> Vec<Remark> {
    let (primary, secondary) = (pair.primary(), pair.secondary());
    let differing = VISIBLE.iter().filter(|name| {
        let (here, there) = (primary.setting(name), secondary.setting(name));
        here != there && !here.is_empty() && !there.is_empty()
    });
    let remark = |name: &&str| {
        let (here, there) = (primary.setting(name), secondary.setting(name));
        let (one, other) = (primary.side, secondary.side);
        let problem = format!("its default is {here} on {one} and {there} on {other}: sessions begin otherwise there");
        let database = quote_ident(&secondary.server.database);
        // A list stands without quotes.
        let value = if *name == "search_path" { here.to_owned() } else { quote_literal(here) };
        let sql = format!("ALTER DATABASE {database} SET {} = {value}", quote_ident(name));
        Remark::warning("default_differs", *name, problem).on(secondary.side).sql(sql)
    };
    differing.map(remark).collect()
}

/// What would end pgduet's own connections, which are long and often idle. Those that it sets for itself are not looked at.
fn limits(facts: &Facts) -> Vec<Remark> {
    let role = quote_ident(&facts.server.role);
    let remark = |name: &&str| {
        let problem = format!("it is {} and ends pgduet's own connections, too", facts.setting(name));
        let sql = format!("ALTER ROLE {role} SET {name} = 0");
        Remark::warning("session_timeout", *name, problem).on(facts.side).sql(sql)
    };
    ["idle_session_timeout", "transaction_timeout"].iter().filter(|name| facts.number(name) > 0).map(remark).collect()
}

fn durability(facts: &Facts) -> Vec<Remark> {
    let mut remarks = vec![];
    let mut note = |name, problem| remarks.push(Remark::note("durability", name, problem).on(facts.side));
    for name in ["fsync", "full_page_writes"] {
        if facts.setting(name) == "off" {
            note(name, "it is off: what a crash of the machine takes along is taken along");
        }
    }
    if facts.setting("synchronous_commit") == "off" {
        note("synchronous_commit", "it is off: a crash may take the last commits along, acknowledged or not");
    }
    if facts.setting("track_counts") == "off" {
        let problem = "it is off: whatever was locked for writing counts as written, and more is carried than need be";
        remarks.push(
            Remark::warning("track_counts", "track_counts", problem)
                .on(facts.side)
                .sql("ALTER SYSTEM SET track_counts = on"),
        );
    }
    remarks
}

fn usable(facts: &Facts) -> i64 {
    facts.number("max_connections")
        - facts.number("superuser_reserved_connections")
        - facts.number("reserved_connections")
}

fn connections(pair: &Pair<'_>, side: Side) -> Option<Remark> {
    let facts = pair.side(side);
    let own = OWN_CONNECTIONS + pair.config.shadow.max_concurrent as i64;
    let (clients, usable) = (pair.config.clients.max_connections as i64, usable(facts));
    let fix =
        format!("raise it to {} or more, or lower clients.max_connections or shadow.max_concurrent", clients + own);
    if usable <= own {
        let problem = format!("{usable} connections can be used, and pgduet alone takes up to {own}");
        return Some(Remark::blocker("max_connections", "max_connections", problem).on(side).fix(fix));
    }
    let problem = format!(
        "{usable} connections can be used; clients.max_connections admits {clients}, each with one of its own, and pgduet takes up to {own}"
    );
    (usable < clients + own).then(|| Remark::note("max_connections", "max_connections", problem).on(side).fix(fix))
}

fn fewer_connections(pair: &Pair<'_>) -> Option<Remark> {
    let (primary, secondary) = (pair.primary(), pair.secondary());
    let (here, there) = (usable(primary), usable(secondary));
    let problem =
        format!("{there} connections can be used, {here} on {}: clients whose reads move need as many", primary.side);
    let sql = format!("ALTER SYSTEM SET max_connections = {}", primary.setting("max_connections"));
    let remark = Remark::warning("max_connections", "max_connections", problem).on(secondary.side).sql(sql);
    (there < here).then(|| remark.fix("it takes a restart of that server"))
}

/// Whether triggers and foreign keys of the secondary stay silent while rows are carried there.
fn silence(pair: &Pair<'_>) -> Vec<Remark> {
    let secondary = pair.secondary();
    if !secondary.may_be_silent {
        let role = quote_ident(&secondary.server.role);
        let sql = match secondary.server.major() {
            15.. => format!("GRANT SET ON PARAMETER session_replication_role TO {role}"),
            _ => format!("ALTER ROLE {role} SUPERUSER"),
        };
        let problem = "pgduet's role may not set it: triggers and foreign keys fire for rows that are carried";
        let mut remarks =
            vec![Remark::warning("replication_role", "session_replication_role", problem).on(secondary.side).sql(&sql)];
        for trigger in secondary.items(About::Triggers) {
            let problem = format!("its trigger {} would fire again for each row that is carried there", trigger.detail);
            remarks.push(Remark::blocker("trigger_fires_twice", &trigger.object, problem).on(secondary.side).sql(&sql));
        }
        for key in secondary.items(About::CyclicKeys) {
            let problem =
                format!("its foreign key {} is part of a cycle and not deferrable: rows may be refused", key.detail);
            let remark = Remark::blocker("cyclic_key", &key.object, problem).on(secondary.side).sql(&key.sql);
            remarks.push(remark.fix("or let pgduet's role set session_replication_role"));
        }
        return remarks;
    }
    let loud = |trigger: &super::facts::Item| {
        let problem = format!(
            "its trigger {} is ENABLE ALWAYS or REPLICA, and fires for each row that is carried there: only the table's owner can silence it",
            trigger.detail
        );
        Remark::warning("trigger_fires_twice", &trigger.object, problem).on(secondary.side).sql(&trigger.sql)
    };
    secondary.items(About::LoudTriggers).iter().map(loud).collect()
}
