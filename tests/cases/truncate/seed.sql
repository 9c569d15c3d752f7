INSERT INTO truncate_parent (v) SELECT i FROM generate_series(1, 10) i;
INSERT INTO truncate_child SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO truncate_bare SELECT i FROM generate_series(1, 10) i;
INSERT INTO truncate_kept SELECT i FROM generate_series(1, 10) i;
