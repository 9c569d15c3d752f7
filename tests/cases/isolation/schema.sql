CREATE TABLE isolation_t (id int PRIMARY KEY, v int);
