INSERT INTO prepared_in_sql SELECT i, i FROM generate_series(1, 10) i;
