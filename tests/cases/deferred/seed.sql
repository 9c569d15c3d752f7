INSERT INTO deferred_parent VALUES (1);
INSERT INTO deferred_unique VALUES (1, 1), (2, 2);
