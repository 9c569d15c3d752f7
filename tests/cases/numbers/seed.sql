INSERT INTO numbers VALUES (1, 0, 0, 0, 0, 0, 0, 0), (2, '-0', '-0', -0.0, 0, 0, 0, 0);
INSERT INTO numbers_by_float VALUES (0, 0), (0.1, 1), ('NaN', 2), ('Infinity', 3), (1e-300, 4), (1.0000000000000002, 5);
INSERT INTO numbers_by_numeric VALUES (1.00, 0), ('NaN', 1), ('-Infinity', 2), (1e-50, 3);
