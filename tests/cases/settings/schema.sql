CREATE TABLE settings_t (at timestamptz, iv interval, f double precision, b bytea, m money, d date, v int, PRIMARY KEY (at, iv, f, b, m, d));
CREATE TABLE settings_bare (at timestamptz, iv interval, f double precision, b bytea, m money, a double precision[]);
CREATE TABLE settings_text (k text PRIMARY KEY, v int);
