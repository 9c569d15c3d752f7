WITH gone AS (DELETE FROM with_clauses_a WHERE id < 4 RETURNING *) INSERT INTO with_clauses_b SELECT * FROM gone;
WITH x AS (UPDATE with_clauses_a SET v = v * 2 WHERE id < 8 RETURNING id, v), y AS (INSERT INTO with_clauses_log SELECT 'x' || id FROM x) SELECT count(*) FROM x;
WITH x AS (DELETE FROM with_clauses_a WHERE id = 9) SELECT 1;
WITH x AS (UPDATE with_clauses_a SET v = 0 WHERE id = 10 RETURNING v + 1 AS w) SELECT w FROM x;
WITH x AS (DELETE FROM with_clauses_a WHERE id = 11 RETURNING 'gone') SELECT * FROM x;
WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 105), x AS (INSERT INTO with_clauses_a SELECT i, i FROM n RETURNING id) SELECT max(id) FROM x;
WITH x AS (INSERT INTO with_clauses_a VALUES (12, 0) ON CONFLICT (id) DO UPDATE SET v = -1 RETURNING (SELECT count(*) FROM with_clauses_log)) SELECT * FROM x;
WITH x AS (DELETE FROM with_clauses_a WHERE id = 13 RETURNING id) UPDATE with_clauses_b SET v = x.id FROM x WHERE with_clauses_b.id = 1;
SELECT * FROM (WITH y AS (SELECT 1 AS a) SELECT a FROM y) z;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) DELETE FROM with_clauses_a WHERE id = 14;
EXPLAIN (COSTS OFF) DELETE FROM with_clauses_a WHERE id = 15;
EXPLAIN ANALYZE VERBOSE SELECT 1 \g /dev/null
COPY (DELETE FROM with_clauses_a WHERE id = 16 RETURNING id, v) TO STDOUT;
COPY (INSERT INTO with_clauses_b VALUES (50, 50) RETURNING 'constant') TO STDOUT;
CREATE TABLE with_clauses_made AS WITH x AS (SELECT 1 AS a) SELECT a FROM x;

-- refused, because nothing is returned; with rows returned below it too
COPY (DELETE FROM with_clauses_a) TO STDOUT;
COPY (WITH gone AS (DELETE FROM with_clauses_a WHERE id = 15 RETURNING id) DELETE FROM with_clauses_b WHERE id IN (SELECT id FROM gone)) TO STDOUT;
COPY (WITH gone AS (DELETE FROM with_clauses_b WHERE id = 50 RETURNING id) DELETE FROM with_clauses_a WHERE id IN (SELECT id FROM gone) RETURNING id) TO STDOUT;
