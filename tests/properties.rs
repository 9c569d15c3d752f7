//! The fuzz targets' oracles, under seeded chance and on every input that fuzzing has found: a few seconds of what tests/fuzz does for hours.

#[path = "fuzz/oracles/mod.rs"]
mod oracles;

use std::path::Path;

/// A seeded source of chance: the same inputs in each run, or those of `PGDUET_FUZZ_SEED`.
struct Chance(u64);

impl Chance {
    fn seeded() -> Chance {
        let given = std::env::var("PGDUET_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
        Chance(given.unwrap_or(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits")
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() % bound.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// How many inputs each property is tried on: `PGDUET_FUZZ_ROUNDS`, else this.
fn rounds(default: usize) -> usize {
    std::env::var("PGDUET_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs an oracle on all that was found for it, and says how many there were.
fn found(name: &str, oracle: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/found").join(name);
    for entry in std::fs::read_dir(directory).expect("the inputs that were found").flatten() {
        let input = std::fs::read(entry.path()).expect("an input");
        println!("{}", entry.path().display());
        oracle(&input);
    }
}

/// Pieces in a row, some of them damaged.
fn assembled(chance: &mut Chance, pieces: &[Vec<u8>]) -> Vec<u8> {
    let count = chance.below(12);
    let mut input: Vec<u8> = (0..count).flat_map(|_| chance.of(pieces).clone()).collect();
    for _ in 0..chance.below(4) {
        if input.is_empty() {
            break;
        }
        let at = chance.below(input.len());
        match chance.below(4) {
            0 => input[at] = chance.next() as u8,
            1 => input.truncate(at),
            2 => input.insert(at, chance.next() as u8),
            _ => drop(input.remove(at)),
        }
    }
    input
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short frame").to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn packet(body: &[u8]) -> Vec<u8> {
    frame(0, body).split_off(1)
}

#[test]
fn frames_are_read_and_written_alike() {
    found("framing", oracles::framing);
    let pieces = [
        frame(b'Q', b"SELECT 1\0"),
        frame(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
        frame(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02xy\xff\xff\xff\xff\0\x02\0\0\0\x01"),
        frame(b'C', b"Ss\0"),
        frame(b'D', b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"),
        frame(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
        frame(b'E', b"SERROR\0C42601\0Msyntax error\0P12\0\0"),
        frame(b'C', b"INSERT 0 1\0"),
        vec![b'Q', 0, 0, 0, 3],
    ];
    let mut chance = Chance::seeded();
    for _ in 0..rounds(50_000) {
        oracles::framing(&assembled(&mut chance, &pieces));
    }
}

#[test]
fn a_start_up_means_the_same_however_it_is_cut() {
    found("startup", oracles::startup);
    let pieces = [
        packet(b"\0\x03\0\0user\0app\0database\0app\0\0"),
        packet(b"\0\x03\0\x02user\0app\0_pq_.x\x001\0options\0-c a=b\0\0"),
        packet(b"\x04\xd2\x16\x2f"),
        packet(b"\x04\xd2\x16\x30"),
        packet(b"\x04\xd2\x16\x2e\0\0\0\x01abcd"),
        vec![0x16, 3, 1],
        vec![0],
    ];
    let mut chance = Chance::seeded();
    for _ in 0..rounds(3_000) {
        oracles::startup(&assembled(&mut chance, &pieces));
    }
}

#[test]
fn no_text_confuses_the_analysis() {
    found("analysis", oracles::analysis);
    let words = "SELECT INSERT INTO UPDATE DELETE FROM MERGE USING WITH RECURSIVE AS MATERIALIZED NOT WHERE RETURNING SET VALUES \
                 ON CONFLICT DO NOTHING UNION ALL CASE WHEN THEN END BEGIN COMMIT PREPARE EXECUTE EXPLAIN ANALYZE COPY TO STDIN CREATE \
                 TABLE TEMP FOR SHARE NO KEY OF CURRENT DECLARE CURSOR t u id at f * , . ; ( ) [ ] 1 1.5e3 $1 'a' E'\\'' U&'\\0041' $$x$$ \
                 $a$y$a$ \"t\" U&\"t\" -- /* */ :: := + - < ~ x'f' b'1' now() é \u{0} \n";
    let pieces: Vec<Vec<u8>> = words.split(' ').map(|word| [word.as_bytes(), b" "].concat()).collect();
    let mut chance = Chance::seeded();
    for _ in 0..rounds(40_000) {
        let text: Vec<u8> = (0..3).flat_map(|_| assembled(&mut chance, &pieces)).collect();
        oracles::analysis(&text);
    }
}
