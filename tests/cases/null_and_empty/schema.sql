CREATE TABLE null_and_empty (id int PRIMARY KEY, a text, b varchar(10), c text DEFAULT 'NULL');
CREATE TABLE null_and_empty_bare (a text, b text);
