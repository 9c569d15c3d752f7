//! What pgduet's two roles may do, and the logins of clients. Pure.

use super::Pair;
use super::facts::{Facts, TableFacts};
use super::queries::About;
use super::report::{Remark, Severity};
use super::tables::wants_triggers;
use crate::catalog::{Table, quote_ident};
use crate::config::CaptureMode;
use crate::side::Side;

pub fn judge(pair: &Pair<'_>) -> Vec<Remark> {
    let mut remarks = vec![];
    for side in Side::BOTH {
        remarks.extend(installing(pair.side(side)));
        remarks.extend(rows(pair, side));
        remarks.extend(others(pair.side(side)));
        remarks.extend(clients(pair.side(side)));
        remarks.extend(row_security(pair.side(side)));
    }
    remarks.extend(triggers(pair));
    remarks.extend(authors(pair));
    remarks
}

fn installing(facts: &Facts) -> Option<Remark> {
    let server = &facts.server;
    let sql = format!("GRANT CREATE ON DATABASE {} TO {}", quote_ident(&server.database), quote_ident(&server.role));
    let problem = "it may not make the schema pgduet, or does not own the one that is there";
    let remark = Remark::blocker("schema_pgduet", &server.role, problem).on(facts.side).sql(sql);
    (!server.may_install).then_some(remark)
}

/// The primary's rows are read and the secondary's written; after cutover it is the other way round.
fn rows(pair: &Pair<'_>, side: Side) -> Vec<Remark> {
    let facts = pair.side(side);
    let is_primary = pair.primary().side == side;
    let judge = |table: &&Table| {
        let known = facts.tables.get(&table.oid)?;
        let (lacks, severity) = match (known.may_read, known.may_write) {
            (true, true) => return None,
            (true, false) if is_primary => {
                ("INSERT, UPDATE and DELETE, which are needed once it follows", Severity::Warning)
            }
            (true, false) => ("INSERT, UPDATE and DELETE", Severity::Blocker),
            (false, _) => ("SELECT, or USAGE of its schema", Severity::Blocker),
        };
        let role = quote_ident(&facts.server.role);
        let sql = format!(
            "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {role}",
            quote_ident(&table.schema),
            table.qualified()
        );
        let problem = format!("pgduet's role {} has not {lacks}", facts.server.role);
        Some(Remark::new("table_privileges", severity, table.display_name(), problem).on(side).sql(sql))
    };
    let tables = facts.schema.tables.iter().filter(|table| table.mirrored).filter_map(|table| judge(&table));
    let sequence = |item: &super::facts::Item| {
        let problem =
            format!("pgduet's role {} may not read and set it: its position is not carried", facts.server.role);
        Remark::warning("sequence_privileges", &item.object, problem).on(side).sql(&item.sql)
    };
    tables.chain(facts.items(About::Sequences).iter().map(sequence)).collect()
}

/// Its own transactions pgduet always sees.
fn others(facts: &Facts) -> Option<Remark> {
    let role = quote_ident(&facts.server.role);
    let problem = "it does not see other roles' transactions, so long ones are not named below";
    let remark = Remark::note("sees_others", &facts.server.role, problem).on(facts.side);
    (!facts.server.sees_others).then(|| remark.sql(format!("GRANT pg_read_all_stats TO {role}")))
}

fn clients(facts: &Facts) -> Vec<Remark> {
    let missing = facts.clients.iter().filter(|(_, may)| !**may);
    let remark = |(name, _): (&String, &bool)| {
        let problem = "clients.users names it, and it cannot log in to this database";
        let sql = format!("CREATE ROLE {} LOGIN", quote_ident(name));
        Remark::blocker("client_login", name, problem)
            .on(facts.side)
            .sql(sql)
            .fix("with the password that clients have")
    };
    missing.map(remark).collect()
}

/// pgduet asks with row_security off: rather an error than a part of the rows.
fn row_security(facts: &Facts) -> Vec<Remark> {
    let sql = format!("ALTER ROLE {} BYPASSRLS", quote_ident(&facts.server.role));
    let remark = |item: &super::facts::Item| {
        let problem = format!("its policies hold for pgduet's role {}, which has to see every row", facts.server.role);
        Remark::blocker("row_security", &item.object, problem).on(facts.side).sql(&sql)
    };
    facts.items(About::RowSecurity).iter().map(remark).collect()
}

fn triggers(pair: &Pair<'_>) -> Vec<Remark> {
    let primary = pair.primary();
    let severity = match pair.config.mirror.capture {
        CaptureMode::Trigger => Severity::Blocker,
        CaptureMode::Auto | CaptureMode::Returning => Severity::Warning,
    };
    let lacking = |table: &&Table| primary.tables.get(&table.oid).is_some_and(|known| !known.may_have_triggers);
    let remark = |table: &Table| {
        let problem = "it is to be captured by triggers, and pgduet's role may not make them";
        let sql = format!("GRANT TRIGGER ON {} TO {}", table.qualified(), quote_ident(&primary.server.role));
        Remark::new("trigger_privilege", severity, table.display_name(), problem).on(primary.side).sql(sql)
    };
    let tables = primary.schema.tables.iter().filter(|table| wants_triggers(pair, table));
    tables.filter(lacking).map(remark).collect()
}

/// DDL is run on the secondary as its author, who as a rule is the owner of what it is about.
fn authors(pair: &Pair<'_>) -> Vec<Remark> {
    let secondary = pair.secondary();
    let foreign = |known: &&TableFacts| !known.may_own && !secondary.server.superuser;
    let mut owners: Vec<&str> = secondary.tables.values().filter(foreign).map(|known| known.owner.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    let remark = |owner: &str| {
        let role = &secondary.server.role;
        let problem = format!("pgduet's role {role} cannot act as this owner of tables: its DDL would be parked");
        let sql = format!("GRANT {} TO {}", quote_ident(owner), quote_ident(role));
        Remark::warning("membership", owner, problem).on(secondary.side).sql(sql)
    };
    owners.into_iter().map(remark).collect()
}
