CREATE TABLE functions_t (id int PRIMARY KEY, v int);
CREATE TABLE functions_log (line text);
CREATE FUNCTION functions_write(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO functions_t VALUES (i, i) ON CONFLICT (id) DO UPDATE SET v = functions_t.v + 1;
    INSERT INTO functions_log VALUES ('wrote ' || i);
    RETURN i;
END $$;
CREATE FUNCTION functions_read() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT sum(v) FROM functions_t); END $$;
CREATE FUNCTION functions_sql(i int) RETURNS SETOF functions_t LANGUAGE sql AS $$ UPDATE functions_t SET v = -v WHERE id = i RETURNING * $$;
CREATE FUNCTION functions_fail(i int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO functions_t VALUES (i, i);
    RAISE EXCEPTION 'no %', i USING ERRCODE = 'P0042', HINT = 'never';
END $$;
CREATE FUNCTION functions_caught(i int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE functions_t SET v = 0 WHERE id = i;
    RAISE EXCEPTION 'no';
EXCEPTION WHEN OTHERS THEN RETURN 'caught';
END $$;
CREATE PROCEDURE functions_proc(i int) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO functions_t VALUES (i, i); END $$;
CREATE PROCEDURE functions_out(i int, INOUT o int) LANGUAGE plpgsql AS $$ BEGIN DELETE FROM functions_t WHERE id = i; o := o + 1; END $$;
CREATE PROCEDURE functions_commits(i int) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO functions_t VALUES (i, i);
    COMMIT;
    INSERT INTO functions_t VALUES (i + 1, i);
    ROLLBACK;
    INSERT INTO functions_t VALUES (i + 2, i);
END $$;
CREATE PROCEDURE functions_nested(i int) LANGUAGE sql AS $$ CALL functions_proc(i); CALL functions_proc(i + 1) $$;
CREATE PROCEDURE functions_dynamic(i int) LANGUAGE plpgsql SET work_mem = '4MB' AS $$
BEGIN
    EXECUTE 'INSERT INTO functions_t VALUES ($1, $1)' USING i;
END $$;
