INSERT INTO scripts_t VALUES (1, 1)\; INSERT INTO scripts_t VALUES (2, 2) RETURNING id\; SELECT 3;
INSERT INTO scripts_t VALUES (3, 3)\; DO $$ BEGIN INSERT INTO scripts_t VALUES (4, 4); END $$\; UPDATE scripts_t SET v = 0 WHERE id = 1;
SELECT scripts_write(5)\; SELECT scripts_write(6)\; SELECT 1/0;
BEGIN\; SELECT scripts_write(7)\; COMMIT\; SELECT scripts_write(8)\; ROLLBACK;
SELECT scripts_write(9)\; BEGIN\; SELECT scripts_write(10)\; ROLLBACK;
TRUNCATE scripts_t\; INSERT INTO scripts_t VALUES (20, 20);
CREATE TABLE scripts_made (id int PRIMARY KEY)\; INSERT INTO scripts_made VALUES (1)\; SELECT * FROM scripts_made;
