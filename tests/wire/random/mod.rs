//! Exchanges that a generator writes, held with bare PostgreSQL and through the proxy: the same bytes, and the same rows afterwards.
//!
//! An exchange is known by its seed. `PGDUET_WIRE_SEED` is the seed of the first, `PGDUET_WIRE_EXCHANGES` says how many are held (seeds that follow
//! one another). One that differs is shortened to the messages that it takes, and printed as `cases/*.wire` would have it.

mod arena;
mod dice;
mod exchange;
mod grammar;
mod minimise;
mod value;

use arena::{Arena, Held, PHASES};
use grammar::Grammar;

const GRAMMAR: &str = include_str!("grammar.txt");
/// After so many differences of a phase the rest is not looked at.
const ENOUGH: usize = 8;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn what_a_generator_says_is_answered_with_the_bytes_that_postgres_sends() {
    let grammar = Grammar::read(GRAMMAR);
    let (first, count) = (number("PGDUET_WIRE_SEED", 1), number("PGDUET_WIRE_EXCHANGES", 25));
    let mut arena = Arena::start();
    let held: Vec<Held> =
        (first..first + count).map(|seed| arena.record(&exchange::exchange(&grammar, seed))).collect();
    let mut differences = vec![];
    for phase in PHASES {
        arena.enter(phase);
        let before = differences.len();
        for one in &held {
            if differences.len() < before + ENOUGH {
                differences.extend(arena.difference(one).map(|what| arena.shortest(phase, one, what)));
            }
        }
        println!("{phase}: {} of {count} exchanges differ", differences.len() - before);
    }
    assert!(differences.is_empty(), "from seed {first}:\n{}", differences.join("\n"));
}
