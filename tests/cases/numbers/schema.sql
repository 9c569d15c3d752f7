CREATE TABLE numbers (id int PRIMARY KEY, f4 real, f8 double precision, n numeric, n2 numeric(20, 4), i8 bigint, i2 smallint, m money);
CREATE TABLE numbers_by_float (f double precision PRIMARY KEY, v int);
CREATE TABLE numbers_by_numeric (n numeric PRIMARY KEY, v int);
CREATE TABLE numbers_bare (f double precision, n numeric);
