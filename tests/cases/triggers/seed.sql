INSERT INTO triggers_total VALUES (1, 0);
INSERT INTO triggers_t SELECT i, i FROM generate_series(1, 5) i;
