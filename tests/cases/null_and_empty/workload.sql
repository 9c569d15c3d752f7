INSERT INTO null_and_empty VALUES (4, NULL, NULL), (5, '', '', ''), (6, 'NULL', 'NULL', NULL), (7, E'\\N', '\N', '\N');
UPDATE null_and_empty SET a = NULL WHERE id = 3;
UPDATE null_and_empty SET b = '', a = 'null' WHERE id = 1 RETURNING *;
UPDATE null_and_empty SET b = DEFAULT, c = DEFAULT WHERE id = 2;
INSERT INTO null_and_empty_bare VALUES (NULL, ''), ('', NULL), ('NULL', NULL), (NULL, NULL), ('NULL', '');
INSERT INTO null_and_empty_bare DEFAULT VALUES;
DELETE FROM null_and_empty WHERE a IS NULL;
