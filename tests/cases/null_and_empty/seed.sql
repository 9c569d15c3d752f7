INSERT INTO null_and_empty VALUES (1, NULL, '', 'NULL'), (2, '', NULL, NULL), (3, 'NULL', 'null', '');
