UPDATE collations_ci SET v = 10 WHERE k = 'ann';
UPDATE collations_ci SET k = 'ANN' WHERE k = 'ann';
INSERT INTO collations_ci VALUES ('BOB', 3) ON CONFLICT (k) DO UPDATE SET v = excluded.v;
