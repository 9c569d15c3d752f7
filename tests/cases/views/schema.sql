CREATE TABLE views_t (id int PRIMARY KEY, v int, secret text DEFAULT 's');
CREATE TABLE views_log (line text);
CREATE VIEW views_simple AS SELECT id, v FROM views_t;
CREATE VIEW views_checked AS SELECT id, v FROM views_t WHERE v < 100 WITH CHECK OPTION;
CREATE VIEW views_joined AS SELECT t.id, t.v, 'x' || t.secret AS s FROM views_t t;
CREATE FUNCTION views_instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO views_t VALUES (NEW.id, NEW.v, NEW.s);
    INSERT INTO views_log VALUES ('instead ' || NEW.id);
    RETURN NEW;
END $$;
CREATE TRIGGER views_instead INSTEAD OF INSERT ON views_joined FOR EACH ROW EXECUTE FUNCTION views_instead();
CREATE MATERIALIZED VIEW views_materialized AS SELECT count(*) AS n FROM views_t;
