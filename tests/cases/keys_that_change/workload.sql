UPDATE keys_that_change SET id = id + 100 WHERE id <= 5;
UPDATE keys_that_change SET id = -id WHERE id > 15 RETURNING id;
INSERT INTO keys_that_change VALUES (6, 0) ON CONFLICT (id) DO UPDATE SET id = 600;
UPDATE keys_that_change SET id = 7 WHERE id = 8;
BEGIN;
UPDATE keys_that_change_swap SET v = 2 WHERE id = 1;
UPDATE keys_that_change_swap SET v = 1 WHERE id = 2;
COMMIT;
UPDATE keys_that_change_swap SET id = 6 - id;
