INSERT INTO shadowed_u VALUES (1, 1);
