-- What a schema is made of, one line an object: its kind, its name, the table that it belongs to, what it is, and the statement that makes
-- it. Both sides are asked the same, and what differs is found by comparing lines. Names are written as SQL needs them.
WITH space AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet', 'pg_toast') AND nspname !~ '^pg_(temp|toast_temp)_'),
member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
rel AS (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name, s.nspname || '.' || c.relname AS shown
    FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)),
tab AS (SELECT * FROM rel WHERE relkind IN ('r', 'p')),
col AS (
    SELECT t.oid AS rel, t.name, t.shown, t.relispartition, a.attnum, a.attname, a.attnotnull, a.attidentity, a.attgenerated, a.attislocal,
        format('%I', a.attname) AS ident,
        format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation <> y.typcollation
            THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END AS type,
        pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM tab t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type y ON y.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum),
typ AS (
    SELECT y.*, format('%I.%I', s.nspname, y.typname) AS name, s.nspname || '.' || y.typname AS shown
    FROM pg_type y JOIN space s ON s.oid = y.typnamespace
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = y.oid)),
owned AS (
    SELECT d.objid AS seq, d.refobjid AS rel, d.deptype FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i'))
SELECT 'schema' AS kind, nspname AS name, '' AS tab, '' AS definition, format('CREATE SCHEMA %I', nspname) AS make
FROM space s WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = s.oid)
UNION ALL
SELECT 'extension', e.extname, '', '', format('CREATE EXTENSION %I WITH SCHEMA %I', e.extname, n.nspname)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
UNION ALL
SELECT 'version of extension', e.extname, '', e.extversion, format('ALTER EXTENSION %I UPDATE TO %L', e.extname, e.extversion)
FROM pg_extension e
UNION ALL
SELECT 'type', shown, '', 'enum', format('CREATE TYPE %s AS ENUM (%s)', name,
    (SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = typ.oid))
FROM typ WHERE typtype = 'e'
UNION ALL
SELECT 'enum label', shown || ' ' || quote_literal(l.enumlabel), shown, '', format('ALTER TYPE %s ADD VALUE %L', name, l.enumlabel)
FROM typ JOIN pg_enum l ON l.enumtypid = typ.oid
UNION ALL
SELECT 'type', typ.shown, '', f.fields, format('CREATE TYPE %s AS (%s)', typ.name, f.fields)
FROM typ JOIN pg_class c ON c.oid = typ.typrelid AND c.relkind = 'c' CROSS JOIN LATERAL (
    SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) AS fields
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) f
WHERE typtype = 'c'
UNION ALL
SELECT 'type', typ.shown, '', f.definition, format('CREATE DOMAIN %s AS %s', typ.name, f.definition)
FROM typ CROSS JOIN LATERAL (
    SELECT concat_ws(' ', format_type(typ.typbasetype, typ.typtypmod), 'DEFAULT ' || typ.typdefault,
        CASE WHEN typ.typnotnull THEN 'NOT NULL' END, string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)) AS definition
    FROM pg_constraint k WHERE k.contypid = typ.oid AND k.contype = 'c') f
WHERE typtype = 'd'
UNION ALL
SELECT 'type', typ.shown, '', 'range of ' || format_type(r.rngsubtype, NULL),
    format('CREATE TYPE %s AS RANGE (SUBTYPE = %s)', typ.name, format_type(r.rngsubtype, NULL))
FROM typ JOIN pg_range r ON r.rngtypid = typ.oid WHERE typtype = 'r'
UNION ALL
SELECT 'table', shown, shown, CASE relkind WHEN 'p' THEN 'partitioned by ' || pg_get_partkeydef(oid) ELSE '' END
        || CASE WHEN relispartition THEN pg_get_expr(relpartbound, oid) ELSE '' END,
    CASE WHEN relispartition THEN format('CREATE TABLE %s PARTITION OF %s %s%s', name,
            (SELECT format('%I.%I', pn.nspname, p.relname) FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = tab.oid), pg_get_expr(relpartbound, oid), t.parted)
        ELSE format('CREATE %sTABLE %s (%s)%s', CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, name,
            (SELECT string_agg(c.ident || ' ' || c.type || CASE WHEN c.attgenerated <> '' THEN
                    format(' GENERATED ALWAYS AS (%s)', c.expression) || CASE c.attgenerated WHEN 's' THEN ' STORED' ELSE '' END ELSE '' END, ', ' ORDER BY c.attnum)
             FROM col c WHERE c.rel = tab.oid), t.parted) END
FROM tab CROSS JOIN LATERAL (SELECT CASE relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(oid) ELSE '' END AS parted) t
UNION ALL
SELECT 'column', shown || '.' || attname, shown, type, format('ALTER TABLE %s ADD COLUMN %s %s%s', name, ident, type,
    CASE WHEN attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%s)', expression) || CASE attgenerated WHEN 's' THEN ' STORED' ELSE '' END ELSE '' END)
FROM col
UNION ALL
SELECT 'default', shown || '.' || attname, shown, expression, format('ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s', name, ident, expression)
FROM col WHERE attgenerated = '' AND expression IS NOT NULL
UNION ALL
SELECT 'generated column', shown || '.' || attname, shown, expression, '' FROM col WHERE attgenerated <> ''
UNION ALL
SELECT 'identity', shown || '.' || attname, shown, CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
    format('ALTER TABLE %s ALTER COLUMN %s ADD GENERATED %s AS IDENTITY', name, ident,
        CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END)
