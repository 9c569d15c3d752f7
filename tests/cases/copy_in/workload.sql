COPY copy_in_t (id, a, b) FROM STDIN;
2	\N	NaN
3		-0
4	NULL	1e-300
5	tab\tand\\	Infinity
\.
COPY copy_in_t (id, a) FROM STDIN;
6	x
2	again
\.
COPY copy_in_t (id, a) FROM STDIN WITH (FORMAT csv, HEADER, NULL 'nil');
id,a
7,"a, ""b"""
8,nil
9,
\.
COPY copy_in_t (id, a) FROM STDIN CSV;
x,1
\.
COPY copy_in_serial (v) FROM STDIN;
one
two
\.
COPY copy_in_serial (v) FROM STDIN;
bad
\.
COPY copy_in_bare FROM STDIN DELIMITER '|';
a|1
a|1
|2
\.
COPY copy_in_parts FROM STDIN WHERE id % 2 = 0;
2	two
3	three
12	twelve
\.
COPY copy_in_parts FROM STDIN;
200	outside
\.
COPY copy_in_view FROM STDIN;
4	by view
\.
BEGIN;
COPY copy_in_bare FROM STDIN;
in	3
\.
SAVEPOINT a;
COPY copy_in_bare FROM STDIN;
lost	4
\.
ROLLBACK TO a;
COMMIT;
BEGIN;
COPY copy_in_bare FROM STDIN;
lost	5
\.
ROLLBACK;
BEGIN;
CREATE TABLE copy_in_frozen (id int PRIMARY KEY, v text);
COPY copy_in_frozen FROM STDIN WITH (FREEZE);
1	one
\.
COMMIT;
COPY copy_in_t FROM STDIN;
\.
COPY copy_in_nowhere FROM STDIN;
COPY copy_in_t (id, a, b) TO STDOUT;
SELECT count(*) FROM copy_in_t;
