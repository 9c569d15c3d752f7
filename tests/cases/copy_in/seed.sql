INSERT INTO copy_in_t VALUES (1, 'x', 1);
