INSERT INTO views_t SELECT i, i FROM generate_series(1, 10) i;
