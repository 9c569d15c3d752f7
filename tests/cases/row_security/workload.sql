INSERT INTO row_security VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 500), (4, 'd', 600);
UPDATE row_security SET v = v + 1;
UPDATE row_security SET owner = 'x';
INSERT INTO row_security VALUES (5, 'e', 1000);
DELETE FROM row_security;
