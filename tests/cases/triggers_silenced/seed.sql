INSERT INTO silenced_t SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO silenced_parts SELECT i * 10, i FROM generate_series(1, 19) i;
INSERT INTO silenced_loose SELECT 'line ' || i FROM generate_series(1, 5) i;
