//! The two servers and databases, as they are: versions, encodings, collations. Pure.

use super::Pair;
use super::facts::{Facts, Server};
use super::queries::About;
use super::report::Remark;
use crate::catalog::quote_ident;
use crate::side::Side;

/// The oldest major version that pgduet works with.
const OLDEST: u32 = 13;

pub fn judge(pair: &Pair<'_>) -> Vec<Remark> {
    let mut remarks: Vec<Remark> = Side::BOTH.iter().flat_map(|&side| of_side(pair.side(side))).collect();
    let (old, new) = (&pair.side(Side::Old).server, &pair.side(Side::New).server);
    remarks.extend(version(old, new));
    remarks.extend(encoding(old, new));
    remarks.extend(collation(old, new));
    remarks
}

fn of_side(facts: &Facts) -> Vec<Remark> {
    let (server, side) = (&facts.server, facts.side);
    let mut remarks = vec![];
    if server.in_recovery {
        let problem = "it is a standby, and takes no writes";
        remarks.push(
            Remark::blocker("standby", &server.database, problem)
                .on(side)
                .fix("point backends.url at its primary, or promote it"),
        );
    }
    if server.major() < OLDEST {
        let problem = format!("PostgreSQL {} is older than {OLDEST}", server.version);
        remarks.push(Remark::blocker("server_version", &server.version, problem).on(side));
    }
    if server.collation_version != server.collation_actual && !server.collation_actual.is_empty() {
        let problem = format!(
            "its collation was {} when the database was made and is {} now: indexes over text may be out of order",
            server.collation_version, server.collation_actual
        );
        let database = quote_ident(&server.database);
        let sql = format!("REINDEX DATABASE {database}; ALTER DATABASE {database} REFRESH COLLATION VERSION");
        remarks.push(Remark::warning("collation_version", &server.database, problem).on(side).sql(sql));
    }
    for stale in facts.items(About::StaleCollations) {
        let problem = format!("a collation that columns use was {}", stale.detail);
        let remark = Remark::warning("collation_version", &stale.object, problem).on(side).sql(&stale.sql);
        remarks.push(remark.fix("reindex what uses it, then refresh the version"));
    }
    remarks
}

fn version(old: &Server, new: &Server) -> Option<Remark> {
    let problem = format!("new is of an older version than old: {} before {}", new.version, old.version);
    (new.major() < old.major()).then(|| Remark::warning("server_version", &new.version, problem).on(Side::New))
}

fn encoding(old: &Server, new: &Server) -> Option<Remark> {
    if old.encoding == new.encoding {
        return None;
    }
    let problem = format!("old is encoded in {} and new in {}", old.encoding, new.encoding);
    let object = &new.database;
    Some(match (old.encoding.as_str(), new.encoding.as_str()) {
        ("SQL_ASCII", _) => {
            let problem = format!("{problem}: bytes that are no text there are refused, and parked");
            Remark::warning("encoding", object, problem)
                .on(Side::New)
                .fix("find out what the bytes in old are encoded in")
        }
        (_, "UTF8") => Remark::note("encoding", object, format!("{problem}, which has all of its characters")),
        _ => {
            let problem = format!("{problem}: not every character has a place there");
            let sql = format!("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", quote_ident(object));
            let remark = Remark::blocker("encoding", object, problem).on(Side::New).sql(sql);
            remark.fix("make the database of new anew, in UTF8")
        }
    })
}

/// What decides the order of texts, and what is a letter.
fn collation(old: &Server, new: &Server) -> Vec<Remark> {
    let mut remarks = vec![];
    let mut differ = |name, what: &str, (a, b): (&str, &str), follows: &str| {
        if a != b {
            let problem = format!("{what} of old is {a}, of new {b}: {follows}");
            remarks.push(Remark::warning(name, &new.database, problem).on(Side::New));
        }
    };
    let order = "texts are ordered and compared otherwise, in answers and in ranges; reads under ORDER BY may differ";
    let provider = (provider(old), provider(new));
    differ("collation_provider", "the collation provider", provider, order);
    differ("collation", "lc_collate", (&old.collate, &new.collate), order);
    differ("ctype", "lc_ctype", (&old.ctype, &new.ctype), "upper, lower and regular expressions may answer otherwise");
    if provider.0 == provider.1 {
        differ("collation", "the locale", (&old.locale, &new.locale), order);
        if old.collate == new.collate && old.locale == new.locale {
            let versions = (old.collation_actual.as_str(), new.collation_actual.as_str());
            differ("collation_version", "the version of the collation", versions, order);
        }
    }
    remarks
}

fn provider(server: &Server) -> &'static str {
    match server.provider.as_str() {
        "i" => "ICU",
        "b" => "builtin",
        _ => "libc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Severity;

    fn server(encoding: &str, provider: &str, version: &str) -> Server {
        Server {
            number: 150_000,
            encoding: encoding.into(),
            provider: provider.into(),
            collation_actual: version.into(),
            ..Server::default()
        }
    }

    #[test]
    fn an_encoding_that_holds_less_blocks_and_one_that_holds_more_does_not() {
        let severity = |old, new| encoding(&server(old, "c", ""), &server(new, "c", "")).map(|r| r.severity);
        assert_eq!(severity("UTF8", "UTF8"), None);
        assert_eq!(severity("LATIN1", "UTF8"), Some(Severity::Note));
        assert_eq!(severity("UTF8", "LATIN1"), Some(Severity::Blocker));
        assert_eq!(severity("SQL_ASCII", "UTF8"), Some(Severity::Warning));
    }

    #[test]
    fn versions_of_a_collation_are_compared_within_one_provider_only() {
        let names = |old: &Server, new: &Server| collation(old, new).iter().map(|r| r.name).collect::<Vec<_>>();
        let (libc, newer, icu) = (server("UTF8", "c", "2.31"), server("UTF8", "c", "2.36"), server("UTF8", "i", "153"));
        assert_eq!(names(&libc, &libc), Vec::<&str>::new());
        assert_eq!(names(&libc, &newer), ["collation_version"]);
        assert_eq!(names(&libc, &icu), ["collation_provider"]);
    }
}
