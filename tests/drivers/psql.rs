//! psql: its descriptions, variables, `\copy`, `\gdesc`, `\bind`, and what it says of errors.

use std::process::{Command, Stdio};

use pgduet::demo::binaries::Binaries;

use crate::stage::Target;
use crate::support::fail;

pub fn scenario(target: &Target) -> String {
    let binaries = Binaries::find().unwrap_or_else(fail("PostgreSQL"));
    let mut psql = binaries.program("psql");
    let script = tempfile::NamedTempFile::new().unwrap_or_else(fail("a temporary file"));
    let text = format!("{SCRIPT}{}", if has_bind(&mut binaries.program("psql")) { BIND } else { "" });
    std::fs::write(script.path(), text).unwrap_or_else(fail("the script"));
    let merge = Command::new("sh");
    let mut shell = merge;
    shell.args(["-c", "exec \"$0\" -X -a -v run=\"$RUN\" -f \"$1\" 2>&1"]).arg(psql.stdin(Stdio::null()).get_program());
    target.run(shell.arg(script.path())).replace(&*script.path().to_string_lossy(), "SCRIPT")
}

/// From psql 16 on.
fn has_bind(psql: &mut Command) -> bool {
    let help = psql.arg("--help=commands").output().unwrap_or_else(fail("psql"));
    String::from_utf8_lossy(&help.stdout).contains("\\bind")
}

const SCRIPT: &str = r#"
\d customers
\d+ orders
\dt
\di
\df
\encoding
SELECT format('%s.%s@example.com', 'psql', :'run') AS mail \gset
INSERT INTO customers (email, balance, tags) VALUES (:'mail', 7, '{a,"b c"}') RETURNING id, email, balance \gset new_
\echo :new_email :new_balance
INSERT INTO customers (email) VALUES (:'mail');
\echo :SQLSTATE :ROW_COUNT
SELECT email, balance, tags FROM customers WHERE email = :'mail';
SELECT * FROM customers \gdesc
UPDATE customers SET balance = 8 WHERE email = :'mail' RETURNING id, made, balance \gdesc
SELECT 'SELECT ' || n FROM generate_series(1, 3) n \gexec
\errverbose
UPDATE customers SET nothing = 1;
SELECT 1; UPDATE customers SET balance = balance + 1 WHERE email = :'mail'; SELECT 2 \; SELECT 3;
BEGIN;
INSERT INTO orders SELECT :new_id, n, 'article ' || n, n FROM generate_series(1, 10) n;
SAVEPOINT here;
DELETE FROM orders WHERE line > 5;
SELECT 1 / 0;
SELECT 1;
ROLLBACK TO here;
UPDATE orders SET price = price * 2 WHERE customer_id = :new_id AND line < 3 RETURNING line, price;
DECLARE c CURSOR FOR SELECT line FROM orders WHERE customer_id = :new_id ORDER BY line;
FETCH 3 FROM c;
MOVE 2 IN c;
FETCH ALL FROM c;
COMMIT;
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO customers (email) VALUES ('rolled.' || :'mail');
INSERT INTO customers (email) VALUES ('rolled.' || :'mail');
COMMIT;
\set FETCH_COUNT 4
SELECT line, price FROM orders WHERE customer_id = :new_id ORDER BY line;
\unset FETCH_COUNT
\set AUTOCOMMIT off
UPDATE customers SET born = '2000-02-29' WHERE email = :'mail';
SELECT born FROM customers WHERE email = :'mail';
COMMIT;
\set AUTOCOMMIT on
WITH gone AS (DELETE FROM orders WHERE customer_id = :new_id AND line > 8 RETURNING line) SELECT count(*) FROM gone;
SELECT count(*) FROM orders WHERE customer_id = :new_id;
INSERT INTO events (what) VALUES (:'mail'), (NULL), ('');
\copy (SELECT line, article FROM orders WHERE line < 3 ORDER BY customer_id, line) TO STDOUT (FORMAT csv, HEADER)
SELECT :'run'::int * 100 AS at \gset
CREATE TEMP TABLE lines (id int, name text);
\copy lines FROM STDIN
1	one
2	two\ttabs
\.
SELECT * FROM lines;
COPY copied (id, name) FROM STDIN;
x	y
\.
COPY copied FROM STDIN (FORMAT csv, HEADER match);
id,name
1,2
\.
SELECT name FROM copied WHERE id < 0;
PREPARE p (text) AS UPDATE customers SET balance = balance + 1 WHERE email = $1 RETURNING balance;
SELECT name, parameter_types, result_types FROM pg_prepared_statements;
DEALLOCATE p;
DO $$ BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'and a warning'; END $$;
EXPLAIN (COSTS off) SELECT * FROM customers WHERE id = 1;
EXPLAIN (COSTS off) UPDATE customers SET balance = 1 WHERE id = 1;
SET application_name = 'renamed';
SHOW application_name;
RESET ALL;
SELECT 1 +;
SELECT 'unterminated;
"#;

const BIND: &str = r#"';
SELECT $1::int + $2 AS sum \bind 1 2 \g
INSERT INTO customers (email, balance) VALUES ($1 || :'mail', $2) RETURNING balance \bind bound. 5 \g
UPDATE customers SET balance = balance * $1 WHERE email = $2 || :'mail' \bind 3 bound. \g
SELECT balance FROM customers WHERE email = $1 || :'mail' \bind bound. \g
SELECT $1 \bind \g
"#;
