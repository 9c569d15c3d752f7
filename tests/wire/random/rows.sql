TRUNCATE t, c, k, v, sr, ident, tr, trlog, p, "Two Words", other.t RESTART IDENTITY;
INSERT INTO t SELECT i, i - 3, 'row ' || i, i * 10 FROM generate_series(1, 6) i;
INSERT INTO c VALUES (1, 1, 'one'), (2, 1, 'two'), (3, 4, NULL);
INSERT INTO k VALUES (1, 'x'), (1, 'y'), (2, NULL), (2, NULL);
INSERT INTO v VALUES
    (1, 'one', '{1,NULL,3}', 1.5, '\x00ff', '{"a": [1, 2]}', '2020-02-29 12:34:56.789+00', 'sad', '{sad,ok}', 0.1),
    (2, '', '{}', 'NaN', '', 'null', 'infinity', 'happy', NULL, '-Infinity'),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO sr (note) VALUES ('first'), (NULL);
INSERT INTO ident (x) VALUES ('first');
INSERT INTO tr VALUES (1, 1), (2, NULL);
TRUNCATE trlog;
INSERT INTO p VALUES (1, 1, 'a'), (2, 1, 'b'), (1, 2, 'c');
INSERT INTO "Two Words" VALUES ('a', 1, 'quoted'), ('b', 2, NULL);
INSERT INTO other.t VALUES (1, 'the other t');
