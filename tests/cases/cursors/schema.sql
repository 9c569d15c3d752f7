CREATE TABLE cursors_t (id int PRIMARY KEY, v int);
