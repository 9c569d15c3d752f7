INSERT INTO rules_t SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO rules_kept SELECT i FROM generate_series(1, 5) i;
