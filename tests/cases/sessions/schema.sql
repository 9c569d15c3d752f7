CREATE TABLE sessions_t (id int PRIMARY KEY, v bigint);
CREATE TABLE sessions_log (id serial PRIMARY KEY, n int);
CREATE FUNCTION sessions_write(i int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sessions_t SET v = v + i WHERE id = i % 3;
    INSERT INTO sessions_log (n) VALUES (i);
END $$;
