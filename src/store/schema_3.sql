-- Who is routed in a way of their own: segments and pins.
CREATE TABLE pgduet.rules (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    rules jsonb NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL
);

-- The table of statements, counted by all instances together.
CREATE TABLE pgduet.statements (
    fingerprint text PRIMARY KEY,
    statement text NOT NULL,
    tables text[] NOT NULL,
    counts bigint[] NOT NULL,
    spread_old bigint[] NOT NULL,
    spread_new bigint[] NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    last_mismatch jsonb
);
COMMENT ON COLUMN pgduet.statements.spread_old IS 'answers by time taken, in buckets of an eighth of a power of two microseconds';
COMMENT ON COLUMN pgduet.statements.spread_new IS 'the same of new';
