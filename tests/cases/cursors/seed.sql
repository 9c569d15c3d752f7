INSERT INTO cursors_t SELECT i, i FROM generate_series(1, 10) i;
