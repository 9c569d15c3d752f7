CREATE TABLE privileges_insert (id int PRIMARY KEY, v int);
CREATE TABLE privileges_columns (id int PRIMARY KEY, open int, closed int DEFAULT 1);
CREATE TABLE privileges_bare (line text);
CREATE TABLE privileges_update (id int PRIMARY KEY, v int);
GRANT INSERT ON privileges_insert, privileges_bare TO clerk;
GRANT INSERT (id, open), UPDATE (open) ON privileges_columns TO clerk;
GRANT UPDATE, DELETE ON privileges_update TO clerk;
