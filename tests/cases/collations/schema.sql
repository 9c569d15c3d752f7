CREATE COLLATION collations_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE collations_ci (k text COLLATE collations_ci PRIMARY KEY, v int);