FROM col WHERE attidentity <> '' AND NOT relispartition
UNION ALL
SELECT 'not null', shown || '.' || attname, shown, '', format('ALTER TABLE %s ALTER COLUMN %s SET NOT NULL', name, ident)
FROM col WHERE attnotnull AND attislocal
UNION ALL
SELECT CASE k.contype WHEN 'p' THEN 'key' WHEN 'u' THEN 'key' WHEN 'f' THEN 'foreign key' ELSE 'constraint' END,
    tab.shown || ' ' || pg_get_constraintdef(k.oid), tab.shown, '',
    format('ALTER TABLE %s ADD CONSTRAINT %I %s', tab.name, k.conname, pg_get_constraintdef(k.oid))
FROM tab JOIN pg_constraint k ON k.conrelid = tab.oid
WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND k.conparentid = 0 AND k.conislocal
UNION ALL
SELECT 'index', t.shown || ' ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .* ON (ONLY )?.* (USING .*)$', '\1\3'),
    t.shown, '', pg_get_indexdef(i.indexrelid)
FROM rel t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class x ON x.oid = i.indexrelid
WHERE t.relkind IN ('r', 'p', 'm') AND i.indisvalid AND NOT x.relispartition
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'trigger', t.shown || '.' || g.tgname, t.shown, md5(pg_get_triggerdef(g.oid)), pg_get_triggerdef(g.oid)
FROM rel t JOIN pg_trigger g ON g.tgrelid = t.oid JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND n.nspname <> 'pgduet'
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
    format('%s.%s(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), '',
    CASE WHEN p.prokind IN ('f', 'p') THEN md5(concat_ws(' ', p.prosrc, l.lanname, p.provolatile, p.prosecdef, p.proisstrict,
        pg_get_function_result(p.oid), p.proconfig::text)) ELSE '' END,
    CASE WHEN p.prokind IN ('f', 'p') THEN rtrim(pg_get_functiondef(p.oid), E'\n') ELSE '' END
FROM pg_proc p JOIN space s ON s.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
UNION ALL
SELECT CASE relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, shown, shown, md5(pg_get_viewdef(oid)),
    format('CREATE %sVIEW %s AS %s', CASE relkind WHEN 'm' THEN 'MATERIALIZED ' ELSE '' END, name, rtrim(pg_get_viewdef(oid), ';'))
FROM rel WHERE relkind IN ('v', 'm')
UNION ALL
SELECT 'foreign table', shown, shown, '', '' FROM rel WHERE relkind = 'f'
UNION ALL
SELECT 'rule', t.shown || '.' || r.rulename, t.shown, md5(pg_get_ruledef(r.oid)), rtrim(pg_get_ruledef(r.oid), ';')
FROM rel t JOIN pg_rewrite r ON r.ev_class = t.oid WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'row security', shown, shown, CASE WHEN relforcerowsecurity THEN 'forced' ELSE '' END,
    format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name)
FROM tab WHERE relrowsecurity
UNION ALL
SELECT 'policy', t.shown || '.' || p.policyname, t.shown, md5(concat_ws(' ', p.permissive, p.roles, p.cmd, p.qual, p.with_check)),
    format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.policyname, t.name, p.permissive, p.cmd,
        (SELECT string_agg(CASE r WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(r) END, ', ') FROM unnest(p.roles) AS r))
        || coalesce(' USING (' || p.qual || ')', '') || coalesce(' WITH CHECK (' || p.with_check || ')', '')
FROM tab t JOIN pg_policies p ON format('%I.%I', p.schemaname, p.tablename) = t.name
UNION ALL
SELECT 'sequence', rel.shown, coalesce(o.shown, ''), o.options,
    CASE WHEN o.deptype = 'i' THEN '' ELSE format('CREATE SEQUENCE %s %s', rel.name, o.options) END
FROM rel JOIN pg_sequence q ON q.seqrelid = rel.oid LEFT JOIN owned w ON w.seq = rel.oid LEFT JOIN tab t ON t.oid = w.rel
    CROSS JOIN LATERAL (SELECT t.shown, w.deptype, format('AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s%s',
        format_type(q.seqtypid, NULL), q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache,
        CASE WHEN q.seqcycle THEN ' CYCLE' ELSE ' NO CYCLE' END) AS options) o
UNION ALL
SELECT 'owner', t.shown, t.shown, r.rolname, format('ALTER TABLE %s OWNER TO %I', t.name, r.rolname)
FROM rel t JOIN pg_roles r ON r.oid = t.relowner WHERE t.relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'grant', format('%s on %s to %s', x.privilege_type, t.shown, coalesce(r.rolname, 'PUBLIC')), t.shown, '',
    format('GRANT %s ON %s%s TO %s', x.privilege_type, CASE t.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END, t.name,
        coalesce(quote_ident(r.rolname), 'PUBLIC'))
FROM rel t CROSS JOIN LATERAL aclexplode(t.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
WHERE t.relkind IN ('r', 'p', 'v', 'm', 'S') AND x.grantee <> t.relowner AND coalesce(r.rolname, '') <> current_user
UNION ALL
SELECT 'role', r.rolname, '', CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
    format('CREATE ROLE %I %s', r.rolname, CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END)
FROM pg_roles r
WHERE r.oid IN (SELECT relowner FROM rel UNION SELECT x.grantee FROM rel CROSS JOIN LATERAL aclexplode(relacl) x)
    AND NOT r.rolsuper AND r.rolname !~ '^pg_' AND r.rolname <> current_user
UNION ALL
SELECT 'setting', format('%s of role %s%s', split_part(c, '=', 1), r.rolname, CASE WHEN d.oid IS NULL THEN '' ELSE ' in this database' END), '',
    substr(c, strpos(c, '=') + 1), format('ALTER ROLE %I%s SET %I = %L', r.rolname, coalesce(' IN DATABASE ' || quote_ident(d.datname), ''),
        split_part(c, '=', 1), substr(c, strpos(c, '=') + 1))
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c
WHERE (s.setdatabase = 0 OR d.datname = current_database()) AND r.rolname <> current_user
