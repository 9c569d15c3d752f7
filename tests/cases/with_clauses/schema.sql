CREATE TABLE with_clauses_a (id int PRIMARY KEY, v int);
CREATE TABLE with_clauses_b (id int PRIMARY KEY, v int);
CREATE TABLE with_clauses_log (line text);
