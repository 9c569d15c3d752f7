-- How each table is captured on this side: by RETURNING ('r'), by triggers ('t'), or not at all, because nobody carries it ('n').
-- A table that is not listed is new: it counts as captured by RETURNING.
CREATE TABLE pgduet.captures (
    rel oid PRIMARY KEY,
    method "char" NOT NULL CHECK (method IN ('r', 't', 'n'))
);
