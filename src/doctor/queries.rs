//! The questions. Each answers in text, from the catalog and the server's own views; none takes a lock that a writer would notice.

use std::time::Duration;

/// Kind, name, table, definition, statement.
pub const OBJECTS: &str = include_str!("objects.sql");

/// What a session begins with. pgduet's connection pins some for itself, so the values that they would be reset to are asked for.
pub const SETTINGS: &str = "SELECT name, reset_val FROM pg_settings";

/// Whether a login exists, may log in, and may connect to this database.
pub const CLIENT: &str = "SELECT rolcanlogin AND has_database_privilege(oid, current_database(), 'CONNECT') FROM pg_roles WHERE rolname = $1";

/// The server in one line. `number`: its version.
pub fn server(number: u32) -> String {
    let provider = if number >= 150_000 { "d.datlocprovider" } else { "'c'" };
    let locale = match number {
        170_000.. => "d.datlocale",
        150_000.. => "d.daticulocale",
        _ => "''",
    };
    let versions = match number {
        150_000.. => "d.datcollversion, pg_database_collation_actual_version(d.oid)",
        _ => "'', ''",
    };
    format!(
        "SELECT split_part(current_setting('server_version'), ' ', 1), d.datname, current_user, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, \
           pg_is_in_recovery(), r.rolsuper, CASE WHEN n.oid IS NULL THEN has_database_privilege(d.oid, 'CREATE') \
             ELSE pg_has_role(n.nspowner, 'USAGE') END, pg_has_role('pg_read_all_stats', 'USAGE'), \
           (SELECT count(*) FROM pg_largeobject_metadata), {provider}, {locale}, {versions} \
         FROM pg_database d JOIN pg_roles r ON r.rolname = current_user LEFT JOIN pg_namespace n ON n.nspname = 'pgduet' \
         WHERE d.datname = current_database()"
    )
}

pub const TABLES: &str = "SELECT c.oid, c.reltuples::bigint, coalesce(s.n_tup_upd + s.n_tup_del, 0), c.relpersistence = 'u', c.relispartition, \
      has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
      has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'INSERT') \
        AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'), \
      has_table_privilege(c.oid, 'TRIGGER'), r.rolname, pg_has_role(c.relowner, 'MEMBER'), \
      (SELECT format('ALTER TABLE %I.%I %s', n.nspname, c.relname, (SELECT string_agg(format('ALTER COLUMN %I SET NOT NULL', a.attname), ', ') \
           FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull)) \
       FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
         AND i.indexprs IS NULL ORDER BY i.indexrelid LIMIT 1) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner \
      LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid \
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet', 'pg_toast')";

/// What has a question of its own; each answers with an object, a detail, and the statement that removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum About {
    LongTransactions,
    PreparedTransactions,
    IdleSlots,
    /// User triggers, which pgduet may have to keep silent.
    Triggers,
    /// Those that fire although they are told to be silent.
    LoudTriggers,
    CyclicKeys,
    InvalidIndexes,
    StaleCollations,
    RowSecurity,
    Sequences,
    /// Functions that use what only the primary has.
    LocalFunctions,
    LocalStatements,
}

impl About {
    pub const ALL: [About; 12] = [
        About::LongTransactions,
        About::PreparedTransactions,
        About::IdleSlots,
        About::Triggers,
        About::LoudTriggers,
        About::CyclicKeys,
        About::InvalidIndexes,
        About::StaleCollations,
        About::RowSecurity,
        About::Sequences,
        About::LocalFunctions,
        About::LocalStatements,
    ];

    /// `patience`: a transaction that is open for longer is long.
    pub fn sql(self, patience: Duration) -> String {
        match self {
            About::LongTransactions => LONG.replace("{ms}", &patience.as_millis().to_string()),
            About::PreparedTransactions => PREPARED.into(),
            About::IdleSlots => SLOTS.into(),
            About::Triggers => format!("{TRIGGERS} AND t.tgenabled = 'O'"),
            About::LoudTriggers => {
                format!("{TRIGGERS} AND t.tgenabled IN ('A', 'R') AND NOT pg_has_role(c.relowner, 'USAGE')")
            }
            About::CyclicKeys => CYCLES.into(),
            About::InvalidIndexes => INVALID.into(),
            About::StaleCollations => COLLATIONS.into(),
            About::RowSecurity => ROW_SECURITY.into(),
            About::Sequences => SEQUENCES.into(),
            About::LocalFunctions => FUNCTIONS.replace("{local}", LOCAL),
            About::LocalStatements => STATEMENTS.replace("{local}", LOCAL),
        }
    }
}

