INSERT INTO partitions SELECT i, (ARRAY['eu', 'us', 'asia'])[i % 3 + 1], i FROM generate_series(1, 30) i;
INSERT INTO partitions_bare SELECT i, i FROM generate_series(1, 10) i;
