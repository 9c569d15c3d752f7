UPDATE rules_t SET v = 10 WHERE id < 3;
INSERT INTO rules_t VALUES (6, 6);
DELETE FROM rules_kept WHERE id = 2;
DELETE FROM rules_kept WHERE id = 3 RETURNING *;
INSERT INTO rules_quiet VALUES (1);
DELETE FROM rules_t WHERE id = 5;
