#!/bin/sh
# Run once by the image when a database is created: the proxy's own login, and the application's.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -d app \
    -v pgduet="$(cat /run/secrets/pgduet_password)" -v app="$(cat /run/secrets/app_password)" <<'SQL'
CREATE ROLE pgduet SUPERUSER LOGIN PASSWORD :'pgduet';
CREATE ROLE app LOGIN PASSWORD :'app';
ALTER DATABASE app OWNER TO app;
SQL
