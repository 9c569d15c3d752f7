CREATE TABLE prepared_in_sql (id int PRIMARY KEY, v int, t text);
CREATE TABLE prepared_in_sql_bare (a int, b text);
