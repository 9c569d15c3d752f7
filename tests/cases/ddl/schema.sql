CREATE TABLE ddl_t (id int PRIMARY KEY, v int);
CREATE TABLE ddl_gone (id int PRIMARY KEY);
CREATE TABLE ddl_fill (id int PRIMARY KEY);
