CREATE TABLE keys_that_change (id int PRIMARY KEY, v int);
CREATE TABLE keys_that_change_swap (id int, v int, UNIQUE (v) DEFERRABLE INITIALLY DEFERRED, PRIMARY KEY (id) DEFERRABLE);
