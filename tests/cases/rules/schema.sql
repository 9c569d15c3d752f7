CREATE TABLE rules_t (id int PRIMARY KEY, v int);
CREATE TABLE rules_log (id serial PRIMARY KEY, what text, n int);
CREATE TABLE rules_kept (id int PRIMARY KEY, gone bool DEFAULT false);
CREATE TABLE rules_quiet (id int PRIMARY KEY);
CREATE RULE also AS ON UPDATE TO rules_t DO ALSO INSERT INTO rules_log (what, n) VALUES ('update', OLD.id);
CREATE RULE instead AS ON DELETE TO rules_kept DO INSTEAD UPDATE rules_kept SET gone = true WHERE id = OLD.id;
CREATE RULE nothing AS ON INSERT TO rules_quiet DO INSTEAD NOTHING;
