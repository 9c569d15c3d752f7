CREATE UNLOGGED TABLE unlogged_t (id int PRIMARY KEY, v int);
CREATE TABLE unlogged_other (id int PRIMARY KEY, v int);
