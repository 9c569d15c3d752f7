INSERT INTO isolation_t SELECT i, 0 FROM generate_series(1, 10) i;
