CREATE TABLE truncate_parent (id serial PRIMARY KEY, v int);
CREATE TABLE truncate_child (id int PRIMARY KEY, parent int REFERENCES truncate_parent);
CREATE TABLE truncate_bare (a int);
CREATE TABLE truncate_kept (id int PRIMARY KEY);
