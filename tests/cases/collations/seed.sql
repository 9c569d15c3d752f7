INSERT INTO collations_ci VALUES ('Ann', 1), ('bob', 2);
