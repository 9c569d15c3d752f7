CREATE TABLE xml_t (id int PRIMARY KEY, x xml);
CREATE TABLE xml_bare (x xml);
