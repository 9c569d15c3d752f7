CREATE TABLE copy_in_t (id int PRIMARY KEY, a text, b double precision, c timestamptz DEFAULT clock_timestamp());
CREATE TABLE copy_in_serial (id serial PRIMARY KEY, v text, up text GENERATED ALWAYS AS (upper(v)) STORED, CHECK (v <> 'bad'));
CREATE TABLE copy_in_bare (a text, b int);
CREATE TABLE copy_in_parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE copy_in_low PARTITION OF copy_in_parts FOR VALUES FROM (0) TO (10);
CREATE TABLE copy_in_high PARTITION OF copy_in_parts FOR VALUES FROM (10) TO (100);
CREATE VIEW copy_in_view AS SELECT id, v FROM copy_in_parts;
CREATE FUNCTION copy_in_instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO copy_in_parts VALUES (NEW.id, NEW.v); RETURN NEW; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON copy_in_view FOR EACH ROW EXECUTE FUNCTION copy_in_instead();
