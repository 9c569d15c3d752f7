//! Values that only one execution can know: sequences, clocks, random numbers.

use std::io::Write;

use pgduet::demo::pgbench::{Protocol, Script};

use crate::support::Duo;

const SCHEMA: &str = "
CREATE TABLE serials (
    id serial PRIMARY KEY, note text, made timestamptz DEFAULT now(), ticked timestamptz DEFAULT clock_timestamp(),
    chance double precision DEFAULT random(), token uuid DEFAULT gen_random_uuid());
CREATE TABLE identities (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chance real DEFAULT random(), made timestamp DEFAULT now(),
    doubled real GENERATED ALWAYS AS (chance * 2) STORED);
CREATE TABLE tokens (token uuid DEFAULT gen_random_uuid() PRIMARY KEY, made timestamptz DEFAULT clock_timestamp());
CREATE TABLE composite (a integer, b text, n integer DEFAULT 0, PRIMARY KEY (a, b));
CREATE TABLE keyless (made timestamptz DEFAULT clock_timestamp(), chance double precision DEFAULT random(), note text);";

const SCRIPT: &str = r"
\set k random(1, 300)
\set a random(1, 20)
INSERT INTO serials (note) VALUES ('one');
INSERT INTO serials (note, chance) SELECT 'many', random() FROM generate_series(1, 3);
UPDATE serials SET ticked = clock_timestamp(), chance = random(), note = NULL WHERE id = :k;
INSERT INTO identities DEFAULT VALUES;
DELETE FROM identities WHERE id = :k;
INSERT INTO tokens DEFAULT VALUES;
INSERT INTO composite (a, b) VALUES (:a, md5(:a::text)) ON CONFLICT (a, b) DO UPDATE SET n = composite.n + 1;
INSERT INTO keyless (note) VALUES (NULL), (''), ('NULL');
BEGIN;
UPDATE composite SET n = n + 1 WHERE a = :a;
INSERT INTO keyless (note) SELECT note FROM serials WHERE id = :k;
INSERT INTO serials (note) VALUES ('rolled back');
ROLLBACK;
BEGIN;
INSERT INTO serials (note) VALUES ('kept');
SAVEPOINT s;
INSERT INTO tokens DEFAULT VALUES;
ROLLBACK TO SAVEPOINT s;
INSERT INTO identities (chance) VALUES (random());
COMMIT;
";

#[test]
fn values_that_only_one_execution_can_know_are_equal() {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    script.write_all(SCRIPT.as_bytes()).expect("a script");
    for protocol in Protocol::ALL {
        duo.run(&duo.load(8, protocol, Script::File(script.path().to_owned())));
        duo.expect_equal();
    }
    for table in ["serials", "identities", "tokens", "composite", "keyless"] {
        assert_ne!(duo.on_both(&format!("SELECT count(*) FROM {table}")), "0", "{table} stayed empty");
    }
    assert_eq!(duo.on_both("SELECT count(*) FROM serials WHERE note = 'rolled back'"), "0");
    assert_eq!(duo.count("/uncaptured_total"), 0);
}
