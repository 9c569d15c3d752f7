-- The touches. The transaction id says which snapshots see an entry; nothing depends on the order of entries.
CREATE TABLE pgduet.journal (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    rel oid NOT NULL,
    op "char" NOT NULL,
    key text[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_insert_threshold = -1,
        autovacuum_analyze_threshold = 2147483647, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX journal_xid ON pgduet.journal (xid);

-- Tables of one row: the first column admits no second.
CREATE TABLE pgduet.applied (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    snapshot text NOT NULL,
    system_identifier text NOT NULL,
    timeline int NOT NULL,
    applied_total bigint NOT NULL DEFAULT 0,
    superseded_total bigint NOT NULL DEFAULT 0,
    discarded_total bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE pgduet.control (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    phase text NOT NULL CHECK (phase IN ('old_only', 'dual_write', 'new_primary', 'new_only')),
    read_percent int NOT NULL CHECK (read_percent BETWEEN 0 AND 10000),
    ack text NOT NULL CHECK (ack IN ('both', 'primary')),
    shadow_sample_percent int NOT NULL CHECK (shadow_sample_percent BETWEEN 0 AND 10000),
    epoch bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL
);
COMMENT ON COLUMN pgduet.control.read_percent IS 'hundredths of a percent';
COMMENT ON COLUMN pgduet.control.shadow_sample_percent IS 'hundredths of a percent';

CREATE TABLE pgduet.history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    by text NOT NULL,
    former jsonb,
    latter jsonb NOT NULL,
    evidence jsonb NOT NULL
);

CREATE TABLE pgduet.tables (
    schema_name text NOT NULL,
    table_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('assumed', 'copying', 'equal', 'diverged', 'stale', 'excluded')),
    since timestamptz NOT NULL DEFAULT now(),
    evidence jsonb NOT NULL,
    PRIMARY KEY (schema_name, table_name)
);

CREATE TABLE pgduet.parked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rel oid NOT NULL,
    table_name text NOT NULL,
    op "char" NOT NULL,
    key text[] NOT NULL,
    key_digest text NOT NULL,
    sqlstate text NOT NULL,
    error text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    discarded_at timestamptz,
    discarded_by text
);
CREATE UNIQUE INDEX parked_entry ON pgduet.parked (rel, op, key_digest) WHERE discarded_at IS NULL;

CREATE TABLE pgduet.detached (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
