INSERT INTO sessions_t VALUES (0, 0), (1, 0), (2, 0);
