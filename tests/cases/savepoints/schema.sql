CREATE TABLE savepoints_t (id int PRIMARY KEY, v int);
