INSERT INTO ddl_t SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO ddl_fill SELECT i FROM generate_series(1, 10) i;
