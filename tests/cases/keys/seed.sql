INSERT INTO keys_text VALUES ('', 0), (' ', 1), ('a''b', 2), ('a\b', 3), (E'line\nbreak', 4), ('{x,y}', 5), ('ä', 6);
INSERT INTO keys_two SELECT i, 'row', i FROM generate_series(1, 5) i;
INSERT INTO keys_time VALUES ('2020-01-01 00:00:00.123456+00', '2020-02-29', '1 mon 2 days 03:04:05.6', 1), ('infinity', '-infinity', '0', 2);
INSERT INTO keys_bytes VALUES ('\x00ff', 1), ('', 2);
INSERT INTO keys_array VALUES ('{1,2}', 1), ('{}', 2), ('{NULL}', 3);
INSERT INTO keys_pair VALUES ('(1,"a b")', 1), ('(2,)', 2);
INSERT INTO keys_char VALUES ('a', 1);
INSERT INTO keys_none VALUES (1, 'x'), (1, 'x'), (2, NULL);
