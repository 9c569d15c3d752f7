INSERT INTO merge_t SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO merge_s SELECT i, i * 10 FROM generate_series(6, 15) i;
