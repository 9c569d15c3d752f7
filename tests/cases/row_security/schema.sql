CREATE TABLE row_security (id int PRIMARY KEY, owner text, v int);
ALTER TABLE row_security ENABLE ROW LEVEL SECURITY;
ALTER TABLE row_security FORCE ROW LEVEL SECURITY;
CREATE POLICY seen ON row_security FOR SELECT USING (v < 100);
CREATE POLICY written ON row_security FOR INSERT WITH CHECK (true);
CREATE POLICY changed ON row_security FOR UPDATE USING (true) WITH CHECK (true);
CREATE POLICY gone ON row_security FOR DELETE USING (true);
