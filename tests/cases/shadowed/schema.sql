CREATE TABLE shadowed_t (id int PRIMARY KEY, v text);
CREATE TABLE shadowed_u (id int PRIMARY KEY, mine int);
