INSERT INTO with_clauses_a SELECT i, i FROM generate_series(1, 20) i;
