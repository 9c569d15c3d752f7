INSERT INTO cascades_parent SELECT i, i FROM generate_series(1, 9) i;
INSERT INTO cascades_delete SELECT i, i % 9 + 1 FROM generate_series(1, 20) i;
INSERT INTO cascades_grand SELECT i, i % 20 + 1 FROM generate_series(1, 40) i;
INSERT INTO cascades_null SELECT i, i % 9 + 1 FROM generate_series(1, 20) i;
INSERT INTO cascades_default SELECT i, i % 9 + 1 FROM generate_series(1, 20) i;
INSERT INTO cascades_keyless SELECT i % 9 + 1, i FROM generate_series(1, 20) i;
INSERT INTO cascades_self SELECT i, nullif(i / 2, 0) FROM generate_series(1, 15) i;
