CREATE TABLE scripts_t (id int PRIMARY KEY, v int);
CREATE FUNCTION scripts_write(i int) RETURNS int LANGUAGE sql AS $$ INSERT INTO scripts_t VALUES (i, i) RETURNING id $$;
