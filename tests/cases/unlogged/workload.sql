INSERT INTO unlogged_t SELECT i, i FROM generate_series(1, 10) i;
UPDATE unlogged_t SET v = 0 WHERE id < 5;
DELETE FROM unlogged_t WHERE id = 1;
CREATE TEMP TABLE unlogged_other (a int);
INSERT INTO unlogged_other VALUES (1);
UPDATE unlogged_other SET a = 2;
DROP TABLE unlogged_other;
INSERT INTO unlogged_other VALUES (1, 1);
