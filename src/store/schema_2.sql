-- How each table is captured on this side: by RETURNING ('r'), by triggers ('t'), or not at all, because nobody carries it ('n').
-- A table that is not listed is new: it counts as captured by RETURNING.
CREATE TABLE pgduet.captures (
    rel oid PRIMARY KEY,
    method "char" NOT NULL CHECK (method IN ('r', 't', 'n'))
);

-- The order of statements: taken while their locks are held, so that of two that exclude each other the later has the
-- higher number, whatever their transactions' ids are.
CREATE SEQUENCE pgduet.statement_number;
CREATE INDEX journal_statements ON pgduet.journal (xid) WHERE op IN ('D', 'd');

-- Statements that were run on the secondary in a transaction of their own, before the marker could move; by number.
ALTER TABLE pgduet.applied ADD COLUMN replayed bigint[] NOT NULL DEFAULT '{}';
