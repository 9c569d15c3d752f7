CREATE TABLE cascades_parent (id int PRIMARY KEY, v int);
CREATE TABLE cascades_delete (id int PRIMARY KEY, parent int REFERENCES cascades_parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE cascades_grand (id int PRIMARY KEY, parent int REFERENCES cascades_delete ON DELETE CASCADE);
CREATE TABLE cascades_null (id int PRIMARY KEY, parent int REFERENCES cascades_parent ON DELETE SET NULL ON UPDATE SET NULL);
CREATE TABLE cascades_default (id int PRIMARY KEY, parent int DEFAULT 1 REFERENCES cascades_parent ON DELETE SET DEFAULT ON UPDATE CASCADE);
CREATE TABLE cascades_keyless (parent int REFERENCES cascades_parent ON DELETE CASCADE ON UPDATE CASCADE, v int);
CREATE TABLE cascades_self (id int PRIMARY KEY, up int REFERENCES cascades_self ON DELETE CASCADE);
