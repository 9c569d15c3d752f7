//! Statements that are too deep, or too long, for whoever takes them apart, and values as large as a server takes them.

use crate::raw::{READY, Raw, frame, tail};
use crate::support::Duo;
use crate::witness::Witness;

/// Texts that try a parser's patience, and whether a server answers them without an error.
fn giants() -> Vec<(&'static str, String)> {
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    let list: Vec<String> = (0..1_000_000).map(|n: u32| n.to_string()).collect();
    vec![
        ("parentheses", deep("(", ")", 100_000)),
        ("open parentheses", deep("(", "", 100_000)),
        ("subqueries", deep("(SELECT ", ")", 20_000)),
        ("cases", deep("CASE WHEN true THEN ", " END", 20_000)),
        ("signs", deep("- ", "", 100_000)),
        ("negations", deep("NOT ", "", 50_000)),
        ("brackets", deep("ARRAY[", "]", 20_000)),
        ("unions", format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(20_000))),
        // Of more levels the server itself takes minutes: its time goes by their square.
        ("comments", format!("SELECT {}{}1", "/*".repeat(5_000), "*/".repeat(5_000))),
        ("withs", format!("{}SELECT 1", "WITH a AS (".repeat(10_000))),
        ("semicolons", ";".repeat(1_000_000)),
        ("statements", "SELECT 1;".repeat(20_000)),
        ("casts", format!("SELECT 1{}", "::int".repeat(50_000))),
        ("a list", format!("SELECT 1 WHERE 1 IN ({})", list.join(","))),
        ("a deletion by a list", format!("DELETE FROM t WHERE id IN ({})", list.join(","))),
        ("a long name", format!("SELECT 1 AS \"{}\"", "x".repeat(1_000_000))),
        ("an open string", format!("SELECT '{}", "x".repeat(1_000_000))),
        ("dollars", format!("SELECT {}", "$a$".repeat(100_001))),
    ]
}

/// SQLSTATEs and tags, in order: what came of a text.
fn outcome(what: &str, raw: &mut Raw, sql: &str) -> Vec<String> {
    raw.query(sql);
    let (answer, ended) = raw.listen(READY);
    assert!(ended.is_ok(), "{what}: {ended:?} after {:?}", tail(&answer));
    let mut rest = &answer[..];
    let mut seen = vec![];
    while let Some((&[tag, a, b, c, d], _)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        let body = rest.get(5..length).expect("whole frames");
        match tag {
            b'E' => seen.push(body.split(|byte| *byte == 0).filter(|f| f.starts_with(b"C")).map(text).collect()),
            b'C' => seen.push(text(body)),
            _ => {}
        }
        rest = &rest[length..];
    }
    seen.dedup();
    seen
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[test]
fn what_is_too_deep_or_too_long_gets_the_servers_own_answer() {
    let mut duo = Duo::start_with("CREATE TABLE t (id int PRIMARY KEY)", "shadow: { sample_percent: 100 }");
    duo.dual_write();
    duo.read_percent(50.0);
    let witness = Witness::of(&duo);
    for (what, sql) in giants() {
        let (mut direct, mut proxied) = (Raw::started(duo.old.port()), Raw::started(duo.proxy.port));
        let (through, alone) = (outcome(what, &mut proxied, &sql), outcome("directly", &mut direct, &sql));
        assert_eq!(through, alone, "{what}");
        drop((direct, proxied));
        witness.expect(what, &mut duo, 96 << 10);
    }
    witness.expect_all_gone(&duo);
}

/// Of one value: bytes.
const LARGE: usize = 32 << 20;
/// How often a value may be in memory at once, where it has to be looked at whole: as it came, as it goes on, on its way to the secondary, and what buffers
/// that grow have in excess.
const TIMES: u64 = 9;

fn large_insert(simple: bool) -> Vec<u8> {
    let value = "x".repeat(LARGE);
    if simple {
        return frame(Some(b'Q'), format!("INSERT INTO large VALUES (1, '{value}') RETURNING v\0").as_bytes());
    }
    let parse = frame(Some(b'P'), b"\0INSERT INTO large VALUES (1, $1) RETURNING v\0\0\0");
    let length = u32::try_from(value.len()).expect("a length").to_be_bytes();
    let bind = frame(Some(b'B'), &[&b"\0\0\0\0\0\x01"[..], &length, value.as_bytes(), &b"\0\0"[..]].concat());
    [parse, bind, frame(Some(b'E'), b"\0\0\0\0\0"), frame(Some(b'S'), b"")].concat()
}

#[test]
fn a_large_value_is_there_a_few_times_at_most_and_given_back() {
    let mut duo = Duo::start_with("CREATE TABLE large (id int PRIMARY KEY, v text)", "");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        for simple in [true, false] {
            let witness = Witness::of(&duo);
            let mut raw = Raw::started(duo.proxy.port);
            raw.send(&large_insert(simple));
            let (answer, ended) = raw.listen(READY);
            assert!(ended.is_ok() && answer.len() > LARGE, "{ended:?}: {}", tail(&answer));
            let passed = phase == "old_only";
            let bound = if passed { 4 << 10 } else { TIMES * (LARGE as u64 >> 10) };
            witness.expect(&format!("{phase}, simple: {simple}"), &mut duo, bound);
            assert_eq!(duo.sql("DELETE FROM large RETURNING length(v)"), LARGE.to_string());
        }
    }
}
