INSERT INTO privileges_update SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO privileges_columns SELECT i, i FROM generate_series(1, 5) i;
