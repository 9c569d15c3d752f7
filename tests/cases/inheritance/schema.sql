CREATE TABLE inheritance_parent (id int PRIMARY KEY, v int);
CREATE TABLE inheritance_child (more text, PRIMARY KEY (id)) INHERITS (inheritance_parent);
CREATE TABLE inheritance_other (k int PRIMARY KEY) INHERITS (inheritance_parent);
CREATE TABLE inheritance_keyless () INHERITS (inheritance_parent);
