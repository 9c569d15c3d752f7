CREATE TABLE merge_t (id int PRIMARY KEY, v int);
CREATE TABLE merge_s (id int PRIMARY KEY, v int);