/// What is the primary's alone, as it is called.
const LOCAL: &str = "(pg_notify|pg_(try_)?advisory_|lo_(create|creat|import|from_bytea|put|unlink)|dblink|(^|\\W)notify\\s|prepare\\s+transaction)";

const LONG: &str = "SELECT 'pid ' || pid, format('%s s, %s, by %s', extract(epoch FROM now() - xact_start)::bigint, state, usename), \
      format('SELECT pg_terminate_backend(%s)', pid) \
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
      AND application_name NOT LIKE 'pgduet %' AND xact_start < clock_timestamp() - interval '{ms} milliseconds' ORDER BY xact_start LIMIT 100";

const PREPARED: &str = "SELECT gid, format('since %s, by %s', to_char(prepared, 'YYYY-MM-DD HH24:MI:SS'), owner), format('ROLLBACK PREPARED %L', gid) \
    FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 100";

const SLOTS: &str = "SELECT slot_name, concat_ws(', ', slot_type, 'xmin ' || xmin, 'catalog_xmin ' || catalog_xmin), \
      format('SELECT pg_drop_replication_slot(%L)', slot_name) \
    FROM pg_replication_slots WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)";

/// Whether pgduet has to be able to keep it silent: those of pgduet's own are not asked for.
const TRIGGERS: &str = "SELECT n.nspname || '.' || c.relname, t.tgname, format('ALTER TABLE %I.%I ENABLE TRIGGER %I', n.nspname, c.relname, t.tgname) \
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
      JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace \
    WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND pn.nspname <> 'pgduet'";

const CYCLES: &str = "WITH RECURSIVE k AS (SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND NOT condeferrable), \
      r (child, parent) AS (SELECT conrelid, confrelid FROM k UNION SELECT r.child, k.confrelid FROM r JOIN k ON k.conrelid = r.parent) \
    SELECT n.nspname || '.' || c.relname, c2.conname, format('ALTER TABLE %I.%I ALTER CONSTRAINT %I DEFERRABLE', n.nspname, c.relname, c2.conname) \
    FROM r JOIN pg_class c ON c.oid = r.child JOIN pg_namespace n ON n.oid = c.relnamespace \
      JOIN pg_constraint c2 ON c2.conrelid = c.oid AND c2.contype = 'f' AND NOT c2.condeferrable \
        AND EXISTS (SELECT FROM r back WHERE back.child = c2.confrelid AND back.parent = c.oid OR c2.confrelid = c.oid) \
    WHERE r.child = r.parent";

const INVALID: &str = "SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text, format('REINDEX INDEX %s', i.indexrelid::regclass) \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid AND c.relkind = 'i'";

const COLLATIONS: &str = "SELECT c.collname, format('made with %s, and now it is %s', c.collversion, pg_collation_actual_version(c.oid)), \
      format('ALTER COLLATION %I.%I REFRESH VERSION', n.nspname, c.collname) \
    FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace \
    WHERE c.collversion <> pg_collation_actual_version(c.oid) \
      AND EXISTS (SELECT FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid WHERE a.attcollation = c.oid AND t.oid >= 16384)";

/// Tables whose policies hold for pgduet's role, too: it asks with row_security off, which is an error then.
const ROW_SECURITY: &str = "SELECT n.nspname || '.' || c.relname, '', '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relrowsecurity AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) \
      AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))";

/// Those that pgduet's role can neither read nor set.
const SEQUENCES: &str = "SELECT n.nspname || '.' || c.relname, '', format('GRANT SELECT, UPDATE ON SEQUENCE %I.%I TO %I', n.nspname, c.relname, current_user) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet') \
      AND CASE c.relkind WHEN 'S' THEN NOT (has_sequence_privilege(c.oid, 'SELECT') AND has_sequence_privilege(c.oid, 'UPDATE')) END";

const FUNCTIONS: &str = "SELECT n.nspname || '.' || p.proname, (regexp_match(p.prosrc, '{local}', 'i'))[1], '' \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
    WHERE l.lanname NOT IN ('c', 'internal') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet') \
      AND p.prosrc ~* '{local}' ORDER BY 1 LIMIT 100";

/// Where pg_stat_statements is installed: its texts have no values in them.
const STATEMENTS: &str = "SELECT left(regexp_replace(s.query, '\\s+', ' ', 'g'), 100), s.calls || ' calls', '' \
    FROM public.pg_stat_statements s WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
      AND s.query !~* 'pgduet|pg_stat_statements' AND s.query ~* '{local}' ORDER BY s.calls DESC LIMIT 20";
