DELETE FROM cascades_parent WHERE id = 2;
DELETE FROM cascades_parent WHERE id IN (3, 4) RETURNING *;
UPDATE cascades_parent SET id = 50 WHERE id = 5;
UPDATE cascades_parent SET v = 9 WHERE id = 6;
DELETE FROM cascades_self WHERE id = 2;
BEGIN;
DELETE FROM cascades_parent WHERE id = 7;
ROLLBACK;
WITH gone AS (DELETE FROM cascades_parent WHERE id = 8 RETURNING id) SELECT * FROM gone;
