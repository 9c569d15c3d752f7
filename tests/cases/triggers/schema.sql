CREATE TABLE triggers_t (id int PRIMARY KEY, v int, changed int DEFAULT 0);
CREATE TABLE triggers_audit (id serial PRIMARY KEY, what text, row_id int);
CREATE TABLE triggers_total (id int PRIMARY KEY, n bigint);
CREATE FUNCTION triggers_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.v = 13 THEN RETURN NULL; END IF;
    NEW.changed := OLD.changed + 1;
    RETURN NEW;
END $$;
CREATE FUNCTION triggers_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO triggers_audit (what, row_id) VALUES (TG_OP, coalesce(NEW.id, OLD.id));
    UPDATE triggers_total SET n = n + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER before BEFORE UPDATE ON triggers_t FOR EACH ROW EXECUTE FUNCTION triggers_before();
CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON triggers_t FOR EACH ROW EXECUTE FUNCTION triggers_after();
