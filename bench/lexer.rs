//! What the analysis of a statement costs, against `sqlparser`'s tokenizer: time, allocations, and whether the tokens are
//! PostgreSQL's. `cargo bench --bench lexer`; reads the corpus (`PGDUET_CORPUS`, or `../shared/corpus`) if there is one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pgduet::sql::lex::{Backslash, Lexer};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it only counts what it hands on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The statements of pgbench's TPC-B script, as the extended protocol sends them.
const TPC_B: [&str; 7] = [
    "BEGIN;",
    "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;",
    "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
    "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;",
    "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2;",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);",
    "END;",
];

fn corpus() -> Vec<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/postgres15_statements.jsonl.gz");
    let path = std::env::var_os("PGDUET_CORPUS").map_or(beside, PathBuf::from);
    let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let sql =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["sql"].as_str().map(str::to_owned);
    text.lines().filter_map(sql).collect()
}

/// Runs `work` over all texts for a while: nanoseconds (the best of several runs) and allocations a text.
fn measure(texts: &[&str], mut work: impl FnMut(&str)) -> (f64, f64) {
    let rounds = (200_000 / texts.len()).max(1);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    texts.iter().for_each(|text| work(text));
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / texts.len() as f64;
    let run = |_| {
        let (start, cpu) = (Instant::now(), cpu_time());
        (0..rounds).for_each(|_| texts.iter().for_each(|text| work(text)));
        let spent = cpu.zip(cpu_time()).map_or(start.elapsed().as_nanos() as f64, |(before, now)| now - before);
        spent / (rounds * texts.len()) as f64
    };
    ((0..7).map(run).fold(f64::INFINITY, f64::min), allocations)
}

/// Nanoseconds that this thread has been on a processor, so that a busy machine does not count.
fn cpu_time() -> Option<f64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn report(name: &str, texts: &[&str]) {
    let bytes = texts.iter().map(|text| text.len()).sum::<usize>() / texts.len();
    println!("\n{name} ({} texts of {bytes} bytes on average)", texts.len());
    let line = |what: &str, (nanoseconds, allocations): (f64, f64)| {
        println!("  {what:34} {nanoseconds:8.0} ns {allocations:8.1} allocations");
    };
    let lex = |text: &str| {
        black_box(Lexer::new(text.as_bytes(), Backslash::Plain).count());
    };
    line("own lexer", measure(texts, lex));
    line("scan (kind, DML, fingerprint)", measure(texts, |text| drop(black_box(pgduet::sql::scan(text.as_bytes())))));
    line(
        "sqlparser tokenizer",
        measure(texts, |text| drop(black_box(Tokenizer::new(&PostgreSqlDialect {}, text).tokenize()))),
    );
    let located = |text: &str| drop(black_box(Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location()));
    line("sqlparser tokenizer with locations", measure(texts, located));
    line("read_shape (parses)", measure(texts, |text| drop(black_box(pgduet::sql::read_shape(text)))));
}

/// Where tokens begin, comments left out, as `sqlparser` sees it; in bytes.
fn starts_of_sqlparser(text: &str) -> Option<BTreeSet<usize>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().ok()?;
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let comment = |token: &Token| matches!(token, Token::Whitespace(_) | Token::EOF);
    let start = |line: u64, column: u64| {
        let line = *lines.get(line as usize - 1)?;
        Some(line + text[line..].char_indices().nth(column as usize - 1).map_or(text.len() - line, |(at, _)| at))
    };
    let places = tokens.iter().filter(|token| !comment(&token.token)).map(|token| token.span.start);
    places.map(|place| start(place.line, place.column)).collect()
}

fn fidelity(texts: &[&str]) {
    let (mut refused, mut different) = (0, 0);
    for text in texts {
        let lexer = Lexer::new(text.as_bytes(), Backslash::Plain);
        let own: BTreeSet<usize> = lexer.filter(|token| !token.kind.is_comment()).map(|token| token.start).collect();
        match starts_of_sqlparser(text) {
            None => refused += 1,
            Some(theirs) => different += usize::from(theirs != own),
        }
    }
    println!(
        "\nsqlparser's tokenizer refuses {refused} of {} texts and begins tokens elsewhere in {different}",
        texts.len()
    );
}

fn main() {
    report("pgbench TPC-B", &TPC_B);
    for text in &TPC_B {
        let (nanoseconds, allocations) = measure(&[text], |text| drop(black_box(pgduet::sql::scan(text.as_bytes()))));
        println!("  scan {nanoseconds:6.0} ns {allocations:4.0} allocations: {text}");
    }
    let corpus = corpus();
    if corpus.is_empty() {
        return println!("\nno corpus");
    }
    let texts: Vec<&str> = corpus.iter().map(String::as_str).collect();
    report("PostgreSQL's own test statements", &texts);
    fidelity(&texts);
}
