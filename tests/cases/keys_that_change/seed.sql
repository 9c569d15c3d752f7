INSERT INTO keys_that_change SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO keys_that_change_swap SELECT i, i FROM generate_series(1, 5) i;
